/*
 * The folded network in float32 by the layers of nn/: as it is, or with every quantized tensor replaced by its
 * dequantized codes (docs/quantization.md section 4).
 */
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
#include <string.h>

/* The layer that computes a step's output, up to a fused clamp or SiLU's product; its configuration. */
static const qd_layer_ops *step_layer(const qd_qgraph *q, const qd_qstep *step, qd_activation_config *activation,
                                      const void **config)
{
    switch (step->kind) {
    case QD_QSTEP_CONV:
        *config = &q->convs[step->conv].config;
        return &qd_layer_conv2d;
    case QD_QSTEP_TABLE:
        activation->kind = step->activation;
        *config = activation;
        return &qd_layer_activation;
    case QD_QSTEP_SILU:
        activation->kind = QD_ACTIVATION_SIGMOID;
        *config = activation;
        return &qd_layer_activation;
    case QD_QSTEP_ADD:
        return &qd_layer_add;
    case QD_QSTEP_GATE:
        return &qd_layer_channel_multiply;
    case QD_QSTEP_MAXPOOL:
        *config = &step->pool;
        return &qd_layer_maxpool2d;
    case QD_QSTEP_MEAN:
        return &qd_layer_global_avgpool;
    }
    return NULL;
}

/* Shapes as the layer sees them: a linear layer is a 1x1 convolution, which has rank 4. */
static qd_dims step_dims(const qd_qgraph *q, const qd_qstep *step, int value)
{
    qd_dims dims = {0};

    if (value >= 0)
        dims = q->values[value].dims;
    if (step->kind == QD_QSTEP_CONV)
        dims.rank = 4;
    return dims;
}

static qd_layer_call make_call(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n)
{
    int written = step->inner >= 0 ? step->inner : step->output;

    qd_layer_call call = {
        .ctx = q->ctx,
        .k = &q->kernels,
        .dtype = QD_F32,
        .threads = qd_context_threads(q->ctx),
        .exact = true, /* ranges and errors are looked at, as by the observing plan */
        .name = step->name,
        .n = n,
        .out = step_dims(q, step, written),
        .y = qd_qgraph_value(q, mode, written),
    };
    for (int i = 0; i < 2; i++) {
        call.in[i] = step_dims(q, step, step->input[i]);
        call.x[i] = step->input[i] < 0 ? NULL : qd_qgraph_value(q, mode, step->input[i]);
    }
    if (step->conv >= 0) {
        qd_qconv *conv = &q->convs[step->conv];
        call.param[0] = mode == QD_QMODE_FLOAT ? conv->weight : conv->weight_simulated;
        call.param[1] = mode == QD_QMODE_FLOAT ? conv->bias : conv->bias_simulated;
    }
    return call;
}

/* Workspace and saved bytes of a step for the largest batch. */
static void step_bytes(const qd_qgraph *q, const qd_qstep *step, size_t *workspace, size_t *saved)
{
    qd_activation_config activation = {QD_ACTIVATION_NONE};
    const void *config = NULL;
    const qd_layer_ops *ops = step_layer(q, step, &activation, &config);
    const qd_layer_call call = {.ctx = q->ctx,
                                .k = &q->kernels,
                                .dtype = QD_F32,
                                .threads = qd_context_threads(q->ctx),
                                .exact = true,
                                .config = config,
                                .n = q->max_batch,
                                .in = {step_dims(q, step, step->input[0]), step_dims(q, step, step->input[1])},
                                .out = step_dims(q, step, step->output)};

    *workspace = ops->workspace_bytes == NULL ? 0 : ops->workspace_bytes(&call, false);
    *saved = ops->saved_bytes == NULL ? 0 : ops->saved_bytes(&call);
}

size_t qd_qgraph_float_workspace_bytes(const qd_qgraph *q, size_t *saved_offset)
{
    size_t most_workspace = 0, most_saved = 0;

    for (int i = 0; i < q->step_count; i++) {
        size_t workspace, saved;
        step_bytes(q, &q->steps[i], &workspace, &saved);
        most_workspace = workspace > most_workspace ? workspace : most_workspace;
        most_saved = saved > most_saved ? saved : most_saved;
    }
    *saved_offset = qd_align_bytes(most_workspace);
    return *saved_offset + most_saved;
}

bool qd_quantizer_dynamic_params(const qd_quantizer *quantizer, const float *values, int64_t count,
                                 qd_quant_params *params)
{
    float min = 0.0f, max = 0.0f;
    bool finite = true;

    for (int64_t i = 0; i < count; i++) {
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
        finite &= values[i] - values[i] == 0.0f; /* infinity − infinity and NaN are NaN */
    }
    *params = qd_quantizer_params(quantizer, (double)min, (double)max);
    return finite;
}

