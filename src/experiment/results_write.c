/* Results as JSON. Keys and their order in the first five entries are a contract with existing readers. */
#include "base/error.h"
#include "experiment/results.h"
#include <math.h>
#include <quantdrift/build_info.h>
#include <stdlib.h>
#include <string.h>

/* The builders below ignore single failures: cJSON's adding functions accept NULL, and an incomplete tree is found by
 * `ok`, which every addition clears when it fails. */
typedef struct writer {
    bool ok;
} writer;

static void put(writer *w, cJSON *object, const char *key, cJSON *value)
{
    if (!object || !value || !cJSON_AddItemToObject(object, key, value)) {
        cJSON_Delete(value);
        w->ok = false;
    }
}

static void put_string(writer *w, cJSON *object, const char *key, const char *text)
{
    put(w, object, key, cJSON_CreateString(text));
}

static void put_int(writer *w, cJSON *object, const char *key, int64_t value)
{
    put(w, object, key, qd_json_int(value));
}

static void put_double(writer *w, cJSON *object, const char *key, double value)
{
    put(w, object, key, qd_json_double(value));
}

static cJSON *add_object(writer *w, cJSON *object, const char *key)
{
    cJSON *child = object ? cJSON_AddObjectToObject(object, key) : NULL;
    w->ok = w->ok && child;
    return child;
}

static cJSON *add_array(writer *w, cJSON *object, const char *key)
{
    cJSON *child = object ? cJSON_AddArrayToObject(object, key) : NULL;
    w->ok = w->ok && child;
    return child;
}

static void push(writer *w, cJSON *array, cJSON *value)
{
    if (!array || !value || !cJSON_AddItemToArray(array, value)) {
        cJSON_Delete(value);
        w->ok = false;
    }
}

static cJSON *add_epoch(writer *w, cJSON *object, int64_t epoch)
{
    char key[32];
    snprintf(key, sizeof key, "epoch_%lld", (long long)epoch);
    return add_object(w, object, key);
}

static void fill_history(writer *w, cJSON *array, const qd_results *results)
{
    for (int i = 0; i < results->history_count; i++) {
        const qd_history_entry *entry = &results->history[i];
        cJSON *object = cJSON_CreateObject();
        push(w, array, object);
        put_int(w, object, "epoch", entry->epoch);
        put_double(w, object, "train_loss", entry->train_loss);
        put_double(w, object, "train_acc", entry->train_acc);
        put_double(w, object, "val_loss", entry->val_loss);
        put_double(w, object, "val_acc", entry->val_acc);
    }
}

static void fill_log(writer *w, cJSON *object, const qd_epoch_log *log, bool log_all)
{
    for (int m = 0; m < log->count; m++) {
        const qd_module_record *module = &log->modules[m];
        cJSON *entry = add_object(w, object, module->path);
        cJSON *shape = add_array(w, entry, "shape");
        for (int d = 0; d < module->rank; d++)
            push(w, shape, qd_json_int(module->shape[d]));
        put_double(w, entry, "min", module->min);
        put_double(w, entry, "max", module->max);
        put_double(w, entry, "mean", module->mean);
        put_double(w, entry, "std", module->std);
        put_double(w, entry, "range", module->range);
        put_string(w, entry, "layer_type", module->layer_type);
        if (log_all) {
            put_double(w, entry, "zeros_pct", module->zeros_pct);
            put_double(w, entry, "outlier_ratio", module->outlier_ratio);
        }
    }
}

static void fill_quantized(writer *w, cJSON *object, const qd_quantized_epoch *q)
{
    put_double(w, object, "float_loss", q->float_loss);
    put_double(w, object, "float_accuracy", q->float_accuracy);
    put_double(w, object, "int8_loss", q->int8_loss);
    put_double(w, object, "int8_accuracy", q->int8_accuracy);
    put_int(w, object, "calibration_images", q->calibration_images);
    put_int(w, object, "eval_images", q->eval_images);
    put_int(w, object, "sqnr_images", q->sqnr_images);
    cJSON *tensors = add_object(w, object, "tensors");
    for (int t = 0; t < q->tensor_count; t++) {
        const qd_tensor_record *tensor = &q->tensors[t];
        cJSON *entry = add_object(w, tensors, tensor->name);
        put_double(w, entry, "min", tensor->min);
        put_double(w, entry, "max", tensor->max);
        put_double(w, entry, "scale", tensor->scale);
        put_int(w, entry, "zero_point", tensor->zero_point);
        put_double(w, entry, "sqnr_rounding_db", tensor->sqnr_rounding_db);
        put_double(w, entry, "sqnr_accumulated_db", tensor->sqnr_accumulated_db);
    }
    cJSON *weights = add_object(w, object, "weights");
    for (int i = 0; i < q->weight_count; i++)
        put_double(w, add_object(w, weights, q->weights[i].name), "scale", q->weights[i].scale);
}

