/* Folding, calibration and signal to noise, each against an independent calculation, and what they refuse. */
#include "quantize/fold.h"
#include "quantize/fused.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Folding in double by hand: conv1 has no bias, basic.conv1 has one; "depthwise" lies channel by channel. */
Test(quant_measure, folding_matches_its_formula)
{
    static const char *const convs[] = {"conv1", "basic.conv1", "block.depthwise", "block.se.fc1"};
    static const char *const norms[] = {"bn1", "basic.bn1", "block.bn2", NULL};
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    const qd_graph *g = network.graph;
    const float *params = network.state->params, *buffers = network.state->buffers;

    for (int i = 0; i < 4; i++) {
        const qd_node *conv = &g->nodes[qd_graph_find_node(g, convs[i])];
        int norm = norms[i] == NULL ? -1 : qd_graph_find_node(g, norms[i]);
        const qd_param *param = &g->params[conv->param[0]];
        int64_t channels = param->shape[0];
        float *weight = malloc((size_t)param->count * sizeof *weight),
              *bias = malloc((size_t)channels * sizeof *bias);
        TEST_OK(ctx, qd_fold_batchnorm(ctx, g, network.state, qd_graph_find_node(g, convs[i]), norm, weight, bias));
        for (int64_t k = 0; k < param->count; k++) {
            int64_t o = param->order == QD_ORDER_HWO ? k % channels : k / (param->count / channels);
            double gain = 1.0, shift = 0.0;
            if (norm >= 0) {
                const qd_node *bn = &g->nodes[norm];
                double gamma = params[g->params[bn->param[0]].offset + o];
                double variance = buffers[g->buffers[bn->buffer[1]].offset + o];
                gain = gamma / sqrt(variance + 1e-5);
                shift =
                    params[g->params[bn->param[1]].offset + o] - gain * buffers[g->buffers[bn->buffer[0]].offset + o];
            }
            double own = conv->param[1] < 0 ? 0.0 : params[g->params[conv->param[1]].offset + o];
            cr_assert_eq(weight[k], (float)(params[param->offset + k] * gain));
            /* the order of the two products is free: double rounding of the last bit is all that may differ */
            cr_assert_float_eq(bias[o], own * gain + shift, 1e-6 * (fabs(own * gain) + fabs(shift)));
        }
        free(weight);
        free(bias);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_measure, weights_that_are_not_finite_are_named)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    const qd_param *weight = &network.graph->params[qd_graph_find_param(network.graph, "block.depthwise.weight")];
    const qd_param *beta = &network.graph->params[qd_graph_find_param(network.graph, "basic.bn2.bias")];
    float *params = network.state->params;
    qd_qgraph *q = NULL;

    params[beta->offset] = INFINITY;
    TEST_FAILS(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 1, &q), QD_ERR_NUMERIC,
               "'basic.conv2'");
    params[weight->offset + 3] = NAN;
    TEST_FAILS(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 1, &q), QD_ERR_NUMERIC,
               "'block.depthwise'");
    cr_assert_null(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

typedef struct seen {
    const qd_qgraph *q;
    double min[64], max[64];
    int64_t count[64];
    int order[64], tensors;
} seen;

static enum qd_status look(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    seen *s = user;
    int64_t count = n * qd_dims_count(dims);
    float min = 0.0f, max = 0.0f;

    if (s->count[index] == 0)
        s->order[s->tensors++] = index;
    s->count[index] += count;
    for (int64_t i = 0; i < count; i++) {
        min = values[i] < min ? values[i] : min;
        max = values[i] > max ? values[i] : max;
    }
    s->min[index] = fmin(s->min[index], (double)min);
    s->max[index] = fmax(s->max[index], (double)max);
    return QD_OK;
}

/* Ranges are minimum and maximum over all calls, whatever the batches, and hold 0; visitors see every tensor in
 * order. */
Test(quant_measure, calibration_is_minimum_and_maximum)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 5);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    int64_t pixels = qd_dims_count(&network.graph->input_dims);
    qd_qgraph *q = NULL;
    seen *s = calloc(1, sizeof *s);

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &q));
    cr_assert_gt(qd_qgraph_tensor(q, 0).min, qd_qgraph_tensor(q, 0).max, "an empty range before calibration");
    TEST_OK(ctx, qd_qgraph_calibrate(q, network.images, 2));
    TEST_OK(ctx, qd_qgraph_calibrate(q, network.images + 2 * pixels, 3));
    TEST_OK(ctx, qd_qgraph_visit(q, false, network.images, 5, look, s));
    cr_assert_eq(s->tensors, qd_qgraph_tensor_count(q));
    for (int i = 0; i < s->tensors; i++) {
        qd_quant_tensor tensor = qd_qgraph_tensor(q, i);
        cr_assert_eq(s->order[i], i);
        cr_assert_eq(tensor.min, s->min[i], "'%s'", tensor.name); /* which starts at 0 */
        cr_assert_eq(tensor.max, s->max[i], "'%s'", tensor.name);
        cr_assert_eq(s->count[i] % 5, 0);
    }
    float worst = 0.0f;
    for (int64_t i = 0; i < 5 * pixels; i++)
        worst = network.images[i] > worst ? network.images[i] : worst;
    cr_assert_eq(qd_qgraph_tensor(q, 0).max, (double)worst);
    free(s);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

