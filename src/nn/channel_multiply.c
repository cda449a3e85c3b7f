/*
 * The squeeze-excite product: a map times one gate per sample and channel.
 *
 * x [n][h][w][C], s [n][1][1][C] → y [n][h][w][C]: y = x·s. Source: torchvision.ops.SqueezeExcitation.
 */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in[0].rank != 4 || in[1].rank != 4 || in[1].c != in[0].c || in[1].h != 1 || in[1].w != 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "channel_multiply '%s': expected a map and a 1 x 1 gate of rank 4 with %lld channels, got a "
                       "gate of %lld x %lld x %lld",
                       name, (long long)in[0].c, (long long)in[1].c, (long long)in[1].h, (long long)in[1].w);
    *decl = (qd_layer_decl){.out = in[0]};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_INPUT0 | QD_NEEDS_INPUT1;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++)
        call->k->channel_scale(qd_element(call->x[0], call->dtype, i * rows * channels),
                               qd_element(call->x[1], call->dtype, i * channels), rows, channels, false,
                               qd_element(call->y, call->dtype, i * rows * channels));
    return QD_OK;
}

/* dx = dy·s, ds = Σ over h, w of x·dy */
static enum qd_status backward(const qd_layer_call *call)
{
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++) {
        const void *dy = qd_element(call->dy, call->dtype, i * rows * channels);
        if (call->dx[1])
            call->k->channel_dot(qd_element(call->x[0], call->dtype, i * rows * channels), dy, rows, channels,
                                 call->accumulate[1], qd_element(call->dx[1], call->dtype, i * channels));
        if (call->dx[0])
            call->k->channel_scale(dy, qd_element(call->x[1], call->dtype, i * channels), rows, channels,
                                   call->accumulate[0], qd_element(call->dx[0], call->dtype, i * rows * channels));
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_channel_multiply = {
    .name = "channel_multiply",
    .input_count = 2,
    .infer = infer,
    .backward_needs = backward_needs,
    .forward = forward,
    .backward = backward,
};
