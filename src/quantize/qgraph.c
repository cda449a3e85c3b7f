/* Creating, running and reading a quantized network. */
#include "quantize/qgraph.h"

#include "base/error.h"
#include "quantize/fused.h"
#include "quantize/qgraph_build.h"
#include <math.h>
#include <stdlib.h>

enum qd_status qd_qgraph_create_empty(qd_context *ctx, const qd_graph *graph, const qd_quant_scheme *scheme,
                                      int64_t max_batch, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *q;

    QD_TRY(qd_quant_scheme_check(ctx, scheme));
    if (max_batch < 1)
        return qd_fail(ctx, QD_ERR_USAGE, "quantize '%s': expected a batch of at least 1, got %lld",
                       graph->model_name, (long long)max_batch);
    q = qd_calloc(1, sizeof *q);
    if (q == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "quantize '%s': no memory for the network", graph->model_name);
    q->ctx = ctx;
    q->scheme = *scheme;
    q->max_batch = max_batch;
    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &q->kernels);
    qd_int8_kernels_fill(qd_context_isa(ctx), &q->int8);
    QD_TRY_GOTO(qd_qgraph_lay_out(q, graph));
    QD_TRY_GOTO(qd_fused_create(q, &q->fused));
    *out = q;
    return QD_OK;
fail:
    qd_qgraph_destroy(q);
    return status;
}

enum qd_status qd_qgraph_create(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                                const qd_quant_scheme *scheme, int64_t max_batch, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *q = NULL;

    QD_TRY(qd_qgraph_create_empty(ctx, graph, scheme, max_batch, &q));
    QD_TRY_GOTO(qd_qgraph_fold(q, graph, state));
    *out = q;
    return QD_OK;
fail:
    qd_qgraph_destroy(q);
    return status;
}

static size_t element_size(enum qd_qmode mode)
{
    return mode == QD_QMODE_INTEGER ? sizeof(uint8_t) : sizeof(float);
}

static size_t activation_bytes(const qd_qgraph *q, enum qd_qmode mode)
{
    return (size_t)(q->sample_elements * q->max_batch) * element_size(mode);
}

static size_t scratch_bytes(const qd_qgraph *q)
{
    return qd_qgraph_integer_scratch_bytes(q) * (size_t)qd_context_threads(q->ctx);
}

enum qd_status qd_qgraph_bytes(qd_context *ctx, const qd_graph *graph, const qd_quant_scheme *scheme,
                               int64_t max_batch, size_t *bytes)
{
    qd_qgraph *q = NULL;
    size_t saved_offset;

    QD_TRY(qd_qgraph_create_empty(ctx, graph, scheme, max_batch, &q));
    *bytes = qd_qgraph_weight_bytes(q) + activation_bytes(q, QD_QMODE_FLOAT) +
             activation_bytes(q, QD_QMODE_SIMULATED) + activation_bytes(q, QD_QMODE_INTEGER) +
             qd_qgraph_float_workspace_bytes(q, &saved_offset) + scratch_bytes(q) + qd_fused_bytes(q->fused);
    qd_qgraph_destroy(q);
    return QD_OK;
}

void qd_qgraph_destroy(qd_qgraph *qgraph)
{
    if (qgraph == NULL)
        return;
    free(qgraph->steps);
    free(qgraph->values);
    free(qgraph->quantizers);
    free(qgraph->convs);
    qd_arena_destroy(&qgraph->weights);
    qd_arena_destroy(&qgraph->rounded);
    for (int mode = 0; mode < 3; mode++)
        qd_arena_destroy(&qgraph->activations[mode]);
    qd_arena_destroy(&qgraph->workspace);
    qd_arena_destroy(&qgraph->scratch);
    qd_fused_destroy(qgraph->fused);
    free(qgraph);
}

/* Allocates what `mode` needs. */
static enum qd_status prepare_memory(qd_qgraph *q, enum qd_qmode mode)
{
    static const char *const purpose[] = {"the folded network's activations", "the simulated network's activations",
                                          "the integer network's activations"};
    qd_arena *activations = &q->activations[mode];

    if (activations->data == NULL)
        QD_TRY(qd_arena_create(q->ctx, (size_t)(q->sample_elements * q->max_batch) * element_size(mode),
                               purpose[mode], activations));
    if (mode != QD_QMODE_INTEGER && q->workspace.data == NULL)
        QD_TRY(qd_arena_create(q->ctx, qd_qgraph_float_workspace_bytes(q, &q->saved_offset),
                               "the folded network's workspace", &q->workspace));
    if (mode == QD_QMODE_INTEGER && q->scratch.data == NULL) {
        q->scratch_bytes = qd_qgraph_integer_scratch_bytes(q);
        QD_TRY(qd_arena_create(q->ctx, scratch_bytes(q), "the integer network's scratch", &q->scratch));
    }
    return QD_OK;
}

