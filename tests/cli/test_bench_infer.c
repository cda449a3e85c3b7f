/* bench infer: its tables and JSON, the energy of a fake powercap tree, and what it refuses. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INFER(...) QUANTDRIFT("bench", "infer", "--threads", "1", "--runs", "3", __VA_ARGS__)

static void expect_pieces(const char *text, const char *const *pieces)
{
    for (; *pieces; pieces++)
        cr_assert_not_null(strstr(text, *pieces), "'%s' is not in: %s", *pieces, text);
}

/* A package whose counter stands still: 0 Wh, but measured. */
static char *fake_counters(const char *folder)
{
    char *root = test_folder_path(folder, "powercap"), *zone = qd_format("%s/intel-rapl:0", root);
    cr_assert_eq(mkdir(root, 0700), 0);
    cr_assert_eq(mkdir(zone, 0700), 0);
    static const char *const files[][2] = {
        {"name", "package-0\n"}, {"energy_uj", "1000\n"}, {"max_energy_range_uj", "262143328850\n"}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = test_folder_path(zone, files[i][0]);
        test_file_write(path, files[i][1], strlen(files[i][1]));
        free(path);
    }
    free(zone);
    return root;
}

static void check_network(const cJSON *network, int64_t frames)
{
    const cJSON *floats = test_json_get(network, "float"), *int8 = test_json_get(network, "int8");
    cr_assert_eq(test_json_number(network, "frames"), (double)frames);
    for (const cJSON *form = floats; form; form = form == floats ? int8 : NULL) {
        cr_assert_gt(test_json_number(form, "median_ms"), 0);
        cr_assert_geq(test_json_number(form, "p90_ms"), test_json_number(form, "median_ms"));
        cr_assert_float_eq(test_json_number(form, "fps") * test_json_number(form, "median_ms"), 1000, 1e-6);
        cr_assert_gt(test_json_number(form, "seconds"), 0);
    }
    cr_assert_eq(test_json_number(floats, "speed_up"), 1.0);
    cr_assert_float_eq(test_json_number(int8, "speed_up"),
                       test_json_number(floats, "median_ms") / test_json_number(int8, "median_ms"), 1e-9);
    cr_assert_lt(test_json_number(int8, "stored_bytes"), 0.28 * test_json_number(floats, "stored_bytes"));
}

Test(bench_infer, random_input_of_a_model_and_no_counters)
{
    char *folder = test_folder_create(), *json_path = test_folder_path(folder, "infer.json");
    outcome run =
        INFER("--model", "resnet18", "--image-size", "32", "--batch", "2", "--json", json_path, "--powercap", folder);
    expect_done(&run);
    expect_pieces(run.out, (const char *const[]){"32 px, batch 2, 1 threads", "3 runs on random input", "ResNet18",
                                                 "float", "INT8", "speed-up", "energy: not measured, '", NULL});
    cJSON *json = test_json_read(json_path);
    check_network(cJSON_GetArrayItem(test_json_get(json, "networks"), 0), 6);
    cr_assert(cJSON_IsString(test_json_get(json, "energy_problem")));
    cr_assert(cJSON_IsNull(test_json_get(cJSON_GetArrayItem(test_json_get(json, "networks"), 0), "file")));
    cr_assert(cJSON_IsNull(
        test_json_get(test_json_get(cJSON_GetArrayItem(test_json_get(json, "networks"), 0), "float"), "wh")));
    cJSON_Delete(json);
    outcome_free(&run);
    free(json_path);
    test_folder_remove(folder);
}

Test(bench_infer, frames_of_a_folder_and_their_energy)
{
    tiny t = tiny_create();
    char *val = qd_format("%s/val", t.data), *root = fake_counters(t.folder),
         *json_path = test_folder_path(t.folder, "infer.json"), *image = tiny_image(&t, "val", 0),
         *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_last.safetensors");
    outcome trained = QUANTDRIFT("run", t.experiment, "--quiet", "--threads", "1", "--set", "num_epochs=0", "--set",
                                 "quantization.enabled=false");
    expect_done(&trained);
    outcome_free(&trained);
    outcome run = QUANTDRIFT("bench", "infer", checkpoint, checkpoint, "--threads", "1", "--batch", "8", "--frames",
                             val, "--transform", "squash", "--powercap", root, "--json", json_path);
    expect_done(&run);
    /* 20 frames, 8 at a time: three runs, the last of which begins again */
    expect_pieces(run.out, (const char *const[]){"3 runs on frames of ", "/val (squash)", "EfficientNet-B0", "time s",
                                                 "Wh/frame", "0.000000000", NULL});
    cJSON *json = test_json_read(json_path);
    cr_assert_eq(cJSON_GetArraySize(test_json_get(json, "networks")), 2);
    for (int i = 0; i < 2; i++)
        check_network(cJSON_GetArrayItem(test_json_get(json, "networks"), i), 24);
    cr_assert(cJSON_IsNull(test_json_get(json, "energy_problem")));
    cr_assert_eq(
        test_json_number(test_json_get(cJSON_GetArrayItem(test_json_get(json, "networks"), 1), "int8"), "wh"), 0.0);
    cJSON_Delete(json);
    outcome_free(&run);

    /* A quantized model has a size of its own. */
    char *quantized = test_folder_path(t.folder, "larger.safetensors");
    outcome made = QUANTDRIFT("quantize", checkpoint, "--image-size", "40", "--data", t.data, "-o", quantized);
    expect_done(&made);
    outcome_free(&made);
    run = INFER(quantized, checkpoint);
    expect_done(&run);
    expect_pieces(run.out, (const char *const[]){"40, 32 px, batch 1, 1 threads", NULL});
    outcome_free(&run);
    free(quantized);

    expect_refusal(INFER(checkpoint, "--frames", "/no/such/folder"), 3, "/no/such/folder");
    expect_refusal(INFER(checkpoint, "--frames", root), 3, "no image found");
    expect_refusal(INFER(image), 3, image);
    test_file_write(image, "no image", 8);
    expect_refusal(INFER(checkpoint, "--frames", val), 3, strrchr(image, '/') + 1);
    free(val);
    free(root);
    free(json_path);
    free(image);
    free(checkpoint);
    tiny_destroy(&t);
}

Test(bench_infer, usage)
{
    static const char *const lines[][4] = {
        {NULL},
        {"--model", "resnet18", "--transform=squash"},
        {"--model", "resnet18", "--frames=.", "--transform=stretch"},
        {"--model", "resnet18", "--runs=0"},
        {"--model", "resnet19"},
    };
    static const char *const sentences[] = {"name a checkpoint, or a model", "--transform needs --frames",
                                            "expected one of validation|squash, got 'stretch'",
                                            "--runs: expected a whole number", "resnet19"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        outcome run =
            QUANTDRIFT("bench", "infer", "--threads", "1", lines[i][0], lines[i][1], lines[i][2], lines[i][3]);
        cr_assert_eq(run.code, 2, "%s", run.err);
        cr_assert_not_null(strstr(run.err, sentences[i]), "'%s' is not in: %s", sentences[i], run.err);
        outcome_free(&run);
    }
    outcome help = QUANTDRIFT("bench", "infer", "--help");
    expect_done(&help);
    expect_pieces(help.out, (const char *const[]){"Usage: quantdrift bench infer", "Example: ", "--frames",
                                                  "--powercap", "--threads", "default", NULL});
    outcome_free(&help);
}