/* Every sample by its own range, so that no image changes another's result. */
static enum qd_status simulate_dynamic(qd_qgraph *q, int value, int64_t n)
{
    const qd_quantizer *quantizer = &q->quantizers[q->values[value].quantizer];
    int64_t count = qd_dims_count(&q->values[value].dims), bad = 0;
    float *x = qd_qgraph_value(q, QD_QMODE_SIMULATED, value);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx)) reduction(+ : bad)
    for (int64_t i = 0; i < n; i++) {
        qd_quant_params params;
        if (qd_quantizer_dynamic_params(quantizer, x + i * count, count, &params))
            qd_quant_simulate(x + i * count, count, &params);
        else
            bad++;
    }
    if (bad > 0)
        return qd_fail(q->ctx, QD_ERR_NUMERIC,
                       "dynamic range of '%s': expected finite values, got a NaN or infinity in %lld of %lld images",
                       quantizer->name, (long long)bad, (long long)n);
    return QD_OK;
}

/* Quantizes and dequantizes a value in place, in pieces shared by the threads. */
static enum qd_status simulate_value(qd_qgraph *q, int value, int64_t n)
{
    if (q->values[value].quantizer < 0) /* a fused SiLU's sigmoid */
        return QD_OK;
    const qd_quantizer *quantizer = &q->quantizers[q->values[value].quantizer];
    const qd_quant_params *params = &quantizer->params;
    int64_t count = n * qd_dims_count(&q->values[value].dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    float *x = qd_qgraph_value(q, QD_QMODE_SIMULATED, value);

    if (quantizer->is_float)
        return QD_OK;
    if (q->scheme.activation_dynamic)
        return simulate_dynamic(q, value, n);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        qd_quant_simulate(x + piece.first, piece.count, params);
    }
    return QD_OK;
}

enum qd_status qd_qgraph_load_float(qd_qgraph *q, enum qd_qmode mode, const float *images, int64_t n)
{
    int64_t count = n * qd_dims_count(&q->values[q->input].dims);

    memcpy(qd_qgraph_value(q, mode, q->input), images, (size_t)count * sizeof *images);
    return mode == QD_QMODE_SIMULATED ? simulate_value(q, q->input, n) : QD_OK;
}

/* SiLU's second half: y = x·sigmoid(x). */
static void multiply_inner(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n)
{
    int64_t count = n * qd_dims_count(&q->values[step->output].dims),
            pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    const float *x = qd_qgraph_value(q, mode, step->input[0]), *sigmoid = qd_qgraph_value(q, mode, step->inner);
    float *y = qd_qgraph_value(q, mode, step->output);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(q->ctx))
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        q->kernels.multiply(x + piece.first, sigmoid + piece.first, piece.count, false, y + piece.first);
    }
}

static enum qd_status clamp_output(const qd_layer_call *call, enum qd_activation kind)
{
    const qd_activation_config config = {kind};
    qd_layer_call clamp = *call;

    clamp.config = &config;
    clamp.in[0] = call->out;
    clamp.x[0] = call->y;
    return qd_layer_activation.forward(&clamp);
}

enum qd_status qd_qgraph_step_float(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n)
{
    qd_layer_call call = make_call(q, mode, step, n);
    qd_activation_config activation = {QD_ACTIVATION_NONE};
    const qd_layer_ops *ops = step_layer(q, step, &activation, &call.config);
    bool simulated = mode == QD_QMODE_SIMULATED;
    bool clamped = step->activation == QD_ACTIVATION_RELU || step->activation == QD_ACTIVATION_RELU6;

    call.workspace = q->workspace.data;
    call.saved = q->workspace.data + q->saved_offset;
    QD_TRY(ops->forward(&call));
    if (step->kind == QD_QSTEP_SILU) {
        if (simulated)
            QD_TRY(simulate_value(q, step->inner, n));
        multiply_inner(q, mode, step, n);
    } else if (clamped && step->kind != QD_QSTEP_TABLE) {
        QD_TRY(clamp_output(&call, step->activation));
    }
    /* a max-pool moves values that are codes already; the logits are no codes */
    if (simulated && step->kind != QD_QSTEP_MAXPOOL && q->values[step->output].quantizer >= 0)
        return simulate_value(q, step->output, n);
    return QD_OK;
}

enum qd_status qd_qgraph_run_conv(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n, float *y)
{
    qd_layer_call call = make_call(q, mode, step, n);

    call.config = &q->convs[step->conv].config;
    call.y = y;
    call.workspace = q->workspace.data;
    call.saved = q->workspace.data + q->saved_offset;
    return qd_layer_conv2d.forward(&call);
}
