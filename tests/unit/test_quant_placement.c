/* Which tensors are quantized, under which names: docs/quantization.md section 2. */
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <string.h>

static qd_qgraph *lay_out(const quant_network *network)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = NULL;

    TEST_OK(network->ctx, qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, 1, &q));
    return q;
}

static bool has_tensor(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        if (strcmp(qd_qgraph_tensor(q, i).name, name) == 0)
            return true;
    return false;
}

static void check_unique(const qd_qgraph *q)
{
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        for (int k = 0; k < i; k++)
            cr_assert_str_neq(qd_qgraph_tensor(q, i).name, qd_qgraph_tensor(q, k).name);
}

Test(quant_placement, every_pattern)
{
    static const char *const expected[] = {
        "input",
        "relu",     /* conv1 + bn1 + relu; the max-pool behind it has no tensor of its own */
        "block.bn", /* expand */
        "block.act1.sigmoid",
        "block.act1",
        "block.bn2", /* depthwise */
        "block.act2.sigmoid",
        "block.act2",
        "block.se.avgpool",
        "block.se.fc1",
        "block.se.activation.sigmoid",
        "block.se.activation",
        "block.se.fc2",
        "block.se.scale_activation",
        "block.se",     /* the product */
        "block.bn3",    /* stochastic depth is gone */
        "block",        /* the sum */
        "basic.relu#1", /* called twice: the log has the last call */
        "basic.bn2",
        "basic.relu", /* after the sum */
        "bn_head",    /* read twice, so that its ReLU6 cannot be fused */
        "hardswish",
        "relu6",
        "join",
        "avgpool", /* the logits behind the linear layer are float */
    };
    const int count = sizeof expected / sizeof expected[0];
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_qgraph *q = lay_out(&network);

    for (int i = 0; i < count && i < qd_qgraph_tensor_count(q); i++)
        cr_assert_str_eq(qd_qgraph_tensor(q, i).name, expected[i]);
    cr_assert_eq(qd_qgraph_tensor_count(q), count);
    cr_assert_eq(qd_qgraph_weight_count(q), 10);
    cr_assert_str_eq(qd_qgraph_weight_name(q, 0), "conv1.weight");
    cr_assert_str_eq(qd_qgraph_weight_name(q, 9), "fc.weight");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Input, 20 convolutions (17 with their ReLU fused or none behind, 3 projections), 8 sums, the average. */
Test(quant_placement, resnet18)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "resnet18", 1);
    qd_qgraph *q = lay_out(&network);

    cr_assert_eq(qd_qgraph_tensor_count(q), 1 + 20 + 8 + 1);
    cr_assert_eq(qd_qgraph_weight_count(q), 21);
    check_unique(q);
    cr_assert(has_tensor(q, "relu") && has_tensor(q, "layer1.0.relu#1") && has_tensor(q, "layer1.0.bn2"));
    cr_assert(has_tensor(q, "layer1.0.relu") && has_tensor(q, "layer2.0.downsample.1") && has_tensor(q, "avgpool"));
    cr_assert(!has_tensor(q, "maxpool") && !has_tensor(q, "fc") && !has_tensor(q, "conv1"));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Input, 81 convolutions, 49 SiLUs of two tensors, average + gate + product of 16 squeeze-excites, 9 sums, the
 * average. */
Test(quant_placement, efficientnet_b0)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "efficientnet_b0", 1);
    qd_qgraph *q = lay_out(&network);

    cr_assert_eq(qd_qgraph_tensor_count(q), 1 + 81 + 2 * 49 + 3 * 16 + 9 + 1);
    cr_assert_eq(qd_qgraph_weight_count(q), 82);
    check_unique(q);
    cr_assert(has_tensor(q, "features.0.1") && has_tensor(q, "features.0.2.sigmoid") &&
              has_tensor(q, "features.0.2"));
    cr_assert(has_tensor(q, "features.1.0.block.1.fc2") && has_tensor(q, "features.1.0.block.1.scale_activation"));
    cr_assert(has_tensor(q, "features.1.0.block.1") && has_tensor(q, "features.2.1.block.3.1"));
    cr_assert(has_tensor(q, "features.2.1") && !has_tensor(q, "features.2.0"));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* The post's head: Dropout, Linear, ReLU, Dropout, Linear. */
