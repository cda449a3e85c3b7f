/* A logged epoch: what the modules' outputs look like on two fixed batches, and what INT8 makes of the network. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/run.h"
#include <stdlib.h>
#include <string.h>

static bool is_logged(const qd_model_run *m, const char *path)
{
    if (m->run->config->log_all)
        return true;
    for (int i = 0; m->model->block_prefixes[i]; i++)
        if (strncmp(path, m->model->block_prefixes[i], strlen(m->model->block_prefixes[i])) == 0)
            return true;
    return false;
}

static qd_module_record make_record(const qd_module *module, const qd_module_stats *entry)
{
    const qd_stats *stats = &entry->stats;
    qd_module_record record = {
        .rank = entry->rank,
        .min = stats->min,
        .max = stats->max,
        .mean = stats->mean,
        .std = stats->std,
        .range = stats->max - stats->min,
        .zeros_pct = stats->count > 0 ? 100.0 * (double)stats->zero_count / (double)stats->count : 0.0,
        .outlier_ratio = qd_stats_outlier_ratio(stats),
    };
    memcpy(record.shape, entry->shape, sizeof record.shape);
    snprintf(record.path, sizeof record.path, "%s", module->path);
    snprintf(record.layer_type, sizeof record.layer_type, "%s", module->class_name);
    return record;
}

static enum qd_status observe_batch(qd_model_run *m, qd_plan *plan, const qd_image_batch *batch, bool mixed)
{
    qd_context *ctx = m->run->ctx;
    qd_observation observation = {0};
    QD_TRY(qd_observe(ctx, m->graph, plan, batch->images, batch->count, NULL, &observation));
    qd_epoch_log log = {.epoch = m->epoch, .modules = qd_calloc((size_t)observation.count, sizeof *log.modules)};
    enum qd_status status = QD_OK;
    if (!log.modules) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "logging %s: out of memory", m->model->display_name);
        goto fail;
    }
    for (int i = 0; i < observation.count; i++) {
        const qd_module *module = &m->graph->modules[observation.modules[i].module];
        if (is_logged(m, module->path))
            log.modules[log.count++] = make_record(module, &observation.modules[i]);
    }
    QD_TRY_GOTO(qd_results_add_log(ctx, &m->results, mixed, &log));
fail:
    free(log.modules);
    qd_observation_free(&observation);
    return status;
}

static enum qd_status observe(qd_model_run *m)
{
    const qd_run *run = m->run;
    int64_t batch = run->fixed.count > run->mixed.count ? run->fixed.count : run->mixed.count;
    qd_plan *plan = NULL;
    enum qd_status status = QD_OK;
    qd_progress_begin(m, "observe");
    QD_TRY_GOTO(qd_plan_create(run->ctx, m->graph, m->state, &QD_PLAN_OBSERVING(batch), &plan));
    QD_TRY_GOTO(observe_batch(m, plan, &run->fixed, false));
    QD_TRY_GOTO(qd_progress_report(m, 1, 2, run->fixed.count, NULL, NULL));
    QD_TRY_GOTO(observe_batch(m, plan, &run->mixed, true));
    QD_TRY_GOTO(qd_progress_report(m, 2, 2, run->fixed.count + run->mixed.count, NULL, NULL));
fail:
    qd_plan_destroy(plan);
    return status;
}

enum qd_status qd_log_epoch(qd_model_run *m)
{
    double start = qd_now_s();
    QD_TRY(observe(m));
    double observed = qd_now_s();
    m->results.timing.observe_s += observed - start;
    if (m->run->config->quantization.enabled) {
        qd_quantized_epoch quantized;
        QD_TRY(qd_quantize_epoch(m, m->epoch, &quantized));
        enum qd_status status = qd_results_add_quantized(m->run->ctx, &m->results, &quantized);
        if (status != QD_OK) {
            free(quantized.tensors);
            free(quantized.weights);
            return status;
        }
        m->results.timing.quantize_s += qd_now_s() - observed;
    }
    m->pace.log_s += qd_now_s() - start;
    m->pace.logs++;
    return QD_OK;
}
