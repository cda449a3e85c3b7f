/* The order of a hook dictionary on a toy network whose ReLU is called twice, as in ResNet's blocks. */
#include "observe/observe.h"
#include "support/test_context.h"
#include <stdio.h>
#include <string.h>

/* block.fc1, block.relu, block.fc2, block.relu again, then the containers, the root last. */
static qd_graph *toy_graph(qd_context *ctx)
{
    qd_builder *builder;
    qd_graph *graph;
    const qd_linear_config linear = {.in_features = 2, .out_features = 2};
    const qd_activation_config relu = {.kind = QD_ACTIVATION_RELU};
    TEST_OK(ctx, qd_builder_create(ctx, "toy", "Toy", (qd_dims){.rank = 2, .c = 2, .h = 1, .w = 1}, &builder));
    qd_builder_open(builder, "block", "Block");
    int value = qd_builder_call(builder, "fc1", "Linear", QD_LAYER_linear, &linear, qd_builder_input(builder), -1);
    value = qd_builder_call(builder, "relu", "ReLU", QD_LAYER_activation, &relu, value, -1);
    value = qd_builder_call(builder, "fc2", "Linear", QD_LAYER_linear, &linear, value, -1);
    value = qd_builder_apply(builder, "add", QD_LAYER_add, NULL, value, qd_builder_input(builder));
    value = qd_builder_call(builder, "relu", "ReLU", QD_LAYER_activation, &relu, value, -1);
    qd_builder_close(builder, value);
    value = qd_builder_call(builder, "head", "Linear", QD_LAYER_linear, &linear, value, -1);
    TEST_OK(ctx, qd_builder_finish(builder, value, &graph));
    qd_builder_destroy(builder);
    return graph;
}

/* weight = factor·identity, no bias. */
static void set_linear(qd_state *state, const char *name, float factor)
{
    char param[64];
    snprintf(param, sizeof param, "%s.weight", name);
    qd_tensor weight = qd_state_param(state, QD_BLOCK_PARAMS, qd_graph_find_param(state->graph, param));
    float *w = weight.data;
    w[0] = w[3] = factor;
}

Test(observe, keeps_the_place_of_the_first_call_and_the_values_of_the_last)
{
    qd_context *ctx = test_context_create(1);
    qd_graph *graph = toy_graph(ctx);
    qd_state *state;
    qd_plan *plan;
    qd_observation observation;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
    set_linear(state, "block.fc1", 2.0f);
    set_linear(state, "block.fc2", 3.0f);
    set_linear(state, "head", 1.0f);
    TEST_OK(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_OBSERVING(2), &plan));
    const float x[4] = {1.0f, -1.0f, 0.5f, 0.0f};
    TEST_OK(ctx, qd_observe(ctx, graph, plan, x, 2, NULL, &observation));

    const char *const order[] = {"block.fc1", "block.relu", "block.fc2", "block", "head", ""};
    const char *const classes[] = {"Linear", "ReLU", "Linear", "Block", "Linear", "Toy"};
    cr_assert_eq(observation.count, 6);
    for (int i = 0; i < observation.count; i++) {
        const qd_module *module = &graph->modules[observation.modules[i].module];
        cr_assert_str_eq(module->path, order[i]);
        cr_assert_str_eq(module->class_name, classes[i]);
        cr_assert_eq(observation.modules[i].rank, 2);
        cr_assert_eq(observation.modules[i].shape[0], 2);
    }
    /* fc1: {2,-2,1,0}; first relu: {2,0,1,0}; fc2: {6,0,3,0}; add: {7,-1,3.5,0}; last relu: {7,0,3.5,0}. */
    cr_assert_eq(observation.modules[0].stats.min, -2.0);
    cr_assert_eq(observation.modules[1].stats.max, 7.0);
    cr_assert_eq(observation.modules[1].stats.zero_count, 2);
    cr_assert_eq(observation.modules[2].stats.max, 6.0);
    cr_assert_eq(observation.modules[3].stats.max, 7.0);
    cr_assert_float_eq(observation.modules[3].stats.mean, 2.625, 1e-15);
    qd_observation_free(&observation);
    qd_plan_destroy(plan);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_context_destroy(ctx);
}
