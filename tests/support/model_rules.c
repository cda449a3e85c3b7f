#include "support/model_rules.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

uint64_t rule_stream(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}

double rule_uniform(uint64_t stream, int64_t index)
{
    uint64_t z = stream + ((uint64_t)index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = z ^ (z >> 31);
    return (double)(z >> 11) * 0x1p-53;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), end_length = strlen(end);
    return length >= end_length && strcmp(text + length - end_length, end) == 0;
}

/* Scale and middle of a parameter or buffer; see rule_value() of the fixture script. */
static void range_of(const qd_param *param, double *middle, double *scale)
{
    *middle = 0.0;
    *scale = 0.2;
    if (ends_with(param->name, "running_mean"))
        *scale = 0.1;
    else if (ends_with(param->name, "bias"))
        *scale = 0.2;
    else if (param->rank == 1) /* running_var and BatchNorm's weight */
        *middle = 1.0;
    else
        *scale = sqrt((param->rank == 2 ? 1.5 : 6.0) / (double)(param->count / param->shape[0]));
}

static void fill_param(const qd_param *param, enum qd_dtype dtype, void *block)
{
    qd_tensor view = qd_param_view(param, dtype, block);
    uint64_t stream = rule_stream(param->name);
    double middle, scale;
    range_of(param, &middle, &scale);
    for (int64_t index = 0; index < param->count; index++) {
        int64_t rest = index, offset = 0;
        for (int d = param->rank - 1; d >= 0; d--) {
            offset += rest % param->shape[d] * view.stride[d];
            rest /= param->shape[d];
        }
        double value = middle + scale * (2.0 * rule_uniform(stream, index) - 1.0);
        if (dtype == QD_F64)
            ((double *)view.data)[offset] = value;
        else
            ((float *)view.data)[offset] = (float)value;
    }
}

void rule_fill_state(qd_state *state)
{
    const qd_graph *graph = state->graph;
    for (int i = 0; i < graph->param_count; i++)
        fill_param(&graph->params[i], state->dtype, state->params);
    for (int i = 0; i < graph->buffer_count; i++)
        fill_param(&graph->buffers[i], state->dtype, state->buffers);
}

void rule_fill_images(enum qd_dtype dtype, int step, int64_t n, int64_t size, void *x)
{
    char text[32];
    snprintf(text, sizeof text, "image/%d", step);
    uint64_t stream = rule_stream(text);
    int64_t index = 0; /* PyTorch's order: n, c, h, w */
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < 3; c++)
            for (int64_t at = 0; at < size * size; at++, index++) {
                double value = 4.0 * rule_uniform(stream, index) - 2.0;
                int64_t offset = (i * size * size + at) * 3 + c;
                if (dtype == QD_F64)
                    ((double *)x)[offset] = value;
                else
                    ((float *)x)[offset] = (float)value;
            }
}

void rule_fill_labels(int step, int64_t n, int64_t classes, int64_t *labels)
{
    char text[32];
    snprintf(text, sizeof text, "label/%d", step);
    uint64_t stream = rule_stream(text);
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int64_t)floor((double)classes * rule_uniform(stream, i));
}

static void draw_by_rule(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    const int *step = user;
    char text[QD_NAME_BYTES + 16];
    snprintf(text, sizeof text, "%s/%d", name, *step);
    uint64_t stream = rule_stream(text);
    for (int64_t i = 0; i < count; i++)
        keep[i] = rule_uniform(stream, i) < p_keep;
}

qd_draws rule_draws(const int *step)
{
    return (qd_draws){.bernoulli = draw_by_rule, .user = (void *)(uintptr_t)step};
}
