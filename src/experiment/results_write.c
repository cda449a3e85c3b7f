/* Results as JSON. Keys and their order in the first five entries are a contract with existing readers. */
#include "base/error.h"
#include "base/json_writer.h"
#include "experiment/results.h"
#include <math.h>
#include <quantdrift/build_info.h>
#include <stdlib.h>
#include <string.h>

static cJSON *add_epoch(qd_json_writer *w, cJSON *object, int64_t epoch)
{
    char key[32];
    snprintf(key, sizeof key, "epoch_%lld", (long long)epoch);
    return qd_json_add_object(w, object, key);
}

static void fill_history(qd_json_writer *w, cJSON *array, const qd_results *results)
{
    for (int i = 0; i < results->history_count; i++) {
        const qd_history_entry *entry = &results->history[i];
        cJSON *object = cJSON_CreateObject();
        qd_json_push(w, array, object);
        qd_json_put_int(w, object, "epoch", entry->epoch);
        qd_json_put_double(w, object, "train_loss", entry->train_loss);
        qd_json_put_double(w, object, "train_acc", entry->train_acc);
        qd_json_put_double(w, object, "val_loss", entry->val_loss);
        qd_json_put_double(w, object, "val_acc", entry->val_acc);
    }
}

static void fill_log(qd_json_writer *w, cJSON *object, const qd_epoch_log *log, bool log_all)
{
    for (int m = 0; m < log->count; m++) {
        const qd_module_record *module = &log->modules[m];
        cJSON *entry = qd_json_add_object(w, object, module->path);
        cJSON *shape = qd_json_add_array(w, entry, "shape");
        for (int d = 0; d < module->rank; d++)
            qd_json_push(w, shape, qd_json_int(module->shape[d]));
        qd_json_put_double(w, entry, "min", module->min);
        qd_json_put_double(w, entry, "max", module->max);
        qd_json_put_double(w, entry, "mean", module->mean);
        qd_json_put_double(w, entry, "std", module->std);
        qd_json_put_double(w, entry, "range", module->range);
        qd_json_put_string(w, entry, "layer_type", module->layer_type);
        if (log_all) {
            qd_json_put_double(w, entry, "zeros_pct", module->zeros_pct);
            qd_json_put_double(w, entry, "outlier_ratio", module->outlier_ratio);
        }
    }
}

static void fill_quantized(qd_json_writer *w, cJSON *object, const qd_quantized_epoch *q)
{
    qd_json_put_double(w, object, "float_loss", q->float_loss);
    qd_json_put_double(w, object, "float_accuracy", q->float_accuracy);
    qd_json_put_double(w, object, "int8_loss", q->int8_loss);
    qd_json_put_double(w, object, "int8_accuracy", q->int8_accuracy);
    qd_json_put_int(w, object, "calibration_images", q->calibration_images);
    qd_json_put_int(w, object, "eval_images", q->eval_images);
    qd_json_put_int(w, object, "sqnr_images", q->sqnr_images);
    if (q->agree >= 0) {
        qd_json_put_int(w, object, "agree", q->agree);
        qd_json_put_int(w, object, "only_float", q->only_float);
        qd_json_put_int(w, object, "only_int8", q->only_int8);
    }
    cJSON *tensors = qd_json_add_object(w, object, "tensors");
    for (int t = 0; t < q->tensor_count; t++) {
        const qd_tensor_record *tensor = &q->tensors[t];
        cJSON *entry = qd_json_add_object(w, tensors, tensor->name);
        qd_json_put_double(w, entry, "min", tensor->min);
        qd_json_put_double(w, entry, "max", tensor->max);
        qd_json_put_double(w, entry, "scale", tensor->scale);
        qd_json_put_int(w, entry, "zero_point", tensor->zero_point);
        qd_json_put_double(w, entry, "sqnr_rounding_db", tensor->sqnr_rounding_db);
        qd_json_put_double(w, entry, "sqnr_accumulated_db", tensor->sqnr_accumulated_db);
    }
    cJSON *weights = qd_json_add_object(w, object, "weights");
    for (int i = 0; i < q->weight_count; i++)
        qd_json_put_double(w, qd_json_add_object(w, weights, q->weights[i].name), "scale", q->weights[i].scale);
}

