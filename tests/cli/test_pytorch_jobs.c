/* The commands that show where a run begins: initial blocks, and training batches. Their numbers are compared with
 * PyTorch's in tests/parity; here it is what they print, write and refuse. */
#include "base/json.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

static void expect_keys(const cJSON *object, const char *const keys[])
{
    const cJSON *item = object->child;
    for (; *keys; keys++, item = item->next) {
        cr_assert_not_null(item, "'%s' is missing", *keys);
        cr_assert_str_eq(item->string, *keys);
    }
    cr_assert_null(item, "more than the agreed keys");
}

#define PLAIN(b) "conv1_b" #b, "bn1_b" #b, "relu1_b" #b, "conv2_b" #b, "bn2_b" #b
#define MBCONV(b)                                                                                                    \
    "conv1_expand_b" #b, "bn1_expand_b" #b, "silu1_expand_b" #b, "conv2_dw_b" #b, "bn2_dw_b" #b, "silu2_dw_b" #b,    \
        "avg_pool_b" #b, "conv3_se_b" #b, "silu3_se_b" #b, "conv4_se_b" #b, "sigmoid_b" #b, "conv5_proj_b" #b,       \
        "bn3_proj_b" #b

Test(pytorch_jobs, init_study_prints_and_writes_every_module)
{
    char *folder = test_folder_create(), *path = test_folder_path(folder, "study.json");
    outcome study = QUANTDRIFT("init-study", "--seed", "42", "--json", path, "--quiet");
    expect_done(&study);
    /* Two decimals: ResNet18's first convolution for this seed, as PyTorch has it. */
    cr_assert_not_null(strstr(study.out, "conv1_b1  Conv2d          -1.26      2.02      3.28      0.34\n"), "%s",
                       study.out);
    cr_assert_not_null(strstr(study.out, "bn3_proj_b2 "), "%s", study.out);
    qd_context *ctx = test_context_create(1);
    cJSON *json = NULL;
    TEST_OK(ctx, qd_json_read(ctx, path, 1 << 20, false, &json));
    expect_keys(json, (const char *const[]){"resnet18_block", "efficientnetb0_block", NULL});
    expect_keys(json->child, (const char *const[]){PLAIN(1), PLAIN(2), NULL});
    expect_keys(json->child->next, (const char *const[]){MBCONV(1), MBCONV(2), NULL});
    expect_keys(json->child->child, (const char *const[]){"shape", "min", "max", "mean", "std", "range", "zeros_pct",
                                                          "layer_type", NULL});
    cJSON_Delete(json);
    qd_context_destroy(ctx);
    outcome_free(&study);
    expect_refusal(QUANTDRIFT("init-study", "--json", "no/such/folder/study.json"), 1, "no/such/folder");
    free(path);
    test_folder_remove(folder);
}

/* `names`: of batch 1, and of batch 2 behind it, the files that the indices stand for, as "class/name". */
static void expect_file_names(qd_context *ctx, const tiny *t, const qd_safetensors *file, const cJSON *names)
{
    char *folder = test_folder_path(t->data, "train");
    qd_dataset *dataset = NULL;
    TEST_OK(ctx, qd_dataset_open(ctx, folder, QD_BAD_IMAGE_ERROR, &dataset));
    for (int b = 1; b <= 2; b++, names = names->next) {
        const qd_tensor *indices = fixture_tensor(file, b == 1 ? "batch_1.indices" : "batch_2.indices");
        cr_assert_eq(cJSON_GetArraySize(names), 6);
        for (int i = 0; i < 6; i++) {
            const char *path = qd_dataset_get(dataset, ((const int64_t *)indices->data)[i])->path;
            cr_assert_str_eq(cJSON_GetArrayItem(names, i)->valuestring, path + strlen(folder) + 1);
        }
    }
    qd_dataset_destroy(dataset);
    free(folder);
}

