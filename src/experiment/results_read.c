/* Results from JSON. Everything is checked: the file may have been edited or cut. */
#include "base/error.h"
#include "base/arena.h"
#include "experiment/results.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* log_all over 25 epochs takes about 10 MB. */
#define MAX_RESULTS_BYTES ((size_t)1 << 30)

/* Reads fields of objects; the first thing that is missing or of another type is remembered. */
typedef struct reader {
    const char *where; /* key of the first problem; NULL: none */
} reader;

static const cJSON *get(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item && !r->where)
        r->where = key;
    return item;
}

static double get_double(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = get(r, object, key);
    if (item && !cJSON_IsNumber(item) && !cJSON_IsNull(item) && !r->where)
        r->where = key;
    return item && cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static int64_t get_int(reader *r, const cJSON *object, const char *key)
{
    double value = get_double(r, object, key);
    if (!(fabs(value) <= 9007199254740992.0)) { /* 2^53 */
        if (!r->where)
            r->where = key;
        return 0;
    }
    return (int64_t)value;
}

/* NULL unless it is an object, whose members have names. */
static const cJSON *get_object(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = get(r, object, key);
    if (cJSON_IsObject(item))
        return item;
    if (!r->where)
        r->where = key;
    return NULL;
}

static void get_text(reader *r, const cJSON *object, const char *key, char *out, size_t size)
{
    const cJSON *item = get(r, object, key);
    if (cJSON_IsString(item) && strlen(item->valuestring) < size)
        memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
    else if (!r->where)
        r->where = key;
}

static void copy_name(reader *r, const char *name, char *out, size_t size)
{
    if (strlen(name) < size)
        memcpy(out, name, strlen(name) + 1);
    else if (!r->where)
        r->where = "a name that is too long";
}

/* "epoch_5" to 5. */
static int64_t parse_epoch(reader *r, const char *key)
{
    char *end = NULL;
    int64_t epoch = strncmp(key, "epoch_", 6) == 0 ? strtoll(key + 6, &end, 10) : -1;
    if ((epoch < 0 || end == key + 6 || *end) && !r->where)
        r->where = "an epoch's name";
    return epoch;
}

static enum qd_status read_history(qd_context *ctx, reader *r, const cJSON *array, qd_results *results)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        const qd_history_entry entry = {
            .epoch = get_int(r, item, "epoch"),
            .train_loss = get_double(r, item, "train_loss"),
            .train_acc = get_double(r, item, "train_acc"),
            .val_loss = get_double(r, item, "val_loss"),
            .val_acc = get_double(r, item, "val_acc"),
        };
        QD_TRY(qd_results_add_history(ctx, results, &entry));
    }
    return QD_OK;
}

static void read_module(reader *r, const cJSON *item, qd_module_record *module)
{
    copy_name(r, item->string, module->path, sizeof module->path);
    get_text(r, item, "layer_type", module->layer_type, sizeof module->layer_type);
    const cJSON *shape = get(r, item, "shape");
    const cJSON *size;
    cJSON_ArrayForEach(size, shape)
    {
        if (module->rank < QD_MAX_RANK && cJSON_IsNumber(size) && fabs(size->valuedouble) < 1e15)
            module->shape[module->rank++] = (int64_t)size->valuedouble;
        else if (!r->where)
            r->where = "shape";
    }
    module->min = get_double(r, item, "min");
    module->max = get_double(r, item, "max");
    module->mean = get_double(r, item, "mean");
    module->std = get_double(r, item, "std");
    module->range = get_double(r, item, "range");
    if (cJSON_GetObjectItemCaseSensitive(item, "zeros_pct")) { /* log_all */
        module->zeros_pct = get_double(r, item, "zeros_pct");
        module->outlier_ratio = get_double(r, item, "outlier_ratio");
    }
}

