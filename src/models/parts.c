#include "models/parts.h"

#include "base/error.h"

#include <math.h>

/* ---- building ---- */

enum qd_status qd_part_start(qd_context *ctx, const char *model_name, const char *class_name,
                             const qd_model_config *config, qd_builder **out)
{
    if (config->image_size < QD_MODEL_IMAGE_SIZE_MIN || config->image_size > QD_MODEL_IMAGE_SIZE_MAX)
        return qd_fail(ctx, QD_ERR_USAGE, "model '%s': expected an image size of %d to %d, got %lld", model_name,
                       QD_MODEL_IMAGE_SIZE_MIN, QD_MODEL_IMAGE_SIZE_MAX, (long long)config->image_size);
    if (config->head == QD_HEAD_LINEAR && (config->num_classes < 1 || config->num_classes > INT32_MAX))
        return qd_fail(ctx, QD_ERR_USAGE, "model '%s': expected at least one class, got %lld", model_name,
                       (long long)config->num_classes);
    qd_dims input = {.rank = 4, .c = 3, .h = config->image_size, .w = config->image_size};
    return qd_builder_create(ctx, model_name, class_name, input, out);
}

int qd_part_conv(qd_builder *b, const char *name, const qd_conv2d_config *config, int x)
{
    return qd_builder_call(b, name, "Conv2d", QD_LAYER_conv2d, config, x, -1);
}

int qd_part_batchnorm(qd_builder *b, const char *name, int64_t channels, int x)
{
    qd_batchnorm2d_config config = {.channels = channels, .eps = 1e-5, .momentum = 0.1}; /* PyTorch's defaults */
    return qd_builder_call(b, name, "BatchNorm2d", QD_LAYER_batchnorm2d, &config, x, -1);
}

const char *qd_part_activation_class(enum qd_activation kind)
{
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return "ReLU";
    case QD_ACTIVATION_RELU6:
        return "ReLU6";
    case QD_ACTIVATION_SILU:
        return "SiLU";
    case QD_ACTIVATION_HARDSWISH:
        return "Hardswish";
    case QD_ACTIVATION_SIGMOID:
        return "Sigmoid";
    default:
        return "Identity";
    }
}

int qd_part_activation(qd_builder *b, const char *name, enum qd_activation kind, int x)
{
    return qd_builder_call(b, name, qd_part_activation_class(kind), QD_LAYER_activation,
                           &(qd_activation_config){kind}, x, -1);
}

int qd_part_avgpool(qd_builder *b, const char *name, int x)
{
    return qd_builder_call(b, name, "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
}

static int linear(qd_builder *b, const char *name, int64_t in, int64_t out, int x)
{
    return qd_builder_call(b, name, "Linear", QD_LAYER_linear, &(qd_linear_config){in, out}, x, -1);
}

int qd_part_head(qd_builder *b, const char *name, const qd_model_config *config, int64_t features, int x)
{
    const qd_dropout_config dropout = {.p = 0.6}; /* the post's binary classifier, as is its width */
    const int64_t hidden = 128;

    x = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, x, -1);
    if (config->head == QD_HEAD_LINEAR)
        return linear(b, name, features, config->num_classes, x);
    qd_builder_open(b, name, "Sequential");
    x = qd_builder_call(b, "0", "Dropout", QD_LAYER_dropout, &dropout, x, -1);
    x = linear(b, "1", features, hidden, x);
    x = qd_part_activation(b, "2", QD_ACTIVATION_RELU, x);
    x = qd_builder_call(b, "3", "Dropout", QD_LAYER_dropout, &dropout, x, -1);
    x = linear(b, "4", hidden, 1, x);
    qd_builder_close(b, x);
    return x;
}

/* ---- initialising ---- */

/* Values drawn before they are stored. normal_ fills blocks of 16 values from 16 words, so any multiple of 16 cuts
 * the stream where PyTorch's own loop does; 4096 floats fit a stack and a first-level cache. */
#define CHUNK 4096

/* Stores `value` at logical (row-major) position `index` of a view. */
static void store(const qd_tensor *view, int64_t index, double value)
{
    int64_t offset = 0;
    for (int i = view->rank - 1; i >= 0; i--) {
        offset += index % view->shape[i] * view->stride[i];
        index /= view->shape[i];
    }
    if (view->dtype == QD_F64)
        ((double *)view->data)[offset] = value;
    else
        ((float *)view->data)[offset] = (float)value;
}