static enum qd_status check_float_form(const qd_qgraph *q)
{
    if (q->restored)
        return qd_fail(q->ctx, QD_ERR_USAGE,
                       "float run: a network read from a quantized model file has no float form; use its checkpoint");
    return QD_OK;
}

enum qd_status qd_qgraph_prepare(qd_qgraph *q, enum qd_qmode mode)
{
    if (mode != QD_QMODE_FLOAT && !q->finalized)
        return qd_fail(q->ctx, QD_ERR_USAGE, "quantized run: no scales chosen yet; calibrate and finalize first");
    if (mode != QD_QMODE_INTEGER)
        QD_TRY(check_float_form(q));
    if (mode == QD_QMODE_INTEGER && !qd_qgraph_has_integer_form(q))
        return qd_fail(q->ctx, QD_ERR_USAGE,
                       "integer run: expected at most 8 bits everywhere, static ranges and no fused SiLU, got %d for "
                       "weights and %d for activations%s%s; simulate instead",
                       q->scheme.weight_bits, q->scheme.activation_bits,
                       q->scheme.activation_dynamic ? ", dynamic ranges" : "",
                       q->scheme.fused_silu ? ", a fused SiLU" : "");
    if (mode == QD_QMODE_INTEGER && q->mixed)
        QD_TRY(prepare_memory(q, QD_QMODE_SIMULATED));
    return prepare_memory(q, mode);
}

void *qd_qgraph_value(const qd_qgraph *q, enum qd_qmode mode, int value)
{
    return q->activations[mode].data + (size_t)(q->values[value].offset * q->max_batch) * element_size(mode);
}

enum qd_qmode qd_qgraph_value_mode(const qd_qgraph *q, int value)
{
    const int quantizer = q->values[value].quantizer;

    return quantizer >= 0 && q->quantizers[quantizer].is_float ? QD_QMODE_SIMULATED : QD_QMODE_INTEGER;
}

enum qd_status qd_qgraph_load(qd_qgraph *q, enum qd_qmode mode, const float *images, int64_t n)
{
    if (mode == QD_QMODE_INTEGER)
        mode = qd_qgraph_value_mode(q, q->input);
    if (mode != QD_QMODE_INTEGER)
        return qd_qgraph_load_float(q, mode, images, n);
    qd_qgraph_load_integer(q, images, n);
    return QD_OK;
}

enum qd_status qd_qgraph_step(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n, bool inner)
{
    if (mode != QD_QMODE_INTEGER)
        return qd_qgraph_step_float(q, mode, step, n);
    if (step->in_float)
        return qd_qgraph_step_mixed(q, step, n);
    qd_qgraph_step_integer(q, step, n, inner);
    return QD_OK;
}

void qd_qgraph_result(const qd_qgraph *q, enum qd_qmode mode, int64_t n, float *logits)
{
    const qd_qvalue *value = &q->values[q->output];
    if (mode == QD_QMODE_INTEGER)
        mode = qd_qgraph_value_mode(q, q->output);
    const void *data = qd_qgraph_value(q, mode, q->output);
    int64_t count = n * qd_dims_count(&value->dims);

    if (mode == QD_QMODE_INTEGER && value->quantizer >= 0) {
        const qd_quant_params *params = &q->quantizers[value->quantizer].params;
        q->int8.dequantize(data, count, params->scale, params->range.zero + QD_STORED_OFFSET, logits);
        return;
    }
    memcpy(logits, data, (size_t)count * sizeof *logits);
}

static enum qd_status run(qd_qgraph *q, enum qd_qmode mode, const float *images, int64_t n, float *logits)
{
    int64_t pixels = qd_dims_count(&q->values[q->input].dims), classes = qd_dims_count(&q->values[q->output].dims);

    bool whole = mode == QD_QMODE_INTEGER && !q->mixed; /* with steps in float32 between them none are merged */

    QD_TRY(qd_qgraph_prepare(q, mode));
    for (int64_t first = 0; first < n; first += q->max_batch) {
        int64_t count = n - first < q->max_batch ? n - first : q->max_batch;
        QD_TRY(qd_qgraph_load(q, mode, images + first * pixels, count));
        if (whole)
            qd_qgraph_steps_integer(q, count);
        for (int i = 0; !whole && i < q->step_count; i++)
            QD_TRY(qd_qgraph_step(q, mode, &q->steps[i], count, false));
        qd_qgraph_result(q, mode, count, logits + first * classes);
    }
    return QD_OK;
}

