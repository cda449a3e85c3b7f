/*
 * Linear: y[n][out] = Σ_in x[n][in] · w[out][in] + bias[out]. This is a 1×1 convolution of images of one pixel, and
 * uses its passes.
 *     dx = dy · w        dw = dyᵀ · x        db = Σ_n dy
 * Source: PyTorch nn.Linear.
 */
#include "base/error.h"
#include "nn/conv_passes.h"

static qd_conv_shape shape_of(const qd_linear_config *config, int64_t n)
{
    return (qd_conv_shape){.n = n,
                           .ih = 1,
                           .iw = 1,
                           .ic = config->in_features,
                           .oh = 1,
                           .ow = 1,
                           .oc = config->out_features,
                           .kh = 1,
                           .kw = 1,
                           .stride = 1,
                           .groups = 1};
}

static enum qd_status infer(qd_context *ctx, const char *name, const void *config_, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_linear_config *config = config_;

    if (config->in_features < 1 || config->out_features < 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "linear '%s': needs at least 1 input and 1 output feature, got %lld and %lld", name,
                       (long long)config->in_features, (long long)config->out_features);
    if (in[0].rank != 2)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "linear '%s': expected an input of rank 2 (N, C), got rank %d; flatten first", name,
                       in[0].rank);
    if (in[0].c != config->in_features)
        return qd_fail(ctx, QD_ERR_SHAPE, "linear '%s': expected %lld input features, got %lld", name,
                       (long long)config->in_features, (long long)in[0].c);

    *decl = (qd_layer_decl){
        .out = {.rank = 2, .c = config->out_features, .h = 1, .w = 1},
        .param_count = 2,
        .params = {{.suffix = "weight", .rank = 2, .shape = {config->out_features, config->in_features}},
                   {.suffix = "bias", .rank = 1, .shape = {config->out_features}}}};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_INPUT0;
}

static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    qd_conv_shape s = shape_of(call->config, call->n);
    size_t weights, data, bias;

    if (!backward)
        return qd_conv_dense_forward_bytes(call, &s);
    weights = qd_conv_dense_backward_weights_bytes(call, &s);
    data = qd_conv_dense_backward_data_bytes(call, &s);
    bias = qd_conv_backward_bias_bytes(&s);
    weights = weights > data ? weights : data;
    return weights > bias ? weights : bias;
}

static enum qd_status forward(const qd_layer_call *call)
{
    qd_conv_shape s = shape_of(call->config, call->n);

    qd_conv_dense_forward(call, &s);
    qd_conv_add_bias(call, &s);
    return QD_OK;
}

static enum qd_status backward(const qd_layer_call *call)
{
    qd_conv_shape s = shape_of(call->config, call->n);

    if (call->grad[0])
        qd_conv_dense_backward_weights(call, &s);
    if (call->grad[1])
        qd_conv_backward_bias(call, &s);
    if (call->dx[0])
        qd_conv_dense_backward_data(call, &s);
    return QD_OK;
}

const qd_layer_ops qd_layer_linear = {
    .name = "linear",
    .config_size = sizeof(qd_linear_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .workspace_bytes = workspace_bytes,
    .forward = forward,
    .backward = backward,
};
