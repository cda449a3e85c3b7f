/*
 * Activations: y = f(x) for every element, any shape.
 *
 *   ReLU        max(x, 0)              ReLU6    min(max(x, 0), 6)       sigmoid  1/(1 + exp(-x))
 *   hard-swish  x·ReLU6(x + 3)/6       SiLU     x·sigmoid(x)
 *
 * Source: PyTorch nn.ReLU, nn.ReLU6, nn.Sigmoid, nn.Hardswish, nn.SiLU.
 */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_activation_config *activation = config;
    if (activation->kind <= QD_ACTIVATION_NONE || activation->kind > QD_ACTIVATION_SIGMOID)
        return qd_fail(ctx, QD_ERR_SHAPE, "activation '%s': expected a kind from 1 to %d, got %d", name,
                       (int)QD_ACTIVATION_SIGMOID, (int)activation->kind);
    *decl = (qd_layer_decl){.out = *in};
    return QD_OK;
}

/* Where the derivative is a step, the output tells as much as the input: y > 0 exactly where x > 0, and y < 6 where
 * x < 6. The next layer keeps the output anyway, so the input need not stay alive. */
static bool derivative_from_output(const qd_activation_config *config)
{
    return config->kind == QD_ACTIVATION_RELU || config->kind == QD_ACTIVATION_RELU6;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)fused;
    return derivative_from_output(config) ? QD_NEEDS_OUTPUT : QD_NEEDS_INPUT0;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_activation_config *config = call->config;
    const int64_t count = call->n * qd_dims_count(&call->in[0]);
    const int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        call->k->activation_forward(config->kind, qd_element(call->x[0], call->dtype, piece.first), piece.count,
                                    qd_element(call->y, call->dtype, piece.first));
    }
    return QD_OK;
}

/* dx = dy·f'(x) */
static enum qd_status backward(const qd_layer_call *call)
{
    const qd_activation_config *config = call->config;
    if (!call->dx[0])
        return QD_OK;
    const void *x = derivative_from_output(config) ? call->y : call->x[0];
    const int64_t count = call->n * qd_dims_count(&call->in[0]);
    const int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        call->k->activation_backward(config->kind, qd_element(x, call->dtype, piece.first),
                                     qd_element(call->dy, call->dtype, piece.first), piece.count, call->accumulate[0],
                                     qd_element(call->dx[0], call->dtype, piece.first));
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_activation = {
    .name = "activation",
    .config_size = sizeof(qd_activation_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .forward = forward,
    .backward = backward,
};
