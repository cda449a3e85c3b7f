/* Builder, lookups, states and plans on a graph small enough to follow by hand. */
#include "graph/plan.h"
#include "support/test_context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(2);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(graph, .init = setup, .fini = teardown);

static const qd_dims input_dims = {.rank = 4, .c = 3, .h = 6, .w = 6};
static const qd_activation_config relu = {QD_ACTIVATION_RELU};

static int conv3x3(qd_builder *b, const char *name, int64_t in, int64_t out, int x)
{
    qd_conv2d_config config = {
        .in_channels = in, .out_channels = out, .kernel = 3, .stride = 1, .padding = 1, .groups = 1};
    return qd_builder_call(b, name, "Conv2d", QD_LAYER_conv2d, &config, x, -1);
}

static int batchnorm(qd_builder *b, const char *name, int64_t channels, int x)
{
    qd_batchnorm2d_config config = {.channels = channels, .eps = 1e-5, .momentum = 0.1};
    return qd_builder_call(b, name, "BatchNorm2d", QD_LAYER_batchnorm2d, &config, x, -1);
}

/*
 * stem: conv, bn, relu; block: relu(bn(conv(x))) + x, dropout, avgpool, flatten, linear. The stem's output has two
 * consumers, and the block's ReLU is the same module as the one that is called after the sum.
 */
static qd_graph *build_small(void)
{
    qd_builder *b = NULL;
    qd_graph *graph = NULL;
    TEST_OK(ctx, qd_builder_create(ctx, "small", "Small", input_dims, &b));
    qd_builder_open(b, "stem", "Sequential");
    int x = conv3x3(b, "0", 3, 4, qd_builder_input(b));
    x = batchnorm(b, "1", 4, x);
    x = qd_builder_call(b, "2", "ReLU", QD_LAYER_activation, &relu, x, -1);
    qd_builder_close(b, x);
    qd_builder_open(b, "block", "Block");
    int y = conv3x3(b, "conv", 4, 4, x);
    qd_builder_register(b, "unused", "Identity");
    y = batchnorm(b, "bn", 4, y);
    y = qd_builder_call(b, "relu", "ReLU", QD_LAYER_activation, &relu, y, -1);
    y = qd_builder_apply(b, "add", QD_LAYER_add, NULL, y, x);
    y = qd_builder_call(b, "relu", "ReLU", QD_LAYER_activation, &relu, y, -1);
    qd_builder_close(b, y);
    y = qd_builder_call(b, "pool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, y, -1);
    y = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, y, -1);
    y = qd_builder_call(b, "drop", "Dropout", QD_LAYER_dropout, &(qd_dropout_config){.p = 0.5}, y, -1);
    y = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &(qd_linear_config){4, 2}, y, -1);
    TEST_OK(ctx, qd_builder_finish(b, y, &graph));
    qd_builder_destroy(b);
    return graph;
}

Test(graph, modules_calls_and_parameters_are_found)
{
    static const char *const calls[] = {
        "stem.0",     "stem.1", "stem.2", "stem", "block.conv", "block.bn", "block.relu",
        "block.relu", "block",  "pool",   "drop", "fc",         ""};
    qd_graph *g = build_small();
    cr_assert_eq(g->call_count, (int)(sizeof calls / sizeof calls[0]));
    for (int i = 0; i < g->call_count; i++)
        cr_expect_str_eq(g->modules[g->calls[i].module].path, calls[i]);
    cr_expect_eq(g->module_count, g->call_count, "one module is never called, one is called twice");
    cr_expect_eq(g->modules[qd_graph_find_module(g, "block.relu")].parent, qd_graph_find_module(g, "block"));
    cr_expect_str_eq(g->modules[qd_graph_find_module(g, "")].class_name, "Small");
    cr_expect_lt(qd_graph_find_module(g, "block.unused"), qd_graph_find_module(g, "block.bn"));
    cr_expect_eq(qd_graph_find_module(g, "nowhere"), -1);
    cr_expect_eq(qd_graph_find_param(g, "stem.0.weight"), 0);
    cr_expect_eq(qd_graph_find_param(g, "fc.bias"), g->param_count - 1);
    cr_expect_eq(qd_graph_find_param(g, "stem.0.bias"), -1);
    cr_expect_eq(qd_graph_find_buffer(g, "block.bn.running_mean"), 2);
    cr_expect_eq(qd_graph_find_node(g, "block.add"), 6);
    cr_expect_eq(qd_graph_find_node(g, "block.nothing"), -1);
    cr_expect_eq(g->batches_tracked_count, 2);
    const qd_module_call *block = &g->calls[8];
    cr_expect_eq(block->value, g->nodes[block->after_node].output, "a container reports its last node's value");
    qd_graph_destroy(g);
}

