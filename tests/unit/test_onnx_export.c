/* ONNX models: their operators' plain definitions give our networks' results, and their scales are ours. */
#include "exchange/encodings_export.h"
#include "exchange/onnx_export.h"
#include "formats/encodings.h"
#include "quantize/qgraph.h"
#include "support/fixture.h"
#include "support/onnx_run.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include <math.h>
#include <quantdrift/inspect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "x.onnx");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(onnx_export, .init = set_up, .fini = tear_down);

/* The model at `path` on the network's images, [n][classes]; freed with free(). */
static float *run_model(const quant_network *network)
{
    const qd_dims *in = &network->graph->input_dims;
    const int64_t pixels = in->h * in->w, classes = quant_network_classes(network);
    float *logits = calloc((size_t)(network->n * classes), sizeof *logits);
    double *x = calloc((size_t)(in->c * pixels), sizeof *x);
    Onnx__ModelProto *model;
    cr_assert(logits && x);
    TEST_OK(ctx, qd_onnx_read(ctx, path, &model));
    cr_assert_eq(model->ir_version, 8);
    cr_assert_eq(model->opset_import[0]->version, 17);
    for (int64_t i = 0; i < network->n; i++) {
        int64_t count;
        for (int64_t c = 0; c < in->c; c++)
            for (int64_t at = 0; at < pixels; at++)
                x[c * pixels + at] = (double)network->images[(i * pixels + at) * in->c + c];
        double *result = onnx_run(model, x, &count);
        cr_assert_eq(count, classes);
        for (int64_t c = 0; c < classes; c++)
            logits[i * classes + c] = (float)result[c];
        free(result);
    }
    qd_onnx_free(model);
    free(x);
    return logits;
}

static const char *const names[] = {"small", "resnet18", "efficientnet_b0", "binary"};
enum { NAME_COUNT = sizeof names / sizeof names[0] };

Test(onnx_export, float_models_are_the_network)
{
    SKIP_IF_EMULATED();
    for (int i = 0; i < NAME_COUNT; i++) {
        quant_network network = quant_network_create(ctx, names[i], i == 0 ? 3 : 1);
        const qd_quant_scheme scheme = qd_quant_scheme_defaults();
        const int64_t count = network.n * quant_network_classes(&network);
        float *expected = quant_network_logits(&network);
        qd_qgraph *qgraph;
        TEST_OK(ctx, qd_onnx_write_layers(ctx, path, network.graph, network.state));
        float *layers = run_model(&network);
        TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 1, &qgraph));
        TEST_OK(ctx, qd_onnx_write_folded(ctx, path, network.graph, qgraph, false));
        float *folded = run_model(&network);
        /* Double against float32 over some fifty layers, and BatchNorm's fold rounds each weight once more. */
        cr_assert_lt(quant_largest_difference(expected, layers, count), 1e-5, "%s, layers", names[i]);
        cr_assert_lt(quant_largest_difference(expected, folded, count), 1e-5, "%s, folded", names[i]);
        qd_qgraph_destroy(qgraph);
        free(expected);
        free(layers);
        free(folded);
        quant_network_free(&network);
    }
}

static const qd_quant_scheme schemes[] = {
    {.weight_bits = 8, .activation_bits = 8, .activation_signed = true},
    {.weight_bits = 8, .weight_per_channel = true, .activation_bits = 8},
};

/*
 * The float semantics of the exported quantizers against integers: near-ties of requantization may fall on the other
 * side, and a code that differs changes some of the next layer's. So most logits are within a step of the last
 * layer's input, and all of them within a few: 2 % of the largest.
 */
Test(onnx_export, quantized_models_are_the_integer_network)
{
    SKIP_IF_EMULATED();
    for (int i = 0; i < NAME_COUNT; i++) {
        quant_network network = quant_network_create(ctx, names[i], i == 0 ? 3 : 1);
        const int64_t count = network.n * quant_network_classes(&network);
        for (int s = 0; s < 2; s++) {
            qd_qgraph *qgraph = quant_network_quantize(&network, &schemes[s]);
            float *expected = calloc((size_t)count, sizeof *expected);
            cr_assert_not_null(expected);
            TEST_OK(ctx, qd_qgraph_run_integer(qgraph, network.images, network.n, expected));
            TEST_OK(ctx, qd_onnx_write_folded(ctx, path, network.graph, qgraph, true));
            float *found = run_model(&network);
            cr_assert_lt(quant_largest_difference(expected, found, count), 0.02, "%s, scheme %d: %g", names[i], s,
                         quant_largest_difference(expected, found, count));
            free(expected);
            free(found);
            qd_qgraph_destroy(qgraph);
        }
        quant_network_free(&network);
    }
}

static const qd_inspected_quantizer *find_quantizer(const qd_inspection *inspection, const char *name)
{
    for (int i = 0; i < inspection->quantizer_count; i++)
        if (strcmp(inspection->quantizers[i].tensor, name) == 0)
            return &inspection->quantizers[i];
    cr_assert_fail("no quantizer of '%s'", name);
    return NULL;
}