static enum qd_status refuse(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    (void)user;
    (void)values;
    (void)n;
    (void)dims;
    return index == 3 ? QD_ERR_INTERRUPTED : QD_OK;
}

Test(quant_measure, misuse_is_refused)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    float logits[14];
    qd_qgraph *q = NULL;

    TEST_FAILS(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 0, &q), QD_ERR_USAGE, "batch");
    scheme.weight_bits = 16;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &q));
    TEST_FAILS(ctx, qd_qgraph_finalize(q), QD_ERR_USAGE, "'input' has no range");
    TEST_FAILS(ctx, qd_qgraph_run_integer(q, network.images, 2, logits), QD_ERR_USAGE, "calibrate and finalize");
    TEST_FAILS(ctx, qd_qgraph_run_float(q, true, network.images, 2, logits), QD_ERR_USAGE, "calibrate and finalize");
    TEST_FAILS(ctx, qd_qgraph_measure_sqnr(q, network.images, 2), QD_ERR_USAGE, "calibrate and finalize");
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 2, logits));
    TEST_FAILS(ctx, qd_qgraph_set_range(q, 1000, 0.0, 1.0), QD_ERR_USAGE, "got 1000");
    TEST_FAILS(ctx, qd_qgraph_set_range(q, 1, 1.0, -1.0), QD_ERR_USAGE, "'relu'");
    TEST_FAILS(ctx, qd_qgraph_set_range(q, 1, NAN, 1.0), QD_ERR_USAGE, "'relu'");
    TEST_FAILS(ctx, qd_qgraph_set_range(q, 1, 0.0, INFINITY), QD_ERR_USAGE, "'relu'");
    cr_assert_eq(qd_qgraph_visit(q, false, network.images, 2, refuse, NULL), QD_ERR_INTERRUPTED);
    network.images[5] = NAN;
    TEST_FAILS(ctx, qd_qgraph_calibrate(q, network.images, 2), QD_ERR_NUMERIC, "'input'");
    network.images[5] = INFINITY;
    TEST_FAILS(ctx, qd_qgraph_calibrate(q, network.images, 2), QD_ERR_NUMERIC, "'input'");
    network.images[5] = 0.0f;
    TEST_OK(ctx, qd_qgraph_calibrate(q, network.images, 2));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    TEST_FAILS(ctx, qd_qgraph_run_integer(q, network.images, 2, logits), QD_ERR_USAGE, "got 16 for weights");
    TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, 2, logits));
    qd_qgraph_destroy(q);
    qd_qgraph_destroy(NULL);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

static double decibels(double signal, double noise)
{
    return 10.0 * log10(signal / noise);
}

