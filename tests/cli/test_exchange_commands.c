/* import, export and inspect as people call them, and what a run leaves for other programs. */
#include "base/file.h"
#include "base/json.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "formats/event_file.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

TestSuite(exchange_commands);

/* Every record's two checksums, the first event's version, and how many there are. */
static int check_event_file(const char *path)
{
    size_t size;
    char *bytes = program_read_file(path, &size);
    int records = 0;
    for (size_t at = 0; at < size; records++) {
        uint64_t length;
        uint32_t crc[2];
        cr_assert_leq(at + 16, size);
        memcpy(&length, bytes + at, sizeof length);
        memcpy(&crc[0], bytes + at + 8, sizeof crc[0]);
        cr_assert_leq(at + 16 + length, size);
        memcpy(&crc[1], bytes + at + 12 + length, sizeof crc[1]);
        const uint32_t expected[2] = {qd_crc32c(bytes + at, 8), qd_crc32c(bytes + at + 12, length)};
        for (int i = 0; i < 2; i++)
            cr_assert_eq(crc[i], (expected[i] >> 15 | expected[i] << 17) + 0xa282ead8u, "record %d", records);
        if (records == 0)
            cr_assert_not_null(memmem(bytes + at + 12, length, "brain.Event:2", 13));
        at += 16 + length;
    }
    free(bytes);
    return records;
}

static char *only_entry(const char *folder)
{
    char *path = NULL;
    DIR *entries = opendir(folder);
    cr_assert_not_null(entries, "no folder '%s'", folder);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        cr_assert_null(path, "several files in '%s'", folder);
        path = test_folder_path(folder, entry->d_name);
    }
    closedir(entries);
    cr_assert_not_null(path, "nothing in '%s'", folder);
    return path;
}

/* Fewer modules to count than the tiny experiment's own model has. */
#define RESNET18 "--set", "models=[\"resnet18\"]"

Test(exchange_commands, a_run_leaves_files_for_other_programs)
{
    tiny t = tiny_create();
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", RESNET18, "--set", "tensorboard=true", "--set",
                              "export=[\"pth\",\"onnx\",\"onnx-qdq\",\"encodings\"]"));
    static const char *const names[] = {"resnet18_data.pth", "resnet18_data.onnx", "resnet18_data_qdq.onnx",
                                        "resnet18_data_encodings.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = test_folder_path(t.out, names[i]);
        cr_assert(qd_file_exists(path), "no '%s'", path);
        free(path);
    }

    char *metrics_path = test_folder_path(t.out, "metrics.csv"), *metrics = program_read_file(metrics_path, NULL);
    static const char head[] = "model,epoch,lr,train_loss,train_acc,val_loss,val_acc\nresnet18,0,,,,";
    cr_assert_eq(strncmp(metrics, head, strlen(head)), 0, "%s", metrics);
    cr_assert_not_null(strstr(metrics, "\nresnet18,1,0.01,"), "%s", metrics);

    char *folder = test_folder_path(t.out, "tensorboard/resnet18"), *events = only_entry(folder);
    /* Version, start; epoch 0: three values and 62 distributions; epoch 1: two values of training and lr more. */
    cr_assert_eq(check_event_file(events), 2 + 4 + 62 + 7 + 62, "%d records", check_event_file(events));

    /* The scales of an export are those that the results report. */
    char *encodings_path = test_folder_path(t.out, names[3]);
    char *results_path = test_folder_path(t.out, "resnet18_results.json");
    cJSON *encodings = NULL, *results = NULL;
    cr_assert_eq(qd_json_read(NULL, encodings_path, 1 << 26, false, &encodings), QD_OK);
    cr_assert_eq(qd_json_read(NULL, results_path, 1 << 26, false, &results), QD_OK);
    const cJSON *reported = cJSON_GetObjectItem(cJSON_GetObjectItem(results, "quantization"), "epoch_1");
    const cJSON *tensor, *tensors = cJSON_GetObjectItem(reported, "tensors");
    int compared = 0;
    cJSON_ArrayForEach(tensor, cJSON_GetObjectItem(encodings, "activations"))
    {
        const cJSON *expected = cJSON_GetObjectItemCaseSensitive(tensors, tensor->string);
        cr_assert_not_null(expected, "results have no tensor '%s'", tensor->string);
        cr_assert_eq(cJSON_GetObjectItem(tensor, "scale")->valuedouble,
                     cJSON_GetObjectItem(expected, "scale")->valuedouble, "'%s'", tensor->string);
        compared++;
    }
    cr_assert_eq(compared, cJSON_GetArraySize(tensors));

    /* A run that is complete writes the same again. */
    char *pth = test_folder_path(t.out, names[0]), *kept = test_folder_path(t.folder, "kept.pth");
    cr_assert_eq(rename(pth, kept), 0);
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", RESNET18, "--resume", "--set", "export=[\"pth\"]"));
    expect_same_file(pth, kept);
    char *again = program_read_file(metrics_path, NULL);
    cr_assert_str_eq(again, metrics);

    cJSON_Delete(encodings);
    cJSON_Delete(results);
    free(again);
    free(pth);
    free(kept);
    free(encodings_path);
    free(results_path);
    free(events);
    free(folder);
    free(metrics);
    free(metrics_path);
    tiny_destroy(&t);
}

