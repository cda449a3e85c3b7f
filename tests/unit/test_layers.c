/* What layers refuse, what they remember, and that fusing and threads change nothing. */
#include "support/test_context.h"
#include "support/layer_run.h"

#include <math.h>
#include <string.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(1);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(layers, .init = setup, .fini = teardown);

static enum qd_status infer(enum qd_layer_kind kind, const void *config, qd_dims a, qd_dims b)
{
    qd_layer_decl decl;
    const qd_dims in[QD_MAX_INPUTS] = {a, b};
    return qd_layer_ops_of(kind)->infer(ctx, "layer4.0.part", config, in, &decl);
}

static qd_dims map(int64_t c, int64_t h, int64_t w)
{
    return (qd_dims){.rank = 4, .c = c, .h = h, .w = w};
}

static qd_dims vector(int64_t c)
{
    return (qd_dims){.rank = 2, .c = c, .h = 1, .w = 1};
}

Test(layers, shapes_that_do_not_fit_are_refused_by_name)
{
    const qd_batchnorm2d_config bn = {.channels = 64, .eps = 1e-5, .momentum = 0.1};
    TEST_FAILS(ctx, infer(QD_LAYER_batchnorm2d, &bn, map(32, 3, 3), map(0, 0, 0)), QD_ERR_SHAPE,
               "batchnorm2d 'layer4.0.part': expected 64 channels, got 32");
    TEST_FAILS(ctx, infer(QD_LAYER_batchnorm2d, &bn, vector(64), map(0, 0, 0)), QD_ERR_SHAPE, "rank 4");

    const qd_activation_config none = {QD_ACTIVATION_NONE}, unknown = {(enum qd_activation)99};
    TEST_FAILS(ctx, infer(QD_LAYER_activation, &none, vector(3), map(0, 0, 0)), QD_ERR_SHAPE,
               "activation 'layer4.0.part'");
    TEST_FAILS(ctx, infer(QD_LAYER_activation, &unknown, vector(3), map(0, 0, 0)), QD_ERR_SHAPE, "got 99");

    const qd_maxpool2d_config large = {17, 1, 0}, padded = {3, 2, 2}, still = {3, 0, 1}, good = {3, 2, 0};
    TEST_FAILS(ctx, infer(QD_LAYER_maxpool2d, &large, map(1, 20, 20), map(0, 0, 0)), QD_ERR_SHAPE,
               "kernel from 1 to 16");
    TEST_FAILS(ctx, infer(QD_LAYER_maxpool2d, &padded, map(1, 20, 20), map(0, 0, 0)), QD_ERR_SHAPE,
               "padding from 0 to half of the kernel (1), got 2");
    TEST_FAILS(ctx, infer(QD_LAYER_maxpool2d, &still, map(1, 20, 20), map(0, 0, 0)), QD_ERR_SHAPE,
               "stride of 1 or more");
    TEST_FAILS(ctx, infer(QD_LAYER_maxpool2d, &good, map(1, 3, 2), map(0, 0, 0)), QD_ERR_SHAPE,
               "at least 3 x 3, got 3 x 2");
    TEST_FAILS(ctx, infer(QD_LAYER_maxpool2d, &good, vector(4), map(0, 0, 0)), QD_ERR_SHAPE, "rank 4");

    TEST_FAILS(ctx, infer(QD_LAYER_global_avgpool, NULL, vector(4), map(0, 0, 0)), QD_ERR_SHAPE,
               "global_avgpool 'layer4.0.part'");
    TEST_FAILS(ctx, infer(QD_LAYER_flatten, NULL, map(4, 2, 1), map(0, 0, 0)), QD_ERR_SHAPE, "2 x 1");
    TEST_FAILS(ctx, infer(QD_LAYER_add, NULL, map(4, 2, 1), map(4, 1, 2)), QD_ERR_SHAPE,
               "add 'layer4.0.part': expected two inputs of one shape");
    TEST_FAILS(ctx, infer(QD_LAYER_channel_multiply, NULL, map(4, 2, 2), map(4, 2, 2)), QD_ERR_SHAPE, "1 x 1 gate");
    TEST_FAILS(ctx, infer(QD_LAYER_channel_multiply, NULL, map(4, 2, 2), map(5, 1, 1)), QD_ERR_SHAPE,
               "4 channels, got a gate of 5");

    const double bad[] = {-0.1, 1.0, NAN};
    for (int i = 0; i < 3; i++) {
        const qd_dropout_config dropout = {bad[i]};
        const qd_stochastic_depth_config depth = {bad[i]};
        TEST_FAILS(ctx, infer(QD_LAYER_dropout, &dropout, vector(4), map(0, 0, 0)), QD_ERR_SHAPE, "probability");
        TEST_FAILS(ctx, infer(QD_LAYER_stochastic_depth, &depth, map(4, 2, 2), map(0, 0, 0)), QD_ERR_SHAPE,
                   "probability");
    }
    const qd_dropout_config half = {0.5};
    TEST_FAILS(ctx, infer(QD_LAYER_dropout, &half, map(4, 2, 2), map(0, 0, 0)), QD_ERR_SHAPE, "rank 2");
}

