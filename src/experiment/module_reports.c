#include "experiment/module_reports.h"
#include "base/arena.h"
#include "base/error.h"
#include <string.h>

enum qd_status qd_module_reports_create(qd_context *ctx, const qd_graph *graph, const qd_observation *observation,
                                        qd_module_report **reports)
{
    qd_module_report *list = qd_calloc((size_t)observation->count, sizeof *list);
    if (!list)
        return qd_fail(ctx, QD_ERR_MEMORY, "observing %s: out of memory", graph->model_name);
    for (int i = 0; i < observation->count; i++) {
        const qd_module_stats *entry = &observation->modules[i];
        const qd_stats *stats = &entry->stats;
        list[i] = (qd_module_report){
            .path = graph->modules[entry->module].path,
            .class_name = graph->modules[entry->module].class_name,
            .rank = entry->rank,
            .min = stats->min,
            .max = stats->max,
            .mean = stats->mean,
            .std = stats->std,
            .zeros_pct = stats->count > 0 ? 100.0 * (double)stats->zero_count / (double)stats->count : 0.0,
            .outlier_ratio = qd_stats_outlier_ratio(stats),
            .nonfinite_count = stats->nonfinite_count,
        };
        memcpy(list[i].shape, entry->shape, sizeof list[i].shape);
    }
    *reports = list;
    return QD_OK;
}
