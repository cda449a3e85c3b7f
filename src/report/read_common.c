#include "base/error.h"
#include "report/report_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Longer than any name this program makes; a report of names alone would be no report. */
#define MAX_NAME_BYTES 240

void *qd_report_append(void *array, int *count, size_t size)
{
    /* Powers of two: capacity follows from the count. */
    void **place = array;
    if ((*count & (*count - 1)) == 0) {
        const size_t capacity = *count > 0 ? (size_t)*count * 2 : 1;
        void *larger = realloc(*place, capacity * size);
        if (!larger)
            return NULL;
        *place = larger;
    }
    char *element = (char *)*place + (size_t)*count * size;
    memset(element, 0, size);
    (*count)++;
    return element;
}

double qd_report_number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

const char *qd_report_text(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsString(item) && strlen(item->valuestring) <= MAX_NAME_BYTES ? item->valuestring : NULL;
}

int qd_report_name(qd_report *report, const cJSON *object, const char *key, bool *ok)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsString(item))
        return -1;
    const int name =
        strlen(item->valuestring) <= MAX_NAME_BYTES ? qd_names_add(&report->names, item->valuestring) : -1;
    *ok = *ok && name >= 0;
    return name;
}

bool qd_report_same_model(const char *model_a, const char *key_a, const char *model_b, const char *key_b)
{
    if (key_a[0] != '\0' && key_b[0] != '\0')
        return strcmp(key_a, key_b) == 0;
    return strcmp(model_a, model_b) == 0;
}

const report_quantized *qd_report_last_quantized(const report_series *series)
{
    return series->quantized_count > 0 ? &series->quantized[series->quantized_count - 1] : NULL;
}

const report_quantized *qd_report_find_quantized(const report_series *series, int64_t epoch)
{
    for (int i = 0; i < series->quantized_count; i++)
        if (series->quantized[i].epoch == epoch)
            return &series->quantized[i];
    return NULL;
}

const report_log *qd_report_find_log(const report_series *series, int64_t epoch)
{
    for (int i = 0; i < series->log_count; i++)
        if (series->logs[i].epoch == epoch)
            return &series->logs[i];
    return NULL;
}

const report_module *qd_report_find_module(const report_log *log, int path)
{
    for (int m = 0; log && m < log->count; m++)
        if (log->modules[m].path == path)
            return &log->modules[m];
    return NULL;
}

double qd_report_val_accuracy(const report_series *series, int64_t epoch)
{
    for (int i = 0; i < series->history_count; i++)
        if (series->history[i].epoch == epoch)
            return series->history[i].val_acc;
    return NAN;
}

bool qd_report_run_has_series(const qd_report *report, int run)
{
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run)
            return true;
    return false;
}

static bool lists_hash(const report_run *run, const char *sha256)
{
    const cJSON *hash;
    cJSON_ArrayForEach(hash, run->hashes)
    {
        if (cJSON_IsString(hash) && strcmp(hash->valuestring, sha256) == 0)
            return true;
    }
    return false;
}

bool qd_report_belongs(const qd_report *report, int run, int file_run, int sha256)
{
    if (file_run == run)
        return true;
    if (qd_report_run_has_series(report, file_run) || !qd_report_run_has_series(report, run))
        return false;
    const char *hash = qd_names_text(&report->names, sha256);
    if (hash[0] != '\0' && lists_hash(&report->runs[run], hash))
        return true;
    for (int r = 0; r < report->run_count; r++)
        if (r != run && qd_report_run_has_series(report, r))
            return false;
    return true;
}

const report_sensitivity *qd_report_find_sensitivity(const qd_report *report, const report_series *series)
{
    for (int i = 0; i < report->sensitivity_count; i++) {
        const report_sensitivity *s = &report->sensitivities[i];
        if (qd_report_belongs(report, series->run, s->run, s->sha256) &&
            qd_report_same_model(s->model, s->key, series->model, series->key))
            return s;
    }
    return NULL;
}

const report_analysis *qd_report_find_analysis(const qd_report *report, const report_series *series)
{
    for (int i = 0; i < report->analysis_count; i++) {
        const report_analysis *a = &report->analyses[i];
        if (qd_report_belongs(report, series->run, a->run, a->sha256) &&
            qd_report_same_model(a->model, a->key, series->model, series->key))
            return a;
    }
    return NULL;
}

const char *qd_report_module_name(const qd_report *report, int path)
{
    const char *text = qd_names_text(&report->names, path);
    return text[0] != '\0' ? text : "(network)";
}
