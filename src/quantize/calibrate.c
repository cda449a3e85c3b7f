/* Showing the folded network's tensors to calibrators, and ranges without a calibrator: minimum and maximum as they
 * come, or given. */
#include "base/error.h"
#include "quantize/qgraph.h"
#include "quantize/ranges.h"
#include <math.h>

static enum qd_status show(qd_qgraph *q, enum qd_qmode mode, int value, int64_t n, qd_quant_visitor *visitor,
                           void *user)
{
    return visitor(user, q->values[value].quantizer, qd_qgraph_value(q, mode, value), n, &q->values[value].dims);
}

/* Tensors a step writes, inner one first; a max-pool's output is its input's tensor again and is not shown. */
static enum qd_status show_step(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n,
                                qd_quant_visitor *visitor, void *user)
{
    if (step->inner >= 0 && q->values[step->inner].quantizer >= 0)
        QD_TRY(show(q, mode, step->inner, n, visitor, user));
    if (step->kind == QD_QSTEP_MAXPOOL || q->values[step->output].quantizer < 0)
        return QD_OK;
    return show(q, mode, step->output, n, visitor, user);
}

enum qd_status qd_qgraph_visit(qd_qgraph *qgraph, bool quantizers, const float *images, int64_t n,
                               qd_quant_visitor *visitor, void *user)
{
    enum qd_qmode mode = quantizers ? QD_QMODE_SIMULATED : QD_QMODE_FLOAT;
    int64_t pixels = qd_dims_count(&qgraph->values[qgraph->input].dims);

    QD_TRY(qd_qgraph_prepare(qgraph, mode));
    for (int64_t first = 0; first < n; first += qgraph->max_batch) {
        int64_t count = n - first < qgraph->max_batch ? n - first : qgraph->max_batch;
        QD_TRY(qd_qgraph_load(qgraph, mode, images + first * pixels, count));
        QD_TRY(show(qgraph, mode, qgraph->input, count, visitor, user));
        for (int i = 0; i < qgraph->step_count; i++) {
            QD_TRY(qd_qgraph_step(qgraph, mode, &qgraph->steps[i], count, false));
            QD_TRY(show_step(qgraph, mode, &qgraph->steps[i], count, visitor, user));
        }
    }
    return QD_OK;
}

static enum qd_status widen(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    qd_qgraph *q = user;
    qd_quantizer *quantizer = &q->quantizers[index];
    qd_extremes found;

    QD_TRY(qd_ranges_extremes(q, index, values, n * qd_dims_count(dims), &found));
    if (quantizer->min > quantizer->max)
        quantizer->min = quantizer->max = 0.0; /* 0 belongs to every range */
    quantizer->min = fmin(quantizer->min, found.min);
    quantizer->max = fmax(quantizer->max, found.max);
    return QD_OK;
}

enum qd_status qd_qgraph_calibrate(qd_qgraph *qgraph, const float *images, int64_t n)
{
    return qd_qgraph_visit(qgraph, false, images, n, widen, qgraph);
}

enum qd_status qd_qgraph_set_range(qd_qgraph *qgraph, int index, double min, double max)
{
    if (index < 0 || index >= qgraph->quantizer_count)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE, "set a quantization range: expected a tensor from 0 to %d, got %d",
                       qgraph->quantizer_count - 1, index);
    if (!isfinite(min) || !isfinite(max) || min > max)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE,
                       "set the quantization range of '%s': expected two finite ends in order, got %g and %g",
                       qgraph->quantizers[index].name, min, max);
    qgraph->quantizers[index].min = fmin(min, 0.0);
    qgraph->quantizers[index].max = fmax(max, 0.0);
    return QD_OK;
}
