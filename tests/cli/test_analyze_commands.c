/* analyze and sensitivity as people call them. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include "support/test_context.h"
#include <criterion/criterion.h>
#include <math.h>
#include <quantdrift/network.h>
#include <stdlib.h>
#include <string.h>

/* A tiny data set, and paths beside it. */
typedef struct bench {
    tiny t;
    char *resnet, *efficientnet, *json, *encodings, *model;
} bench;

static bench bench_create(void)
{
    bench b = {.t = tiny_create()};
    b.resnet = test_folder_path(b.t.folder, "resnet18.safetensors");
    b.efficientnet = test_folder_path(b.t.folder, "efficientnet_b0.safetensors");
    b.json = test_folder_path(b.t.folder, "found.json");
    b.encodings = test_folder_path(b.t.folder, "kept.json");
    b.model = test_folder_path(b.t.folder, "kept.safetensors");
    return b;
}

/* A checkpoint of freshly initialised weights: what is trained does not matter here. */
static void make_checkpoint(const char *model, const char *path)
{
    qd_context *ctx = test_context_create(2);
    const qd_network_config config = {.model = model, .image_size = 32, .num_classes = 10, .seed = 1, .max_batch = 1};
    qd_network *network;
    TEST_OK(ctx, qd_network_load(ctx, &config, &network));
    TEST_OK(ctx, qd_network_save(network, path));
    qd_network_destroy(network);
    qd_context_destroy(ctx);
}

static void bench_destroy(bench *b)
{
    free(b->resnet);
    free(b->efficientnet);
    free(b->json);
    free(b->encodings);
    free(b->model);
    tiny_destroy(&b->t);
}

static const char *text(const cJSON *object, const char *key)
{
    cr_assert(cJSON_IsString(test_json_get(object, key)), "no text '%s'", key);
    return test_json_get(object, key)->valuestring;
}

/* The head that both files have. */
static void expect_head(const cJSON *root, const char *format, const char *model, const char *checkpoint)
{
    char hash[65];
    cr_assert_str_eq(text(root, "format"), format);
    cr_assert_eq(test_json_number(root, "version"), 1);
    cr_assert_str_eq(text(root, "model"), model);
    cr_assert_str_eq(text(root, "checkpoint"), checkpoint);
    cr_assert_eq(qd_file_sha256(NULL, checkpoint, hash), QD_OK);
    cr_assert_str_eq(text(root, "checkpoint_sha256"), hash);
    cr_assert_eq(test_json_number(root, "epoch"), 0);
    cr_assert_eq(test_json_number(root, "image_size"), 32);
    cr_assert_eq(test_json_number(test_json_get(root, "scheme"), "weight_bits"), 8);
    cr_assert_str_eq(text(test_json_get(root, "scheme"), "calibrator"), "minmax");
}

