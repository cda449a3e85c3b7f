#include "quantize/layer_walk.h"

#include "base/error.h"

enum qd_status qd_layer_walk_check(const qd_qgraph *q, const char *purpose, int64_t n)
{
    if (q->restored)
        return qd_fail(q->ctx, QD_ERR_USAGE,
                       "%s: a network read from a quantized model file has no float weights to compare with",
                       purpose);
    if (!q->finalized)
        return qd_fail(q->ctx, QD_ERR_USAGE, "%s: no scales chosen yet; calibrate and finalize first", purpose);
    if (n < 1 || n > q->max_batch)
        return qd_fail(q->ctx, QD_ERR_USAGE, "%s: expected 1 to %lld images, the network's largest batch, got %lld",
                       purpose, (long long)q->max_batch, (long long)n);
    return QD_OK;
}

enum qd_status qd_layer_walk(qd_qgraph *q, const float *images, int64_t n, qd_layer_visitor *visitor, void *user)
{
    QD_TRY(qd_qgraph_prepare(q, QD_QMODE_FLOAT));
    QD_TRY(qd_qgraph_prepare(q, QD_QMODE_SIMULATED));
    QD_TRY(qd_qgraph_load(q, QD_QMODE_FLOAT, images, n));
    QD_TRY(qd_qgraph_load(q, QD_QMODE_SIMULATED, images, n));
    for (int i = 0; i < q->step_count; i++) {
        if (q->steps[i].kind == QD_QSTEP_CONV)
            QD_TRY(visitor(user, q, &q->steps[i], n));
        QD_TRY(qd_qgraph_step(q, QD_QMODE_FLOAT, &q->steps[i], n, true));
        QD_TRY(qd_qgraph_step(q, QD_QMODE_SIMULATED, &q->steps[i], n, true));
    }
    return QD_OK;
}
