/* Two plain blocks and two MBConv blocks, their modules named as the post names them: conv1_b1 … bn3_proj_b2. */
#include "models/block_stacks.h"
#include "models/parts.h"
#include <stdio.h>

/* Longer than the longest name, "bn1_expand_b1". */
#define BLOCK_NAME_BYTES 32

static const char *block_name(char text[BLOCK_NAME_BYTES], const char *name, int block)
{
    snprintf(text, BLOCK_NAME_BYTES, "%s_b%d", name, block);
    return text;
}

static int conv(qd_builder *b, const char *name, int block, const qd_conv2d_config *config, int x)
{
    char text[BLOCK_NAME_BYTES];
    return qd_part_conv(b, block_name(text, name, block), config, x);
}

static int norm(qd_builder *b, const char *name, int block, int64_t channels, int x)
{
    char text[BLOCK_NAME_BYTES];
    return qd_part_batchnorm(b, block_name(text, name, block), channels, x);
}

static int activation(qd_builder *b, const char *name, int block, enum qd_activation kind, int x)
{
    char text[BLOCK_NAME_BYTES];
    return qd_part_activation(b, block_name(text, name, block), kind, x);
}

static qd_conv2d_config conv1x1(int64_t in, int64_t out, bool bias)
{
    return (qd_conv2d_config){
        .in_channels = in, .out_channels = out, .kernel = 1, .stride = 1, .groups = 1, .bias = bias};
}

static qd_conv2d_config conv3x3(int64_t in, int64_t out, int64_t groups)
{
    return (qd_conv2d_config){
        .in_channels = in, .out_channels = out, .kernel = 3, .stride = 1, .padding = 1, .groups = groups};
}

/* bn2(conv2(relu(bn1(conv1(x))))): a BasicBlock's body alone. */
static int plain_block(qd_builder *b, int block, int64_t in, int64_t out, int x)
{
    const qd_conv2d_config first = conv3x3(in, out, 1), second = conv3x3(out, out, 1);
    x = conv(b, "conv1", block, &first, x);
    x = norm(b, "bn1", block, out, x);
    x = activation(b, "relu1", block, QD_ACTIVATION_RELU, x);
    x = conv(b, "conv2", block, &second, x);
    return norm(b, "bn2", block, out, x);
}

/* Expand, depthwise, squeeze-excite, project: an MBConv's body alone. */
static int mbconv_block(qd_builder *b, int block, int64_t in, int64_t out, int64_t expanded, int64_t squeezed, int x)
{
    const qd_conv2d_config expand = conv1x1(in, expanded, false), depthwise = conv3x3(expanded, expanded, expanded),
                           squeeze = conv1x1(expanded, squeezed, true), excite = conv1x1(squeezed, expanded, true),
                           project = conv1x1(expanded, out, false);
    char text[BLOCK_NAME_BYTES];
    x = conv(b, "conv1_expand", block, &expand, x);
    x = norm(b, "bn1_expand", block, expanded, x);
    x = activation(b, "silu1_expand", block, QD_ACTIVATION_SILU, x);
    x = conv(b, "conv2_dw", block, &depthwise, x);
    x = norm(b, "bn2_dw", block, expanded, x);
    x = activation(b, "silu2_dw", block, QD_ACTIVATION_SILU, x);
    int gate = qd_part_avgpool(b, block_name(text, "avg_pool", block), x);
    gate = conv(b, "conv3_se", block, &squeeze, gate);
    gate = activation(b, "silu3_se", block, QD_ACTIVATION_SILU, gate);
    gate = conv(b, "conv4_se", block, &excite, gate);
    gate = activation(b, "sigmoid", block, QD_ACTIVATION_SIGMOID, gate);
    x = qd_builder_apply(b, block_name(text, "mul", block), QD_LAYER_channel_multiply, NULL, x, gate);
    x = conv(b, "conv5_proj", block, &project, x);
    return norm(b, "bn3_proj", block, out, x);
}

static enum qd_status start(qd_context *ctx, const qd_block_stack *stack, qd_builder **b)
{
    const qd_dims input = {.rank = 4, .c = stack->channels, .h = QD_BLOCK_STACK_SIZE, .w = QD_BLOCK_STACK_SIZE};
    return qd_builder_create(ctx, stack->name, "Sequential", input, b);
}

static enum qd_status finish(qd_builder *b, int output, qd_graph **out)
{
    enum qd_status status = qd_builder_finish(b, output, out);
    qd_builder_destroy(b);
    return status;
}

static enum qd_status build_plain(qd_context *ctx, qd_graph **out)
{
    qd_builder *b = NULL;
    QD_TRY(start(ctx, &qd_block_stacks[0], &b));
    int x = plain_block(b, 1, 3, 64, qd_builder_input(b));
    return finish(b, plain_block(b, 2, 64, 64, x), out);
}

static enum qd_status build_mbconv(qd_context *ctx, qd_graph **out)
{
    qd_builder *b = NULL;
    QD_TRY(start(ctx, &qd_block_stacks[1], &b));
    /* EfficientNet-B0's features.2.0 and features.2.1: six times as many channels inside, a quarter squeezed. */
    int x = mbconv_block(b, 1, 16, 24, 96, 4, qd_builder_input(b));
    return finish(b, mbconv_block(b, 2, 24, 24, 144, 6, x), out);
}

const qd_block_stack qd_block_stacks[QD_BLOCK_STACK_COUNT] = {
    {.name = "resnet18_block", .title = "ResNet18 blocks", .channels = 3, .build = build_plain},
    {.name = "efficientnetb0_block", .title = "EfficientNet-B0 blocks", .channels = 16, .build = build_mbconv},
};