static enum qd_status read_logs(qd_context *ctx, reader *r, const cJSON *object, bool mixed, qd_results *results)
{
    const cJSON *epoch;
    cJSON_ArrayForEach(epoch, object)
    {
        qd_epoch_log log = {.epoch = parse_epoch(r, epoch->string)};
        if (!cJSON_IsObject(epoch)) {
            r->where = "an epoch's modules";
            return QD_OK;
        }
        log.modules = qd_calloc((size_t)cJSON_GetArraySize(epoch), sizeof *log.modules);
        if (!log.modules)
            return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
        const cJSON *item;
        cJSON_ArrayForEach(item, epoch)
        {
            read_module(r, item, &log.modules[log.count++]);
        }
        enum qd_status status = qd_results_add_log(ctx, results, mixed, &log);
        if (status != QD_OK) {
            free(log.modules);
            return status;
        }
    }
    return QD_OK;
}

static void read_tensor(reader *r, const cJSON *item, qd_tensor_record *tensor)
{
    copy_name(r, item->string, tensor->name, sizeof tensor->name);
    tensor->min = get_double(r, item, "min");
    tensor->max = get_double(r, item, "max");
    tensor->scale = get_double(r, item, "scale");
    tensor->zero_point = get_int(r, item, "zero_point");
    tensor->sqnr_rounding_db = get_double(r, item, "sqnr_rounding_db");
    tensor->sqnr_accumulated_db = get_double(r, item, "sqnr_accumulated_db");
}

static enum qd_status read_quantized_epoch(qd_context *ctx, reader *r, const cJSON *object, qd_results *results)
{
    qd_quantized_epoch q = {
        .epoch = parse_epoch(r, object->string),
        .float_loss = get_double(r, object, "float_loss"),
        .float_accuracy = get_double(r, object, "float_accuracy"),
        .int8_loss = get_double(r, object, "int8_loss"),
        .int8_accuracy = get_double(r, object, "int8_accuracy"),
        .calibration_images = get_int(r, object, "calibration_images"),
        .eval_images = get_int(r, object, "eval_images"),
        .sqnr_images = get_int(r, object, "sqnr_images"),
        .agree = -1,
    };
    if (cJSON_HasObjectItem(object, "agree")) {
        q.agree = get_int(r, object, "agree");
        q.only_float = get_int(r, object, "only_float");
        q.only_int8 = get_int(r, object, "only_int8");
    }
    const cJSON *tensors = get_object(r, object, "tensors"), *weights = get_object(r, object, "weights"), *item;
    q.tensors = qd_calloc((size_t)cJSON_GetArraySize(tensors), sizeof *q.tensors);
    q.weights = qd_calloc((size_t)cJSON_GetArraySize(weights), sizeof *q.weights);
    enum qd_status status = QD_OK;
    if (!q.tensors || !q.weights) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
        goto fail;
    }
    cJSON_ArrayForEach(item, tensors)
    {
        read_tensor(r, item, &q.tensors[q.tensor_count++]);
    }
    cJSON_ArrayForEach(item, weights)
    {
        qd_weight_record *weight = &q.weights[q.weight_count++];
        copy_name(r, item->string, weight->name, sizeof weight->name);
        weight->scale = get_double(r, item, "scale");
    }
    QD_TRY_GOTO(qd_results_add_quantized(ctx, results, &q));
    return QD_OK;
fail:
    free(q.tensors);
    free(q.weights);
    return status;
}

/* A copy, of "" for what is no text; NULL when memory is short. */
static char *get_owned_text(reader *r, const cJSON *object, const char *key)
{
    const cJSON *item = get(r, object, key);
    if (!cJSON_IsString(item) && !r->where)
        r->where = key;
    return strdup(cJSON_IsString(item) ? item->valuestring : "");
}

static enum qd_status read_qat(qd_context *ctx, reader *r, const cJSON *object, qd_qat_record *qat)
{
    qd_results history = {0};
    qat->settings = get_owned_text(r, object, "settings");
    qat->from = get_owned_text(r, object, "from");
    if (!qat->settings || !qat->from)
        return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
    get_text(r, object, "from_sha256", qat->source_sha256, sizeof qat->source_sha256);
    qat->reestimated = cJSON_IsTrue(get(r, object, "batchnorm_reestimated"));
    qat->eval_images = get_int(r, object, "eval_images");
    qat->float_loss = get_double(r, object, "float_loss");
    qat->float_accuracy = get_double(r, object, "float_accuracy");
    qat->static_int8_loss = get_double(r, object, "static_int8_loss");
    qat->static_int8_accuracy = get_double(r, object, "static_int8_accuracy");
    qat->trained_float_loss = get_double(r, object, "trained_float_loss");
    qat->trained_float_accuracy = get_double(r, object, "trained_float_accuracy");
    qat->int8_loss = get_double(r, object, "int8_loss");
    qat->int8_accuracy = get_double(r, object, "int8_accuracy");
    const enum qd_status status = read_history(ctx, r, get(r, object, "training_history"), &history);
    qat->history = history.history;
    qat->history_count = history.history_count;
    return status;
}

