/*
 * ResNet18 (He et al. 2015, arXiv 1512.03385) as torchvision 0.14.1 builds it (torchvision/models/resnet.py): a 7x7
 * stem, four stages of two basic blocks with 64, 128, 256, 512 channels, average pool, one Linear. Its variants
 * depart in what the struct below switches.
 */
#include "models/parts.h"

#define FEATURES 512

typedef struct switches {
    enum qd_activation activation;
    bool separable; /* blocks' 3x3 convolutions in two: depthwise 3x3, BatchNorm, activation, 1x1 */
} switches;

static int conv_norm(qd_builder *b, const char *conv, const char *norm, const qd_conv2d_config *config, int x)
{
    x = qd_part_conv(b, conv, config, x);
    return qd_part_batchnorm(b, norm, config->out_channels, x);
}

/* A 3x3 convolution of a block, or what stands in its place under its name. */
static int conv3x3(qd_builder *b, const switches *sw, const char *name, int64_t in, int64_t out, int64_t stride,
                   int x)
{
    qd_conv2d_config spatial = {
        .in_channels = in, .out_channels = out, .kernel = 3, .stride = stride, .padding = 1, .groups = 1};
    if (!sw->separable)
        return qd_part_conv(b, name, &spatial, x);
    const qd_conv2d_config pointwise = {
        .in_channels = in, .out_channels = out, .kernel = 1, .stride = 1, .groups = 1};
    spatial.out_channels = spatial.groups = in;
    qd_builder_open(b, name, "Sequential");
    x = conv_norm(b, "0", "1", &spatial, x);
    x = qd_part_activation(b, "2", sw->activation, x);
    x = qd_part_conv(b, "3", &pointwise, x);
    qd_builder_close(b, x);
    return x;
}

/* relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes. */
static int basic_block(qd_builder *b, const switches *sw, const char *name, int64_t in, int64_t out, int64_t stride,
                       int x)
{
    qd_builder_open(b, name, "BasicBlock");
    int y = conv3x3(b, sw, "conv1", in, out, stride, x);
    y = qd_part_batchnorm(b, "bn1", out, y);
    y = qd_part_activation(b, "relu", sw->activation, y);
    y = conv3x3(b, sw, "conv2", out, out, 1, y);
    y = qd_part_batchnorm(b, "bn2", out, y);
    int shortcut = x;
    if (stride != 1 || in != out) {
        const qd_conv2d_config projection = {
            .in_channels = in, .out_channels = out, .kernel = 1, .stride = stride, .groups = 1};
        qd_builder_open(b, "downsample", "Sequential");
        shortcut = conv_norm(b, "0", "1", &projection, x);
        qd_builder_close(b, shortcut);
    }
    y = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, shortcut);
    y = qd_part_activation(b, "relu", sw->activation, y);
    qd_builder_close(b, y);
    return y;
}

static enum qd_status build(qd_context *ctx, const qd_model_info *model, const qd_model_config *config,
                            qd_graph **out)
{
    static const struct {
        const char *name;
        int64_t in, out, stride;
    } stages[] = {{"layer1", 64, 64, 1}, {"layer2", 64, 128, 2}, {"layer3", 128, 256, 2}, {"layer4", 256, 512, 2}};
    const qd_conv2d_config stem = {
        .in_channels = 3, .out_channels = 64, .kernel = 7, .stride = 2, .padding = 3, .groups = 1};
    const switches *sw = model->switches;

    qd_builder *b = NULL;
    QD_TRY(qd_part_start(ctx, model->name, "ResNet", config, &b));
    int x = conv_norm(b, "conv1", "bn1", &stem, qd_builder_input(b));
    x = qd_part_activation(b, "relu", sw->activation, x);
    x = qd_builder_call(b, "maxpool", "MaxPool2d", QD_LAYER_maxpool2d,
                        &(qd_maxpool2d_config){.kernel = 3, .stride = 2, .padding = 1}, x, -1);
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        qd_builder_open(b, stages[i].name, "Sequential");
        x = basic_block(b, sw, "0", stages[i].in, stages[i].out, stages[i].stride, x);
        x = basic_block(b, sw, "1", stages[i].out, stages[i].out, 1, x);
        qd_builder_close(b, x);
    }
    x = qd_part_avgpool(b, "avgpool", x);
    x = qd_part_head(b, "fc", config, FEATURES, x);
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
    qd_init_linears(state, rng);
}

const qd_model_info qd_model_resnet18 = {
    .name = "resnet18",
    .display_name = "ResNet18",
    .switches = &(const switches){QD_ACTIVATION_RELU, false},
    .head = "fc",
    .torchvision_head = "fc",
    .block_prefixes = {"layer1.0", "layer1.1"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_resnet18_silu = {
    .name = "resnet18_silu",
    .variant_of = "resnet18",
    .display_name = "ResNet18 SiLU",
    .switches = &(const switches){QD_ACTIVATION_SILU, false},
    .head = "fc",
    .torchvision_head = "fc",
    .block_prefixes = {"layer1.0", "layer1.1"},
    .build = build,
    .initialise = initialise,
};

const qd_model_info qd_model_resnet18_separable = {
    .name = "resnet18_separable",
    .variant_of = "resnet18",
    .display_name = "ResNet18 separable",
    .switches = &(const switches){QD_ACTIVATION_RELU, true},
    .head = "fc",
    .torchvision_head = "fc",
    .block_prefixes = {"layer1.0", "layer1.1"},
    .build = build,
    .initialise = initialise,
};
