/*
 * MaxPool2d with a square window.
 *
 * x [n][h][w][C] → y [n][oh][ow][C], oh = ⌊(h + 2·padding - kernel)/stride⌋ + 1:
 *   y = max over the window, padding counting as -inf
 * saved: per output element the position of its first maximum in the window (kh·kernel + kw), one byte.
 * Source: PyTorch nn.MaxPool2d (dilation 1, ceil_mode off).
 */
#include "base/arena.h"
#include "base/error.h"
#include "nn/deferred.h"
#include <omp.h>
#include <string.h>

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_maxpool2d_config *pool = config;
    if (in->rank != 4)
        return qd_fail(ctx, QD_ERR_SHAPE, "maxpool2d '%s': expected an input of rank 4 (N, C, H, W), got rank %d",
                       name, in->rank);
    /* Positions are saved in a byte. */
    if (pool->kernel < 1 || pool->kernel > 16 || pool->stride < 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "maxpool2d '%s': expected a kernel from 1 to 16 and a stride of 1 or more, got %lld and %lld",
                       name, (long long)pool->kernel, (long long)pool->stride);
    /* PyTorch's rule; it also means that no window lies in the padding alone. */
    if (pool->padding < 0 || pool->padding > pool->kernel / 2)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "maxpool2d '%s': expected a padding from 0 to half of the kernel (%lld), got %lld", name,
                       (long long)(pool->kernel / 2), (long long)pool->padding);
    if (in->h + 2 * pool->padding < pool->kernel || in->w + 2 * pool->padding < pool->kernel)
        return qd_fail(
            ctx, QD_ERR_SHAPE,
            "maxpool2d '%s': expected an input of at least %lld x %lld, got %lld x %lld; use larger images", name,
            (long long)(pool->kernel - 2 * pool->padding), (long long)(pool->kernel - 2 * pool->padding),
            (long long)in->h, (long long)in->w);
    *decl = (qd_layer_decl){.out = {.rank = 4,
                                    .c = in->c,
                                    .h = (in->h + 2 * pool->padding - pool->kernel) / pool->stride + 1,
                                    .w = (in->w + 2 * pool->padding - pool->kernel) / pool->stride + 1}};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_NOTHING;
}

static size_t saved_bytes(const qd_layer_call *call)
{
    return (size_t)(call->n * qd_dims_count(&call->out));
}

static qd_conv_shape window_shape(const qd_layer_call *call, int64_t images)
{
    const qd_maxpool2d_config *pool = call->config;
    const qd_dims *in = &call->in[0], *out = &call->out;
    return (qd_conv_shape){.n = images,
                           .ih = in->h,
                           .iw = in->w,
                           .ic = in->c,
                           .oh = out->h,
                           .ow = out->w,
                           .oc = out->c,
                           .kh = pool->kernel,
                           .kw = pool->kernel,
                           .stride = pool->stride,
                           .pad = pool->padding,
                           .groups = in->c};
}

static bool takes_deferred(const qd_layer_call *call)
{
    (void)call;
    return true;
}

static size_t image_bytes(const qd_layer_call *call)
{
    return qd_align_bytes((size_t)qd_dims_count(&call->in[0]) * qd_dtype_size(call->dtype));
}

/* An image made from a deferred input, for each thread. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    return call->deferred.present && !backward ? (size_t)call->threads * image_bytes(call) : 0;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_conv_shape shape = window_shape(call, 1);
    const int64_t in_count = qd_dims_count(&call->in[0]), out_count = qd_dims_count(&call->out);
    uint8_t *argmax = call->saved;
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t image = 0; image < call->n; image++) {
        void *scratch = (unsigned char *)call->workspace + (size_t)omp_get_thread_num() * image_bytes(call);
        const void *x = qd_input_rows(call, qd_element(call->x[0], call->dtype, image * in_count),
                                      call->in[0].h * call->in[0].w, scratch);
        call->k->maxpool_forward(&shape, x, 0, call->out.h, qd_element(call->y, call->dtype, image * out_count),
                                 argmax + image * out_count);
    }
    return QD_OK;
}

/* dx = Σ of dy over the windows in which x was the first maximum */
static enum qd_status backward(const qd_layer_call *call)
{
    if (!call->dx[0])
        return QD_OK;
    const qd_conv_shape shape = window_shape(call, 1);
    const int64_t in_count = qd_dims_count(&call->in[0]), out_count = qd_dims_count(&call->out);
    const uint8_t *argmax = call->saved;
    /* Windows overlap, so an image is the smallest part that a thread may write alone. */
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t image = 0; image < call->n; image++) {
        void *dx = qd_element(call->dx[0], call->dtype, image * in_count);
        if (!call->accumulate[0])
            memset(dx, 0, (size_t)in_count * qd_dtype_size(call->dtype));
        call->k->maxpool_backward(&shape, qd_element(call->dy, call->dtype, image * out_count),
                                  argmax + image * out_count, dx);
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_maxpool2d = {
    .name = "maxpool2d",
    .config_size = sizeof(qd_maxpool2d_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .saved_bytes = saved_bytes,
    .workspace_bytes = workspace_bytes,
    .takes_deferred = takes_deferred,
    .forward = forward,
    .backward = backward,
};