static void fill_split(writer *w, cJSON *object, const qd_dataset *dataset)
{
    char fingerprint[QD_FINGERPRINT_BYTES];
    qd_dataset_fingerprint(dataset, fingerprint);
    put_int(w, object, "images", qd_dataset_count(dataset));
    put_string(w, object, "fingerprint", fingerprint);
    put_int(w, object, "skipped_images", qd_dataset_skipped_count(dataset));
    cJSON *skipped = add_array(w, object, "skipped");
    for (int64_t i = 0; i < qd_dataset_skipped_count(dataset); i++)
        push(w, skipped, cJSON_CreateString(qd_dataset_skipped_reason(dataset, i)));
}

static void fill_dataset(writer *w, cJSON *object, const qd_results_sources *sources)
{
    put_string(w, object, "data_dir", sources->config->data_dir);
    cJSON *classes = add_array(w, object, "classes");
    for (int64_t c = 0; c < qd_dataset_class_count(sources->training); c++)
        push(w, classes, cJSON_CreateString(qd_dataset_class_name(sources->training, c)));
    fill_split(w, add_object(w, object, "train"), sources->training);
    fill_split(w, add_object(w, object, "val"), sources->validation);
}

static void fill_environment(writer *w, cJSON *object, qd_context *ctx, const qd_results_sources *sources)
{
    qd_build_info build = qd_build_info_get();
    put_string(w, object, "program", "quantdrift");
    put_string(w, object, "version", build.version);
    put_string(w, object, "commit", build.commit);
    put_string(w, object, "compiler", build.compiler);
    put_string(w, object, "openblas", build.openblas);
    put_string(w, object, "libjpeg", build.libjpeg);
    put_string(w, object, "libpng", build.libpng);
    put_string(w, object, "instruction_set", qd_isa_name(qd_context_isa(ctx)));
    put_string(w, object, "configuration_hash", sources->config_hash);
    put(w, object, "configuration", qd_config_json(sources->config, true));
    put_int(w, object, "mixed_batch_images", sources->mixed_batch_images);
}

static void fill_timing(writer *w, cJSON *object, const qd_timing *timing)
{
    put_double(w, object, "train_s", timing->train_s);
    put_double(w, object, "validate_s", timing->validate_s);
    put_double(w, object, "observe_s", timing->observe_s);
    put_double(w, object, "quantize_s", timing->quantize_s);
    put_double(w, object, "data_wait_s", timing->data_wait_s);
    put_int(w, object, "train_images", timing->train_images);
    put_double(w, object, "train_images_per_s",
               timing->train_s > 0.0 ? (double)timing->train_images / timing->train_s : NAN);
    put_int(w, object, "threads", timing->threads);
    put_int(w, object, "loader_threads", timing->loader_threads);
}

static void fill_results(writer *w, cJSON *root, qd_context *ctx, const qd_results *results,
                         const qd_results_sources *sources)
{
    const qd_config *config = sources->config;
    put_string(w, root, "model_name", results->model->display_name);
    cJSON *prefixes = add_array(w, root, "block_prefixes");
    for (int i = 0; results->model->block_prefixes[i]; i++)
        push(w, prefixes, cJSON_CreateString(results->model->block_prefixes[i]));

    cJSON *hyper = add_object(w, root, "hyperparameters");
    put_double(w, hyper, "lr", config->lr);
    put_double(w, hyper, "momentum", config->momentum);
    put_double(w, hyper, "weight_decay", config->weight_decay);
    put_int(w, hyper, "num_epochs", config->num_epochs);
    put_string(w, hyper, "scheduler", "CosineAnnealingLR");

    fill_history(w, add_array(w, root, "training_history"), results);
    cJSON *logs = add_object(w, root, "activation_logs");
    for (int i = 0; i < results->log_count; i++)
        fill_log(w, add_epoch(w, logs, results->logs[i].epoch), &results->logs[i], config->log_all);

    /* Further knowledge, beyond what the readers of the entries above know. */
    cJSON *mixed = add_object(w, root, "activation_logs_mixed");
    for (int i = 0; i < results->mixed_log_count; i++)
        fill_log(w, add_epoch(w, mixed, results->mixed_logs[i].epoch), &results->mixed_logs[i], config->log_all);
    cJSON *quantization = add_object(w, root, "quantization");
    for (int i = 0; i < results->quantized_count; i++)
        fill_quantized(w, add_epoch(w, quantization, results->quantized[i].epoch), &results->quantized[i]);
    fill_environment(w, add_object(w, root, "environment"), ctx, sources);
    fill_dataset(w, add_object(w, root, "dataset"), sources);
    fill_timing(w, add_object(w, root, "timing"), &results->timing);
}

enum qd_status qd_results_write(qd_context *ctx, const char *path, const qd_results *results,
                                const qd_results_sources *sources)
{
    writer w = {.ok = true};
    cJSON *root = cJSON_CreateObject();
    fill_results(&w, root, ctx, results, sources);
    enum qd_status status = root && w.ok ? qd_json_write(ctx, path, root)
                                         : qd_fail(ctx, QD_ERR_MEMORY, "results '%s': out of memory", path);
    cJSON_Delete(root);
    return status;
}

char *qd_history_print(const qd_results *results)
{
    writer w = {.ok = true};
    cJSON *array = cJSON_CreateArray();
    fill_history(&w, array, results);
    char *text = array && w.ok ? qd_json_print_line(array) : NULL;
    cJSON_Delete(array);
    return text;
}