Test(analyze_commands, two_networks_over_one_image)
{
    bench b = bench_create();
    make_checkpoint("resnet18", b.resnet);
    make_checkpoint("efficientnet_b0", b.efficientnet);
    outcome seen = QUANTDRIFT("analyze", b.efficientnet, "--data", b.t.data, "--compare", b.resnet, "--json", b.json,
                              "--layer", "features.1.0.block.1,avgpool", "--values", "0.5,-1e3", "--modules");
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "worst layers by range"), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "features.2.0.block.1.0 "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "(the post's)"), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "total layers captured: "), "%s", seen.out);
    cr_assert_not_null(strstr(seen.out, "ResNet18         before "), "%s", seen.out);
    outcome_free(&seen);
    cJSON *root = test_json_read(b.json);
    expect_head(root, "quantdrift-analysis", "efficientnet_b0", b.efficientnet);
    cr_assert_eq(test_json_number(root, "calibration_images"), 40); /* all there are */
    cr_assert_eq(cJSON_GetArraySize(test_json_get(root, "worst")), 5);
    cr_assert_eq(cJSON_GetArraySize(test_json_get(root, "batchnorm")), 49);
    cr_assert_eq(cJSON_GetArraySize(test_json_get(test_json_get(root, "example"), "cases")), 3);
    const cJSON *rows = test_json_get(test_json_get(root, "collapse"), "rows");
    cr_assert_eq(cJSON_GetArraySize(rows), 2);
    cr_assert(cJSON_IsTrue(cJSON_GetArrayItem(test_json_get(rows->child, "saturated"), 1)));
    cr_assert_eq(cJSON_GetArrayItem(test_json_get(rows->child, "codes"), 1)->valuedouble, -128);
    const cJSON *tensor;
    int detailed = 0;
    cJSON_ArrayForEach(tensor, test_json_get(root, "tensors"))
    {
        const cJSON *bin;
        double sum = 0.0;
        cr_assert_eq(cJSON_GetArraySize(test_json_get(tensor, "histogram")), 128);
        cJSON_ArrayForEach(bin, test_json_get(tensor, "histogram")) sum += bin->valuedouble;
        cr_assert_eq(sum, test_json_number(tensor, "values"));
        const cJSON *channels = cJSON_GetObjectItem(tensor, "channel_min");
        cr_assert(!channels || cJSON_GetArraySize(channels) == (int)test_json_number(tensor, "channels"));
        detailed += channels && strcmp(text(tensor, "name"), "features.1.0.block.1") == 0;
    }
    cr_assert_eq(detailed, 1, "the chosen tensor's channels are there");
    cr_assert_str_eq(text(test_json_get(root, "compared"), "model"), "resnet18");
    cr_assert_eq(
        cJSON_GetArraySize(test_json_get(test_json_get(test_json_get(root, "compared"), "collapse"), "rows")), 2);
    cJSON_Delete(root);
    bench_destroy(&b);
}

Test(analyze_commands, one_image_alone)
{
    bench b = bench_create();
    make_checkpoint("resnet18", b.resnet);
    char *image = tiny_image(&b.t, "val", 0);
    expect_success(QUANTDRIFT("analyze", b.resnet, "--image", image, "--json", b.json));
    cJSON *root = test_json_read(b.json);
    expect_head(root, "quantdrift-analysis", "resnet18", b.resnet);
    cr_assert(cJSON_IsNull(test_json_get(root, "data")));
    cr_assert(cJSON_IsNull(test_json_get(root, "compared")));
    cr_assert_eq(test_json_number(root, "calibration_images"), 1);
    cr_assert_str_eq(text(root, "image"), image);
    cJSON_Delete(root);
    free(image);
    bench_destroy(&b);
}

/* Mistakes on the command line are told with the way to more help. */
static void expect_usage(outcome result, const char *piece)
{
    cr_assert_eq(result.code, 2, "%s", result.err);
    cr_assert_not_null(strstr(result.err, piece), "%s", result.err);
    outcome_free(&result);
}

Test(analyze_commands, mistakes_on_the_command_line)
{
    expect_usage(QUANTDRIFT("analyze", "c"), "--data or --image is missing");
    expect_usage(QUANTDRIFT("analyze", "--data", "d"), "name a checkpoint");
    expect_usage(QUANTDRIFT("analyze", "c", "--data", "d", "--values", "7,,8"), "--values");
    expect_usage(QUANTDRIFT("analyze", "c", "--data", "d", "--values", "inf"), "--values");
    expect_usage(QUANTDRIFT("analyze", "c", "--data", "d", "--values", "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17"),
                 "at most 16 numbers");
    expect_usage(QUANTDRIFT("sensitivity", "c"), "--data is missing");
    expect_usage(QUANTDRIFT("sensitivity", "--data", "d"), "name a checkpoint");
    expect_usage(QUANTDRIFT("sensitivity", "c", "--data", "d", "--max-drop", "-1"), "--max-drop");
    expect_usage(QUANTDRIFT("sensitivity", "c", "--data", "d", "--max-drop", "nan"), "--max-drop");
    expect_usage(QUANTDRIFT("sensitivity", "c", "--data", "d", "--max-drop", "1x"), "--max-drop");
    expect_usage(QUANTDRIFT("sensitivity", "c", "--data", "d", "--images", "0"), "--images");
}

