/* Networks for quantization tests. */
#include "support/quant_network.h"
#include "models/models.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGE_SIZE 64
#define SMALL_SIZE 18 /* even and odd maps behind the strides */

static int conv_norm(qd_builder *b, const char *conv, const char *norm, qd_conv2d_config config, int x)
{
    const qd_batchnorm2d_config batchnorm = {.channels = config.out_channels, .eps = 1e-5, .momentum = 0.1};

    x = qd_builder_call(b, conv, "Conv2d", QD_LAYER_conv2d, &config, x, -1);
    return qd_builder_call(b, norm, "BatchNorm2d", QD_LAYER_batchnorm2d, &batchnorm, x, -1);
}

static int activate(qd_builder *b, const char *name, const char *class_name, enum qd_activation kind, int x)
{
    const qd_activation_config config = {kind};

    return qd_builder_call(b, name, class_name, QD_LAYER_activation, &config, x, -1);
}

static int squeeze_excite(qd_builder *b, const char *name, int64_t channels, int64_t squeezed, int x)
{
    const qd_conv2d_config down = {channels, squeezed, 1, 1, 0, 1, true}, up = {squeezed, channels, 1, 1, 0, 1, true};

    qd_builder_open(b, name, "SqueezeExcitation");
    int y = qd_builder_call(b, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
    y = qd_builder_call(b, "fc1", "Conv2d", QD_LAYER_conv2d, &down, y, -1);
    y = activate(b, "activation", "SiLU", QD_ACTIVATION_SILU, y);
    y = qd_builder_call(b, "fc2", "Conv2d", QD_LAYER_conv2d, &up, y, -1);
    y = activate(b, "scale_activation", "Sigmoid", QD_ACTIVATION_SIGMOID, y);
    y = qd_builder_apply(b, "mul", QD_LAYER_channel_multiply, NULL, x, y);
    qd_builder_close(b, y);
    return y;
}

/* Odd channel counts throughout, so that every kernel has a tail. */
static enum qd_status build_small(qd_context *ctx, qd_graph **out)
{
    const qd_dims input = {.rank = 4, .c = 3, .h = SMALL_SIZE, .w = SMALL_SIZE};
    const qd_stochastic_depth_config depth = {0.2};
    const qd_dropout_config dropout = {0.5};
    const qd_maxpool2d_config pool = {.kernel = 3, .stride = 2, .padding = 1};
    const qd_linear_config linear = {10, 7};
    qd_builder *b = NULL;
    enum qd_status status;

    QD_TRY(qd_builder_create(ctx, "small", "Small", input, &b));
    int x = conv_norm(b, "conv1", "bn1", (qd_conv2d_config){3, 9, 3, 1, 1, 1, false}, qd_builder_input(b));
    x = activate(b, "relu", "ReLU", QD_ACTIVATION_RELU, x);
    x = qd_builder_call(b, "maxpool", "MaxPool2d", QD_LAYER_maxpool2d, &pool, x, -1);
    qd_builder_open(b, "block", "MBConv");
    int y = conv_norm(b, "expand", "bn", (qd_conv2d_config){9, 21, 1, 1, 0, 1, false}, x);
    y = activate(b, "act1", "SiLU", QD_ACTIVATION_SILU, y);
    y = conv_norm(b, "depthwise", "bn2", (qd_conv2d_config){21, 21, 5, 1, 2, 21, false}, y);
    y = activate(b, "act2", "SiLU", QD_ACTIVATION_SILU, y);
    y = squeeze_excite(b, "se", 21, 5, y);
    y = conv_norm(b, "project", "bn3", (qd_conv2d_config){21, 9, 1, 1, 0, 1, false}, y);
    y = qd_builder_call(b, "stochastic_depth", "StochasticDepth", QD_LAYER_stochastic_depth, &depth, y, -1);
    x = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, x);
    qd_builder_close(b, x);
    qd_builder_open(b, "basic", "BasicBlock");
    y = conv_norm(b, "conv1", "bn1", (qd_conv2d_config){9, 9, 3, 1, 1, 3, true},
                  x); /* grouped, with a bias before BatchNorm */
    y = activate(b, "relu", "ReLU", QD_ACTIVATION_RELU, y);
    y = conv_norm(b, "conv2", "bn2", (qd_conv2d_config){9, 9, 3, 1, 1, 1, false}, y);
    y = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, x);
    x = activate(b, "relu", "ReLU", QD_ACTIVATION_RELU, y);
    qd_builder_close(b, x);
    x = conv_norm(b, "head", "bn_head", (qd_conv2d_config){9, 10, 3, 2, 0, 1, false}, x);
    y = activate(b, "hardswish", "Hardswish", QD_ACTIVATION_HARDSWISH, x);
    x = activate(b, "relu6", "ReLU6", QD_ACTIVATION_RELU6, x); /* x has two readers: stands alone */
    x = qd_builder_apply(b, "join", QD_LAYER_add, NULL, x, y);
    x = qd_builder_call(b, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
    x = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, x, -1);
    x = qd_builder_call(b, "dropout", "Dropout", QD_LAYER_dropout, &dropout, x, -1);
    x = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &linear, x, -1);
    status = qd_builder_finish(b, x, out);
    qd_builder_destroy(b);
    return status;
}

