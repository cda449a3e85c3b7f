/* The schedule against its published values, and steps of SGD against the formulas in double. */
#include "support/test_context.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

Test(schedule, is_the_closed_form_of_the_cosine)
{
    /* One rounding of the cosine and two products. */
    cr_assert_eq(qd_schedule_cosine(0.01, 0, 25), 0.01);
    cr_assert_float_eq(qd_schedule_cosine(0.01, 25, 25), 0.0, 1e-18);
    cr_assert_float_eq(qd_schedule_cosine(0.1, 5, 10), 0.05, 1e-17);
    /* torch.optim.lr_scheduler.CosineAnnealingLR(SGD(lr=0.01), 25), after seven steps. */
    cr_assert_float_eq(qd_schedule_cosine(0.01, 7, 25), 0.008187119948743449, 1e-17);
    for (int epoch = 1; epoch <= 25; epoch++)
        cr_assert_lt(qd_schedule_cosine(0.01, epoch, 25), qd_schedule_cosine(0.01, epoch - 1, 25));
}

Test(schedule, of_no_epochs_divides_by_nothing)
{
    cr_assert_eq(qd_schedule_cosine(0.01, 0, 0), 0.01);
}

/* A graph with one Linear of in x out. */
static qd_graph *linear_graph(qd_context *ctx, int64_t in, int64_t out)
{
    qd_builder *builder;
    qd_graph *graph;
    const qd_linear_config config = {.in_features = in, .out_features = out};
    TEST_OK(ctx, qd_builder_create(ctx, "toy", "Toy", (qd_dims){.rank = 2, .c = in, .h = 1, .w = 1}, &builder));
    int value = qd_builder_call(builder, "fc", "Linear", QD_LAYER_linear, &config, qd_builder_input(builder), -1);
    TEST_OK(ctx, qd_builder_finish(builder, value, &graph));
    qd_builder_destroy(builder);
    return graph;
}

Test(sgd, follows_the_formulas)
{
    qd_context *ctx = test_context_create(2);
    /* More elements than one task, so that the seams are covered. */
    qd_graph *graph = linear_graph(ctx, 700, 100);
    qd_state *state;
    qd_sgd *sgd;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F64, true, &state));
    TEST_OK(ctx, qd_sgd_create(ctx, state, &(qd_sgd_config){.momentum = 0.9, .weight_decay = 1e-2}, &sgd));
    int64_t count = graph->param_elements;
    double *w = state->params, *g = state->grads, *m = state->momentum;
    double *expected_w = malloc((size_t)count * sizeof *w), *expected_m = malloc((size_t)count * sizeof *m);
    for (int64_t i = 0; i < count; i++)
        w[i] = expected_w[i] = sin((double)i);
    for (int step = 1; step <= 3; step++) {
        double lr = 0.1 / step;
        for (int64_t i = 0; i < count; i++) {
            g[i] = cos((double)(i * step));
            double d = g[i] + 1e-2 * expected_w[i];
            expected_m[i] = step == 1 ? d : 0.9 * expected_m[i] + d;
            expected_w[i] -= lr * expected_m[i];
        }
        qd_sgd_apply_step(sgd, lr, step == 1);
    }
    for (int64_t i = 0; i < count; i++) {
        /* Three steps of a few roundings each, of values near 1. */
        cr_assert_float_eq(w[i], expected_w[i], 1e-14, "weight %lld", (long long)i);
        cr_assert_float_eq(m[i], expected_m[i], 1e-14, "momentum %lld", (long long)i);
    }
    free(expected_w);
    free(expected_m);
    qd_sgd_destroy(sgd);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_context_destroy(ctx);
}