Test(graph, a_shape_error_names_the_layer_and_ends_the_building)
{
    qd_builder *b = NULL;
    qd_graph *graph = NULL;
    TEST_OK(ctx, qd_builder_create(ctx, "small", "Small", input_dims, &b));
    qd_builder_open(b, "stem", "Sequential");
    int x = conv3x3(b, "conv", 5, 4, qd_builder_input(b));
    cr_expect_eq(x, -1);
    x = batchnorm(b, "bn", 4, x);
    cr_expect_eq(x, -1);
    qd_builder_close(b, x);
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_SHAPE, "'stem.conv'");
    cr_expect_null(graph);
    qd_builder_destroy(b);
    qd_builder_destroy(NULL);
    qd_graph_destroy(NULL);
}

Test(graph, broken_models_are_refused)
{
    qd_builder *b = NULL;
    qd_graph *graph = NULL;
    TEST_OK(ctx, qd_builder_create(ctx, "open", "Small", input_dims, &b));
    qd_builder_open(b, "stem", "Sequential");
    int x = conv3x3(b, "conv", 3, 4, qd_builder_input(b));
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_INTERNAL, "'stem' was never closed");
    qd_builder_destroy(b);

    TEST_OK(ctx, qd_builder_create(ctx, "closed", "Small", input_dims, &b));
    qd_builder_close(b, qd_builder_input(b));
    TEST_FAILS(ctx, qd_builder_finish(b, 0, &graph), QD_ERR_INTERNAL, "more containers closed than opened");
    qd_builder_destroy(b);

    TEST_OK(ctx, qd_builder_create(ctx, "idle", "Small", input_dims, &b));
    x = conv3x3(b, "a", 3, 4, qd_builder_input(b));
    conv3x3(b, "b", 3, 4, qd_builder_input(b));
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_INTERNAL, "value 2 of 3 has 0 consumers");
    qd_builder_destroy(b);

    TEST_OK(ctx, qd_builder_create(ctx, "twice", "Small", input_dims, &b));
    x = conv3x3(b, "conv", 3, 3, qd_builder_input(b));
    x = conv3x3(b, "conv", 3, 3, x);
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_INTERNAL, "'conv': called twice");
    qd_builder_destroy(b);

    TEST_OK(ctx, qd_builder_create(ctx, "inputs", "Small", input_dims, &b));
    x = qd_builder_apply(b, "add", QD_LAYER_add, NULL, qd_builder_input(b), -1);
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_INTERNAL, "'add': expected 2 inputs");
    qd_builder_destroy(b);

    char name[QD_NAME_BYTES + 1];
    memset(name, 'x', QD_NAME_BYTES);
    name[QD_NAME_BYTES] = '\0';
    TEST_OK(ctx, qd_builder_create(ctx, "long", "Small", input_dims, &b));
    x = conv3x3(b, name, 3, 3, qd_builder_input(b));
    TEST_FAILS(ctx, qd_builder_finish(b, x, &graph), QD_ERR_INTERNAL, "longer than");
    qd_builder_destroy(b);
    cr_expect_null(graph);
}

Test(graph, views_follow_the_memory_order)
{
    qd_param dense = {.name = "w", .rank = 4, .shape = {5, 3, 2, 4}, .order = QD_ORDER_OHWI, .offset = 16};
    float block[16 + 5 * 3 * 2 * 4];
    qd_tensor view = qd_param_view(&dense, QD_F32, block);
    cr_expect_eq(view.data, block + 16);
    cr_expect_str_eq(view.name, "w");
    cr_expect(view.stride[0] == 24 && view.stride[1] == 1 && view.stride[2] == 12 && view.stride[3] == 3);
    qd_param depthwise = {.name = "d", .rank = 4, .shape = {5, 1, 2, 4}, .order = QD_ORDER_HWO};
    view = qd_param_view(&depthwise, QD_F32, block);
    cr_expect(view.stride[0] == 1 && view.stride[2] == 20 && view.stride[3] == 5);
    qd_param linear = {.name = "l", .rank = 2, .shape = {5, 3}, .order = QD_ORDER_CONTIGUOUS};
    view = qd_param_view(&linear, QD_F64, block);
    cr_expect(view.rank == 2 && view.stride[0] == 3 && view.stride[1] == 1);
}

