/* Convolutions: every way a pass can be cut (see conv_dense.c) has a case that is large enough to take it. */
#include "support/test_context.h"
#include "support/gradcheck.h"

#define CONV(in_, out_, kernel_, stride_, padding_, groups_, bias_)                                                  \
    &(const qd_conv2d_config)                                                                                        \
    {                                                                                                                \
        .in_channels = (in_), .out_channels = (out_), .kernel = (kernel_), .stride = (stride_),                      \
        .padding = (padding_), .groups = (groups_), .bias = (bias_)                                                  \
    }
#define CASE(label, n_, in_, height, width, ...)                                                                     \
    {                                                                                                                \
        .name = label, .config = CONV(in_, __VA_ARGS__), .n = (n_), .training = true, .in = {                        \
            {.rank = 4, .c = (in_), .h = (height), .w = (width)}                                                     \
        }                                                                                                            \
    }

/*   name                                             n  in  h   w  out k  s  p  groups bias */
static const gradcheck_case dense_cases[] = {
    CASE("1x1", 3, 5, 7, 5, 6, 1, 1, 0, 1, false),
    CASE("1x1 with bias", 1, 8, 3, 3, 4, 1, 1, 0, 1, true),
    CASE("1x1 on one pixel, as in squeeze-excite", 3, 9, 1, 1, 4, 1, 1, 0, 1, true),
    CASE("1x1 in groups", 2, 6, 4, 5, 9, 1, 1, 0, 3, true),
    CASE("1x1 stride 2, odd size", 3, 4, 7, 5, 6, 1, 2, 0, 1, false),
    CASE("1x1 stride 2, even size", 1, 4, 6, 8, 3, 1, 2, 0, 1, true),
    CASE("1x1 padded", 2, 3, 4, 3, 2, 1, 1, 1, 1, true),
    CASE("1x1, several chunks", 3, 3, 25, 29, 4, 1, 1, 0, 1, true),
    CASE("1x1, gradient in blocks of columns", 2, 520, 3, 2, 320, 1, 1, 0, 1, false),
    CASE("1x1, gradient in blocks of output channels", 2, 330, 3, 2, 515, 1, 1, 0, 1, false),
    CASE("3x3", 3, 4, 7, 9, 5, 3, 1, 1, 1, false),
    CASE("3x3 one image with bias", 1, 3, 8, 6, 2, 3, 1, 1, 1, true),
    CASE("3x3 without padding", 2, 3, 6, 5, 4, 3, 1, 0, 1, false),
    CASE("3x3 with wide padding", 1, 2, 4, 5, 3, 3, 1, 2, 1, false),
    CASE("3x3 with more padding than kernel", 1, 2, 3, 2, 3, 3, 1, 4, 1, true),
    CASE("3x3 on one pixel", 3, 2, 1, 1, 3, 3, 1, 1, 1, false),
    CASE("3x3 stride 2, odd size", 3, 3, 9, 7, 4, 3, 2, 1, 1, false),
    CASE("3x3 stride 2, even size", 1, 3, 8, 10, 4, 3, 2, 1, 1, true),
    CASE("3x3 stride 3, pixels outside every window", 2, 3, 11, 8, 2, 3, 3, 0, 1, false),
    CASE("3x3 in groups", 2, 6, 5, 6, 4, 3, 1, 1, 2, true),
    CASE("3x3 in groups, stride 2", 3, 6, 5, 7, 9, 3, 2, 1, 3, false),
    CASE("3x3, several chunks across images", 3, 3, 21, 23, 4, 3, 1, 1, 1, false),
    CASE("3x3 by lines, one block an image", 2, 22, 24, 22, 22, 3, 1, 1, 1, true),
    CASE("3x3 by lines, blocks with a short last one", 1, 22, 37, 34, 22, 3, 1, 1, 1, false),
    CASE("3x3 by lines in groups, without padding", 1, 44, 26, 24, 44, 3, 1, 0, 2, false),
    CASE("3x3, gradient in blocks", 3, 64, 4, 5, 290, 3, 1, 1, 1, false),
    CASE("3x3 stride 2, gradient in blocks", 3, 120, 5, 5, 160, 3, 2, 1, 1, false),
    CASE("5x5", 1, 2, 6, 9, 3, 5, 1, 2, 1, true),
    CASE("5x5 stride 2", 3, 2, 7, 6, 3, 5, 2, 2, 1, false),
    CASE("7x7 stride 2, ResNet's first", 3, 3, 15, 13, 4, 7, 2, 3, 1, false),
    CASE("7x7 larger than the image", 1, 2, 3, 4, 2, 7, 1, 3, 1, true),
};

