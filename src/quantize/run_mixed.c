/*
 * Steps in float32 within the integer network: docs/quantization.md section 9. The integer network's values are codes
 * in the integer memory; those of float tensors lie where the simulated network keeps them, and so do, for one step,
 * the dequantized inputs and the results of a step that runs there.
 */
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
#include <string.h>

static const qd_quant_params *params_of(const qd_qgraph *q, int value)
{
    return &q->quantizers[q->values[value].quantizer].params;
}

/* The codes of a value that a step in float32 reads, dequantized. */
static void bring_input(qd_qgraph *q, int value, int64_t n)
{
    if (value < 0 || qd_qgraph_value_mode(q, value) != QD_QMODE_INTEGER)
        return;
    const qd_quant_params *params = params_of(q, value);
    int64_t count = n * qd_dims_count(&q->values[value].dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const uint8_t *codes = qd_qgraph_value(q, QD_QMODE_INTEGER, value);
    float *x = qd_qgraph_value(q, QD_QMODE_SIMULATED, value);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->int8.dequantize(codes + piece.first, piece.count, params->scale, params->range.zero + QD_STORED_OFFSET,
                           x + piece.first);
    }
}

/* What a step in float32 wrote, as codes. It is on their grid already, so that quantizing it again is exact. */
static void take_output(qd_qgraph *q, int value, int64_t n)
{
    if (value < 0 || qd_qgraph_value_mode(q, value) != QD_QMODE_INTEGER)
        return;
    int64_t count = n * qd_dims_count(&q->values[value].dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const float *x = qd_qgraph_value(q, QD_QMODE_SIMULATED, value);
    void *out = qd_qgraph_value(q, QD_QMODE_INTEGER, value);

    if (q->values[value].quantizer < 0) { /* the logits */
        memcpy(out, x, (size_t)count * sizeof *x);
        return;
    }
    const qd_quant_params *params = params_of(q, value);
    const qd_code_range range = {params->range.zero + QD_STORED_OFFSET, params->range.low + QD_STORED_OFFSET,
                                 params->range.high + QD_STORED_OFFSET};
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->int8.quantize(x + piece.first, piece.count, params->scale, range, (uint8_t *)out + piece.first);
    }
}

enum qd_status qd_qgraph_step_mixed(qd_qgraph *q, const qd_qstep *step, int64_t n)
{
    bring_input(q, step->input[0], n);
    bring_input(q, step->input[1], n);
    QD_TRY(qd_qgraph_step_float(q, QD_QMODE_SIMULATED, step, n));
    take_output(q, step->inner, n);
    take_output(q, step->output, n);
    return QD_OK;
}