Test(onnx_export, carries_exactly_our_scales_and_zero_points)
{
    quant_network network = quant_network_create(ctx, "small", 3);
    for (int s = 0; s < 2; s++) {
        qd_qgraph *qgraph = quant_network_quantize(&network, &schemes[s]);
        qd_inspection inspection;
        TEST_OK(ctx, qd_onnx_write_folded(ctx, path, network.graph, qgraph, true));
        TEST_OK(ctx, qd_inspect(ctx, path, &inspection));
        cr_assert_str_eq(inspection.format, "ONNX");
        for (int t = 0; t < qd_qgraph_tensor_count(qgraph); t++) {
            const qd_quant_tensor tensor = qd_qgraph_tensor(qgraph, t);
            const qd_inspected_quantizer *found = find_quantizer(&inspection, tensor.name);
            cr_assert_eq(found->axis, -1);
            cr_assert_eq(found->scale[0], tensor.scale, "'%s'", tensor.name);
            cr_assert_eq(found->zero_point[0], tensor.zero_point, "'%s'", tensor.name);
            cr_assert_str_eq(found->type, schemes[s].activation_signed ? "int8" : "uint8");
        }
        for (int w = 0; w < qd_qgraph_weight_count(qgraph); w++) {
            char name[200];
            snprintf(name, sizeof name, "%s_quantized", qd_qgraph_weight_name(qgraph, w));
            const qd_inspected_quantizer *found = find_quantizer(&inspection, name);
            cr_assert_eq(found->axis, schemes[s].weight_per_channel ? 0 : -1);
            for (int64_t c = 0; c < found->count; c++) {
                cr_assert_eq(found->scale[c], qd_qgraph_weight_scale(qgraph, w, c), "'%s'", name);
                cr_assert_eq(found->zero_point[c], 0);
            }
        }
        qd_inspection_free(&inspection);
        qd_qgraph_destroy(qgraph);
    }
    quant_network_free(&network);
}

Test(onnx_export, refuses_what_onnx_cannot_say)
{
    quant_network network = quant_network_create(ctx, "small", 1);
    const qd_quant_scheme narrow = {.weight_bits = 8, .activation_bits = 6, .activation_signed = true};
    qd_qgraph *qgraph;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &schemes[0], 1, &qgraph));
    TEST_FAILS(ctx, qd_onnx_write_folded(ctx, path, network.graph, qgraph, true), QD_ERR_USAGE,
               "no scales chosen yet");
    TEST_FAILS(ctx, qd_qgraph_write_encodings(ctx, path, "small", "minmax", qgraph), QD_ERR_USAGE,
               "no scales chosen yet");
    qd_qgraph_destroy(qgraph);
    qgraph = quant_network_quantize(&network, &narrow);
    TEST_FAILS(ctx, qd_onnx_write_folded(ctx, path, network.graph, qgraph, true), QD_ERR_USAGE, "codes of 8 bits");
    qd_qgraph_destroy(qgraph);
    cr_assert_eq(test_folder_count(folder), 0);
    quant_network_free(&network);
}

Test(onnx_export, encodings_come_back)
{
    quant_network network = quant_network_create(ctx, "small", 3);
    for (int s = 0; s < 2; s++) {
        qd_qgraph *qgraph = quant_network_quantize(&network, &schemes[s]);
        qd_encodings read;
        TEST_OK(ctx, qd_qgraph_write_encodings(ctx, path, "small", "minmax", qgraph));
        TEST_OK(ctx, qd_encodings_read(ctx, path, &read));
        cr_assert_str_eq(read.model, "small");
        cr_assert_eq(read.activations.count, qd_qgraph_tensor_count(qgraph));
        cr_assert_eq(read.weights.count, qd_qgraph_weight_count(qgraph));
        for (int t = 0; t < read.activations.count; t++) {
            const qd_quant_tensor tensor = qd_qgraph_tensor(qgraph, t);
            const qd_encoding *found = &read.activations.items[t];
            cr_assert_str_eq(found->name, tensor.name);
            cr_assert_str_eq(found->calibrator, "minmax");
            cr_assert_eq(found->bits, 8);
            cr_assert_eq(found->is_signed, schemes[s].activation_signed);
            cr_assert_not(found->symmetric);
            cr_assert_eq(found->ranges[0].min, tensor.min);
            cr_assert_eq(found->ranges[0].max, tensor.max);
            cr_assert_eq(found->ranges[0].scale, tensor.scale);
            cr_assert_eq(found->ranges[0].zero_point, tensor.zero_point);
        }
        for (int w = 0; w < read.weights.count; w++) {
            const qd_qconv *conv = &qgraph->convs[w];
            const qd_encoding *found = &read.weights.items[w];
            cr_assert_str_eq(found->name, conv->name);
            cr_assert(found->symmetric && found->is_signed);
            cr_assert_eq(found->range_count, schemes[s].weight_per_channel ? conv->config.out_channels : 1);
            for (int64_t c = 0; c < found->range_count; c++) {
                const qd_encoding_range *range = &found->ranges[c];
                cr_assert_eq(range->scale, (double)conv->scale[c]);
                /* The scale is that of the widest weight, unless a bias needed a larger one. */
                cr_assert_leq(fmax(-range->min, range->max) / 127.0, range->scale * (1.0 + 1e-6));
            }
        }
        qd_encodings_free(&read);
        qd_qgraph_destroy(qgraph);
    }
    quant_network_free(&network);
}
