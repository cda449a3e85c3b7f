/* Results files. What is of another type than it should be ends the file; what is missing is missing. */
#include "base/error.h"
#include "report/report_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const cJSON *item_of(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static enum qd_status fail_input(const qd_report *report, int file, const char *where, const char *expected)
{
    return qd_fail(report->ctx, QD_ERR_INPUT,
                   "'%s': expected %s in '%.80s'; the file was changed, or is of another kind",
                   report->files[file].path, expected, where);
}

static enum qd_status fail_memory(const qd_report *report, int file)
{
    return qd_fail(report->ctx, QD_ERR_MEMORY, "reading '%s': out of memory", report->files[file].path);
}

/* "epoch_5" to 5; -1 for anything else. */
static int64_t parse_epoch(const char *key)
{
    char *end = NULL;
    if (strncmp(key, "epoch_", 6) != 0 || key[6] < '0' || key[6] > '9')
        return -1;
    const long long epoch = strtoll(key + 6, &end, 10);
    return *end == '\0' && epoch <= 1000000000 ? epoch : -1;
}

static enum qd_status read_history(qd_report *report, int file, const cJSON *array, report_series *series)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        const double epoch = qd_report_number(item, "epoch");
        if (!(epoch >= 0.0 && epoch <= 1e9))
            return fail_input(report, file, "training_history", "an epoch");
        report_history *entry = qd_report_append(&series->history, &series->history_count, sizeof *entry);
        if (!entry)
            return fail_memory(report, file);
        *entry = (report_history){
            .epoch = (int64_t)epoch,
            .train_loss = qd_report_number(item, "train_loss"),
            .train_acc = qd_report_number(item, "train_acc"),
            .val_loss = qd_report_number(item, "val_loss"),
            .val_acc = qd_report_number(item, "val_acc"),
        };
    }
    return QD_OK;
}

static enum qd_status read_log(qd_report *report, int file, const cJSON *object, report_log *log)
{
    const cJSON *item;
    log->modules = calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof *log->modules);
    if (!log->modules)
        return fail_memory(report, file);
    cJSON_ArrayForEach(item, object)
    {
        bool ok = true;
        if (!cJSON_IsObject(item))
            return fail_input(report, file, item->string, "a module's statistics");
        report_module *module = &log->modules[log->count++];
        *module = (report_module){
            .path = strlen(item->string) < 240 ? qd_names_add(&report->names, item->string) : -1,
            .type = qd_report_name(report, item, "layer_type", &ok),
            .min = qd_report_number(item, "min"),
            .max = qd_report_number(item, "max"),
            .mean = qd_report_number(item, "mean"),
            .std = qd_report_number(item, "std"),
            .range = qd_report_number(item, "range"),
            .outlier_ratio = qd_report_number(item, "outlier_ratio"),
        };
        if (!ok || module->path < 0)
            return fail_input(report, file, item->string, "names of ordinary length");
    }
    return QD_OK;
}

static int compare_logs(const void *a, const void *b)
{
    const int64_t left = ((const report_log *)a)->epoch, right = ((const report_log *)b)->epoch;
    return (left > right) - (left < right);
}

static enum qd_status read_logs(qd_report *report, int file, const cJSON *object, report_log **logs, int *count)
{
    const cJSON *epoch;
    cJSON_ArrayForEach(epoch, object)
    {
        const int64_t number = parse_epoch(epoch->string ? epoch->string : "");
        if (number < 0 || !cJSON_IsObject(epoch))
            return fail_input(report, file, epoch->string ? epoch->string : "activation_logs", "entries epoch_N");
        report_log *log = qd_report_append(logs, count, sizeof *log);
        if (!log)
            return fail_memory(report, file);
        log->epoch = number;
        QD_TRY(read_log(report, file, epoch, log));
    }
    if (*count > 1)
        qsort(*logs, (size_t)*count, sizeof **logs, compare_logs);
    return QD_OK;
}

/* A count of images in [0, most]; negative when it is none. */
static int64_t count_of(const cJSON *object, const char *key, int64_t most)
{
    const double value = qd_report_number(object, key);
    return value >= 0.0 && value <= (double)most && value == floor(value) ? (int64_t)value : -1;
}