static int depthwise_block(qd_builder *b, const char *name, bool residual, int x)
{
    qd_builder_open(b, name, "InvertedResidual");
    int y = conv_norm(b, "expand", "bn1", (qd_conv2d_config){16, 48, 1, 1, 0, 1, false}, x);
    y = activate(b, "relu1", "ReLU", QD_ACTIVATION_RELU, y);
    y = conv_norm(b, "depthwise", "bn2", (qd_conv2d_config){48, 48, 3, 1, 1, 48, false}, y);
    y = activate(b, "relu2", "ReLU", QD_ACTIVATION_RELU, y);
    y = conv_norm(b, "project", "bn3", (qd_conv2d_config){48, 16, 1, 1, 0, 1, false}, y);
    if (residual)
        y = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, x);
    qd_builder_close(b, y);
    return y;
}

/* What MobileNetV2 would be with ReLU: layers that equalization is valid between, and some that it is not. */
static enum qd_status build_mobile(qd_context *ctx, qd_graph **out)
{
    const qd_dims input = {.rank = 4, .c = 3, .h = SMALL_SIZE, .w = SMALL_SIZE};
    const qd_linear_config linear = {32, 10};
    qd_builder *b = NULL;
    enum qd_status status;

    QD_TRY(qd_builder_create(ctx, "mobile", "Mobile", input, &b));
    int x = conv_norm(b, "stem", "bn", (qd_conv2d_config){3, 16, 3, 1, 1, 1, false}, qd_builder_input(b));
    x = activate(b, "relu", "ReLU", QD_ACTIVATION_RELU, x);
    x = depthwise_block(b, "block1", false, x);
    x = depthwise_block(b, "block2", true, x);
    x = conv_norm(b, "head", "bn_head", (qd_conv2d_config){16, 32, 1, 1, 0, 1, false}, x);
    x = activate(b, "relu_head", "ReLU", QD_ACTIVATION_RELU, x);
    x = qd_builder_call(b, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
    x = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, x, -1);
    x = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &linear, x, -1);
    status = qd_builder_finish(b, x, out);
    qd_builder_destroy(b);
    return status;
}

static void keep_all(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    (void)user;
    (void)name;
    (void)p_keep;
    memset(keep, true, (size_t)count);
}

/* Whether this BatchNorm ends a residual branch: its output, possibly through stochastic depth, is summed. */
static bool ends_branch(const qd_graph *graph, const qd_node *norm)
{
    int value = norm->output;

    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        if (node->input[0] == value && node->kind == QD_LAYER_stochastic_depth)
            value = node->output;
        if ((node->input[0] == value || node->input[1] == value) && node->kind == QD_LAYER_add)
            return true;
    }
    return false;
}

/*
 * Fills every parameter: He-scaled weights, biases and betas in ±0.3, gammas 0.4 to 1.6, a quarter of that at the end
 * of residual branches. A deep network with full branches is chaotic until it is trained: it magnifies any rounding,
 * whoever does it, a hundredfold.
 */
static void fill_params(const qd_graph *graph, qd_state *state, qd_rng *rng)
{
    float *params = state->params;

    for (int i = 0; i < graph->param_count; i++) {
        const qd_param *param = &graph->params[i];
        float *values = params + param->offset;
        bool norm = graph->nodes[param->node].kind == QD_LAYER_batchnorm2d;
        double fan_in = param->rank > 1 ? (double)param->count / (double)param->shape[0] : 1.0;
        float bound = param->rank > 1 ? (float)sqrt(6.0 / fan_in) : 0.3f;
        float share = norm && ends_branch(graph, &graph->nodes[param->node]) ? 0.25f : 1.0f;
        bool gamma = norm && strstr(param->name, ".weight") != NULL;
        for (int64_t k = 0; k < param->count; k++)
            values[k] = gamma ? qd_rng_uniform_f32(rng, 0.4f, 1.6f) * share : qd_rng_uniform_f32(rng, -bound, bound);
    }
}