/* Fills an array with a smooth, uneven pattern of about the given size. */
static void fill(const layer_run *run, void *array, int64_t count, double amplitude, double offset)
{
    for (int64_t i = 0; i < count; i++)
        layer_run_put(run, array, i,
                      (double)(float)(offset + amplitude * sin(0.37 * (double)i + 0.01 * (double)(i % 17))));
}

static void bn_create(layer_run *run, const qd_batchnorm2d_config *config, qd_dims in, int64_t n, enum qd_dtype dtype)
{
    layer_run_create(run, ctx, QD_LAYER_batchnorm2d, config, &in, n, dtype);
    run->call.training = true;
    fill(run, run->x[0], layer_run_in_count(run, 0), 2, 0.5);
    fill(run, run->dy, layer_run_out_count(run), 1, 0);
    fill(run, run->call.param[0], in.c, 0.5, 1);
    fill(run, run->call.param[1], in.c, 0.5, 0);
    fill(run, run->call.buffer[0], in.c, 0.5, 0);
    fill(run, run->call.buffer[1], in.c, 0.5, 1);
}

Test(layers, batchnorm_needs_two_values_per_channel_in_training)
{
    const qd_batchnorm2d_config config = {.channels = 4, .eps = 1e-5, .momentum = 0.1};
    layer_run run;
    bn_create(&run, &config, map(4, 1, 1), 1, QD_F32);
    TEST_FAILS(ctx, layer_run_forward(&run), QD_ERR_SHAPE,
               "batchnorm2d 'test': expected more than 1 value per channel when training, got 1; ");
    cr_expect_eq(run.batches_tracked, 0, "a refused batch is not counted");
    cr_expect_eq(layer_run_get(&run, run.call.buffer[0], 0), 0, "a refused batch leaves the running mean");
    run.call.training = false;
    TEST_OK(ctx, layer_run_forward(&run));
    layer_run_destroy(&run);
}

Test(layers, batchnorm_counts_training_batches_only)
{
    const qd_batchnorm2d_config config = {.channels = 4, .eps = 1e-5, .momentum = 0.1};
    layer_run run;
    bn_create(&run, &config, map(4, 2, 2), 2, QD_F32);
    TEST_OK(ctx, layer_run_forward(&run));
    TEST_OK(ctx, layer_run_forward(&run));
    run.call.training = false;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect_eq(run.batches_tracked, 2);
    layer_run_destroy(&run);
}

/* A constant channel has variance 0: invstd is 1/sqrt(eps), the output beta, and nothing is NaN. */
Test(layers, batchnorm_of_a_constant_channel)
{
    const qd_batchnorm2d_config config = {.channels = 2, .eps = 1e-5, .momentum = 0.1};
    layer_run run;
    bn_create(&run, &config, map(2, 3, 3), 2, QD_F32);
    for (int64_t i = 0; i < layer_run_in_count(&run, 0); i += 2)
        layer_run_put(&run, run.x[0], i, 1000.1);
    TEST_OK(ctx, layer_run_forward(&run));
    TEST_OK(ctx, layer_run_backward(&run));
    const double beta = layer_run_get(&run, run.call.param[1], 0), gamma = layer_run_get(&run, run.call.param[0], 0);
    for (int64_t i = 0; i < layer_run_in_count(&run, 0); i += 2) {
        /* x·scale and mean·scale are 3e5 and round to 0.03 in float32 before they cancel. */
        cr_expect_float_eq(layer_run_get(&run, run.call.y, i), beta, gamma * 1000.1 / sqrt(1e-5) * 0x1p-23);
        cr_expect(isfinite(layer_run_get(&run, run.call.dx[0], i)));
    }
    layer_run_destroy(&run);
}