Test(sgd, gradient_norm_is_the_same_bits_for_any_number_of_threads)
{
    double norms[3];
    double expected = 0.0;
    for (int threads = 1; threads <= 3; threads++) {
        qd_context *ctx = test_context_create(threads);
        qd_graph *graph = linear_graph(ctx, 1111, 250);
        qd_state *state;
        qd_sgd *sgd;
        TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, true, &state));
        TEST_OK(ctx, qd_sgd_create(ctx, state, &(qd_sgd_config){.momentum = 0.9, .weight_decay = 0.0}, &sgd));
        float *g = state->grads;
        expected = 0.0;
        for (int64_t i = 0; i < graph->param_elements; i++) {
            g[i] = sinf((float)i);
            expected += (double)g[i] * (double)g[i];
        }
        norms[threads - 1] = qd_sgd_grad_norm(sgd);
        qd_sgd_destroy(sgd);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
        qd_context_destroy(ctx);
    }
    /* The order of 280,000 additions in double differs: 1e-12 of the sum is generous. */
    cr_assert_float_eq(norms[0], sqrt(expected), 1e-12 * sqrt(expected));
    cr_assert_eq(norms[0], norms[1]);
    cr_assert_eq(norms[0], norms[2]);
}

/* A convolution, BatchNorm, a Linear. */
static qd_graph *norm_graph(qd_context *ctx)
{
    qd_builder *b;
    qd_graph *graph;
    const qd_conv2d_config conv = {.in_channels = 1, .out_channels = 3, .kernel = 1, .stride = 1, .groups = 1};
    const qd_batchnorm2d_config norm = {.channels = 3, .eps = 1e-5, .momentum = 0.1};
    const qd_linear_config linear = {.in_features = 3, .out_features = 2};
    TEST_OK(ctx, qd_builder_create(ctx, "toy", "Toy", (qd_dims){.rank = 4, .c = 1, .h = 1, .w = 1}, &b));
    int value = qd_builder_call(b, "conv", "Conv2d", QD_LAYER_conv2d, &conv, qd_builder_input(b), -1);
    value = qd_builder_call(b, "bn", "BatchNorm2d", QD_LAYER_batchnorm2d, &norm, value, -1);
    value = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, value, -1);
    value = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &linear, value, -1);
    TEST_OK(ctx, qd_builder_finish(b, value, &graph));
    qd_builder_destroy(b);
    return graph;
}

typedef struct norm_case {
    qd_context *ctx;
    qd_graph *graph;
    qd_state *state;
    double *gamma, *beta; /* [3] */
    double *dgamma, *dbeta;
} norm_case;

static norm_case norm_case_create(void)
{
    norm_case c = {.ctx = test_context_create(2)};
    c.graph = norm_graph(c.ctx);
    TEST_OK(c.ctx, qd_state_create(c.ctx, c.graph, QD_F64, true, &c.state));
    const int gamma = qd_graph_find_param(c.graph, "bn.weight"), beta = qd_graph_find_param(c.graph, "bn.bias");
    c.gamma = qd_state_param(c.state, QD_BLOCK_PARAMS, gamma).data;
    c.beta = qd_state_param(c.state, QD_BLOCK_PARAMS, beta).data;
    c.dgamma = qd_state_param(c.state, QD_BLOCK_GRADS, gamma).data;
    c.dbeta = qd_state_param(c.state, QD_BLOCK_GRADS, beta).data;
    return c;
}

static void norm_case_step(const norm_case *c, const qd_sgd_config *config)
{
    qd_sgd *sgd;
    TEST_OK(c->ctx, qd_sgd_create(c->ctx, c->state, config, &sgd));
    qd_sgd_apply_step(sgd, 0.5, true);
    qd_sgd_destroy(sgd);
}

static void norm_case_destroy(norm_case *c)
{
    qd_state_destroy(c->state);
    qd_graph_destroy(c->graph);
    qd_context_destroy(c->ctx);
}

Test(sgd, can_spare_batchnorm_from_weight_decay)
{
    norm_case c = norm_case_create();
    const qd_tensor conv = qd_state_param(c.state, QD_BLOCK_PARAMS, qd_graph_find_param(c.graph, "conv.weight"));
    const qd_tensor fc = qd_state_param(c.state, QD_BLOCK_PARAMS, qd_graph_find_param(c.graph, "fc.bias"));
    c.gamma[1] = c.beta[2] = ((double *)conv.data)[0] = ((double *)fc.data)[1] = 1.0;
    norm_case_step(&c, &(qd_sgd_config){.weight_decay = 0.5, .spare_batchnorm = true});
    /* lr · decay = 0.25 is taken off what decays. */
    cr_expect_eq(c.gamma[1], 1.0);
    cr_expect_eq(c.beta[2], 1.0);
    cr_expect_eq(((double *)conv.data)[0], 0.75);
    cr_expect_eq(((double *)fc.data)[1], 0.75);
    norm_case_destroy(&c);
}