Test(graph, a_state_starts_at_declared_values_and_zero)
{
    qd_graph *g = build_small();
    qd_state *state = NULL;
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F64, true, &state));
    for (int64_t i = 0; i < g->param_elements; i++) {
        cr_expect_eq(((double *)state->grads)[i], 0.0);
        cr_expect_eq(((double *)state->momentum)[i], 0.0);
    }
    qd_tensor mean = qd_state_buffer(state, qd_graph_find_buffer(g, "stem.1.running_mean"));
    qd_tensor variance = qd_state_buffer(state, qd_graph_find_buffer(g, "stem.1.running_var"));
    for (int c = 0; c < 4; c++) {
        cr_expect_eq(((double *)mean.data)[c], 0.0);
        cr_expect_eq(((double *)variance.data)[c], 1.0);
    }
    for (int p = 0; p < g->param_count; p++) {
        cr_expect_eq(g->params[p].offset % 16, 0, "'%s' is not aligned", g->params[p].name);
        cr_expect_leq(g->params[p].offset + g->params[p].count, g->param_elements);
    }
    qd_state_destroy(state);
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F32, false, &state));
    cr_expect(state->grads == NULL && state->momentum == NULL);
    qd_state_destroy(state);
    qd_state_destroy(NULL);
    TEST_FAILS(ctx, qd_state_create(ctx, g, QD_S8, false, &state), QD_ERR_USAGE, "int8");
    qd_graph_destroy(g);
}

/* ---- plans ---- */

typedef struct {
    int nodes[16];
    int count;
    double first[16]; /* first value of each report */
    enum qd_status answer;
} reports;

static enum qd_status record(void *user, int node, const qd_tensor *value)
{
    reports *r = user;
    r->nodes[r->count] = node;
    r->first[r->count++] = ((double *)value->data)[0];
    return r->answer;
}

static void keep_all(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    (void)user, (void)name, (void)p_keep;
    for (int64_t i = 0; i < count; i++)
        keep[i] = true;
}

static void fill(void *values, int64_t count, uint64_t seed)
{
    qd_rng rng;
    qd_rng_seed(&rng, seed);
    for (int64_t i = 0; i < count; i++)
        ((double *)values)[i] = (double)qd_rng_uniform_f32(&rng, -1.0f, 1.0f);
}

Test(graph, an_observer_sees_every_value_once_and_may_stop_the_pass)
{
    qd_graph *g = build_small();
    qd_state *state = NULL;
    qd_plan *plan = NULL, *fused = NULL;
    double x[2 * 6 * 6 * 3];
    fill(x, 2 * 6 * 6 * 3, 1);
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F64, false, &state));
    fill(state->params, g->param_elements, 2);
    TEST_OK(ctx, qd_plan_create(ctx, g, state, &QD_PLAN_OBSERVING(2), &plan));
    TEST_OK(ctx, qd_plan_create(ctx, g, state, &QD_PLAN_INFERENCE(2), &fused));
    reports all = {.answer = QD_OK}, some = {.answer = QD_OK}, one = {.answer = QD_ERR_INTERRUPTED};
    qd_tensor logits, fused_logits;
    TEST_OK(ctx, qd_plan_forward(plan, x, 2, NULL, record, &all, &logits));
    cr_assert_eq(all.count, g->node_count);
    for (int i = 0; i < all.count; i++)
        cr_expect_eq(all.nodes[i], i);
    TEST_OK(ctx, qd_plan_forward(fused, x, 2, NULL, record, &some, &fused_logits));
    cr_assert_eq(some.count, g->node_count - 2, "two pairs are fused");
    for (int i = 0; i < some.count; i++) /* all numbers are sums in the same order, so equal */
        cr_expect_float_eq(some.first[i], all.first[some.nodes[i]], 1e-15);
    cr_expect_eq(some.nodes[1], qd_graph_find_node(g, "stem.2"), "a fused pair reports as its activation");
    cr_expect(logits.rank == 2 && logits.shape[0] == 2 && logits.shape[1] == 2);
    cr_expect_eq(qd_plan_forward(plan, x, 2, NULL, record, &one, &logits), QD_ERR_INTERRUPTED);
    cr_expect_eq(one.count, 1);
    qd_plan_destroy(plan);
    qd_plan_destroy(fused);
    qd_state_destroy(state);
    qd_graph_destroy(g);
}

