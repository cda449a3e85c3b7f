/*
 * Stochastic depth, mode "row": drops the whole branch of a sample.
 *
 *   training    y[i] = x[i]·mask[i]/(1 - p), mask = bernoulli(1 - p) per sample; p = 0 draws nothing
 *   evaluation  y = x
 * saved: mask[i]/(1 - p), one double a sample. Source: Huang et al. 2016; torchvision.ops.StochasticDepth.
 */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    const qd_stochastic_depth_config *depth = config;
    if (!(depth->p >= 0.0 && depth->p < 1.0))
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "stochastic_depth '%s': expected a probability of at least 0 and below 1, got %g", name,
                       depth->p);
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
    return (size_t)call->n * sizeof(double);
}

/* The decisions of one forward pass. */
static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    return backward ? 0 : (size_t)call->n * sizeof(bool);
}

static int64_t draws_per_sample(const void *config, const qd_dims *in)
{
    const qd_stochastic_depth_config *depth = config;
    (void)in;
    return depth->p > 0.0 ? 1 : 0;
}

/* to[i] = (or +=) factors[i]·from[i] for every sample. */
static void scale_samples(const qd_layer_call *call, const double *factors, const void *from, bool accumulate,
                          void *to)
{
    const int64_t count = qd_dims_count(&call->in[0]);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++)
        call->k->scale(qd_element(from, call->dtype, i * count), count, factors[i], accumulate,
                       qd_element(to, call->dtype, i * count));
}

static enum qd_status forward(const qd_layer_call *call)
{
    const qd_stochastic_depth_config *depth = call->config;
    const double p_keep = 1.0 - depth->p, factor = qd_keep_factor(call->dtype, p_keep);
    double *factors = call->saved;
    if (!call->training || depth->p == 0.0) {
        for (int64_t i = 0; i < call->n; i++)
            factors[i] = 1.0;
    } else {
        bool *keep = call->workspace;
        call->draws->bernoulli(call->draws->user, call->name, p_keep, call->n, keep);
        for (int64_t i = 0; i < call->n; i++)
            factors[i] = keep[i] ? factor : 0.0;
    }
    scale_samples(call, factors, call->x[0], false, call->y);
    return QD_OK;
}

/* dx[i] = dy[i]·mask[i]/(1 - p) */
static enum qd_status backward(const qd_layer_call *call)
{
    if (call->dx[0])
        scale_samples(call, call->saved, call->dy, call->accumulate[0], call->dx[0]);
    return QD_OK;
}

const qd_layer_ops qd_layer_stochastic_depth = {
    .name = "stochastic_depth",
    .config_size = sizeof(qd_stochastic_depth_config),
    .input_count = 1,
    .infer = infer,
    .backward_needs = backward_needs,
    .saved_bytes = saved_bytes,
    .workspace_bytes = workspace_bytes,
    .draws_per_sample = draws_per_sample,
    .forward = forward,
    .backward = backward,
};
