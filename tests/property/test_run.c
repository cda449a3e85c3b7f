/* Whole runs on a tiny data set: what they write, and that neither interruptions nor threads leave a trace. */
#include "base/json.h"
#include "experiment/results.h"
#include "train/checkpoint.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/tiny_data.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    tiny_data_write(folder);
}

static void tear_down(void)
{
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 1800);

static char *output_path(const char *out, const char *name)
{
    char relative[256];
    snprintf(relative, sizeof relative, "%s/%s", out, name);
    return test_folder_path(folder, relative);
}

static char *read_all(const char *path, size_t *size)
{
    char *data = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s is missing", path);
    FILE *memory = open_memstream(&data, &capacity);
    char block[65536];
    for (size_t n; (n = fread(block, 1, sizeof block, file)) > 0;)
        fwrite(block, 1, n, memory);
    fclose(memory);
    fclose(file);
    *size = capacity;
    return data;
}

static void expect_same_bytes(const char *a, const char *b, const char *name)
{
    char *path_a = output_path(a, name), *path_b = output_path(b, name);
    size_t size_a, size_b;
    char *data_a = read_all(path_a, &size_a), *data_b = read_all(path_b, &size_b);
    cr_assert(size_a == size_b && memcmp(data_a, data_b, size_a) == 0, "%s of '%s' and '%s' differ", name, a, b);
    free(data_a);
    free(data_b);
    free(path_a);
    free(path_b);
}

/* The results file without what may differ from run to run. */
static char *results_text(const char *out, const char *model)
{
    char name[64];
    snprintf(name, sizeof name, "%s_results.json", model);
    char *path = output_path(out, name);
    cJSON *json = NULL;
    TEST_OK(ctx, qd_json_read(ctx, path, (size_t)1 << 26, false, &json));
    cJSON_DeleteItemFromObjectCaseSensitive(json, "timing");
    char *text = qd_json_print(json);
    cJSON_Delete(json);
    free(path);
    return text;
}

static void expect_same_run(const char *a, const char *b, const char *const *checkpoints, int count)
{
    const char *const models[] = {"resnet18", "efficientnet_b0"};
    for (int m = 0; m < 2; m++) {
        char *text_a = results_text(a, models[m]), *text_b = results_text(b, models[m]);
        cr_assert_str_eq(text_a, text_b, "results of %s differ", models[m]);
        free(text_a);
        free(text_b);
        for (int c = 0; c < count; c++) {
            char name[128];
            snprintf(name, sizeof name, "checkpoints/%s_%s.safetensors", models[m], checkpoints[c]);
            expect_same_bytes(a, b, name);
        }
    }
}

/* Sets a flag when a model comes to a phase, epoch and step. */
typedef struct stop_point {
    const char *model, *phase;
    int64_t epoch, step;
    volatile int interrupt;
    int64_t first_step; /* of the training phase met first; 0: none yet */
} stop_point;

static void watch(void *user, const qd_progress *progress)
{
    stop_point *stop = user;
    if (stop->first_step == 0 && strcmp(progress->phase, "train") == 0)
        stop->first_step = progress->step;
    if (strcmp(progress->model, stop->model) == 0 && strcmp(progress->phase, stop->phase) == 0 &&
        progress->epoch == stop->epoch && progress->step == stop->step)
        stop->interrupt = 1;
}

static void run_two_epochs(const char *out, stop_point *stops, int stop_count)
{
    char name[64];
    snprintf(name, sizeof name, "%s.jsonl", out);
    char *step_log = test_folder_path(folder, name);
    for (int s = 0; s <= stop_count; s++) {
        qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);
        tiny_experiment_set(ctx, experiment, "num_epochs=2");
        tiny_experiment_set(ctx, experiment, "log_every=2");
        qd_run_options options = {.resume = s > 0, .step_log_path = step_log};
        if (s < stop_count) {
            options.progress = watch;
            options.user = &stops[s];
            options.interrupt = &stops[s].interrupt;
            TEST_FAILS(ctx, qd_experiment_run(experiment, &options), QD_ERR_INTERRUPTED, "--resume");
        } else {
            TEST_OK(ctx, qd_experiment_run(experiment, &options));
        }
        qd_experiment_destroy(experiment);
    }
    free(step_log);
}