Test(graph, plans_refuse_what_they_cannot_do)
{
    qd_graph *g = build_small();
    qd_state *state = NULL, *untrained = NULL;
    qd_plan *plan = NULL;
    size_t bytes = 0;
    double x[3 * 6 * 6 * 3] = {0}, dlogits[3 * 2] = {0};
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F64, true, &state));
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F64, false, &untrained));
    TEST_FAILS(ctx, qd_plan_create(ctx, g, untrained, &QD_PLAN_TRAINING(2), &plan), QD_ERR_USAGE, "for training");
    TEST_FAILS(ctx, qd_plan_create(ctx, g, state, &QD_PLAN_TRAINING(0), &plan), QD_ERR_USAGE, "a batch of 1 to");
    TEST_FAILS(ctx, qd_plan_bytes(ctx, g, QD_F32, &QD_PLAN_TRAINING((int64_t)1 << 40), &bytes), QD_ERR_USAGE,
               "a batch of 1 to");
    cr_assert_null(plan);
    TEST_OK(ctx, qd_plan_create(ctx, g, state, &QD_PLAN_TRAINING(2), &plan));
    qd_draws draws = {.bernoulli = keep_all};
    TEST_FAILS(ctx, qd_plan_backward(plan, dlogits), QD_ERR_USAGE, "completed forward pass");
    TEST_FAILS(ctx, qd_plan_forward(plan, x, 3, &draws, NULL, NULL, NULL), QD_ERR_USAGE, "a batch of 1 to 2, got 3");
    TEST_FAILS(ctx, qd_plan_forward(plan, x, 0, &draws, NULL, NULL, NULL), QD_ERR_USAGE, "got 0");
    TEST_FAILS(ctx, qd_plan_forward(plan, x, 2, NULL, NULL, NULL, NULL), QD_ERR_USAGE,
               "'drop': a training pass needs");
    TEST_OK(ctx, qd_plan_forward(plan, x, 2, &draws, NULL, NULL, NULL));
    TEST_OK(ctx, qd_plan_backward(plan, dlogits));
    TEST_FAILS(ctx, qd_plan_backward(plan, dlogits), QD_ERR_USAGE, "completed forward pass");
    qd_plan_destroy(plan);
    qd_plan_destroy(NULL);
    qd_state_destroy(state);
    qd_state_destroy(untrained);
    qd_graph_destroy(g);
}

/* The stem's output feeds the convolution and the sum: its gradient is the sum of two shares. */
Test(graph, gradients_of_shared_values_add_up)
{
    qd_graph *g = build_small();
    qd_state *state = NULL;
    double x[2 * 6 * 6 * 3];
    fill(x, 2 * 6 * 6 * 3, 3);
    TEST_OK(ctx, qd_state_create(ctx, g, QD_F64, true, &state));
    fill(state->params, g->param_elements, 4);
    qd_plan_config config = {.max_batch = 2, .training = true, .backward = true};
    const double dlogits[] = {1.0, -0.5, 0.25, 2.0};
    qd_draws draws = {.bernoulli = keep_all};
    for (int fuse = 0; fuse < 2; fuse++) {
        qd_plan *plan = NULL;
        qd_tensor logits;
        config.fuse = fuse;
        TEST_OK(ctx, qd_plan_create(ctx, g, state, &config, &plan));
        TEST_OK(ctx, qd_plan_forward(plan, x, 2, &draws, NULL, NULL, &logits));
        TEST_OK(ctx, qd_plan_backward(plan, dlogits));
        int conv = qd_graph_find_param(g, "stem.0.weight");
        double *w = qd_state_param(state, QD_BLOCK_PARAMS, conv).data,
               *dw = qd_state_param(state, QD_BLOCK_GRADS, conv).data;
        for (int i = 0; i < 3; i++) {
            double kept = w[7 * i], value[2];
            for (int side = 0; side < 2; side++) {
                w[7 * i] = kept + (side ? 1e-6 : -1e-6);
                TEST_OK(ctx, qd_plan_forward(plan, x, 2, &draws, NULL, NULL, &logits));
                value[side] = 0.0;
                for (int j = 0; j < 4; j++)
                    value[side] += dlogits[j] * ((double *)logits.data)[j];
            }
            w[7 * i] = kept;
            double numeric = (value[1] - value[0]) / 2e-6;
            /* Rounding 1e-16/1e-6 and truncation 1e-12, both on values of order one. */
            cr_expect_float_eq(dw[7 * i], numeric, 1e-8, "fuse %d: expected %.12g, got %.12g", fuse, numeric,
                               dw[7 * i]);
        }
        qd_plan_destroy(plan);
    }
    qd_state_destroy(state);
    qd_graph_destroy(g);
}

Test(graph, a_streaming_plan_is_small)
{
    qd_graph *g = build_small();
    size_t training = 0, streaming = 0;
    TEST_OK(ctx, qd_plan_bytes(ctx, g, QD_F32, &QD_PLAN_TRAINING(64), &training));
    TEST_OK(ctx, qd_plan_bytes(ctx, g, QD_F32, &QD_PLAN_OBSERVING(64), &streaming));
    /* At most the sum's two inputs and its output live at once; training keeps nearly every map. */
    size_t map = 64 * 4 * 6 * 6 * sizeof(float);
    cr_expect_geq(streaming, 3 * map);
    cr_expect_lt(streaming, training);
    qd_graph_destroy(g);
}
