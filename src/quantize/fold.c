#include "quantize/fold.h"

#include "base/error.h"
#include <math.h>
#include <stdlib.h>

/* Value `index` of a block of the state, in memory order. */
static double value_at(const qd_state *state, const void *block, int64_t index)
{
    return state->dtype == QD_F64 ? ((const double *)block)[index] : (double)((const float *)block)[index];
}

static double param_at(const qd_graph *graph, const qd_state *state, int param, int64_t index)
{
    return value_at(state, state->params, graph->params[param].offset + index);
}

static double buffer_at(const qd_graph *graph, const qd_state *state, int buffer, int64_t index)
{
    return value_at(state, state->buffers, graph->buffers[buffer].offset + index);
}

/* What BatchNorm makes of channel c: y = gain·x + shift. */
static void channel_affine(const qd_graph *graph, const qd_state *state, const qd_node *batchnorm, int64_t c,
                           double *gain, double *shift)
{
    const qd_batchnorm2d_config *config = batchnorm->config;
    double gamma = param_at(graph, state, batchnorm->param[0], c);
    double beta = param_at(graph, state, batchnorm->param[1], c);
    double mean = buffer_at(graph, state, batchnorm->buffer[0], c);
    double variance = buffer_at(graph, state, batchnorm->buffer[1], c);

    *gain = gamma / sqrt(variance + config->eps);
    *shift = beta - mean * *gain;
}

double qd_fold_gain(const qd_graph *graph, const qd_state *state, int batchnorm, int64_t c)
{
    double gain, shift;

    channel_affine(graph, state, &graph->nodes[batchnorm], c, &gain, &shift);
    return gain;
}

enum qd_status qd_fold_batchnorm(qd_context *ctx, const qd_graph *graph, const qd_state *state, int node,
                                 int batchnorm, float *weight, float *bias)
{
    const qd_node *conv = &graph->nodes[node];
    const qd_node *norm = batchnorm < 0 ? NULL : &graph->nodes[batchnorm];
    const qd_param *param = &graph->params[conv->param[0]];
    int64_t channels = param->shape[0];
    int64_t per_channel = param->count / channels;

    for (int64_t o = 0; o < channels; o++) {
        double gain = 1.0, shift = 0.0;
        if (norm != NULL)
            channel_affine(graph, state, norm, o, &gain, &shift);
        double b = conv->param[1] < 0 ? 0.0 : param_at(graph, state, conv->param[1], o);
        bias[o] = (float)(b * gain + shift);
        if (!isfinite(bias[o]))
            return qd_fail(ctx, QD_ERR_NUMERIC,
                           "quantize '%s': the bias of channel %lld is not finite%s; nothing can be quantized",
                           conv->name, (long long)o, norm == NULL ? "" : " after BatchNorm is folded in");
        for (int64_t k = 0; k < per_channel; k++) {
            /* depthwise filters lie channel by channel, all others filter by filter */
            int64_t index = param->order == QD_ORDER_HWO ? k * channels + o : o * per_channel + k;
            weight[index] = (float)(param_at(graph, state, conv->param[0], index) * gain);
            if (!isfinite(weight[index]))
                return qd_fail(ctx, QD_ERR_NUMERIC,
                               "quantize '%s': a weight of channel %lld is not finite%s; nothing can be quantized",
                               conv->name, (long long)o, norm == NULL ? "" : " after BatchNorm is folded in");
        }
    }
    return QD_OK;
}