enum qd_status qd_qgraph_run_integer(qd_qgraph *qgraph, const float *images, int64_t n, float *logits)
{
    return run(qgraph, QD_QMODE_INTEGER, images, n, logits);
}

enum qd_status qd_qgraph_run_float(qd_qgraph *qgraph, bool quantizers, const float *images, int64_t n, float *logits)
{
    int64_t pixels = qd_dims_count(&qgraph->values[qgraph->input].dims);
    int64_t classes = qd_dims_count(&qgraph->values[qgraph->output].dims);

    if (quantizers)
        return run(qgraph, QD_QMODE_SIMULATED, images, n, logits);
    QD_TRY(check_float_form(qgraph));
    for (int64_t first = 0; first < n; first += qgraph->max_batch) {
        int64_t count = n - first < qgraph->max_batch ? n - first : qgraph->max_batch;
        QD_TRY(qd_fused_run(qgraph->fused, images + first * pixels, count, logits + first * classes));
    }
    return QD_OK;
}

enum qd_status qd_qgraph_run(qd_qgraph *qgraph, const float *images, int64_t n, float *logits)
{
    return run(qgraph, qd_qgraph_has_integer_form(qgraph) ? QD_QMODE_INTEGER : QD_QMODE_SIMULATED, images, n, logits);
}

int qd_qgraph_tensor_count(const qd_qgraph *qgraph)
{
    return qgraph->quantizer_count;
}

static double decibels(const qd_quantizer *quantizer, double noise)
{
    if (!quantizer->measured)
        return NAN;
    return noise > 0.0 ? 10.0 * log10(quantizer->signal / noise) : INFINITY;
}

qd_quant_tensor qd_qgraph_tensor(const qd_qgraph *qgraph, int index)
{
    const qd_quantizer *quantizer = &qgraph->quantizers[index];
    int32_t unsigned_offset = qgraph->scheme.activation_signed ? 0 : 1 << (quantizer->bits - 1);

    return (qd_quant_tensor){
        .name = quantizer->name,
        .is_float = quantizer->is_float,
        .min = quantizer->min,
        .max = quantizer->max,
        .scale = quantizer->params.scale,
        .zero_point = quantizer->params.range.zero + unsigned_offset,
        .sqnr_rounding_db = decibels(quantizer, quantizer->noise_rounding),
        .sqnr_accumulated_db = decibels(quantizer, quantizer->noise_accumulated),
    };
}

int64_t qd_qgraph_stored_bytes(const qd_qgraph *qgraph, bool integer)
{
    int64_t bytes = 0;

    for (int i = 0; i < qgraph->conv_count; i++) {
        const qd_qconv *conv = &qgraph->convs[i];
        int64_t out = conv->config.out_channels, scales = qgraph->scheme.weight_per_channel ? out : 1;
        if (integer)
            bytes += out * conv->filter + (out + scales) * 4;
        else
            bytes += (out * conv->filter + out) * 4;
    }
    return bytes;
}

enum qd_status qd_qgraph_keep_float(qd_qgraph *qgraph, int index)
{
    if (index < 0 || index >= qgraph->quantizer_count)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE, "keep a tensor in float32: expected one from 0 to %d, got %d",
                       qgraph->quantizer_count - 1, index);
    qgraph->quantizers[index].is_float = true;
    return QD_OK;
}

enum qd_status qd_qgraph_keep_weight_float(qd_qgraph *qgraph, int index)
{
    if (index < 0 || index >= qgraph->conv_count)
        return qd_fail(qgraph->ctx, QD_ERR_USAGE, "keep weights in float32: expected a layer from 0 to %d, got %d",
                       qgraph->conv_count - 1, index);
    qgraph->convs[index].is_float = true;
    return QD_OK;
}

int qd_qgraph_weight_count(const qd_qgraph *qgraph)
{
    return qgraph->conv_count;
}

const char *qd_qgraph_weight_name(const qd_qgraph *qgraph, int index)
{
    return qgraph->convs[index].name;
}

bool qd_qgraph_weight_has_one_scale(const qd_qgraph *qgraph, int index)
{
    return !qgraph->convs[index].per_channel && !qgraph->convs[index].is_float;
}

double qd_qgraph_weight_scale(const qd_qgraph *qgraph, int index, int64_t channel)
{
    return qgraph->convs[index].scale[channel];
}
