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
    TEST_OK(ctx, qd_sgd_create(ctx, state, 0.9, 1e-2, &sgd));
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
        TEST_OK(ctx, qd_sgd_create(ctx, state, 0.9, 0.0, &sgd));
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

Test(sgd, refuses_a_state_without_gradients)
{
    qd_context *ctx = test_context_create(1);
    qd_graph *graph = linear_graph(ctx, 3, 2);
    qd_state *state;
    qd_sgd *sgd = NULL;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
    TEST_FAILS(ctx, qd_sgd_create(ctx, state, 0.9, 0.0, &sgd), QD_ERR_USAGE, "without gradients");
    cr_assert_null(sgd);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_context_destroy(ctx);
}