Test(run, resumed_equals_never_interrupted)
{
    stop_point stops[] = {
        {.model = "ResNet18", .phase = "validate", .epoch = 0, .step = 1}, /* before any checkpoint */
        {.model = "ResNet18", .phase = "train", .epoch = 2, .step = 2},    /* in the middle of an epoch */
        {.model = "EfficientNet-B0", .phase = "int8", .epoch = 2, .step = 1},
        {.model = "EfficientNet-B0", .phase = "validate", .epoch = 2, .step = 1}, /* trained, so not trained again */
    };
    const char *const checkpoints[] = {"epoch_0", "epoch_2", "last"};
    run_two_epochs("whole", NULL, 0);
    run_two_epochs("parts", stops, 4);
    cr_expect_eq(stops[2].first_step, 3, "two steps of the epoch were kept, got on at %lld",
                 (long long)stops[2].first_step);
    expect_same_run("whole", "parts", checkpoints, 3);
    char *paths[2] = {test_folder_path(folder, "whole.jsonl"), test_folder_path(folder, "parts.jsonl")};
    size_t sizes[2];
    char *logs[2] = {read_all(paths[0], &sizes[0]), read_all(paths[1], &sizes[1])};
    cr_assert_str_eq(logs[0], logs[1], "the step logs differ");
    for (int i = 0; i < 2; i++) {
        free(paths[i]);
        free(logs[i]);
    }
}

/* One epoch of both models with so many threads. */
static void run_with_threads(const char *out, int threads, int loader_threads)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);
    tiny_experiment_set(ctx, experiment, "threads=%d", threads);
    tiny_experiment_set(ctx, experiment, "loader_threads=%d", loader_threads);
    tiny_experiment_set(ctx, experiment, "quantization.calibration_images=2");
    TEST_OK(ctx, qd_experiment_run(experiment, NULL));
    qd_experiment_destroy(experiment);
}

Test(run, the_number_of_threads_leaves_no_trace)
{
    const char *const checkpoints[] = {"epoch_0", "epoch_1", "last"};
    static const int others[][2] = {{2, 4}, {4, 1}};
    run_with_threads("one", 1, 1);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        run_with_threads("many", others[i][0], others[i][1]);
        expect_same_run("one", "many", checkpoints, 3);
        test_folder_remove(test_folder_path(folder, "many"));
    }
}

/* ---- the best checkpoint ---- */

/* The epoch of a checkpoint. */
static int64_t epoch_of(const char *out, const char *which)
{
    char name[96];
    qd_checkpoint_info info = {0};
    snprintf(name, sizeof name, "checkpoints/efficientnet_b0_%s.safetensors", which);
    char *path = output_path(out, name);
    TEST_OK(ctx, qd_checkpoint_read_info(ctx, path, &info));
    const int64_t epoch = info.epoch;
    qd_checkpoint_info_free(&info);
    free(path);
    return epoch;
}

Test(run, best_is_the_earliest_of_the_highest_accuracies)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, "best");
    qd_results results = {0};
    tiny_experiment_set(ctx, experiment, "models=efficientnet_b0");
    tiny_experiment_set(ctx, experiment, "quantization.enabled=false");
    tiny_experiment_set(ctx, experiment, "keep_checkpoints=last");
    tiny_experiment_set(ctx, experiment, "num_epochs=4");
    TEST_OK(ctx, qd_experiment_run(experiment, NULL));
    char *path = output_path("best", "efficientnet_b0_results.json"), *best = NULL;
    TEST_OK(ctx, qd_results_read(ctx, path, qd_model_find("efficientnet_b0"), &results));
    int expected = 0;
    for (int i = 1; i < results.history_count; i++)
        if (results.history[i].val_acc > results.history[expected].val_acc)
            expected = i;
    cr_assert_eq(epoch_of("best", "best"), expected);
    cr_assert_eq(epoch_of("best", "last"), 4);
    free(path);
    path = output_path("best", "checkpoints");
    cr_assert_eq(test_folder_count(path), 2, "keep_checkpoints \"last\" keeps no logged ones");
    /* A process that was killed after the last file and before this one. */
    if (expected == 4) {
        best = output_path("best", "checkpoints/efficientnet_b0_best.safetensors");
        cr_assert_eq(remove(best), 0);
        TEST_OK(ctx, qd_experiment_run(experiment, &(qd_run_options){.resume = true}));
        cr_assert_eq(epoch_of("best", "best"), expected);
    }
    free(best);
    free(path);
    qd_results_free(&results);
    qd_experiment_destroy(experiment);
}

/* ---- the results file ---- */

static cJSON *run_one_model(const char *out, const char *model, const char *setting)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);
    tiny_experiment_set(ctx, experiment, "models=%s", model);
    if (setting)
        tiny_experiment_set(ctx, experiment, "%s", setting);
    TEST_OK(ctx, qd_experiment_run(experiment, NULL));
    qd_experiment_destroy(experiment);
    char name[64];
    snprintf(name, sizeof name, "%s_results.json", model);
    char *path = output_path(out, name);
    cJSON *json = NULL;
    TEST_OK(ctx, qd_json_read(ctx, path, (size_t)1 << 26, false, &json));
    free(path);
    return json;
}

