/*
 * flatten(start_dim = 1) of a pooled map: x [n][1][1][C] → y [n][C]. With h = w = 1 the memory order of NHWC is
 * already PyTorch's order, so this is a copy; larger maps would need a transposition and are refused.
 * Source: PyTorch torch.flatten.
 */
#include "base/error.h"
#include "nn/layer_work.h"
#include <string.h>

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in->rank != 4 || in->h != 1 || in->w != 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "flatten '%s': expected a pooled input of rank 4 and 1 x 1, got rank %d and %lld x %lld", name,
                       in->rank, (long long)in->h, (long long)in->w);
    *decl = (qd_layer_decl){.out = {.rank = 2, .c = in->c, .h = 1, .w = 1}};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_NOTHING;
}

static enum qd_status forward(const qd_layer_call *call)
{
    memcpy(call->y, call->x[0], (size_t)(call->n * call->in[0].c) * qd_dtype_size(call->dtype));
    return QD_OK;
}

/* dx = dy */
static enum qd_status backward(const qd_layer_call *call)
{
    if (call->dx[0])
        call->k->scale(call->dy, call->n * call->in[0].c, 1.0, call->accumulate[0], call->dx[0]);
    return QD_OK;
}

const qd_layer_ops qd_layer_flatten = {
    .name = "flatten",
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .forward = forward,
    .backward = backward,
};
