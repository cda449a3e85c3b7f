/* The results of one model in memory. */
#include "experiment/results.h"
#include "base/error.h"
#include "base/file.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void qd_results_init(const qd_model_info *model, qd_results *results)
{
    *results = (qd_results){.model = model};
}

static void free_logs(qd_epoch_log *logs, int count)
{
    for (int i = 0; i < count; i++)
        free(logs[i].modules);
    free(logs);
}

void qd_results_free(qd_results *results)
{
    free(results->history);
    free_logs(results->logs, results->log_count);
    free_logs(results->mixed_logs, results->mixed_log_count);
    qd_results_drop_quantized(results);
    free(results->quantized);
    free(results->quantization_settings);
    qd_qat_record_free(&results->qat);
    *results = (qd_results){0};
}

/* Room for one more element at the end of an array; false when memory is short. Arrays stay as long as there are
 * logged epochs, so growing by one is enough. */
static bool grow(void **array, int count, size_t size)
{
    void *larger = realloc(*array, ((size_t)count + 1) * size);
    if (larger)
        *array = larger;
    return larger != NULL;
}

enum qd_status qd_results_add_history(qd_context *ctx, qd_results *results, const qd_history_entry *entry)
{
    void *array = results->history;
    if (!grow(&array, results->history_count, sizeof *entry))
        return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
    results->history = array;
    results->history[results->history_count++] = *entry;
    return QD_OK;
}

enum qd_status qd_results_add_log(qd_context *ctx, qd_results *results, bool mixed, qd_epoch_log *log)
{
    qd_epoch_log **logs = mixed ? &results->mixed_logs : &results->logs;
    int *count = mixed ? &results->mixed_log_count : &results->log_count;
    void *array = *logs;
    if (!grow(&array, *count, sizeof *log))
        return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
    *logs = array;
    (*logs)[(*count)++] = *log;
    *log = (qd_epoch_log){0};
    return QD_OK;
}

enum qd_status qd_results_add_quantized(qd_context *ctx, qd_results *results, qd_quantized_epoch *quantized)
{
    void *array = results->quantized;
    if (!grow(&array, results->quantized_count, sizeof *quantized))
        return qd_fail(ctx, QD_ERR_MEMORY, "results: out of memory");
    results->quantized = array;
    results->quantized[results->quantized_count++] = *quantized;
    *quantized = (qd_quantized_epoch){0};
    return QD_OK;
}

static void truncate_logs(qd_epoch_log *logs, int *count, int64_t epoch)
{
    while (*count > 0 && logs[*count - 1].epoch > epoch)
        free(logs[--*count].modules);
}

static void drop_last_quantized(qd_results *results)
{
    qd_quantized_epoch *last = &results->quantized[--results->quantized_count];
    free(last->tensors);
    free(last->weights);
}

void qd_results_drop_quantized(qd_results *results)
{
    while (results->quantized_count > 0)
        drop_last_quantized(results);
}

void qd_results_truncate(qd_results *results, int64_t epoch)
{
    while (results->history_count > 0 && results->history[results->history_count - 1].epoch > epoch)
        results->history_count--;
    truncate_logs(results->logs, &results->log_count, epoch);
    truncate_logs(results->mixed_logs, &results->mixed_log_count, epoch);
    while (results->quantized_count > 0 && results->quantized[results->quantized_count - 1].epoch > epoch)
        drop_last_quantized(results);
}

const qd_history_entry *qd_results_find_history(const qd_results *results, int64_t epoch)
{
    for (int i = 0; i < results->history_count; i++)
        if (results->history[i].epoch == epoch)
            return &results->history[i];
    return NULL;
}

const qd_epoch_log *qd_results_find_log(const qd_results *results, int64_t epoch)
{
    for (int i = 0; i < results->log_count; i++)
        if (results->logs[i].epoch == epoch)
            return &results->logs[i];
    return NULL;
}

const qd_quantized_epoch *qd_results_find_quantized(const qd_results *results, int64_t epoch)
{
    for (int i = 0; i < results->quantized_count; i++)
        if (results->quantized[i].epoch == epoch)
            return &results->quantized[i];
    return NULL;
}

const qd_module_record *qd_epoch_log_find(const qd_epoch_log *log, const char *path)
{
    for (int i = 0; i < log->count; i++)
        if (strcmp(log->modules[i].path, path) == 0)
            return &log->modules[i];
    return NULL;
}

char *qd_quantization_settings(const qd_config *config)
{
    cJSON *json = qd_config_json(config, true);
    char *line = json ? qd_json_print_line(cJSON_GetObjectItemCaseSensitive(json, "quantization")) : NULL;
    cJSON_Delete(json);
    return line;
}

void qd_qat_record_free(qd_qat_record *record)
{
    free(record->settings);
    free(record->from);
    free(record->history);
    *record = (qd_qat_record){0};
}

/* Training keys count too: batch size, momentum, seed … The checkpoint counts by its bytes, wherever it lies. */
char *qd_qat_settings(const qd_config *config)
{
    cJSON *json = qd_config_json(config, true);
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(json, "qat"), "from");
    char *line = json ? qd_json_print_line(json) : NULL;
    cJSON_Delete(json);
    return line;
}

char *qd_results_path(const char *output_dir, const qd_model_info *model)
{
    return qd_format("%s/%s_results.json", output_dir, model->name);
}
