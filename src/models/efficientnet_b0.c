/*
 * EfficientNet-B0 (Tan & Le 2019, arXiv 1905.11946, table 1) as torchvision 0.14.1 builds it
 * (torchvision/models/efficientnet.py, torchvision/ops/misc.py): a 3x3 stem, 16 inverted-residual blocks with
 * squeeze-excite in seven stages, a 1x1 convolution to 1280 channels, average pool, one Linear. Its variants depart
 * in what the struct below switches.
 */
#include "models/parts.h"

#include <stdio.h>

#define FEATURES 1280

typedef struct switches {
    enum qd_activation activation; /* everywhere, inside squeeze-excite too; the gate stays a sigmoid */
    bool squeeze_excite;
    int dense_stages; /* so many stages from the first have dense convolutions in the depthwise ones' place */
    bool stochastic_depth;
} switches;

#define BLOCK_COUNT          16
#define STOCHASTIC_DEPTH_MAX 0.2 /* block i of 16 drops its branch with probability 0.2·i/16 */

static const struct stage {
    int64_t expand, kernel, stride, in, out;
    int blocks;
} stages[] = {
    {1, 3, 1, 32, 16, 1},  {6, 3, 2, 16, 24, 2},   {6, 5, 2, 24, 40, 2},   {6, 3, 2, 40, 80, 3},
    {6, 5, 1, 80, 112, 3}, {6, 5, 2, 112, 192, 4}, {6, 3, 1, 192, 320, 1},
};
#define STAGE_COUNT ((int)(sizeof stages / sizeof stages[0]))

/* "0", "1", ...: a Sequential's children. */
static const char *child(int index, char text[12])
{
    snprintf(text, 12, "%d", index);
    return text;
}

/* torchvision's Conv2dNormActivation: convolution with "same" padding, BatchNorm, and an activation unless it
 * projects (QD_ACTIVATION_NONE). */
static int conv_norm_activation(qd_builder *b, const char *name, int64_t in, int64_t out, int64_t kernel,
                                int64_t stride, int64_t groups, enum qd_activation activation, int x)
{
    const qd_conv2d_config conv = {.in_channels = in,
                                   .out_channels = out,
                                   .kernel = kernel,
                                   .stride = stride,
                                   .padding = (kernel - 1) / 2,
                                   .groups = groups};
    qd_builder_open(b, name, "Conv2dNormActivation");
    x = qd_part_conv(b, "0", &conv, x);
    x = qd_part_batchnorm(b, "1", out, x);
    if (activation != QD_ACTIVATION_NONE)
        x = qd_part_activation(b, "2", activation, x);
    qd_builder_close(b, x);
    return x;
}