/* The input's noise by hand: 1e-9 dB covers the order of a sum of doubles. Accumulated, nothing comes before it. */
Test(quant_measure, noise_of_the_input)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    int64_t count = 3 * qd_dims_count(&network.graph->input_dims);

    for (int bits = 4; bits <= 16; bits += 4) {
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        scheme.activation_bits = bits;
        scheme.weight_bits = bits;
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        qd_quant_tensor input = qd_qgraph_tensor(q, 0);
        double signal = 0.0, noise = 0.0;
        cr_assert(isnan(input.sqnr_rounding_db) && isnan(input.sqnr_accumulated_db), "not measured yet");
        for (int64_t i = 0; i < count; i++) {
            float x = network.images[i];
            double code = rint((double)(x / (float)input.scale)) + input.zero_point;
            code = fmin(fmax(code, -ldexp(1.0, bits - 1)), ldexp(1.0, bits - 1) - 1.0);
            double back = (double)((float)input.scale * (float)(code - input.zero_point));
            signal += (double)x * (double)x;
            noise += ((double)x - back) * ((double)x - back);
        }
        /* in two calls, which accumulate */
        TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, 1));
        TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images + count / 3, 2));
        input = qd_qgraph_tensor(q, 0);
        cr_assert_float_eq(input.sqnr_rounding_db, decibels(signal, noise), 1e-9);
        cr_assert_float_eq(input.sqnr_accumulated_db, decibels(signal, noise), 1e-9);
        /* 6.02 dB a bit, from about 1.8 dB for a full-scale sine: waves plus noise do not fill the range quite */
        cr_assert_float_eq(input.sqnr_rounding_db, 6.02 * bits, 6.0, "%d bits: %g dB", bits, input.sqnr_rounding_db);
        qd_qgraph_destroy(q);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Through the network the noise of what came before adds up; with fewer bits there is more of it. */
Test(quant_measure, noise_accumulates)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    double last[3];

    for (int i = 0; i < 3; i++) {
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        scheme.activation_bits = scheme.weight_bits = 6 + i;
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, network.n));
        for (int t = 1; t < qd_qgraph_tensor_count(q); t++) {
            qd_quant_tensor tensor = qd_qgraph_tensor(q, t);
            cr_assert_lt(tensor.sqnr_accumulated_db, tensor.sqnr_rounding_db, "'%s'", tensor.name);
            last[i] = tensor.sqnr_accumulated_db;
        }
        cr_assert(i == 0 || last[i] > last[i - 1] + 2.0, "%d bits: %g after %g dB", 6 + i, last[i], last[i - 1]);
        /* new parameters, new measurement */
        TEST_OK(ctx, qd_qgraph_finalize(q));
        cr_assert(isnan(qd_qgraph_tensor(q, 1).sqnr_rounding_db));
        qd_qgraph_destroy(q);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* A tensor that is 0 throughout has no noise: +inf, not NaN. */
Test(quant_measure, constant_tensors_are_free_of_noise)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    float logits[14];

    memset(network.images, 0, (size_t)(2 * qd_dims_count(&network.graph->input_dims)) * sizeof(float));
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    cr_assert_eq(qd_qgraph_tensor(q, 0).scale, 1.0);
    cr_assert_eq(qd_qgraph_tensor(q, 0).zero_point, 0);
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, 2));
    cr_assert_eq(qd_qgraph_tensor(q, 0).sqnr_rounding_db, INFINITY);
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, 2, logits));
    for (int i = 0; i < 14; i++)
        cr_assert(isfinite(logits[i]));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Signal to noise of one layer's weights, in dB. */
static double weight_sqnr(const qd_qconv *conv)
{
    double signal = 0.0, noise = 0.0;

    for (int64_t k = 0; k < conv->filter * conv->config.out_channels; k++) {
        double error = (double)conv->weight[k] - (double)conv->weight_simulated[k];
        signal += (double)conv->weight[k] * (double)conv->weight[k];
        noise += error * error;
    }
    return decibels(signal, noise);
}