static void read_timing(reader *r, const cJSON *object, qd_timing *timing)
{
    timing->train_s = get_double(r, object, "train_s");
    timing->validate_s = get_double(r, object, "validate_s");
    timing->observe_s = get_double(r, object, "observe_s");
    timing->quantize_s = get_double(r, object, "quantize_s");
    timing->data_wait_s = get_double(r, object, "data_wait_s");
    timing->train_images = get_int(r, object, "train_images");
    timing->threads = get_int(r, object, "threads");
    timing->loader_threads = get_int(r, object, "loader_threads");
}

static enum qd_status read_root(qd_context *ctx, reader *r, const cJSON *root, qd_results *results)
{
    char name[48] = "";
    get_text(r, root, "model_name", name, sizeof name);
    if (!r->where && strcmp(name, results->model->display_name) != 0)
        r->where = "model_name";
    QD_TRY(read_history(ctx, r, get(r, root, "training_history"), results));
    QD_TRY(read_logs(ctx, r, get_object(r, root, "activation_logs"), false, results));
    QD_TRY(read_logs(ctx, r, get_object(r, root, "activation_logs_mixed"), true, results));
    const cJSON *quantization = get_object(r, root, "quantization"), *epoch;
    cJSON_ArrayForEach(epoch, quantization)
    {
        QD_TRY(read_quantized_epoch(ctx, r, epoch, results));
    }
    const cJSON *qat = cJSON_GetObjectItemCaseSensitive(root, "qat");
    if (qat)
        QD_TRY(read_qat(ctx, r, qat, &results->qat));
    read_timing(r, get(r, root, "timing"), &results->timing);
    const cJSON *settings = get(r, get(r, get(r, root, "environment"), "configuration"), "quantization");
    results->quantization_settings = settings ? qd_json_print_line(settings) : NULL;
    if (settings && !results->quantization_settings)
        return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
    return QD_OK;
}

enum qd_status qd_results_read(qd_context *ctx, const char *path, const qd_model_info *model, qd_results *results)
{
    cJSON *root = NULL;
    qd_results read;
    reader r = {0};
    qd_results_init(model, &read);
    QD_TRY(qd_json_read(ctx, path, MAX_RESULTS_BYTES, false, &root));
    enum qd_status status = read_root(ctx, &r, root, &read);
    if (status == QD_OK && r.where)
        status =
            qd_fail(ctx, QD_ERR_INPUT,
                    "results '%s': '%s' is missing or not what this program writes; the file was made by another "
                    "program or version, or changed by hand",
                    path, r.where);
    cJSON_Delete(root);
    if (status == QD_OK)
        *results = read;
    else
        qd_results_free(&read);
    return status;
}

enum qd_status qd_history_parse(qd_context *ctx, const char *text, qd_results *results)
{
    cJSON *array = NULL;
    qd_results read;
    reader r = {0};
    qd_results_init(results->model, &read);
    QD_TRY(qd_json_parse(ctx, "training_history of the checkpoint", text, false, &array));
    enum qd_status status = read_history(ctx, &r, array, &read);
    if (status == QD_OK && r.where)
        status =
            qd_fail(ctx, QD_ERR_INPUT, "training_history of the checkpoint: '%s' is missing or no number", r.where);
    cJSON_Delete(array);
    if (status != QD_OK) {
        qd_results_free(&read);
        return status;
    }
    free(results->history);
    results->history = read.history;
    results->history_count = read.history_count;
    return QD_OK;
}