static void fill(const qd_state *state, int param, double value)
{
    qd_tensor view = qd_state_param(state, QD_BLOCK_PARAMS, param);
    for (int64_t i = 0; i < state->graph->params[param].count; i++)
        store(&view, i, value);
}

static void fill_normal(const qd_state *state, int param, double std, qd_rng *rng)
{
    qd_tensor view = qd_state_param(state, QD_BLOCK_PARAMS, param);
    int64_t count = state->graph->params[param].count;
    float values[CHUNK];
    for (int64_t done = 0; done < count; done += CHUNK) {
        int64_t n = count - done < CHUNK ? count - done : CHUNK;
        qd_rng_normal_f32(rng, values, n, 0.0f, (float)std);
        for (int64_t i = 0; i < n; i++)
            store(&view, done + i, (double)values[i]);
    }
}

static void fill_uniform(const qd_state *state, int param, double bound, qd_rng *rng)
{
    qd_tensor view = qd_state_param(state, QD_BLOCK_PARAMS, param);
    for (int64_t i = 0; i < state->graph->params[param].count; i++)
        store(&view, i, (double)qd_rng_uniform_f32(rng, (float)-bound, (float)bound));
}

uint64_t qd_init_default_conv_words(const qd_graph *graph)
{
    int64_t words = 0;
    for (int p = 0; p < graph->param_count; p++)
        if (graph->nodes[graph->params[p].node].kind == QD_LAYER_conv2d)
            words += graph->params[p].count;
    return (uint64_t)words;
}

static void init_norm(const qd_state *state, const qd_node *node)
{
    fill(state, node->param[0], 1.0);
    fill(state, node->param[1], 0.0);
}

void qd_init_convs_and_norms(qd_state *state, qd_rng *rng)
{
    const qd_graph *graph = state->graph;
    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        if (node->kind == QD_LAYER_conv2d) {
            /* fan_out as PyTorch counts it: groups do not divide it. The gain of ReLU is sqrt(2), also for SiLU here.
             */
            const int64_t *shape = graph->params[node->param[0]].shape;
            double fan_out = (double)(shape[0] * shape[2] * shape[3]);
            fill_normal(state, node->param[0], sqrt(2.0) / sqrt(fan_out), rng);
            if (node->param[1] >= 0)
                fill(state, node->param[1], 0.0);
        } else if (node->kind == QD_LAYER_batchnorm2d) {
            init_norm(state, node);
        }
    }
}

/* kaiming_uniform_(a=sqrt(5)) of a weight and, where there is one, the uniform bias of the same bound. */
static void init_default(const qd_state *state, const qd_node *node, qd_rng *rng)
{
    const qd_param *weight = &state->graph->params[node->param[0]];
    const int64_t inputs = weight->count / weight->shape[0]; /* of one output: channels of the group, height, width */
    double fan_in = (double)inputs;
    /* 1/sqrt(fan_in) both, but rounded along PyTorch's two different ways. */
    double gain = sqrt(2.0 / (1.0 + sqrt(5.0) * sqrt(5.0)));
    fill_uniform(state, node->param[0], sqrt(3.0) * (gain / sqrt(fan_in)), rng);
    if (node->param[1] >= 0)
        fill_uniform(state, node->param[1], 1.0 / sqrt(fan_in), rng);
}

void qd_init_linears(qd_state *state, qd_rng *rng)
{
    for (int i = 0; i < state->graph->node_count; i++)
        if (state->graph->nodes[i].kind == QD_LAYER_linear)
            init_default(state, &state->graph->nodes[i], rng);
}

void qd_init_all_default(qd_state *state, qd_rng *rng)
{
    for (int i = 0; i < state->graph->node_count; i++) {
        const qd_node *node = &state->graph->nodes[i];
        if (node->kind == QD_LAYER_conv2d || node->kind == QD_LAYER_linear)
            init_default(state, node, rng);
        else if (node->kind == QD_LAYER_batchnorm2d)
            init_norm(state, node);
    }
}
