/* Signal to quantization noise of every tensor: docs/quantization.md section 5. */
#include "nn/layer_work.h"
#include "quantize/qgraph.h"

typedef struct energies {
    double signal, rounding, accumulated;
} energies;

/* Energies of one piece; exactly one of `codes` (then with params) and `simulated` is the quantized network's value.
 * params NULL: a tensor that stays float, whose own rounding costs nothing. */
static energies piece_energies(const qd_quant_params *params, const float *x, const uint8_t *codes,
                               const float *simulated, int64_t count)
{
    energies e = {0};

    for (int64_t i = 0; i < count; i++) {
        float own = x[i];
        if (params != NULL)
            own = qd_dequantize_value(qd_quantize_value(x[i], params->scale, params->range), params->scale,
                                      params->range.zero);
        double rounding = (double)x[i] - (double)own;
        float y = codes != NULL && params != NULL
                      ? qd_dequantize_value(codes[i] - QD_STORED_OFFSET, params->scale, params->range.zero)
                      : simulated[i];
        double accumulated = (double)x[i] - (double)y;
        e.signal += (double)x[i] * (double)x[i];
        e.rounding += rounding * rounding;
        e.accumulated += accumulated * accumulated;
    }
    return e;
}

/* Samples first … of a value, each with the parameters that its own range gives. */
static energies dynamic_energies(const qd_quantizer *quantizer, const float *x, const float *simulated,
                                 qd_piece samples, int64_t count)
{
    energies sum = {0};

    for (int64_t i = samples.first; i < samples.first + samples.count; i++) {
        qd_quant_params params;
        bool known = qd_quantizer_dynamic_params(quantizer, x + i * count, count, &params);
        energies e = piece_energies(known ? &params : NULL, x + i * count, NULL, simulated + i * count, count);
        sum.signal += e.signal;
        sum.rounding += e.rounding;
        sum.accumulated += e.accumulated;
    }
    return sum;
}

static void measure_value(qd_qgraph *q, enum qd_qmode mode, int value, int64_t n)
{
    if (q->values[value].quantizer < 0) /* a fused SiLU's sigmoid */
        return;
    qd_quantizer *quantizer = &q->quantizers[q->values[value].quantizer];
    bool dynamic = q->scheme.activation_dynamic && !quantizer->is_float;
    int64_t sample = qd_dims_count(&q->values[value].dims), count = dynamic ? n : n * sample;
    int64_t partials = qd_partial_count(count, dynamic ? sample : 1);
    if (mode == QD_QMODE_INTEGER)
        mode = qd_qgraph_value_mode(q, value);
    const qd_quant_params *params = quantizer->is_float ? NULL : &quantizer->params;
    const float *x = qd_qgraph_value(q, QD_QMODE_FLOAT, value);
    const void *y = qd_qgraph_value(q, mode, value);
    energies partial[QD_MAX_PARTIALS] = {{0}};

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < partials; p++) {
        qd_piece piece = qd_partial_rows(count, partials, p);
        const uint8_t *codes = mode == QD_QMODE_INTEGER ? (const uint8_t *)y + piece.first : NULL;
        const float *simulated = mode == QD_QMODE_INTEGER ? NULL : (const float *)y + piece.first;
        if (dynamic)
            partial[p] = dynamic_energies(quantizer, x, y, piece, sample);
        else
            partial[p] = piece_energies(params, x + piece.first, codes, simulated, piece.count);
    }
    for (int64_t p = 0; p < partials; p++) {
        quantizer->signal += partial[p].signal;
        quantizer->noise_rounding += partial[p].rounding;
        quantizer->noise_accumulated += partial[p].accumulated;
    }
    quantizer->measured = true;
}

enum qd_status qd_qgraph_measure_sqnr(qd_qgraph *qgraph, const float *images, int64_t n)
{
    enum qd_qmode mode = qd_qgraph_has_integer_form(qgraph) ? QD_QMODE_INTEGER : QD_QMODE_SIMULATED;
    int64_t pixels = qd_dims_count(&qgraph->values[qgraph->input].dims);

    QD_TRY(qd_qgraph_prepare(qgraph, mode));
    QD_TRY(qd_qgraph_prepare(qgraph, QD_QMODE_FLOAT));
    for (int64_t first = 0; first < n; first += qgraph->max_batch) {
        int64_t count = n - first < qgraph->max_batch ? n - first : qgraph->max_batch;
        QD_TRY(qd_qgraph_load(qgraph, QD_QMODE_FLOAT, images + first * pixels, count));
        QD_TRY(qd_qgraph_load(qgraph, mode, images + first * pixels, count));
        measure_value(qgraph, mode, qgraph->input, count);
        /* Both networks step together, because a value's memory is used again after its last reader. */
        for (int i = 0; i < qgraph->step_count; i++) {
            const qd_qstep *step = &qgraph->steps[i];
            QD_TRY(qd_qgraph_step(qgraph, QD_QMODE_FLOAT, step, count, true));
            QD_TRY(qd_qgraph_step(qgraph, mode, step, count, true));
            if (step->inner >= 0)
                measure_value(qgraph, mode, step->inner, count);
            if (step->kind != QD_QSTEP_MAXPOOL && qgraph->values[step->output].quantizer >= 0)
                measure_value(qgraph, mode, step->output, count);
        }
    }
    return QD_OK;
}
