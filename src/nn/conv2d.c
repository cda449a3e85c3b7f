/*
 * Conv2d: y[n,oh,ow,o] = bias[o] + Σ_{kh,kw,i} x[n, oh·stride+kh-pad, ow·stride+kw-pad, i] · w[o,kh,kw,i], the sum
 * over the input channels of o's group; positions outside the image are 0.
 * Source: PyTorch nn.Conv2d (padding_mode zeros, dilation 1).
 */
#include "nn/conv_passes.h"

#include "base/error.h"

static bool is_depthwise(const qd_conv2d_config *config)
{
    return config->groups > 1 && config->groups == config->in_channels && config->groups == config->out_channels;
}

qd_conv_shape qd_conv2d_shape(const qd_conv2d_config *config, const qd_dims *in, const qd_dims *out, int64_t n)
{
    return (qd_conv_shape){.n = n,
                           .ih = in->h,
                           .iw = in->w,
                           .ic = in->c,
                           .oh = out->h,
                           .ow = out->w,
                           .oc = out->c,
                           .kh = config->kernel,
                           .kw = config->kernel,
                           .stride = config->stride,
                           .pad = config->padding,
                           .groups = config->groups};
}

static enum qd_status infer(qd_context *ctx, const char *name, const void *config_, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_conv2d_config *config = config_;
    int64_t kernel = config->kernel, height, width;

    if (config->in_channels < 1 || config->out_channels < 1 || kernel < 1 || config->stride < 1 ||
        config->padding < 0 || config->groups < 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "conv2d '%s': channels, kernel, stride and groups must be at least 1 and padding at least 0, "
                       "got %lld to %lld channels, kernel %lld, stride %lld, padding %lld, %lld groups",
                       name, (long long)config->in_channels, (long long)config->out_channels, (long long)kernel,
                       (long long)config->stride, (long long)config->padding, (long long)config->groups);
    if (config->in_channels % config->groups || config->out_channels % config->groups)
        return qd_fail(ctx, QD_ERR_SHAPE, "conv2d '%s': %lld groups must divide %lld input and %lld output channels",
                       name, (long long)config->groups, (long long)config->in_channels,
                       (long long)config->out_channels);
    if (in[0].rank != 4)
        return qd_fail(ctx, QD_ERR_SHAPE, "conv2d '%s': expected an input of rank 4 (N, C, H, W), got rank %d", name,
                       in[0].rank);
    if (in[0].c != config->in_channels)
        return qd_fail(ctx, QD_ERR_SHAPE, "conv2d '%s': expected %lld input channels, got %lld", name,
                       (long long)config->in_channels, (long long)in[0].c);
    height = in[0].h + 2 * config->padding;
    width = in[0].w + 2 * config->padding;
    if (height < kernel || width < kernel)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "conv2d '%s': the padded input of %lldx%lld is smaller than the %lldx%lld kernel; use larger "
                       "images",
                       name, (long long)height, (long long)width, (long long)kernel, (long long)kernel);

    *decl = (qd_layer_decl){
        .out = {.rank = 4,
                .c = config->out_channels,
                .h = (height - kernel) / config->stride + 1,
                .w = (width - kernel) / config->stride + 1},
        .param_count = config->bias ? 2 : 1,
        .params = {{.suffix = "weight",
                    .rank = 4,
                    .shape = {config->out_channels, config->in_channels / config->groups, kernel, kernel},
                    .order = is_depthwise(config) ? QD_ORDER_HWO : QD_ORDER_OHWI},
                   {.suffix = "bias", .rank = 1, .shape = {config->out_channels}}}};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_INPUT0;
}

static bool takes_deferred(const qd_layer_call *call)
{
    const qd_conv2d_config *config = call->config;
    qd_conv_shape s = qd_conv2d_shape(config, &call->in[0], &call->out, call->n);

    return is_depthwise(config) || qd_conv_dense_takes_deferred(call, &s);
}

static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    const qd_conv2d_config *config = call->config;
    qd_conv_shape s = qd_conv2d_shape(config, &call->in[0], &call->out, call->n);
    size_t bytes[3] = {0}, largest = 0;

    if (is_depthwise(config)) {
        bytes[0] =
            backward ? qd_conv_depthwise_backward_weights_bytes(call, &s) : qd_conv_depthwise_forward_bytes(call, &s);
    } else if (backward) {
        bytes[0] = qd_conv_dense_backward_weights_bytes(call, &s);
        bytes[1] = qd_conv_dense_backward_data_bytes(call, &s);
    } else {
        bytes[0] = qd_conv_dense_forward_bytes(call, &s);
    }
    if (backward && config->bias)
        bytes[2] = qd_conv_backward_bias_bytes(&s);
    for (int i = 0; i < 3; i++)
        largest = bytes[i] > largest ? bytes[i] : largest;
    return largest;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_conv2d_config *config = call->config;
    qd_conv_shape s = qd_conv2d_shape(config, &call->in[0], &call->out, call->n);

    if (is_depthwise(config))
        qd_conv_depthwise_forward(call, &s);
    else
        qd_conv_dense_forward(call, &s);
    if (config->bias)
        qd_conv_add_bias(call, &s);
    return QD_OK;
}

static enum qd_status backward(const qd_layer_call *call)
{
    const qd_conv2d_config *config = call->config;
    qd_conv_shape s = qd_conv2d_shape(config, &call->in[0], &call->out, call->n);

    if (call->grad[0] && is_depthwise(config))
        qd_conv_depthwise_backward_weights(call, &s);
    else if (call->grad[0])
        qd_conv_dense_backward_weights(call, &s);
    if (config->bias && call->grad[1])
        qd_conv_backward_bias(call, &s);
    if (call->dx[0] && is_depthwise(config))
        qd_conv_depthwise_backward_data(call, &s);
    else if (call->dx[0])
        qd_conv_dense_backward_data(call, &s);
    return QD_OK;
}

const qd_layer_ops qd_layer_conv2d = {
    .name = "conv2d",
    .config_size = sizeof(qd_conv2d_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .workspace_bytes = workspace_bytes,
    .takes_deferred = takes_deferred,
    .forward = forward,
    .backward = backward,
};