static void fill_qat(qd_json_writer *w, cJSON *object, const qd_qat_record *qat)
{
    const qd_results history = {.history = qat->history, .history_count = qat->history_count};
    qd_json_put_string(w, object, "from", qat->from);
    qd_json_put_string(w, object, "from_sha256", qat->source_sha256);
    qd_json_put_string(w, object, "settings", qat->settings);
    qd_json_put(w, object, "batchnorm_reestimated", cJSON_CreateBool(qat->reestimated));
    qd_json_put_int(w, object, "eval_images", qat->eval_images);
    qd_json_put_double(w, object, "float_loss", qat->float_loss);
    qd_json_put_double(w, object, "float_accuracy", qat->float_accuracy);
    qd_json_put_double(w, object, "static_int8_loss", qat->static_int8_loss);
    qd_json_put_double(w, object, "static_int8_accuracy", qat->static_int8_accuracy);
    qd_json_put_double(w, object, "trained_float_loss", qat->trained_float_loss);
    qd_json_put_double(w, object, "trained_float_accuracy", qat->trained_float_accuracy);
    qd_json_put_double(w, object, "int8_loss", qat->int8_loss);
    qd_json_put_double(w, object, "int8_accuracy", qat->int8_accuracy);
    fill_history(w, qd_json_add_array(w, object, "training_history"), &history);
}

static void fill_split(qd_json_writer *w, cJSON *object, const qd_dataset *dataset)
{
    char fingerprint[QD_FINGERPRINT_BYTES];
    qd_dataset_fingerprint(dataset, fingerprint);
    qd_json_put_int(w, object, "images", qd_dataset_count(dataset));
    qd_json_put_string(w, object, "fingerprint", fingerprint);
    qd_json_put_int(w, object, "skipped_images", qd_dataset_skipped_count(dataset));
    cJSON *skipped = qd_json_add_array(w, object, "skipped");
    for (int64_t i = 0; i < qd_dataset_skipped_count(dataset); i++)
        qd_json_push(w, skipped, cJSON_CreateString(qd_dataset_skipped_reason(dataset, i)));
}

static void fill_dataset(qd_json_writer *w, cJSON *object, const qd_results_sources *sources)
{
    qd_json_put_string(w, object, "data_dir", sources->config->data_dir);
    cJSON *classes = qd_json_add_array(w, object, "classes");
    for (int64_t c = 0; c < qd_dataset_class_count(sources->training); c++)
        qd_json_push(w, classes, cJSON_CreateString(qd_dataset_class_name(sources->training, c)));
    fill_split(w, qd_json_add_object(w, object, "train"), sources->training);
    fill_split(w, qd_json_add_object(w, object, "val"), sources->validation);
}

static void fill_environment(qd_json_writer *w, cJSON *object, qd_context *ctx, const qd_results_sources *sources)
{
    qd_build_info build = qd_build_info_get();
    qd_json_put_string(w, object, "program", "quantdrift");
    qd_json_put_string(w, object, "version", build.version);
    qd_json_put_string(w, object, "commit", build.commit);
    qd_json_put_string(w, object, "compiler", build.compiler);
    qd_json_put_string(w, object, "openblas", build.openblas);
    qd_json_put_string(w, object, "libjpeg", build.libjpeg);
    qd_json_put_string(w, object, "libpng", build.libpng);
    qd_json_put_string(w, object, "instruction_set", qd_isa_name(qd_context_isa(ctx)));
    qd_json_put_string(w, object, "configuration_hash", sources->config_hash);
    qd_json_put(w, object, "configuration", qd_config_json(sources->config, true));
    qd_json_put_int(w, object, "mixed_batch_images", sources->mixed_batch_images);
}