/* Drop and its interval: of paired images where the file tells which ones one network alone gets right. */
static void fill_drop(const cJSON *epoch, report_quantized *q)
{
    q->drop = q->float_accuracy - q->int8_accuracy;
    q->low = q->high = NAN;
    const bool shares = q->float_accuracy >= 0.0 && q->float_accuracy <= 100.0 && q->int8_accuracy >= 0.0 &&
                        q->int8_accuracy <= 100.0;
    if (q->images < 1 || !shares)
        return;
    const double n = (double)q->images, real = q->float_accuracy / 100.0 * n, int8 = q->int8_accuracy / 100.0 * n;
    const int64_t only_float = count_of(epoch, "only_float", q->images),
                  only_int8 = count_of(epoch, "only_int8", q->images);
    const double both = round(real) - (double)only_float, neither = n - round(real) - (double)only_int8;
    /* Counts that contradict the accuracies are none. */
    q->paired =
        only_float >= 0 && only_int8 >= 0 && both >= 0.0 && neither >= 0.0 && both + (double)only_int8 == round(int8);
    const qd_interval interval = q->paired
                                     ? qd_paired_difference(both, (double)only_float, (double)only_int8, neither)
                                     : qd_unpaired_difference(real, int8, n);
    q->low = 100.0 * interval.low;
    q->high = 100.0 * interval.high;
}

static enum qd_status read_tensors(qd_report *report, int file, const cJSON *tensors, report_quantized *q)
{
    const cJSON *item;
    q->tensors = calloc((size_t)cJSON_GetArraySize(tensors) + 1, sizeof *q->tensors);
    if (!q->tensors)
        return fail_memory(report, file);
    cJSON_ArrayForEach(item, tensors)
    {
        if (!cJSON_IsObject(item) || !item->string || strlen(item->string) >= 240)
            return fail_input(report, file, "tensors", "a tensor's scale and noise");
        report_tensor *tensor = &q->tensors[q->count++];
        *tensor = (report_tensor){
            .name = qd_names_add(&report->names, item->string),
            .min = qd_report_number(item, "min"),
            .max = qd_report_number(item, "max"),
            .scale = qd_report_number(item, "scale"),
            .zero_point = qd_report_number(item, "zero_point"),
            .sqnr_rounding_db = qd_report_number(item, "sqnr_rounding_db"),
            .sqnr_accumulated_db = qd_report_number(item, "sqnr_accumulated_db"),
        };
        if (tensor->name < 0)
            return fail_memory(report, file);
    }
    return QD_OK;
}

static int compare_quantized(const void *a, const void *b)
{
    const int64_t left = ((const report_quantized *)a)->epoch, right = ((const report_quantized *)b)->epoch;
    return (left > right) - (left < right);
}

static enum qd_status read_quantization(qd_report *report, int file, const cJSON *object, report_series *series)
{
    const cJSON *epoch;
    cJSON_ArrayForEach(epoch, object)
    {
        const int64_t number = parse_epoch(epoch->string ? epoch->string : "");
        if (number < 0 || !cJSON_IsObject(epoch))
            return fail_input(report, file, "quantization", "entries epoch_N");
        report_quantized *q = qd_report_append(&series->quantized, &series->quantized_count, sizeof *q);
        if (!q)
            return fail_memory(report, file);
        const double images = qd_report_number(epoch, "eval_images");
        q->epoch = number;
        q->images = images >= 1.0 && images < 1e9 ? (int64_t)images : -1;
        q->float_accuracy = qd_report_number(epoch, "float_accuracy");
        q->int8_accuracy = qd_report_number(epoch, "int8_accuracy");
        fill_drop(epoch, q);
        QD_TRY(read_tensors(report, file, item_of(epoch, "tensors"), q));
    }
    if (series->quantized_count > 1)
        qsort(series->quantized, (size_t)series->quantized_count, sizeof *series->quantized, compare_quantized);
    return QD_OK;
}