/* Running statistics become those of the images: one training pass with momentum 1. */
static void settle_statistics(const quant_network *network)
{
    const qd_plan_config config = {.max_batch = network->n, .training = true};
    const qd_draws draws = {.bernoulli = keep_all};
    qd_plan *plan = NULL;
    qd_tensor logits;

    for (int i = 0; i < network->graph->node_count; i++)
        if (network->graph->nodes[i].kind == QD_LAYER_batchnorm2d)
            ((qd_batchnorm2d_config *)network->graph->nodes[i].config)->momentum = 1.0;
    TEST_OK(network->ctx, qd_plan_create(network->ctx, network->graph, network->state, &config, &plan));
    TEST_OK(network->ctx, qd_plan_forward(plan, network->images, network->n, &draws, NULL, NULL, &logits));
    qd_plan_destroy(plan);
}

/* Copies the value that the last linear layer reads. */
typedef struct features {
    int node;
    float *values;
} features;

static enum qd_status keep_features(void *user, int node, const qd_tensor *value)
{
    features *f = user;

    if (node == f->node)
        memcpy(f->values, value->data, (size_t)qd_tensor_count(value) * sizeof(float));
    return QD_OK;
}

/*
 * Fits the classifier as training would: class k's weights are the features of image k less the mean of all, so that
 * logits sum what features agree on and rounding noise, which is independent from feature to feature, averages out.
 * With random weights a logit would be as noisy as one feature.
 */
static void fit_classifier(const quant_network *network)
{
    const qd_plan_config config = QD_PLAN_OBSERVING(network->n);
    const qd_node *head = &network->graph->nodes[network->graph->values[network->graph->output].producer];
    const qd_linear_config *linear = head->config;
    float *weight = (float *)network->state->params + network->graph->params[head->param[0]].offset;
    int64_t count = linear->in_features;
    features f = {.node = network->graph->values[head->input[0]].producer};
    qd_plan *plan = NULL;
    qd_tensor logits;

    f.values = calloc((size_t)(network->n * count), sizeof *f.values);
    cr_assert_not_null(f.values);
    TEST_OK(network->ctx, qd_plan_create(network->ctx, network->graph, network->state, &config, &plan));
    TEST_OK(network->ctx, qd_plan_forward(plan, network->images, network->n, NULL, keep_features, &f, &logits));
    for (int64_t c = 0; c < count; c++) {
        float mean = 0.0f;
        for (int64_t i = 0; i < network->n; i++)
            mean += f.values[i * count + c] / (float)network->n;
        for (int64_t k = 0; k < linear->out_features; k++)
            weight[k * count + c] = f.values[k % network->n * count + c] - mean;
    }
    qd_plan_destroy(plan);
    free(f.values);
}

static void fill_images(quant_network *network, qd_rng *rng)
{
    const qd_dims *dims = &network->graph->input_dims;
    int64_t pixels = dims->h * dims->w;

    network->images = malloc((size_t)(network->n * pixels * dims->c) * sizeof(float));
    cr_assert_not_null(network->images);
    for (int64_t i = 0; i < network->n * dims->c; i++) {
        float level = qd_rng_uniform_f32(rng, -1.0f, 1.0f);
        float across = qd_rng_uniform_f32(rng, -1.5f, 1.5f), down = qd_rng_uniform_f32(rng, -1.5f, 1.5f);
        for (int64_t p = 0; p < pixels; p++)
            network->images[(i / dims->c * pixels + p) * dims->c + i % dims->c] =
                level + sinf(across * (float)(p % dims->w) + down * (float)(p / dims->w)) +
                qd_rng_uniform_f32(rng, -0.2f, 0.2f);
    }
}

