/*
 * ResNet18 (He et al. 2015, arXiv 1512.03385) as torchvision 0.14.1 builds it (torchvision/models/resnet.py): a 7x7
 * stem, four stages of two basic blocks with 64, 128, 256, 512 channels, average pool, one Linear.
 */
#include "models/parts.h"

#define FEATURES 512

static int conv_norm(qd_builder *b, const char *conv, const char *norm, const qd_conv2d_config *config, int x)
{
    x = qd_part_conv(b, conv, config, x);
    return qd_part_batchnorm(b, norm, config->out_channels, x);
}

static qd_conv2d_config conv3x3(int64_t in, int64_t out, int64_t stride)
{
    return (qd_conv2d_config){
        .in_channels = in, .out_channels = out, .kernel = 3, .stride = stride, .padding = 1, .groups = 1};
}

/* relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)); the shortcut is a 1x1 convolution where the shape changes. */
static int basic_block(qd_builder *b, const char *name, int64_t in, int64_t out, int64_t stride, int x)
{
    const qd_conv2d_config first = conv3x3(in, out, stride), second = conv3x3(out, out, 1);
    qd_builder_open(b, name, "BasicBlock");
    int y = conv_norm(b, "conv1", "bn1", &first, x);
    y = qd_part_activation(b, "relu", QD_ACTIVATION_RELU, y);
    y = conv_norm(b, "conv2", "bn2", &second, y);
    int shortcut = x;
    if (stride != 1 || in != out) {
        const qd_conv2d_config projection = {
            .in_channels = in, .out_channels = out, .kernel = 1, .stride = stride, .groups = 1};
        qd_builder_open(b, "downsample", "Sequential");
        shortcut = conv_norm(b, "0", "1", &projection, x);
        qd_builder_close(b, shortcut);
    }
    y = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, shortcut);
    y = qd_part_activation(b, "relu", QD_ACTIVATION_RELU, y);
    qd_builder_close(b, y);
    return y;
}

static enum qd_status build(qd_context *ctx, const qd_model_config *config, qd_graph **out)
{
    static const struct {
        const char *name;
        int64_t in, out, stride;
    } stages[] = {{"layer1", 64, 64, 1}, {"layer2", 64, 128, 2}, {"layer3", 128, 256, 2}, {"layer4", 256, 512, 2}};
    const qd_conv2d_config stem = {
        .in_channels = 3, .out_channels = 64, .kernel = 7, .stride = 2, .padding = 3, .groups = 1};

    qd_builder *b = NULL;
    QD_TRY(qd_part_start(ctx, "resnet18", "ResNet", config, &b));
    int x = conv_norm(b, "conv1", "bn1", &stem, qd_builder_input(b));
    x = qd_part_activation(b, "relu", QD_ACTIVATION_RELU, x);
    x = qd_builder_call(b, "maxpool", "MaxPool2d", QD_LAYER_maxpool2d,
                        &(qd_maxpool2d_config){.kernel = 3, .stride = 2, .padding = 1}, x, -1);
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++) {
        qd_builder_open(b, stages[i].name, "Sequential");
        x = basic_block(b, "0", stages[i].in, stages[i].out, stages[i].stride, x);
        x = basic_block(b, "1", stages[i].out, stages[i].out, 1, x);
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
    .head = "fc",
    .torchvision_head = "fc",
    .block_prefixes = {"layer1.0", "layer1.1"},
    .build = build,
    .initialise = initialise,
};