static void fill_timing(qd_json_writer *w, cJSON *object, const qd_timing *timing)
{
    qd_json_put_double(w, object, "train_s", timing->train_s);
    qd_json_put_double(w, object, "validate_s", timing->validate_s);
    qd_json_put_double(w, object, "observe_s", timing->observe_s);
    qd_json_put_double(w, object, "quantize_s", timing->quantize_s);
    qd_json_put_double(w, object, "data_wait_s", timing->data_wait_s);
    qd_json_put_int(w, object, "train_images", timing->train_images);
    qd_json_put_double(w, object, "train_images_per_s",
                       timing->train_s > 0.0 ? (double)timing->train_images / timing->train_s : NAN);
    qd_json_put_int(w, object, "threads", timing->threads);
    qd_json_put_int(w, object, "loader_threads", timing->loader_threads);
}

static void fill_results(qd_json_writer *w, cJSON *root, qd_context *ctx, const qd_results *results,
                         const qd_results_sources *sources)
{
    const qd_config *config = sources->config;
    qd_json_put_string(w, root, "model_name", results->model->display_name);
    cJSON *prefixes = qd_json_add_array(w, root, "block_prefixes");
    for (int i = 0; results->model->block_prefixes[i]; i++)
        qd_json_push(w, prefixes, cJSON_CreateString(results->model->block_prefixes[i]));

    cJSON *hyper = qd_json_add_object(w, root, "hyperparameters");
    qd_json_put_double(w, hyper, "lr", config->lr);
    qd_json_put_double(w, hyper, "momentum", config->momentum);
    qd_json_put_double(w, hyper, "weight_decay", config->weight_decay);
    qd_json_put_int(w, hyper, "num_epochs", config->num_epochs);
    qd_json_put_string(w, hyper, "scheduler", "CosineAnnealingLR");

    fill_history(w, qd_json_add_array(w, root, "training_history"), results);
    cJSON *logs = qd_json_add_object(w, root, "activation_logs");
    for (int i = 0; i < results->log_count; i++)
        fill_log(w, add_epoch(w, logs, results->logs[i].epoch), &results->logs[i], config->log_all);

    /* Further knowledge, beyond what the readers of the entries above know. */
    cJSON *mixed = qd_json_add_object(w, root, "activation_logs_mixed");
    for (int i = 0; i < results->mixed_log_count; i++)
        fill_log(w, add_epoch(w, mixed, results->mixed_logs[i].epoch), &results->mixed_logs[i], config->log_all);
    cJSON *quantization = qd_json_add_object(w, root, "quantization");
    for (int i = 0; i < results->quantized_count; i++)
        fill_quantized(w, add_epoch(w, quantization, results->quantized[i].epoch), &results->quantized[i]);
    if (results->qat.settings)
        fill_qat(w, qd_json_add_object(w, root, "qat"), &results->qat);
    fill_environment(w, qd_json_add_object(w, root, "environment"), ctx, sources);
    fill_dataset(w, qd_json_add_object(w, root, "dataset"), sources);
    fill_timing(w, qd_json_add_object(w, root, "timing"), &results->timing);
}

enum qd_status qd_results_write(qd_context *ctx, const char *path, const qd_results *results,
                                const qd_results_sources *sources)
{
    qd_json_writer w = {.ok = true};
    cJSON *root = cJSON_CreateObject();
    fill_results(&w, root, ctx, results, sources);
    enum qd_status status = root && w.ok ? qd_json_write(ctx, path, root)
                                         : qd_fail(ctx, QD_ERR_MEMORY, "results '%s': out of memory", path);
    cJSON_Delete(root);
    return status;
}

char *qd_history_print(const qd_results *results)
{
    qd_json_writer w = {.ok = true};
    cJSON *array = cJSON_CreateArray();
    fill_history(&w, array, results);
    char *text = array && w.ok ? qd_json_print_line(array) : NULL;
    cJSON_Delete(array);
    return text;
}
