/* Rules: where something starts, what is worst. Each is stated to the reader in answer_text.c. */
#include "report/answers.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"

const report_module *qd_report_widest(const report_log *log)
{
    const report_module *widest = NULL;
    for (int m = 0; log && m < log->count; m++)
        if (!isnan(log->modules[m].range) && (!widest || log->modules[m].range > widest->range))
            widest = &log->modules[m];
    return widest;
}

const report_tensor *qd_report_first_noisy(const report_quantized *q)
{
    for (int t = 0; t < q->count; t++)
        if (q->tensors[t].sqnr_accumulated_db < REPORT_NOISY_DB)
            return &q->tensors[t];
    return NULL;
}

const report_tensor *qd_report_noisiest(const report_quantized *q)
{
    const report_tensor *worst = NULL;
    for (int t = 0; t < q->count; t++) {
        const double sqnr = q->tensors[t].sqnr_accumulated_db;
        if (!isnan(sqnr) && (!worst || sqnr < worst->sqnr_accumulated_db))
            worst = &q->tensors[t];
    }
    return worst;
}

const report_quantized *qd_report_first_drop(const report_series *series)
{
    for (int i = 0; i < series->quantized_count; i++)
        if (series->quantized[i].low > 0.0)
            return &series->quantized[i];
    return NULL;
}

/* ---- convolution and BatchNorm ---- */

static bool is_below(const qd_report *report, const report_series *series, int path)
{
    const char *text = qd_names_text(&report->names, path);
    for (int i = 0; i < series->prefix_count; i++) {
        const char *prefix = qd_names_text(&report->names, series->prefixes[i]);
        if (strncmp(text, prefix, strlen(prefix)) == 0)
            return true;
    }
    return false;
}

static bool has_type(const qd_report *report, const report_module *module, const char *type)
{
    return strcmp(qd_names_text(&report->names, module->type), type) == 0;
}

const report_module *qd_report_most_grown(const qd_report *report, const report_series *series, int64_t epoch,
                                          double *factor)
{
    const report_log *first = series->log_count > 0 ? &series->logs[0] : NULL,
                     *log = qd_report_find_log(series, epoch);
    const report_module *most = NULL;
    for (int m = 0; log && log != first && m < log->count; m++) {
        const report_module *before = qd_report_find_module(first, log->modules[m].path);
        const double grown = before && before->range > 0.0 ? log->modules[m].range / before->range : NAN;
        if (has_type(report, &log->modules[m], "BatchNorm2d") && !isnan(grown) && (!most || grown > *factor)) {
            most = &log->modules[m];
            *factor = grown;
        }
    }
    return most;
}

enum qd_status qd_report_find_pairs(const qd_report *report, const report_series *series, bool of_blocks,
                                    report_pair **pairs, int *count)
{
    const report_log *log = series->log_count > 0 ? &series->logs[series->log_count - 1] : NULL;
    report_pair *found = NULL;
    int n = 0;
    for (int m = 1; log && m < log->count; m++) {
        const report_module *convolution = &log->modules[m - 1], *batchnorm = &log->modules[m];
        if (!has_type(report, convolution, "Conv2d") || !has_type(report, batchnorm, "BatchNorm2d") ||
            (of_blocks && !is_below(report, series, batchnorm->path)))
            continue;
        report_pair *pair = qd_report_append(&found, &n, sizeof *pair);
        if (!pair) {
            free(found);
            return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
        }
        *pair = (report_pair){convolution->path, batchnorm->path};
    }
    *pairs = found;
    *count = n;
    return QD_OK;
}

double qd_report_pair_ratio(const report_log *log, const report_pair *pair)
{
    const report_module *convolution = qd_report_find_module(log, pair->convolution);
    const report_module *batchnorm = qd_report_find_module(log, pair->batchnorm);
    return convolution && batchnorm && convolution->range > 0.0 ? batchnorm->range / convolution->range : NAN;
}

const report_series *qd_report_worst_series(const qd_report *report, int run)
{
    const report_series *worst = NULL;
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        const report_quantized *last = qd_report_last_quantized(s),
                               *most = worst ? qd_report_last_quantized(worst) : NULL;
        if ((run < 0 || s->run == run) && last && !isnan(last->drop) && (!most || last->drop > most->drop))
            worst = s;
    }
    return worst;
}