static enum qd_status read_qat(const qd_report *report, int file, const cJSON *object, report_series *series)
{
    if (!cJSON_IsObject(object))
        return QD_OK;
    series->qat = malloc(sizeof *series->qat);
    if (!series->qat)
        return fail_memory(report, file);
    *series->qat = (report_qat){
        .float_accuracy = qd_report_number(object, "float_accuracy"),
        .static_int8_accuracy = qd_report_number(object, "static_int8_accuracy"),
        .trained_float_accuracy = qd_report_number(object, "trained_float_accuracy"),
        .int8_accuracy = qd_report_number(object, "int8_accuracy"),
        .images = qd_report_number(object, "eval_images"),
        .epochs = cJSON_GetArraySize(item_of(object, "training_history")),
    };
    return QD_OK;
}

static enum qd_status read_prefixes(qd_report *report, int file, const cJSON *array, report_series *series)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, array)
    {
        int *prefix = qd_report_append(&series->prefixes, &series->prefix_count, sizeof *prefix);
        *(prefix ? prefix : &(int){0}) = cJSON_IsString(item) && strlen(item->valuestring) < 240
                                             ? qd_names_add(&report->names, item->valuestring)
                                             : -1;
        if (!prefix)
            return fail_memory(report, file);
    }
    return QD_OK;
}

/* Keys of a configuration that decide where and how fast a run goes, which repetition it is, or which models are
 * beside this one: trainings that differ in nothing else are repetitions of one. */
static const char *const repetition_keys[] = {
    "seed",         "models", "data_dir",    "output_dir",       "threads",      "loader_threads",
    "cache_images", "export", "tensorboard", "keep_checkpoints", "on_bad_image",
};

static enum qd_status read_configuration(const qd_report *report, int file, const cJSON *json, report_series *series)
{
    const cJSON *configuration = item_of(item_of(json, "environment"), "configuration");
    const cJSON *seed = item_of(configuration, "seed");
    series->seed = cJSON_IsNumber(seed) ? qd_json_print_line(seed) : strdup("");
    if (!series->seed)
        return fail_memory(report, file);
    if (!cJSON_IsObject(configuration))
        return QD_OK;
    series->configuration = cJSON_Duplicate(configuration, true);
    if (!series->configuration)
        return fail_memory(report, file);
    for (size_t i = 0; i < sizeof repetition_keys / sizeof repetition_keys[0]; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(series->configuration, repetition_keys[i]);
    return QD_OK;
}

/* "…/efficientnet_b0_results.json" names the model "efficientnet_b0". */
static char *key_of(const char *path)
{
    static const char suffix[] = "_results.json";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t length = strlen(name), end = sizeof suffix - 1;
    return length > end && strcmp(name + length - end, suffix) == 0 ? strndup(name, length - end) : strdup("");
}

enum qd_status qd_report_read_results(qd_report *report, int file, const cJSON *json)
{
    const char *model = qd_report_text(json, "model_name");
    const int run = report->files[file].run;
    if (!model || model[0] == '\0')
        return fail_input(report, file, "model_name", "a name of ordinary length");
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run && strcmp(report->series[i].model, model) == 0)
            return qd_fail(report->ctx, QD_ERR_INPUT,
                           "'%s': the results of %s are in '%s' of the same folder already", report->files[file].path,
                           model, report->files[report->series[i].file].path);
    report_series *series = qd_report_append(&report->series, &report->series_count, sizeof *series);
    if (!series)
        return fail_memory(report, file);
    series->file = file;
    series->run = run;
    series->model = strdup(model);
    series->key = key_of(report->files[file].path);
    if (!series->model || !series->key)
        return fail_memory(report, file);
    QD_TRY(read_configuration(report, file, json, series));
    QD_TRY(read_prefixes(report, file, item_of(json, "block_prefixes"), series));
    QD_TRY(read_history(report, file, item_of(json, "training_history"), series));
    QD_TRY(read_logs(report, file, item_of(json, "activation_logs"), &series->logs, &series->log_count));
    QD_TRY(read_logs(report, file, item_of(json, "activation_logs_mixed"), &series->mixed_logs,
                     &series->mixed_log_count));
    QD_TRY(read_qat(report, file, item_of(json, "qat"), series));
    return read_quantization(report, file, item_of(json, "quantization"), series);
}
