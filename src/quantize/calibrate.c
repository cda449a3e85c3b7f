/* Showing the folded network's tensors to calibrators, and the simplest of them: minimum and maximum. */
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
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
    if (step->inner >= 0)
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
        qd_qgraph_load(qgraph, mode, images + first * pixels, count);
        QD_TRY(show(qgraph, mode, qgraph->input, count, visitor, user));
        for (int i = 0; i < qgraph->step_count; i++) {
            QD_TRY(qd_qgraph_step(qgraph, mode, &qgraph->steps[i], count, false));
            QD_TRY(show_step(qgraph, mode, &qgraph->steps[i], count, visitor, user));
        }
    }
    return QD_OK;
}

/* Range of values, and whether all of them are finite. Infinities show in the ends; a NaN fails every comparison, so
 * it is looked for by itself. */
static bool range_of(const float *values, int64_t count, float *min, float *max)
{
    float low = values[0], high = values[0];
    int64_t nan_count = 0;

    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
        nan_count += values[i] != values[i];
    }
    *min = low;
    *max = high;
    return nan_count == 0 && isfinite(low) && isfinite(high);
}

static enum qd_status widen(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    qd_qgraph *q = user;
    qd_quantizer *quantizer = &q->quantizers[index];
    int64_t count = n * qd_dims_count(dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    double min = 0.0, max = 0.0; /* 0 belongs to every range */
    int64_t bad_pieces = 0;

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx)) reduction(min : min)              \
    reduction(max : max) reduction(+ : bad_pieces)
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        float low, high;
        bad_pieces += !range_of(values + piece.first, piece.count, &low, &high);
        min = fmin(min, low);
        max = fmax(max, high);
    }
    if (bad_pieces > 0)
        return qd_fail(
            q->ctx, QD_ERR_NUMERIC,
            "calibrate '%s': expected finite values, got a NaN or infinity; this network cannot be quantized",
            quantizer->name);
    if (quantizer->min > quantizer->max)
        quantizer->min = quantizer->max = 0.0;
    quantizer->min = fmin(quantizer->min, min);
    quantizer->max = fmax(quantizer->max, max);
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