Test(exchange_commands, what_is_exported_can_be_imported)
{
    tiny t = tiny_create();
    expect_success(QUANTDRIFT("run", t.experiment, "--quiet", RESNET18, "--set", "max_steps=1"));
    char *checkpoint = tiny_checkpoint(&t, "resnet18_last.safetensors");
    char *pth = test_folder_path(t.folder, "a.pth"), *weights = test_folder_path(t.folder, "a.safetensors");
    char *imported = test_folder_path(t.folder, "b.safetensors"), *again = test_folder_path(t.folder, "b.pth");
    char *qdq = test_folder_path(t.folder, "a.onnx"), *json = test_folder_path(t.folder, "a.json");
    expect_success(QUANTDRIFT("export", checkpoint, "--format", "pth", "-o", pth));
    expect_success(QUANTDRIFT("export", checkpoint, "--format", "safetensors", "-o", weights));
    expect_success(QUANTDRIFT("import", pth, "--model", "resnet18", "--image-size", "32", "-o", imported));
    expect_success(QUANTDRIFT("export", imported, "--format", "pth", "-o", again));
    expect_same_file(pth, again);
    expect_success(QUANTDRIFT("import", weights, "--model", "resnet18", "-o", imported));
    expect_success(QUANTDRIFT("export", imported, "--format", "pth", "-o", again));
    expect_same_file(pth, again);
    expect_success(QUANTDRIFT("eval", pth, "--model", "resnet18", "--image-size", "32", "--data", t.data));

    expect_success(QUANTDRIFT("export", checkpoint, "--format", "onnx-qdq", "--data", t.data, "--per-channel",
                              "--unsigned", "--calibration-images", "8", "-o", qdq));
    outcome seen = QUANTDRIFT("inspect", qdq, "--json", json);
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "operator set: 17"), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "layer1.0.relu#1"), "%s", seen.out);
    outcome_free(&seen);
    cJSON *root = NULL;
    cr_assert_eq(qd_json_read(NULL, json, 1 << 26, false, &root), QD_OK);
    cr_assert_str_eq(cJSON_GetObjectItem(root, "format")->valuestring, "ONNX");
    const cJSON *first = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "quantizers"), 0);
    cr_assert_str_eq(cJSON_GetObjectItem(first, "tensor")->valuestring, "input");
    cr_assert_str_eq(cJSON_GetObjectItem(first, "type")->valuestring, "uint8");
    cJSON_Delete(root);
    seen = QUANTDRIFT("inspect", pth);
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "PyTorch, 122 tensors"), "%s", seen.out);
    outcome_free(&seen);
    free(checkpoint);
    free(pth);
    free(weights);
    free(imported);
    free(again);
    free(qdq);
    free(json);
    tiny_destroy(&t);
}

Test(exchange_commands, refuse_with_one_sentence)
{
    char *folder = test_folder_create(), *out = test_folder_path(folder, "out");
    char *hostile = fixture_path("pth/refused_run.pth"), *legacy = fixture_path("pth/refused_legacy.pth");
    char *views = fixture_path("pth/types.pth"), *model = test_folder_path(folder, "bad.onnx");
    test_file_write(model, "\x3a\xff\xff\xff\xff\x7f", 6);
    expect_refusal(QUANTDRIFT("import", hostile, "--model", "resnet18", "-o", out), 3, "posix.system");
    expect_refusal(QUANTDRIFT("inspect", hostile), 3, "posix.system");
    expect_refusal(QUANTDRIFT("import", legacy, "--model", "resnet18", "-o", out), 3, "before 1.6");
    expect_refusal(QUANTDRIFT("import", views, "-o", out), 2, "name the model");
    expect_refusal(QUANTDRIFT("inspect", model), 3, "beyond its message");
    expect_refusal(QUANTDRIFT("inspect", out), 3, "No such file");
    cr_assert_not(qd_file_exists(out), "a refused import writes nothing");

    outcome usage = QUANTDRIFT("export", views, "--format", "onnx-qdq", "-o", out);
    cr_assert_eq(usage.code, 2);
    cr_assert_not_null(strstr(usage.err, "--data is missing"), "%s", usage.err);
    outcome_free(&usage);
    usage = QUANTDRIFT("export", views, "--format", "tflite", "-o", out);
    cr_assert_eq(usage.code, 2);
    cr_assert_not_null(strstr(usage.err, "got 'tflite'"), "%s", usage.err);
    outcome_free(&usage);
    free(hostile);
    free(legacy);
    free(views);
    free(model);
    free(out);
    test_folder_remove(folder);
}