/* Codes stay in -127 … 127, reproduce the simulated weights, and scales of their own serve every channel better. */
Test(quant_measure, per_channel_weights_are_closer)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *tensor = quant_network_quantize(&network, &scheme);

    double gain = 0.0;

    scheme.weight_per_channel = true;
    qd_qgraph *channel = quant_network_quantize(&network, &scheme);
    for (int i = 0; i < qd_qgraph_weight_count(tensor); i++) {
        const qd_qconv *a = &tensor->convs[i], *b = &channel->convs[i];
        double per_tensor = weight_sqnr(a), per_channel = weight_sqnr(b);
        int largest = 0;
        gain += per_channel - per_tensor;
        /* where all channels have the same range, the noise is a matter of luck: some tenths of a dB either way */
        cr_assert_gt(per_channel, per_tensor - 0.3, "'%s': %g against %g dB", a->name, per_channel, per_tensor);
        for (int64_t o = 0; o < a->config.out_channels; o++) {
            cr_assert_eq(qd_qgraph_weight_scale(tensor, i, o), qd_qgraph_weight_scale(tensor, i, 0));
            cr_assert_leq(qd_qgraph_weight_scale(channel, i, o), qd_qgraph_weight_scale(tensor, i, 0));
        }
        for (int64_t k = 0; k < a->filter * a->config.out_channels; k++) {
            int64_t o = a->depthwise ? k % a->config.out_channels : k / a->filter;
            cr_assert_neq(b->codes[k], -128);
            cr_assert_eq(b->weight_simulated[k], b->scale[o] * (float)b->codes[k]);
            largest = abs(a->codes[k]) > largest ? abs(a->codes[k]) : largest;
        }
        cr_assert_eq(largest, 127, "'%s': the whole range is used", a->name);
    }
    /* gammas of 0.4 to 1.6 make ranges differ by up to 4: some 4 dB in most of the layers */
    cr_assert_gt(gain / qd_qgraph_weight_count(tensor), 2.0, "%g dB in all", gain);
    qd_qgraph_destroy(tensor);
    qd_qgraph_destroy(channel);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* A channel that BatchNorm has switched off but for its beta keeps that beta, per tensor and per channel. */
Test(quant_measure, dead_channels_keep_their_bias)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    const qd_graph *g = network.graph;
    float *params = network.state->params;
    float expected[14], integer[14];

    for (int64_t c = 0; c < 21; c++)
        if (c % 3 == 0)
            params[g->params[qd_graph_find_param(g, "block.bn2.weight")].offset + c] = 1e-30f;
    for (int per_channel = 0; per_channel < 2; per_channel++) {
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        scheme.weight_per_channel = per_channel;
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 2, expected));
        TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, 2, integer));
        for (int i = 0; i < q->conv_count; i++) {
            const qd_qconv *conv = &q->convs[i];
            if (strcmp(conv->name, "block.depthwise.weight") != 0)
                continue;
            for (int64_t o = 0; o < conv->config.out_channels; o++) /* scales are per channel or common */
                cr_assert_float_eq(conv->bias_simulated[o], conv->bias[o],
                                   per_channel && o % 3 == 0 ? 1e-8 : (double)conv->scale[o]);
        }
        /* 8-bit noise of this small network is some 3 % of the largest logit; a lost bias costs far more */
        cr_assert_lt(quant_largest_difference(expected, integer, 14), 0.15);
        qd_qgraph_destroy(q);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* What is promised before a run is what a run takes: every arena, and no more than the lists beside them. */
Test(quant_measure, memory_is_known_before)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    float logits[21];
    size_t promised = 0, taken = q->weights.size_bytes;

    TEST_OK(ctx, qd_qgraph_bytes(ctx, network.graph, &scheme, 3, &promised));
    TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, 3, logits));
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 3, logits));
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, 3, logits));
    taken += q->fused->values.size_bytes + q->fused->packed.size_bytes + q->fused->workspace.size_bytes;
    for (int mode = 0; mode < 3; mode++)
        taken += q->activations[mode].size_bytes;
    cr_assert_eq(promised, taken + q->workspace.size_bytes + q->scratch.size_bytes);
    cr_assert_lt(q->weights.size_bytes - q->weights.used_bytes, QD_ALIGNMENT, "weights take all they asked for");
    TEST_FAILS(ctx, qd_qgraph_bytes(ctx, network.graph, &scheme, 0, &promised), QD_ERR_USAGE, "batch");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}
