/* The results file: byte for byte what Python's json.dump(indent=2) writes, and the same bytes after reading it back.
 */
#include "experiment/results.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;
static qd_experiment *experiment;
static qd_results results;
static qd_results_sources sources;
static qd_dataset *training, *validation;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "resnet18_results.json");
    tiny_data_write(folder);
    experiment = tiny_experiment_create(ctx, folder, "out");
    tiny_experiment_set(ctx, experiment, "lr=1");
    tiny_experiment_set(ctx, experiment, "weight_decay=0.00001");
    tiny_experiment_set(ctx, experiment, "num_epochs=5");
    char *train_folder = test_folder_path(folder, "data/train"), *val_folder = test_folder_path(folder, "data/val");
    TEST_OK(ctx, qd_dataset_open(ctx, train_folder, QD_BAD_IMAGE_ERROR, &training));
    TEST_OK(ctx, qd_dataset_open(ctx, val_folder, QD_BAD_IMAGE_ERROR, &validation));
    free(train_folder);
    free(val_folder);
    sources = (qd_results_sources){.config = &experiment->config,
                                   .config_hash = "00",
                                   .training = training,
                                   .validation = validation,
                                   .mixed_batch_images = 4};
    qd_results_init(qd_model_find("resnet18"), &results);
}

static void tear_down(void)
{
    qd_results_free(&results);
    qd_dataset_destroy(training);
    qd_dataset_destroy(validation);
    qd_experiment_destroy(experiment);
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(results, .init = set_up, .fini = tear_down);

static qd_module_record module(const char *name, const char *type, double min, double max, double mean, double std)
{
    qd_module_record record = {
        .rank = 4, .shape = {64, 64, 56, 56}, .min = min, .max = max, .mean = mean, .std = std, .range = max - min};
    snprintf(record.path, sizeof record.path, "%s", name);
    snprintf(record.layer_type, sizeof record.layer_type, "%s", type);
    return record;
}

static void add_log(bool mixed, int64_t epoch, const qd_module_record *modules, int count)
{
    qd_epoch_log log = {.epoch = epoch, .count = count, .modules = calloc((size_t)count, sizeof *modules)};
    memcpy(log.modules, modules, (size_t)count * sizeof *modules);
    TEST_OK(ctx, qd_results_add_log(ctx, &results, mixed, &log));
}

/* The values of scripts/fixtures/make_results.py. */
static void fill_plain(void)
{
    const qd_history_entry history[2] = {{0, NAN, NAN, 2.302585092994046, 10.0},
                                         {5, 1e16, 100.0, 1e-07, 100.0 / 3.0}};
    const qd_module_record first[2] = {
        module("layer1.0.conv1", "Conv2d", -2.887918472290039, 3.0439233779907227, -0.0, 0.45523450494416784),
        module("layer1.0", "BasicBlock", 0.0, 12.5, 0.1 + 0.2, 5e-324)};
    qd_module_record last =
        module("layer1.1", "BasicBlock", -1e22, 123456789012345680.0, 0.0001, 1.7976931348623157e308);
    last.rank = 2;
    last.shape[0] = 1;
    last.shape[1] = 512;
    for (int i = 0; i < 2; i++)
        TEST_OK(ctx, qd_results_add_history(ctx, &results, &history[i]));
    add_log(false, 0, first, 2);
    add_log(false, 5, &last, 1);
    add_log(true, 0, first, 1);
}

/* One quantized epoch with values that are not numbers. */
static void fill_quantized(void)
{
    qd_quantized_epoch q = {.epoch = 0,
                            .calibration_images = 5,
                            .eval_images = 6,
                            .sqnr_images = 3,
                            .float_loss = 1.5,
                            .float_accuracy = 50.0,
                            .int8_loss = 2.0,
                            .int8_accuracy = 100.0 / 3.0,
                            .agree = 4,
                            .only_float = 2,
                            .only_int8 = 1,
                            .tensors = calloc(1, sizeof *q.tensors),
                            .tensor_count = 1,
                            .weights = calloc(1, sizeof *q.weights),
                            .weight_count = 1};
    q.tensors[0] = (qd_tensor_record){.name = "input",
                                      .min = -2.1,
                                      .max = 2.6,
                                      .scale = 0.0186,
                                      .zero_point = -14,
                                      .sqnr_rounding_db = 45.7,
                                      .sqnr_accumulated_db = INFINITY};
    q.weights[0] = (qd_weight_record){.name = "conv1", .scale = 0.5};
    TEST_OK(ctx, qd_results_add_quantized(ctx, &results, &q));
}

static void fill_qat(void)
{
    const qd_history_entry entry = {1, 0.5, 87.5, 0.25, 93.75};
    qd_qat_record *qat = &results.qat;
    *qat = (qd_qat_record){.settings = strdup("{\"lr\":1.0}"),
                           .from = strdup("a \"quoted\" folder/resnet18_last.safetensors"),
                           .history = malloc(sizeof entry),
                           .history_count = 1,
                           .eval_images = 250,
                           .float_loss = 0.125,
                           .float_accuracy = 92.4,
                           .static_int8_loss = NAN,
                           .static_int8_accuracy = 85.2,
                           .trained_float_loss = 0.1,
                           .trained_float_accuracy = 93.2,
                           .int8_loss = 1e-9,
                           .int8_accuracy = 92.8};
    qat->history[0] = entry;
    memset(qat->source_sha256, 'f', 64);
}

static char *read_file(const char *file_path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(file_path, "r");
    cr_assert_not_null(file, "%s", file_path);
    cr_assert_gt(getdelim(&text, &size, '\0', file), 0);
    fclose(file);
    return text;
}

Test(results, begin_as_python_prints_them)
{
    fill_plain();
    TEST_OK(ctx, qd_results_write(ctx, path, &results, &sources));
    char *found = read_file(path), *expected = fixture_read("results/plain.json", NULL);
    /* The plain script's object ends where this one goes on with further keys. */
    size_t common = strlen(expected) - strlen("\n}\n");
    cr_assert_eq(strcmp(expected + common, "\n}\n"), 0);
    cr_assert_eq(strncmp(found + common, ",\n  \"activation_logs_mixed\": {", 30), 0, "%.60s", found + common);
    found[common] = '\0';
    expected[common] = '\0';
    cr_assert_str_eq(found, expected);
    free(found);
    free(expected);
}

Test(results, read_and_written_again_are_the_same_bytes)
{
    fill_plain();
    fill_quantized();
    fill_qat();
    results.timing = (qd_timing){.train_s = 2.0, .train_images = 7, .threads = 1, .loader_threads = 1};
    TEST_OK(ctx, qd_results_write(ctx, path, &results, &sources));
    char *first = read_file(path);
    qd_results_free(&results);
    TEST_OK(ctx, qd_results_read(ctx, path, qd_model_find("resnet18"), &results));
    cr_assert_eq(results.history_count, 2);
    cr_assert(isnan(results.history[0].train_loss));
    cr_assert_eq(results.qat.history_count, 1);
    cr_assert_float_eq(results.qat.int8_accuracy, 92.8, 0.0);
    TEST_OK(ctx, qd_results_write(ctx, path, &results, &sources));
    char *second = read_file(path);
    cr_assert_str_eq(first, second);
    cr_assert(results.quantized[0].agree == 4 && results.quantized[0].only_float == 2 &&
              results.quantized[0].only_int8 == 1);
    free(first);
    free(second);
}

/* As files from before these counts. */
Test(results, counts_of_pairs_may_be_missing)
{
    fill_plain();
    fill_quantized();
    results.quantized[0].agree = -1;
    TEST_OK(ctx, qd_results_write(ctx, path, &results, &sources));
    char *text = read_file(path);
    cr_assert_null(strstr(text, "agree"));
    cr_assert_null(strstr(text, "only_"));
    free(text);
    qd_results_free(&results);
    TEST_OK(ctx, qd_results_read(ctx, path, qd_model_find("resnet18"), &results));
    cr_assert_lt(results.quantized[0].agree, 0);
}

Test(results, history_survives_a_checkpoint)
{
    fill_plain();
    char *text = qd_history_print(&results);
    results.history_count = 0;
    TEST_OK(ctx, qd_history_parse(ctx, text, &results));
    char *again = qd_history_print(&results);
    cr_assert_eq(results.history_count, 2);
    cr_assert_str_eq(text, again);
    free(text);
    free(again);
    TEST_FAILS(ctx, qd_history_parse(ctx, "[{\"epoch\": 1}]", &results), QD_ERR_INPUT, "'train_loss' is missing");
    TEST_FAILS(ctx, qd_history_parse(ctx, "[{", &results), QD_ERR_INPUT, "training_history");
    cr_assert_eq(results.history_count, 2, "a refused text changed the history");
}

Test(results, truncation_forgets_later_epochs)
{
    fill_plain();
    fill_quantized();
    qd_results_truncate(&results, 4);
    cr_assert_eq(results.history_count, 1);
    cr_assert_eq(results.log_count, 1);
    cr_assert_eq(results.mixed_log_count, 1);
    cr_assert_eq(results.quantized_count, 1);
    cr_assert_not_null(qd_results_find_log(&results, 0));
    cr_assert_null(qd_results_find_log(&results, 5));
}

Test(results, of_other_programs_are_refused)
{
    const struct {
        const char *text, *piece;
    } cases[] = {
        {"{}", "'model_name' is missing"},
        {"{\"model_name\": \"EfficientNet-B0\", \"training_history\": [], \"activation_logs\": {}}", "'model_name'"},
        {"{\"model_name\": \"ResNet18\", \"training_history\": [{\"epoch\": \"x\"}]}", "'epoch'"},
        {"{\"model_name\": \"ResNet18\", \"training_history\": [], \"activation_logs\": {\"first\": {}}}",
         "an epoch's name"},
        {"{\"model_name\": \"ResNet18\", \"training_history\": [], \"activation_logs\": {}, "
         "\"activation_logs_mixed\": {}, \"quantization\": {}, \"qat\": {\"from\": 1}}",
         "'settings'"},
        {"{\"model_name\": ", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_file_write(path, cases[i].text, strlen(cases[i].text));
        TEST_FAILS(ctx, qd_results_read(ctx, path, qd_model_find("resnet18"), &results), QD_ERR_INPUT,
                   cases[i].piece);
    }
}