Test(pytorch_jobs, batch_writes_tensors_and_a_sheet)
{
    tiny t = tiny_create();
    char *path = test_folder_path(t.folder, "batches"), *sheet = test_folder_path(t.folder, "sheet.png");
    outcome made = QUANTDRIFT("batch", "--data", t.data, "--model", "efficientnet_b0", "--seed", "3", "--batch", "6",
                              "--size", "33", "--count", "2", "--first", "1", "-o", path, "--png", sheet);
    expect_done(&made);
    cr_assert_not_null(strstr(made.out, "12 images in batches 1 to 2 of epoch 1\n"), "%s", made.out);
    outcome_free(&made);

    qd_context *ctx = test_context_create(1);
    qd_safetensors *file = NULL;
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    cr_assert_eq(qd_safetensors_count(file), 8);
    const qd_tensor *images = fixture_tensor(file, "batch_1.images"), *bytes = fixture_tensor(file, "batch_1.bytes");
    const int64_t shape[4] = {6, 3, 33, 33};
    cr_assert(images->dtype == QD_F32 && bytes->dtype == QD_U8);
    cr_assert_arr_eq(images->shape, shape, sizeof shape);
    cr_assert_arr_eq(bytes->shape, shape, sizeof shape);
    cr_assert_str_eq(qd_safetensors_metadata(file, "model"), "efficientnet_b0");
    cr_assert_str_eq(qd_safetensors_metadata(file, "seed"), "3");
    cJSON *files = cJSON_Parse(qd_safetensors_metadata(file, "files"));
    cr_assert_eq(cJSON_GetArraySize(files), 2);
    expect_file_names(ctx, &t, file, files->child);
    cJSON_Delete(files);

    /* Twelve images stand in four columns and three rows, two pixels apart; the first is the file's first. */
    qd_image picture = {0};
    TEST_OK(ctx, qd_image_read(ctx, sheet, &picture));
    cr_assert_eq(picture.width, 4 * 33 + 3 * 2);
    cr_assert_eq(picture.height, 3 * 33 + 2 * 2);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 33; y++)
            for (int x = 0; x < 33; x++)
                cr_assert_eq(picture.rgb[(y * picture.width + x) * 3 + c],
                             ((const uint8_t *)bytes->data)[(c * 33 + y) * 33 + x]);
    cr_assert_eq(picture.rgb[33 * 3], 255, "white between images");
    qd_image_free(&picture);
    qd_safetensors_close(file);
    qd_context_destroy(ctx);
    free(path);
    free(sheet);
    tiny_destroy(&t);
}

/* The experiment file says everything but the model; what it lists before the model comes first. */
Test(pytorch_jobs, batch_follows_an_experiment_file)
{
    tiny t = tiny_create();
    char *a = test_folder_path(t.folder, "a"), *b = test_folder_path(t.folder, "b");
    outcome made = QUANTDRIFT("batch", t.experiment, "--model", "efficientnet_b0", "-o", a, "--quiet");
    expect_done(&made);
    cr_assert_str_empty(made.out);
    outcome_free(&made);
    made =
        QUANTDRIFT("batch", "--data", t.data, "--model", "efficientnet_b0", "--size", "32", "--batch", "8", "-o", b);
    expect_done(&made);
    outcome_free(&made);
    outcome same = program_run(NULL, (const char *const[]){"cmp", a, b, NULL});
    expect_done(&same);
    outcome_free(&same);
    expect_refusal(QUANTDRIFT("batch", t.experiment, "--model", "resnet18", "-o", a), 2, "no model 'resnet18'");
    expect_refusal(QUANTDRIFT("batch", t.experiment, "--model", "efficientnet_b0", "-o", a, "--epoch", "2"), 2,
                   "epochs 1 to 1, not 2");
    expect_refusal(QUANTDRIFT("batch", t.experiment, "--model", "efficientnet_b0", "-o", a, "--first", "5"), 2,
                   "batches 0 to 4");
    expect_refusal(QUANTDRIFT("batch", "--data", "no/such", "--model", "efficientnet_b0", "-o", a), 3, "no/such");
    expect_refusal(QUANTDRIFT("batch", "--data", t.data, "--model", "resnet50", "-o", a), 2, "resnet50");
    expect_refusal(QUANTDRIFT("batch", t.experiment, "--model", "efficientnet_b0", "-o", "no/such/file"), 1,
                   "no/such/file");
    free(a);
    free(b);
    tiny_destroy(&t);
}