static const gradcheck_case depthwise_cases[] = {
    CASE("3x3", 3, 5, 7, 6, 5, 3, 1, 1, 5, false),
    CASE("3x3 one image with bias", 1, 8, 4, 9, 8, 3, 1, 1, 8, true),
    CASE("3x3 stride 2, odd size", 3, 4, 7, 9, 4, 3, 2, 1, 4, false),
    CASE("3x3 stride 2, even size", 2, 4, 8, 6, 4, 3, 2, 1, 4, true),
    CASE("3x3 stride 3, pixels outside every window", 1, 3, 11, 8, 3, 3, 3, 0, 3, false),
    CASE("3x3 with more padding than kernel", 1, 3, 3, 2, 3, 3, 1, 4, 3, true),
    CASE("3x3 on one pixel", 3, 7, 1, 1, 7, 3, 1, 1, 7, false),
    CASE("3x3, several partial sums", 3, 2, 23, 5, 2, 3, 1, 1, 2, false),
    CASE("5x5", 3, 6, 6, 7, 6, 5, 1, 2, 6, false),
    CASE("5x5 stride 2", 1, 6, 9, 7, 6, 5, 2, 2, 6, false),
    CASE("7x7 larger than the image", 1, 3, 3, 4, 3, 7, 1, 3, 3, true),
    CASE("1x1", 2, 3, 4, 5, 3, 1, 1, 0, 3, true),
};

GRADCHECK_CASES(conv2d, dense, dense_cases)
GRADCHECK_CASES(conv2d, depthwise, depthwise_cases)

static void expect_refusal(const qd_conv2d_config *config, qd_dims in, const char *piece)
{
    qd_context *ctx = test_context_create(1);
    qd_layer_decl decl;

    TEST_FAILS(ctx, qd_layer_conv2d.infer(ctx, "layer2.0.conv1", config, &in, &decl), QD_ERR_SHAPE, piece);
    qd_context_destroy(ctx);
}

Test(conv2d, refuses_what_does_not_fit)
{
    const qd_dims image = {.rank = 4, .c = 32, .h = 8, .w = 8};

    expect_refusal(CONV(64, 64, 3, 1, 1, 1, false), image,
                   "conv2d 'layer2.0.conv1': expected 64 input channels, got 32");
    expect_refusal(CONV(32, 64, 3, 1, 1, 5, false), image, "5 groups must divide 32 input and 64 output channels");
    expect_refusal(CONV(32, 63, 3, 1, 1, 2, false), image, "2 groups must divide");
    expect_refusal(CONV(32, 64, 0, 1, 1, 1, false), image, "must be at least 1");
    expect_refusal(CONV(32, 64, 3, 0, 1, 1, false), image, "must be at least 1");
    expect_refusal(CONV(32, 64, 3, 1, -1, 1, false), image, "padding at least 0");
    expect_refusal(CONV(32, 64, 11, 1, 1, 1, false), image,
                   "the padded input of 10x10 is smaller than the 11x11 kernel");
    expect_refusal(CONV(32, 64, 3, 1, 1, 1, false), (qd_dims){.rank = 2, .c = 32, .h = 1, .w = 1}, "rank 4");
}

/* A layer's memory is planned once for all: it must stay modest where the networks are largest. */
Test(conv2d, workspace_of_a_full_batch_stays_below_64_mib)
{
    static const struct {
        int64_t in, out, kernel, stride, size;
    } layers[] = {{3, 64, 7, 2, 224},   {64, 64, 3, 1, 56},   {64, 128, 3, 2, 56}, {128, 128, 3, 1, 28},
                  {256, 256, 3, 1, 14}, {256, 512, 3, 2, 14}, {512, 512, 3, 1, 7}, {16, 96, 1, 1, 112},
                  {24, 144, 1, 1, 56},  {320, 1280, 1, 1, 7}, {1152, 192, 1, 1, 7}};
    qd_context *ctx = test_context_create(1);

    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        int64_t kernel = layers[i].kernel;
        const qd_conv2d_config *config =
            CONV(layers[i].in, layers[i].out, kernel, layers[i].stride, kernel / 2, 1, true);
        qd_dims in = {.rank = 4, .c = layers[i].in, .h = layers[i].size, .w = layers[i].size};
        qd_layer_decl decl;

        TEST_OK(ctx, qd_layer_conv2d.infer(ctx, "conv", config, &in, &decl));
        for (int isa = 0; isa <= (int)qd_context_isa(ctx); isa++) {
            qd_kernels kernels;
            const qd_layer_call call = {.ctx = ctx,
                                        .k = &kernels,
                                        .dtype = QD_F32,
                                        .threads = 2,
                                        .training = true,
                                        .config = config,
                                        .n = 64,
                                        .in = {in},
                                        .out = decl.out};

            qd_kernels_fill((enum qd_isa)isa, QD_F32, &kernels);
            for (int backward = 0; backward < 2; backward++)
                cr_expect_lt(qd_layer_conv2d.workspace_bytes(&call, backward == 1), 64u << 20, "layer %zu, %s", i,
                             qd_isa_name((enum qd_isa)isa));
        }
    }
    qd_context_destroy(ctx);
}