quant_network quant_network_create(qd_context *ctx, const char *name, int64_t n)
{
    quant_network network = {.ctx = ctx, .n = n};
    bool binary = strcmp(name, "binary") == 0;
    const qd_model_config config = {IMAGE_SIZE, 10, binary ? QD_HEAD_BINARY : QD_HEAD_LINEAR};
    qd_rng rng;

    qd_rng_seed(&rng, 2024);
    if (strcmp(name, "small") == 0)
        TEST_OK(ctx, build_small(ctx, &network.graph));
    else if (strcmp(name, "mobile") == 0)
        TEST_OK(ctx, build_mobile(ctx, &network.graph));
    else
        TEST_OK(ctx, qd_model_build(ctx, qd_model_find(binary ? "resnet18" : name), &config, &network.graph));
    TEST_OK(ctx, qd_state_create(ctx, network.graph, QD_F32, false, &network.state));
    fill_params(network.graph, network.state, &rng);
    fill_images(&network, &rng);
    settle_statistics(&network);
    fit_classifier(&network);
    return network;
}

void quant_network_free(quant_network *network)
{
    qd_state_destroy(network->state);
    qd_graph_destroy(network->graph);
    free(network->images);
}

int64_t quant_network_classes(const quant_network *network)
{
    return qd_dims_count(&network->graph->values[network->graph->output].dims);
}

float *quant_network_logits(const quant_network *network)
{
    const qd_plan_config config = QD_PLAN_OBSERVING(network->n);
    size_t bytes = (size_t)(network->n * quant_network_classes(network)) * sizeof(float);
    float *copy = malloc(bytes);
    qd_plan *plan = NULL;
    qd_tensor logits;

    cr_assert_not_null(copy);
    TEST_OK(network->ctx, qd_plan_create(network->ctx, network->graph, network->state, &config, &plan));
    TEST_OK(network->ctx, qd_plan_forward(plan, network->images, network->n, NULL, NULL, NULL, &logits));
    memcpy(copy, logits.data, bytes);
    qd_plan_destroy(plan);
    return copy;
}

qd_qgraph *quant_network_quantize(const quant_network *network, const qd_quant_scheme *scheme)
{
    qd_qgraph *qgraph = NULL;

    TEST_OK(network->ctx,
            qd_qgraph_create(network->ctx, network->graph, network->state, scheme, network->n, &qgraph));
    TEST_OK(network->ctx, qd_qgraph_calibrate(qgraph, network->images, network->n));
    TEST_OK(network->ctx, qd_qgraph_finalize(qgraph));
    return qgraph;
}

static enum qd_status give_images(void *user, int64_t first, int64_t n, float *images)
{
    const quant_network *network = user;
    int64_t pixels = qd_dims_count(&network->graph->input_dims);

    cr_assert(first >= 0 && n >= 1 && first + n <= network->n, "images %lld … asked for", (long long)first);
    memcpy(images, network->images + first * pixels, (size_t)(n * pixels) * sizeof *images);
    return QD_OK;
}

qd_qgraph *quant_network_cook(const quant_network *network, const qd_quant_recipe *recipe, int64_t batch)
{
    quant_network copy = *network;
    const qd_recipe_job job = {.ctx = network->ctx,
                               .graph = network->graph,
                               .state = network->state,
                               .recipe = recipe,
                               .images = {.source = give_images, .user = &copy, .count = network->n},
                               .batch = batch};
    qd_qgraph *qgraph = NULL;

    TEST_OK(network->ctx, qd_recipe_quantize(&job, &qgraph));
    return qgraph;
}

static int64_t largest_at(const float *logits, int64_t count)
{
    int64_t best = 0;

    for (int64_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

quant_score quant_network_score(const quant_network *network, qd_qgraph *qgraph)
{
    int64_t classes = quant_network_classes(network), same = 0;
    float *wanted = quant_network_logits(network);
    float *found = calloc((size_t)(network->n * classes), sizeof *found);
    double signal = 0.0, noise = 0.0;

    cr_assert_not_null(found);
    TEST_OK(network->ctx, qd_qgraph_run_float(qgraph, true, network->images, network->n, found));
    for (int64_t i = 0; i < network->n; i++) {
        same += largest_at(wanted + i * classes, classes) == largest_at(found + i * classes, classes);
        for (int64_t k = i * classes; k < (i + 1) * classes; k++) {
            signal += (double)wanted[k] * (double)wanted[k];
            noise += ((double)wanted[k] - (double)found[k]) * ((double)wanted[k] - (double)found[k]);
        }
    }
    free(wanted);
    free(found);
    return (quant_score){10.0 * log10(signal / noise), (double)same / (double)network->n};
}

double quant_largest_difference(const float *a, const float *b, int64_t count)
{
    double difference = 0.0, scale = 0.0;

    for (int64_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        difference = d > difference || isnan(d) ? d : difference;
        scale = fmax(scale, fabs((double)a[i]));
    }
    return difference / scale;
}