/* The keys of an object, in order. */
static void expect_keys(const cJSON *object, const char *const *keys, int count, const char *what)
{
    cr_assert_eq(cJSON_GetArraySize(object), count, "%s: %d keys instead of %d", what, cJSON_GetArraySize(object),
                 count);
    const cJSON *item = object->child;
    for (int i = 0; i < count; i++, item = item->next)
        cr_assert_str_eq(item->string, keys[i], "%s: key %d is '%s' instead of '%s'", what, i, item->string, keys[i]);
}

#define EXPECT_KEYS(object, what, ...)                                                                               \
    do {                                                                                                             \
        const char *const keys_[] = {__VA_ARGS__};                                                                   \
        expect_keys((object), keys_, (int)(sizeof keys_ / sizeof keys_[0]), (what));                                 \
    } while (0)

static const cJSON *get(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "'%s' is missing", key);
    return item;
}

Test(run, results_have_the_schema_of_the_plain_script)
{
    cJSON *json = run_one_model("schema", "resnet18", NULL);
    EXPECT_KEYS(json, "results", "model_name", "block_prefixes", "hyperparameters", "training_history",
                "activation_logs", "activation_logs_mixed", "quantization", "environment", "dataset", "timing");
    cr_assert_str_eq(get(json, "model_name")->valuestring, "ResNet18");
    cr_assert_str_eq(cJSON_GetArrayItem(get(json, "block_prefixes"), 1)->valuestring, "layer1.1");
    EXPECT_KEYS(get(json, "hyperparameters"), "hyperparameters", "lr", "momentum", "weight_decay", "num_epochs",
                "scheduler");
    cr_assert_str_eq(get(get(json, "hyperparameters"), "scheduler")->valuestring, "CosineAnnealingLR");

    const cJSON *history = get(json, "training_history");
    cr_assert_eq(cJSON_GetArraySize(history), 2);
    EXPECT_KEYS(history->child, "history", "epoch", "train_loss", "train_acc", "val_loss", "val_acc");
    cr_assert(cJSON_IsNull(get(history->child, "train_loss")));
    cr_assert(cJSON_IsNull(get(history->child, "train_acc")));
    cr_assert(cJSON_IsNumber(get(history->child->next, "train_loss")));

    const char *const logs[] = {"activation_logs", "activation_logs_mixed"};
    for (int l = 0; l < 2; l++) {
        const cJSON *log = get(json, logs[l]);
        EXPECT_KEYS(log, logs[l], "epoch_0", "epoch_1");
        /* Hooks on torchvision's resnet18: the order of the first completed calls. */
        EXPECT_KEYS(log->child, "epoch_0", "layer1.0.conv1", "layer1.0.bn1", "layer1.0.relu", "layer1.0.conv2",
                    "layer1.0.bn2", "layer1.0", "layer1.1.conv1", "layer1.1.bn1", "layer1.1.relu", "layer1.1.conv2",
                    "layer1.1.bn2", "layer1.1");
        const cJSON *module = get(log->child, "layer1.0");
        EXPECT_KEYS(module, "layer1.0", "shape", "min", "max", "mean", "std", "range", "layer_type");
        cr_assert_str_eq(get(module, "layer_type")->valuestring, "BasicBlock");
        const int shape[4] = {4, 64, 8, 8};
        for (int d = 0; d < 4; d++)
            cr_assert_eq(cJSON_GetArrayItem(get(module, "shape"), d)->valueint, shape[d]);
        cr_assert_eq(get(module, "range")->valuedouble,
                     get(module, "max")->valuedouble - get(module, "min")->valuedouble);
    }
    const cJSON *quantized = get(get(json, "quantization"), "epoch_1");
    cr_assert_eq(get(quantized, "calibration_images")->valueint, 5);
    cr_assert_eq(get(quantized, "eval_images")->valueint, 6);
    cr_assert_eq(get(quantized, "float_accuracy")->valuedouble, get(history->child->next, "val_acc")->valuedouble);
    EXPECT_KEYS(get(get(quantized, "tensors"), "input"), "input", "min", "max", "scale", "zero_point",
                "sqnr_rounding_db", "sqnr_accumulated_db");
    EXPECT_KEYS(get(get(json, "dataset"), "train"), "dataset", "images", "fingerprint", "skipped_images", "skipped");
    cJSON_Delete(json);
}

