/* Quantization made again, or for the first time, from the checkpoints of a run: what is measured on them may change
 * without training again. */
#include "base/error.h"
#include "experiment/run.h"
#include <stdlib.h>
#include <string.h>

/* Whether the file's quantization was made with the configuration's settings. */
static bool has_current_settings(const qd_model_run *m)
{
    char *wanted = qd_quantization_settings(m->run->config);
    const bool equal =
        wanted && m->results.quantization_settings && strcmp(wanted, m->results.quantization_settings) == 0;
    free(wanted);
    return equal;
}

static bool is_missing(const qd_model_run *m, int64_t epoch)
{
    return qd_run_is_logged_epoch(m->run->config, epoch, m->epoch, m->steps) &&
           !qd_results_find_quantized(&m->results, epoch);
}

bool qd_requantize_is_needed(const qd_model_run *m, int64_t epoch)
{
    if (!m->run->config->quantization.enabled)
        return m->results.quantized_count > 0;
    if (!has_current_settings(m))
        return true;
    for (int64_t e = 0; e <= epoch; e++)
        if (is_missing(m, e))
            return true;
    return false;
}

static enum qd_status quantize_checkpoint(qd_model_run *m, int64_t epoch)
{
    qd_context *ctx = m->run->ctx;
    qd_quantized_epoch quantized;
    char which[32];
    snprintf(which, sizeof which, "epoch_%lld", (long long)epoch);
    char *path = qd_checkpoint_path(m->run, m->model, which);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "quantizing %s: out of memory", m->model->display_name);
    enum qd_status status = qd_checkpoint_read(ctx, path, m->state);
    free(path);
    QD_TRY(status);
    const double start = qd_now_s();
    QD_TRY(qd_quantize_epoch(m, epoch, &quantized));
    status = qd_results_add_quantized(ctx, &m->results, &quantized);
    if (status != QD_OK) {
        free(quantized.tensors);
        free(quantized.weights);
    }
    m->results.timing.quantize_s += qd_now_s() - start;
    return status;
}

enum qd_status qd_requantize(qd_model_run *m, int64_t epoch)
{
    if (!m->run->config->quantization.enabled || !has_current_settings(m)) {
        qd_results_drop_quantized(&m->results);
        QD_TRY(qd_model_run_write_results(m));
    }
    for (int64_t e = 0; m->run->config->quantization.enabled && e <= epoch; e++) {
        if (!is_missing(m, e))
            continue;
        m->phase_epoch = e;
        QD_TRY(quantize_checkpoint(m, e));
        QD_TRY(qd_model_run_write_results(m));
    }
    return QD_OK;
}