/* Fused BatchNorm + activation against BatchNorm, then activation: the forward pass rounds alike, so it is equal to
 * the bit; the backward pass recomputes z from x exactly as the forward pass made it. */
Test(layers, fused_batchnorm_equals_batchnorm_then_activation)
{
    const qd_batchnorm2d_config config = {.channels = 24, .eps = 1e-5, .momentum = 0.1};
    const qd_dims in = map(24, 7, 5);
    for (int kind = QD_ACTIVATION_RELU; kind <= QD_ACTIVATION_SIGMOID; kind++) {
        for (int training = 0; training < 2; training++) {
            const qd_activation_config activation_config = {(enum qd_activation)kind};
            layer_run fused, bn, activation;
            bn_create(&fused, &config, in, 3, QD_F32);
            bn_create(&bn, &config, in, 3, QD_F32);
            layer_run_create(&activation, ctx, QD_LAYER_activation, &activation_config, &in, 3, QD_F32);
            const size_t bytes = (size_t)layer_run_out_count(&bn) * sizeof(float);
            fused.call.fused = (enum qd_activation)kind;
            fused.call.training = bn.call.training = training == 1;

            TEST_OK(ctx, layer_run_forward(&fused));
            TEST_OK(ctx, layer_run_forward(&bn));
            memcpy(activation.x[0], bn.call.y, bytes);
            TEST_OK(ctx, layer_run_forward(&activation));
            cr_expect_eq(memcmp(fused.call.y, activation.call.y, bytes), 0, "activation %d: outputs differ", kind);

            memcpy(activation.dy, fused.dy, bytes);
            TEST_OK(ctx, layer_run_backward(&activation));
            memcpy(bn.dy, activation.call.dx[0], bytes);
            TEST_OK(ctx, layer_run_backward(&bn));
            TEST_OK(ctx, layer_run_backward(&fused));
            cr_expect_eq(memcmp(fused.call.dx[0], bn.call.dx[0], bytes), 0, "activation %d: dx differs", kind);
            for (int i = 0; i < 2; i++)
                cr_expect_eq(memcmp(fused.call.grad[i], bn.call.grad[i], 24 * sizeof(float)), 0,
                             "activation %d: gradient %d differs", kind, i);
            layer_run_destroy(&fused);
            layer_run_destroy(&bn);
            layer_run_destroy(&activation);
        }
    }
}

/* 12·28·28 rows of 33 channels: ten partial sums, more than the threads and no multiple of them. */
Test(layers, batchnorm_has_the_same_bits_for_any_thread_count)
{
    const qd_batchnorm2d_config config = {.channels = 33, .eps = 1e-5, .momentum = 0.1};
    layer_run one;
    bn_create(&one, &config, map(33, 28, 28), 12, QD_F32);
    one.call.fused = QD_ACTIVATION_SILU;
    TEST_OK(ctx, layer_run_forward(&one));
    TEST_OK(ctx, layer_run_backward(&one));
    for (int threads = 2; threads <= 7; threads++) {
        layer_run many;
        bn_create(&many, &config, map(33, 28, 28), 12, QD_F32);
        many.call.fused = QD_ACTIVATION_SILU;
        many.call.threads = threads;
        TEST_OK(ctx, layer_run_forward(&many));
        TEST_OK(ctx, layer_run_backward(&many));
        const size_t bytes = (size_t)layer_run_out_count(&one) * sizeof(float);
        cr_expect_eq(memcmp(one.call.y, many.call.y, bytes), 0, "y with %d threads", threads);
        cr_expect_eq(memcmp(one.call.dx[0], many.call.dx[0], bytes), 0, "dx with %d threads", threads);
        for (int i = 0; i < 2; i++) {
            cr_expect_eq(memcmp(one.call.grad[i], many.call.grad[i], 33 * sizeof(float)), 0,
                         "gradient %d with %d threads", i, threads);
            cr_expect_eq(memcmp(one.call.buffer[i], many.call.buffer[i], 33 * sizeof(float)), 0,
                         "buffer %d with %d threads", i, threads);
        }
        layer_run_destroy(&many);
    }
    layer_run_destroy(&one);
}

/* Answers with a fixed pattern and remembers what it was asked. */
typedef struct asked {
    int calls;
    int64_t count;
    double p_keep;
    char name[16];
} asked;