Test(run, log_all_logs_every_called_module)
{
    cJSON *json = run_one_model("all", "efficientnet_b0", "log_all=true");
    const cJSON *log = get(get(json, "activation_logs"), "epoch_0");
    /* named_modules(), the root included, without the seven stochastic depths that are never called. */
    cr_assert_eq(cJSON_GetArraySize(log), 328);
    EXPECT_KEYS(log->child, "module", "shape", "min", "max", "mean", "std", "range", "layer_type", "zeros_pct",
                "outlier_ratio");
    cJSON_Delete(json);
}

Test(run, max_steps_stops_then_validates_and_logs_once)
{
    cJSON *json = run_one_model("steps", "efficientnet_b0", "max_steps=2");
    cr_assert_eq(cJSON_GetArraySize(get(json, "training_history")), 2);
    EXPECT_KEYS(get(json, "activation_logs"), "activation_logs", "epoch_0", "epoch_1");
    cr_assert_eq(get(get(json, "timing"), "train_images")->valueint, 8);
    cJSON_Delete(json);
}

Test(run, no_epochs_leave_the_initial_network)
{
    cJSON *json = run_one_model("none", "efficientnet_b0", "num_epochs=0");
    cr_assert_eq(cJSON_GetArraySize(get(json, "training_history")), 1);
    EXPECT_KEYS(get(json, "activation_logs"), "activation_logs", "epoch_0");
    cJSON_Delete(json);
    char *path = output_path("none", "checkpoints");
    cr_assert_eq(test_folder_count(path), 3); /* epoch_0, best, last */
    free(path);
}

Test(run, a_binary_head_trains_with_logistic_loss)
{
    cJSON *json = run_one_model("binary", "efficientnet_b0", "head=binary");
    const cJSON *first = get(json, "training_history")->child;
    /* A single logit near 0: ln 2, where cross-entropy over 128 features would not be. */
    cr_assert_float_eq(get(first, "val_loss")->valuedouble, 0.693, 0.2);
    cJSON_Delete(json);
}

Test(run, the_table_states_what_the_files_hold)
{
    cJSON *json = run_one_model("table", "resnet18", NULL);
    cJSON_Delete(json);
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, "table");
    char *text;
    TEST_OK(ctx, qd_experiment_table(experiment, &text));
    /* At epoch 0 a BatchNorm in eval mode divides by sqrt(1 + 1e-5): a ratio of 1.000. */
    const char *line = strstr(text, "ResNet18      0");
    cr_assert_not_null(line, "%s", text);
    cr_assert_not_null(strstr(text, "1.000"), "%s", text);
    cr_assert_null(strstr(text, "EfficientNet"), "%s", text);
    free(text);
    char *path = output_path("table", "table.md");
    size_t size;
    char *markdown = read_all(path, &size);
    cr_assert_eq(strncmp(markdown, "| model | epoch | val acc % | INT8 acc % | drop |", 48), 0);
    free(markdown);
    free(path);
    tiny_experiment_set(ctx, experiment, "output_dir=%s/nowhere", folder);
    TEST_FAILS(ctx, qd_experiment_table(experiment, &text), QD_ERR_INPUT, "holds no results");
    qd_experiment_destroy(experiment);
}

/* Both models for two epochs, logged at 0, 1 and 2, with one setting besides. */
static void run_with(const char *out, bool resume, const char *setting)
{
    qd_experiment *experiment = tiny_experiment_create(ctx, folder, out);
    tiny_experiment_set(ctx, experiment, "num_epochs=2");
    tiny_experiment_set(ctx, experiment, "log_every=1");
    tiny_experiment_set(ctx, experiment, "%s", setting);
    const qd_run_options options = {.resume = resume};
    TEST_OK(ctx, qd_experiment_run(experiment, &options));
    qd_experiment_destroy(experiment);
}

/* What is measured on checkpoints can be measured later, or again with other settings, as if it had been so from the
 * start. */
Test(run, quantization_can_follow_training)
{
    const char *const checkpoints[] = {"epoch_0", "epoch_1", "epoch_2", "last"};
    run_with("whole", false, "quantization.calibration_images=3");
    run_with("later", false, "quantization.enabled=false");
    run_with("later", true, "quantization.calibration_images=3");
    expect_same_run("whole", "later", checkpoints, 4);
    run_with("other", false, "quantization.calibration_images=2");
    run_with("other", true, "quantization.calibration_images=3");
    expect_same_run("whole", "other", checkpoints, 4);
    run_with("other", true, "quantization.enabled=false");
    char *text = results_text("other", "resnet18");
    cr_assert_not_null(strstr(text, "\"quantization\": {}"), "what is not wanted any more is dropped");
    free(text);
}
