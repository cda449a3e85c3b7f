/*
 * AdaptiveAvgPool2d(1): the mean of every channel of a sample.
 *
 * x [n][h][w][C] → y [n][1][1][C]: y = Σx / (h·w). Source: PyTorch nn.AdaptiveAvgPool2d.
 */
#include "base/arena.h"
#include "base/error.h"
#include "nn/deferred.h"
#include <omp.h>

static size_t image_bytes(const qd_layer_call *call)
{
    return qd_align_bytes((size_t)qd_dims_count(&call->in[0]) * qd_dtype_size(call->dtype));
}

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in->rank != 4)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "global_avgpool '%s': expected an input of rank 4 (N, C, H, W), got rank %d", name, in->rank);
    *decl = (qd_layer_decl){.out = {.rank = 4, .c = in->c, .h = 1, .w = 1}};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_NOTHING;
}

static bool takes_deferred(const qd_layer_call *call)
{
    (void)call;
    return true;
}

/* An image made from a deferred input, for each thread. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    return call->deferred.present && !backward ? (size_t)call->threads * image_bytes(call) : 0;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++) {
        unsigned char *own = (unsigned char *)call->workspace + (size_t)omp_get_thread_num() * image_bytes(call);
        const void *x = qd_input_rows(call, qd_element(call->x[0], call->dtype, i * rows * channels), rows, own);
        call->k->mean_rows(x, rows, channels, qd_element(call->y, call->dtype, i * channels));
    }
    return QD_OK;
}

/* dx = dy / (h·w) */
static enum qd_status backward(const qd_layer_call *call)
{
    if (!call->dx[0])
        return QD_OK;
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++)
        call->k->broadcast_rows(qd_element(call->dy, call->dtype, i * channels), rows, channels, 1.0 / (double)rows,
                                call->accumulate[0], qd_element(call->dx[0], call->dtype, i * rows * channels));
    return QD_OK;
}

const qd_layer_ops qd_layer_global_avgpool = {
    .name = "global_avgpool",
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .workspace_bytes = workspace_bytes,
    .takes_deferred = takes_deferred,
    .forward = forward,
    .backward = backward,
};