Test(quant_placement, binary_head)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "binary", 1);
    qd_qgraph *q = lay_out(&network);

    cr_assert_eq(qd_qgraph_tensor_count(q), 1 + 20 + 8 + 1 + 1);
    cr_assert(has_tensor(q, "fc.2") && !has_tensor(q, "fc.1") && !has_tensor(q, "fc.4"));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Values that live at the same time never share memory. */
Test(quant_placement, memory_is_shared_over_time_only)
{
    static const char *const names[] = {"small", "resnet18", "efficientnet_b0"};
    qd_context *ctx = test_context_create(1);

    for (size_t m = 0; m < sizeof names / sizeof names[0]; m++) {
        quant_network network = quant_network_create(ctx, names[m], 1);
        qd_qgraph *q = lay_out(&network);
        int64_t all = 0;
        for (int i = 0; i < q->value_count; i++) {
            const qd_qvalue *a = &q->values[i];
            int64_t size = qd_dims_count(&a->dims) * (a->quantizer < 0 ? 4 : 1);
            all += size;
            cr_assert_leq(a->offset + size, q->sample_elements);
            for (int k = 0; k < i; k++) {
                const qd_qvalue *b = &q->values[k];
                int64_t other = qd_dims_count(&b->dims) * (b->quantizer < 0 ? 4 : 1);
                bool together = a->first_step <= b->last_step && b->first_step <= a->last_step;
                bool apart = a->offset + size <= b->offset || b->offset + other <= a->offset;
                cr_assert(!together || apart, "%s: values %d and %d overlap", names[m], k, i);
            }
        }
        /* A convolution's input, its output and what the merged step behind it writes lie beside each other: with the
         * small network's equal maps that is more than a third of all. */
        cr_assert_lt(q->sample_elements, all * 2 / 5, "%s: %lld of %lld elements", names[m],
                     (long long)q->sample_elements, (long long)all);
        qd_qgraph_destroy(q);
        quant_network_free(&network);
    }
    qd_context_destroy(ctx);
}

Test(quant_placement, tall_depthwise_kernels_are_refused)
{
    const qd_conv2d_config tall = {3, 3, 17, 1, 8, 3, true};
    const qd_linear_config linear = {3, 2};
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_context *ctx = test_context_create(1);
    qd_builder *b = NULL;
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    qd_qgraph *q = NULL;

    TEST_OK(ctx, qd_builder_create(ctx, "odd", "Odd", (qd_dims){4, 3, 20, 20}, &b));
    int x = qd_builder_call(b, "tall", "Conv2d", QD_LAYER_conv2d, &tall, qd_builder_input(b), -1);
    x = qd_builder_call(b, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
    x = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, x, -1);
    x = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &linear, x, -1);
    TEST_OK(ctx, qd_builder_finish(b, x, &graph));
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
    TEST_FAILS(ctx, qd_qgraph_create(ctx, graph, state, &scheme, 1, &q), QD_ERR_USAGE, "at most 16 lines, got 17");
    cr_assert_null(q);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_builder_destroy(b);
    qd_context_destroy(ctx);
}

Test(quant_placement, batchnorm_without_convolution_is_refused)
{
    const qd_batchnorm2d_config norm = {.channels = 3, .eps = 1e-5, .momentum = 0.1};
    const qd_linear_config linear = {3, 2};
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_context *ctx = test_context_create(1);
    qd_builder *b = NULL;
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    qd_qgraph *q = NULL;

    TEST_OK(ctx, qd_builder_create(ctx, "odd", "Odd", (qd_dims){4, 3, 4, 4}, &b));
    int x = qd_builder_call(b, "norm", "BatchNorm2d", QD_LAYER_batchnorm2d, &norm, qd_builder_input(b), -1);
    x = qd_builder_call(b, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, x, -1);
    x = qd_builder_apply(b, "flatten", QD_LAYER_flatten, NULL, x, -1);
    x = qd_builder_call(b, "fc", "Linear", QD_LAYER_linear, &linear, x, -1);
    TEST_OK(ctx, qd_builder_finish(b, x, &graph));
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, false, &state));
    TEST_FAILS(ctx, qd_qgraph_create(ctx, graph, state, &scheme, 1, &q), QD_ERR_USAGE, "'norm'");
    cr_assert_null(q);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    qd_builder_destroy(b);
    qd_context_destroy(ctx);
}
