/*
 * Dropout of single elements of x [n][C].
 *
 *   training    y = x·mask/(1 - p), mask = bernoulli(1 - p) per element in memory order, which for rank 2 is
 *               PyTorch's; p = 0 draws nothing
 *   evaluation  y = x
 * saved: mask/(1 - p), [n][C] of the layer's dtype. Source: PyTorch nn.Dropout.
 */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_dropout_config *dropout = config;
    if (!(dropout->p >= 0.0 && dropout->p < 1.0))
        return qd_fail(ctx, QD_ERR_SHAPE, "dropout '%s': expected a probability of at least 0 and below 1, got %g",
                       name, dropout->p);
    if (in->rank != 2)
        return qd_fail(ctx, QD_ERR_SHAPE, "dropout '%s': expected an input of rank 2 (N, C), got rank %d", name,
                       in->rank);
    *decl = (qd_layer_decl){.out = *in};
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
    return (size_t)(call->n * call->in[0].c) * qd_dtype_size(call->dtype);
}

/* The decisions of one forward pass. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    return backward ? 0 : (size_t)(call->n * call->in[0].c) * sizeof(bool);
}

static int64_t draws_per_sample(const void *config, const qd_dims *in)
{
    const qd_dropout_config *dropout = config;
    return dropout->p > 0.0 ? in->c : 0;
}

static bool is_identity(const qd_layer_call *call)
{
    const qd_dropout_config *dropout = call->config;
    return !call->training || dropout->p == 0.0;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_dropout_config *dropout = call->config;
    const int64_t count = call->n * call->in[0].c;
    if (is_identity(call)) {
        call->k->scale(call->x[0], count, 1.0, false, call->y);
        return QD_OK;
    }
    const double p_keep = 1.0 - dropout->p, factor = qd_keep_factor(call->dtype, p_keep);
    bool *keep = call->workspace;
    call->draws->bernoulli(call->draws->user, call->name, p_keep, count, keep);
    for (int64_t i = 0; i < count; i++)
        qd_element_put(call->saved, call->dtype, i, keep[i] ? factor : 0.0);
    call->k->multiply(call->x[0], call->saved, count, false, call->y);
    return QD_OK;
}

/* dx = dy·mask/(1 - p) */
static enum qd_status backward(const qd_layer_call *call)
{
    const int64_t count = call->n * call->in[0].c;
    if (!call->dx[0])
        return QD_OK;
    if (is_identity(call))
        call->k->scale(call->dy, count, 1.0, call->accumulate[0], call->dx[0]);
    else
        call->k->multiply(call->dy, call->saved, count, call->accumulate[0], call->dx[0]);
    return QD_OK;
}

const qd_layer_ops qd_layer_dropout = {
    .name = "dropout",
    .config_size = sizeof(qd_dropout_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .saved_bytes = saved_bytes,
    .workspace_bytes = workspace_bytes,
    .draws_per_sample = draws_per_sample,
    .forward = forward,
    .backward = backward,
};