Test(sgd, range_penalty_draws_in_the_channels_that_end_the_range)
{
    norm_case c = norm_case_create();
    const double gamma[3] = {1.0, -2.0, 0.5}, beta[3] = {2.0, 0.0, -6.0};
    memcpy(c.gamma, gamma, sizeof gamma);
    memcpy(c.beta, beta, sizeof beta);
    /* Ends: channel 1 above (0 + 3·2 = 6), channel 2 below (-6 - 1.5 = -7.5). */
    norm_case_step(&c, &(qd_sgd_config){.levers = {.range_penalty = 0.1}});
    const double lr = 0.5;
    cr_expect_eq(c.gamma[0], 1.0);
    cr_expect_eq(c.beta[0], 2.0);
    /* Products of short decimals: one rounding or two. */
    cr_expect_float_eq(c.gamma[1], -2.0 + lr * 0.1 * 3.0, 1e-15);
    cr_expect_float_eq(c.beta[1], -lr * 0.1, 1e-15);
    cr_expect_float_eq(c.gamma[2], 0.5 - lr * 0.1 * 3.0, 1e-15);
    cr_expect_float_eq(c.beta[2], -6.0 + lr * 0.1, 1e-15);
    norm_case_destroy(&c);
}

/* The subgradient is the slope of the penalty where it has one. */
Test(sgd, range_penalty_agrees_with_differences)
{
    norm_case c = norm_case_create();
    const double gamma[3] = {0.7, -1.1, 0.4}, beta[3] = {0.3, -0.2, 0.1}, h = 1e-6;
    for (int i = 0; i < 6; i++) {
        double penalty[2];
        for (int side = 0; side < 2; side++) {
            double g[3], b[3], top = -INFINITY, bottom = INFINITY;
            memcpy(g, gamma, sizeof g);
            memcpy(b, beta, sizeof b);
            (i < 3 ? g : b)[i % 3] += side ? h : -h;
            for (int ch = 0; ch < 3; ch++) {
                top = fmax(top, b[ch] + 3.0 * fabs(g[ch]));
                bottom = fmin(bottom, b[ch] - 3.0 * fabs(g[ch]));
            }
            penalty[side] = top - bottom;
        }
        memcpy(c.gamma, gamma, sizeof gamma);
        memcpy(c.beta, beta, sizeof beta);
        memset(c.state->grads, 0, (size_t)c.graph->param_elements * sizeof(double));
        qd_levers_add_gradients(&(qd_levers){.range_penalty = 1.0}, c.state);
        /* Piecewise linear: only rounding of the difference remains. */
        cr_expect_float_eq((i < 3 ? c.dgamma : c.dbeta)[i % 3], (penalty[1] - penalty[0]) / (2.0 * h), 1e-8, "%d", i);
    }
    norm_case_destroy(&c);
}

Test(sgd, gamma_is_clamped_after_the_step)
{
    norm_case c = norm_case_create();
    const double gamma[3] = {1.5, -1.5, 0.5};
    memcpy(c.gamma, gamma, sizeof gamma);
    c.beta[0] = 9.0;
    norm_case_step(&c, &(qd_sgd_config){.levers = {.gamma_clamp = 1.25}});
    cr_expect_eq(c.gamma[0], 1.25);
    cr_expect_eq(c.gamma[1], -1.25);
    cr_expect_eq(c.gamma[2], 0.5);
    cr_expect_eq(c.beta[0], 9.0);
    norm_case_destroy(&c);
}

Test(sgd, refuses_a_state_without_gradients)
{
    qd_context *ctx = test_context_create(1);
    qd_graph *graph = linear_graph(ctx, 3, 2);
    qd_state *state;
    qd_sgd *sgd = NULL;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
    TEST_FAILS(ctx, qd_sgd_create(ctx, state, &(qd_sgd_config){.momentum = 0.9, .weight_decay = 0.0}, &sgd),
               QD_ERR_USAGE, "without gradients");
    cr_assert_null(sgd);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_context_destroy(ctx);
}