Test(analyze_commands, refusals)
{
    bench b = bench_create();
    make_checkpoint("efficientnet_b0", b.efficientnet);
    const char *checkpoint = b.efficientnet;
    expect_refusal(QUANTDRIFT("analyze", checkpoint, "--image", "/no/such.png"), 3, "/no/such.png");
    expect_refusal(QUANTDRIFT("analyze", checkpoint, "--data", "/no/such"), 3, "/no/such");
    expect_refusal(QUANTDRIFT("analyze", b.t.experiment, "--data", b.t.data), 3, "tiny.json");
    char *image = tiny_image(&b.t, "val", 0), *one_class = tiny_class(&b.t, "val", 0);
    expect_refusal(QUANTDRIFT("analyze", checkpoint, "--image", image, "--layer", "avgpool,layer9", "--json", b.json),
                   2, "'layer9'");
    expect_refusal(QUANTDRIFT("sensitivity", checkpoint, "--data", "/no/such"), 3, "/no/such");
    expect_refusal(QUANTDRIFT("sensitivity", checkpoint, "--data", one_class), 3, one_class);
    expect_success(
        QUANTDRIFT("quantize", checkpoint, "--data", b.t.data, "--calibration-images", "2", "-o", b.model));
    expect_refusal(QUANTDRIFT("analyze", b.model, "--image", image), 3, "no float weights");
    expect_refusal(QUANTDRIFT("sensitivity", b.model, "--data", b.t.data), 3, "no float weights");
    cr_assert_not(qd_file_exists(b.json));
    free(image);
    free(one_class);
    bench_destroy(&b);
}

/* What it leaves in float32 is what quantize takes and eval runs. */
Test(analyze_commands, sensitivity_writes_encodings_that_work)
{
    bench b = bench_create();
    make_checkpoint("resnet18", b.resnet);
    outcome seen = QUANTDRIFT("sensitivity", b.resnet, "--data", b.t.data, "--images", "4", "--max-drop", "0",
                              "--json", b.json, "--encodings", b.encodings, "--quiet");
    expect_done(&seen);
    cr_assert_not_null(strstr(seen.out, "ResNet18 for 10 classes at 32 px: 4 images, ranges from 40"), "%s",
                       seen.out);
    cr_assert_not_null(strstr(seen.out, "all but this layer quantized"), "%s", seen.out);
    cr_assert_str_eq(seen.err, "");
    outcome_free(&seen);
    cJSON *root = test_json_read(b.json);
    expect_head(root, "quantdrift-sensitivity", "resnet18", b.resnet);
    cr_assert_eq(test_json_number(root, "images"), 4);
    cr_assert_eq(cJSON_GetArraySize(test_json_get(root, "modes")), 3); /* no SiLU */
    cr_assert_eq(cJSON_GetArraySize(test_json_get(root, "layers")), 31);
    const cJSON *kept = test_json_get(root, "kept"), *layer;
    cr_assert_str_eq(text(kept, "encodings"), b.encodings);
    cr_assert(cJSON_IsTrue(test_json_get(kept, "reached")));
    cr_assert_leq(test_json_number(test_json_get(kept, "score"), "drop"), 0.0);
    cJSON *encodings = test_json_read(b.encodings);
    cJSON_ArrayForEach(layer, test_json_get(kept, "layers"))
    {
        char *weight = qd_format("%s.weight", layer->valuestring);
        const cJSON *entry = cJSON_GetObjectItem(test_json_get(encodings, "weights"), weight);
        cr_assert(!entry || (cJSON_IsString(entry) && strcmp(entry->valuestring, "float") == 0), "'%s'", weight);
        free(weight);
    }
    cJSON_Delete(encodings);
    cJSON_Delete(root);
    expect_success(QUANTDRIFT("quantize", b.resnet, "--encodings", b.encodings, "-o", b.model));
    expect_success(QUANTDRIFT("eval", b.resnet, b.model, "--data", b.t.data));
    bench_destroy(&b);
}