static void answer(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    asked *a = user;
    a->calls++;
    a->count = count;
    a->p_keep = p_keep;
    strncpy(a->name, name, sizeof a->name - 1);
    for (int64_t i = 0; i < count; i++)
        keep[i] = i % 3 != 1;
}

Test(layers, dropout_scales_what_it_keeps)
{
    const qd_dropout_config config = {0.6}, none = {0.0};
    const qd_dims in = vector(5);
    asked a = {0};
    const qd_draws draws = {answer, &a};
    layer_run run;
    layer_run_create(&run, ctx, QD_LAYER_dropout, &config, &in, 2, QD_F32);
    run.call.draws = &draws;
    run.call.training = true;
    fill(&run, run.x[0], 10, 3, 0);
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect(a.calls == 1 && a.count == 10 && a.p_keep == 1.0 - 0.6, "asked %d times, %lld of %g", a.calls,
              (long long)a.count, a.p_keep);
    cr_expect_str_eq(a.name, "test");
    for (int64_t i = 0; i < 10; i++) {
        /* PyTorch divides the mask first, in float32, and multiplies then. */
        const float factor = i % 3 != 1 ? 1.0f / 0.4f : 0.0f;
        cr_expect_eq(((float *)run.call.y)[i], ((float *)run.x[0])[i] * factor);
    }
    run.call.training = false;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect_eq(memcmp(run.call.y, run.x[0], 10 * sizeof(float)), 0, "evaluation copies");
    run.call.training = true;
    run.call.config = &none;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect_eq(memcmp(run.call.y, run.x[0], 10 * sizeof(float)), 0, "p = 0 copies");
    cr_expect_eq(a.calls, 1, "evaluation and p = 0 draw nothing");
    cr_expect_eq(run.ops->draws_per_sample(&config, &in), 5);
    cr_expect_eq(run.ops->draws_per_sample(&none, &in), 0);
    layer_run_destroy(&run);
}

Test(layers, stochastic_depth_drops_whole_samples)
{
    const qd_stochastic_depth_config config = {0.1875}, none = {0.0};
    const qd_dims in = map(3, 2, 2);
    asked a = {0};
    const qd_draws draws = {answer, &a};
    layer_run run;
    layer_run_create(&run, ctx, QD_LAYER_stochastic_depth, &config, &in, 4, QD_F32);
    run.call.draws = &draws;
    run.call.training = true;
    fill(&run, run.x[0], 48, 3, 0);
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect(a.calls == 1 && a.count == 4 && a.p_keep == 1.0 - 0.1875);
    for (int64_t i = 0; i < 48; i++) {
        const float factor = i / 12 % 3 != 1 ? 1.0f / 0.8125f : 0.0f;
        cr_expect_eq(((float *)run.call.y)[i], ((float *)run.x[0])[i] * factor);
    }
    run.call.training = false;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect_eq(memcmp(run.call.y, run.x[0], 48 * sizeof(float)), 0, "evaluation copies");
    run.call.training = true;
    run.call.config = &none;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect_eq(memcmp(run.call.y, run.x[0], 48 * sizeof(float)), 0, "p = 0 copies");
    cr_expect_eq(a.calls, 1, "evaluation and p = 0 draw nothing");
    cr_expect_eq(run.ops->draws_per_sample(&config, &in), 1);
    cr_expect_eq(run.ops->draws_per_sample(&none, &in), 0);
    layer_run_destroy(&run);
}

/* Where a ReLU's input is 0 or NaN, its gradient comes from the output: as PyTorch, 0 and dy. */
Test(layers, relu_gradient_at_zero_and_nan)
{
    const qd_activation_config config = {QD_ACTIVATION_RELU};
    const qd_dims in = vector(4);
    const double x[] = {0, NAN, -1, 2}, expected[] = {0, 5, 0, 5};
    layer_run run;
    layer_run_create(&run, ctx, QD_LAYER_activation, &config, &in, 1, QD_F32);
    for (int64_t i = 0; i < 4; i++) {
        layer_run_put(&run, run.x[0], i, x[i]);
        layer_run_put(&run, run.dy, i, 5);
    }
    TEST_OK(ctx, layer_run_forward(&run));
    cr_expect(isnan(layer_run_get(&run, run.call.y, 1)));
    TEST_OK(ctx, layer_run_backward(&run));
    for (int64_t i = 0; i < 4; i++)
        cr_expect_eq(layer_run_get(&run, run.call.dx[0], i), expected[i], "gradient at %g", x[i]);
    layer_run_destroy(&run);
}