/* x · sigmoid(fc2(activation(fc1(mean of x)))), a gate a channel. */
static int squeeze_excitation(qd_builder *b, const char *name, int64_t channels, int64_t squeezed,
                              enum qd_activation activation, int x)
{
    const qd_conv2d_config fc1 = {
        .in_channels = channels, .out_channels = squeezed, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    const qd_conv2d_config fc2 = {
        .in_channels = squeezed, .out_channels = channels, .kernel = 1, .stride = 1, .groups = 1, .bias = true};
    qd_builder_open(b, name, "SqueezeExcitation");
    /* Constructed in another order than they are called. */
    qd_builder_register(b, "avgpool", "AdaptiveAvgPool2d");
    qd_builder_register(b, "fc1", "Conv2d");
    qd_builder_register(b, "fc2", "Conv2d");
    qd_builder_register(b, "activation", qd_part_activation_class(activation));
    qd_builder_register(b, "scale_activation", "Sigmoid");
    int gate = qd_part_avgpool(b, "avgpool", x);
    gate = qd_part_conv(b, "fc1", &fc1, gate);
    gate = qd_part_activation(b, "activation", activation, gate);
    gate = qd_part_conv(b, "fc2", &fc2, gate);
    gate = qd_part_activation(b, "scale_activation", QD_ACTIVATION_SIGMOID, gate);
    x = qd_builder_apply(b, "mul", QD_LAYER_channel_multiply, NULL, x, gate);
    qd_builder_close(b, x);
    return x;
}

/* A block's place in the network. */
typedef struct place {
    int stage, block; /* block of the stage */
    double drop;
} place;

/* Expand, depthwise, squeeze-excite, project; plus the input where the shape stays. */
static int mbconv(qd_builder *b, const char *name, const switches *sw, place at, int input)
{
    const struct stage *stage = &stages[at.stage];
    int64_t in = at.block == 0 ? stage->in : stage->out;
    int64_t stride = at.block == 0 ? stage->stride : 1;
    int64_t expanded = in * stage->expand;
    int64_t squeezed = in / 4;
    int64_t groups = at.stage < sw->dense_stages ? 1 : expanded;
    char text[12];
    int index = 0;

    qd_builder_open(b, name, "MBConv");
    qd_builder_open(b, "block", "Sequential");
    int x = input;
    if (expanded != in)
        x = conv_norm_activation(b, child(index++, text), in, expanded, 1, 1, 1, sw->activation, x);
    x = conv_norm_activation(b, child(index++, text), expanded, expanded, stage->kernel, stride, groups,
                             sw->activation, x);
    if (sw->squeeze_excite)
        x = squeeze_excitation(b, child(index++, text), expanded, squeezed, sw->activation, x);
    x = conv_norm_activation(b, child(index++, text), expanded, stage->out, 1, 1, 1, QD_ACTIVATION_NONE, x);
    qd_builder_close(b, x);
    if (stride == 1 && in == stage->out) {
        x = qd_builder_call(b, "stochastic_depth", "StochasticDepth", QD_LAYER_stochastic_depth,
                            &(qd_stochastic_depth_config){.p = at.drop}, x, -1);
        x = qd_builder_apply(b, "add", QD_LAYER_add, NULL, x, input);
    } else {
        qd_builder_register(b, "stochastic_depth", "StochasticDepth");
    }
    qd_builder_close(b, x);
    return x;
}

static enum qd_status build(qd_context *ctx, const qd_model_info *model, const qd_model_config *config,
                            qd_graph **out)
{
    const switches *sw = model->switches;
    const double most = sw->stochastic_depth ? STOCHASTIC_DEPTH_MAX : 0.0;
    char text[12];
    qd_builder *b = NULL;
    QD_TRY(qd_part_start(ctx, model->name, "EfficientNet", config, &b));
    qd_builder_open(b, "features", "Sequential");
    int x = conv_norm_activation(b, "0", 3, stages[0].in, 3, 2, 1, sw->activation, qd_builder_input(b));
    for (int s = 0, block = 0; s < STAGE_COUNT; s++) {
        qd_builder_open(b, child(s + 1, text), "Sequential");
        for (int i = 0; i < stages[s].blocks; i++, block++)
            x = mbconv(b, child(i, text), sw, (place){s, i, most * (double)block / BLOCK_COUNT}, x);
        qd_builder_close(b, x);
    }
    x = conv_norm_activation(b, child(STAGE_COUNT + 1, text), stages[STAGE_COUNT - 1].out, FEATURES, 1, 1, 1,
                             sw->activation, x);
    qd_builder_close(b, x);
    x = qd_part_avgpool(b, "avgpool", x);
    x = qd_part_head(b, "classifier", config, FEATURES, x);
    enum qd_status status = qd_builder_finish(b, x, out);
    qd_builder_destroy(b);
    return status;
}

static void initialise(const qd_model_config *config, qd_state *state, qd_rng *rng)
{
    (void)config;
    /* The constructor's default draws: all of them are drawn again or replaced, so only their number counts. */
    qd_rng_skip(rng, qd_init_default_conv_words(state->graph) + (FEATURES + 1) * QD_IMAGENET_CLASSES);
    qd_init_convs_and_norms(state, rng);
    /* The model's own loop ends with the 1000-class Linear (its bias is set to zero), which the new head replaces. */
    qd_rng_skip(rng, FEATURES * QD_IMAGENET_CLASSES);
    qd_init_linears(state, rng);
}

const qd_model_info qd_model_efficientnet_b0 = {
    .name = "efficientnet_b0",
    .display_name = "EfficientNet-B0",
    .switches = &(const switches){QD_ACTIVATION_SILU, true, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_relu = {
    .name = "efficientnet_b0_relu",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 ReLU",
    .switches = &(const switches){QD_ACTIVATION_RELU, true, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_relu6 = {
    .name = "efficientnet_b0_relu6",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 ReLU6",
    .switches = &(const switches){QD_ACTIVATION_RELU6, true, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_hardswish = {
    .name = "efficientnet_b0_hardswish",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 hard-swish",
    .switches = &(const switches){QD_ACTIVATION_HARDSWISH, true, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_no_se = {
    .name = "efficientnet_b0_no_se",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 without squeeze-excite",
    .switches = &(const switches){QD_ACTIVATION_SILU, false, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_dense = {
    .name = "efficientnet_b0_dense",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 dense",
    .switches = &(const switches){QD_ACTIVATION_SILU, true, 2, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_efficientnet_b0_no_depth = {
    .name = "efficientnet_b0_no_depth",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-B0 without stochastic depth",
    .switches = &(const switches){QD_ACTIVATION_SILU, true, 0, false},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};

/* github.com/tensorflow/tpu, efficientnet/lite: ReLU6 and no squeeze-excite; stem and head are B0's own width.
 * BatchNorm keeps PyTorch's epsilon and momentum here, as everywhere. */
const qd_model_info qd_model_efficientnet_lite0 = {
    .name = "efficientnet_lite0",
    .variant_of = "efficientnet_b0",
    .display_name = "EfficientNet-Lite0",
    .switches = &(const switches){QD_ACTIVATION_RELU6, false, 0, true},
    .head = "classifier",
    .torchvision_head = "classifier.1",
    .block_prefixes = {"features.1.0", "features.2.0"},
    .build = build,
    .initialise = initialise,
};
