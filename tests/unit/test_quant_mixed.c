/* Networks of which some tensors or layers stay float: docs/quantization.md section 9. */
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static quant_network network;

static void set_up(void)
{
    ctx = test_context_create(2);
    network = quant_network_create(ctx, "small", 3);
}

static void tear_down(void)
{
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

TestSuite(quant_mixed, .init = set_up, .fini = tear_down);

/* Tensors first, first + step, …; weights likewise; a negative first: none. */
static qd_qgraph *quantize(int first_tensor, int first_weight, int step)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    for (int t = first_tensor; first_tensor >= 0 && t < qd_qgraph_tensor_count(q); t += step)
        TEST_OK(ctx, qd_qgraph_keep_float(q, t));
    for (int w = first_weight; first_weight >= 0 && w < qd_qgraph_weight_count(q); w += step)
        TEST_OK(ctx, qd_qgraph_keep_weight_float(q, w));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    return q;
}

/* A value of the integer run as float32; freed with free(). */
static float *read_value(const qd_qgraph *q, int value)
{
    const int64_t count = network.n * qd_dims_count(&q->values[value].dims);
    const enum qd_qmode mode = qd_qgraph_value_mode(q, value);
    float *x = malloc((size_t)count * sizeof *x);
    cr_assert_not_null(x);
    if (mode == QD_QMODE_INTEGER && q->values[value].quantizer >= 0) {
        const qd_quant_params *params = &q->quantizers[q->values[value].quantizer].params;
        q->int8.dequantize(qd_qgraph_value(q, mode, value), count, params->scale,
                           params->range.zero + QD_STORED_OFFSET, x);
    } else {
        memcpy(x, qd_qgraph_value(q, mode, value), (size_t)count * sizeof *x);
    }
    return x;
}

/* Largest difference of a value in codes; of one that stays float, and of logits, 0 or infinity. */
static double compare(const qd_qgraph *mixed, const qd_qgraph *simulated, int value, int64_t *different, int64_t *all)
{
    const int64_t count = network.n * qd_dims_count(&mixed->values[value].dims);
    const int quantizer = mixed->values[value].quantizer;
    const float *b = qd_qgraph_value(simulated, QD_QMODE_SIMULATED, value);
    float *a = read_value(mixed, value);
    double largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        if (a[i] == b[i])
            continue;
        ++*different;
        const bool coded = quantizer >= 0 && !mixed->quantizers[quantizer].is_float;
        largest = fmax(largest,
                       coded ? fabs((double)a[i] - (double)b[i]) / (double)mixed->quantizers[quantizer].params.scale
                             : (double)INFINITY);
    }
    *all += count;
    free(a);
    return largest;
}

/*
 * Step by step from equal inputs: a step in float32 is the simulated network's, bit for bit, and one in integers
 * differs from it only where a float sum of exact products lands on the other side of a tie, by one code, as without
 * floats.
 */
static void check_steps(int first_tensor, int first_weight, int step)
{
    qd_qgraph *mixed = quantize(first_tensor, first_weight, step);
    qd_qgraph *simulated = quantize(first_tensor, first_weight, step);
    int64_t different = 0, all = 0;
    TEST_OK(ctx, qd_qgraph_prepare(mixed, QD_QMODE_INTEGER));
    TEST_OK(ctx, qd_qgraph_prepare(simulated, QD_QMODE_SIMULATED));
    qd_qgraph_load(mixed, QD_QMODE_INTEGER, network.images, network.n);
    qd_qgraph_load(simulated, QD_QMODE_SIMULATED, network.images, network.n);
    cr_assert_eq(compare(mixed, simulated, mixed->input, &different, &all), 0.0);
    for (int i = 0; i < mixed->step_count; i++) {
        const qd_qstep *s = &mixed->steps[i];
        for (int k = 0; k < 2; k++) {
            if (s->input[k] < 0)
                continue;
            float *x = read_value(mixed, s->input[k]);
            memcpy(qd_qgraph_value(simulated, QD_QMODE_SIMULATED, s->input[k]), x,
                   (size_t)(network.n * qd_dims_count(&mixed->values[s->input[k]].dims)) * sizeof *x);
            free(x);
        }
        TEST_OK(ctx, qd_qgraph_step(mixed, QD_QMODE_INTEGER, s, network.n, true));
        TEST_OK(ctx, qd_qgraph_step(simulated, QD_QMODE_SIMULATED, &simulated->steps[i], network.n, true));
        const int written[2] = {s->inner, s->output};
        for (int k = 0; k < 2; k++) {
            if (written[k] < 0 || (!s->in_float && mixed->values[written[k]].quantizer < 0))
                continue;
            int64_t here = 0;
            const double largest = compare(mixed, simulated, written[k], &here, &all);
            different += here;
            if (s->in_float)
                cr_assert_eq(here, 0, "%d, %d by %d: '%s' in float32 differs", first_tensor, first_weight, step,
                             s->name);
            cr_assert_leq(largest, 1.01, "%d, %d by %d: '%s' differs by %g codes", first_tensor, first_weight, step,
                          s->name, largest);
        }
    }
    cr_assert_leq((double)different, 1e-4 * (double)all + 1.0, "%lld of %lld values differ", (long long)different,
                  (long long)all);
    qd_qgraph_destroy(mixed);
    qd_qgraph_destroy(simulated);
}

Test(quant_mixed, each_step_is_the_simulated_one_or_integer)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    const int tensors = qd_qgraph_tensor_count(q), weights = qd_qgraph_weight_count(q);
    qd_qgraph_destroy(q);
    for (int t = 0; t < tensors; t++)
        check_steps(t, -1, tensors); /* each one alone */
    for (int w = 0; w < weights; w++)
        check_steps(-1, w, weights);
    for (int first = 0; first < 2; first++)
        check_steps(first, 1 - first, 2);
}

Test(quant_mixed, everything_float_is_the_float_network)
{
    qd_qgraph *q = quantize(0, 0, 1);
    float logits[3 * 7], *expected = quant_network_logits(&network);
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, network.n, logits));
    /* Folding rounds each weight once more. */
    cr_assert_leq(quant_largest_difference(expected, logits, 21), 1e-5);
    free(expected);
    qd_qgraph_destroy(q);
}

/* A 1x1 convolution with integer weights whose output stays float: its products in double. */
Test(quant_mixed, a_float_output_is_the_sum_of_the_codes)
{
    qd_qgraph *q = quantize(-1, -1, 1);
    int checked = 0;
    for (int t = 0; t < q->quantizer_count; t++)
        if (strcmp(q->quantizers[t].name, "block.bn") == 0)
            TEST_OK(ctx, qd_qgraph_keep_float(q, t));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    TEST_OK(ctx, qd_qgraph_prepare(q, QD_QMODE_INTEGER));
    qd_qgraph_load(q, QD_QMODE_INTEGER, network.images, network.n);
    for (int i = 0; i < q->step_count && checked == 0; i++) {
        const qd_qstep *s = &q->steps[i];
        TEST_OK(ctx, qd_qgraph_step(q, QD_QMODE_INTEGER, s, network.n, false));
        if (strcmp(s->name, "block.expand") != 0)
            continue;
        const qd_qconv *conv = &q->convs[s->conv];
        const int64_t in = conv->config.in_channels, out = conv->config.out_channels;
        float *x = read_value(q, s->input[0]), *y = read_value(q, s->output);
        for (int64_t row = 0; row < 20; row++) {
            for (int64_t o = 0; o < out; o++) {
                double sum = 0.0, magnitude = 0.0;
                for (int64_t c = 0; c < in; c++) {
                    const double product = (double)x[row * in + c] * conv->codes[o * in + c] * (double)conv->scale[o];
                    sum += product;
                    magnitude += fabs(product);
                }
                const double bias = (double)q->quantizers[q->values[s->input[0]].quantizer].params.scale *
                                    (double)conv->scale[o] * conv->bias_codes[o];
                /* Nine products and a bias in float32. */
                cr_assert_float_eq((double)y[row * out + o], sum + bias, 1e-6 * (magnitude + fabs(bias)));
                checked++;
            }
        }
        free(x);
        free(y);
    }
    cr_assert_eq(checked, 20 * 21);
    qd_qgraph_destroy(q);
}

Test(quant_mixed, threads_do_not_matter)
{
    float logits[2][3 * 7];
    for (int threads = 1; threads <= 2; threads++) {
        TEST_OK(ctx, qd_context_set_threads(ctx, threads));
        qd_qgraph *q = quantize(0, 1, 2);
        TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, network.n, logits[threads - 1]));
        qd_qgraph_destroy(q);
    }
    cr_assert_arr_eq(logits[0], logits[1], sizeof logits[0]);
}

Test(quant_mixed, signal_to_noise_of_what_stays_float)
{
    qd_qgraph *q = quantize(0, 0, 1);
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, network.n));
    for (int t = 0; t < qd_qgraph_tensor_count(q); t++) {
        const qd_quant_tensor tensor = qd_qgraph_tensor(q, t);
        cr_assert(tensor.is_float);
        cr_assert_eq(tensor.sqnr_rounding_db, (double)INFINITY, "'%s'", tensor.name);
        cr_assert_gt(tensor.sqnr_accumulated_db, 100.0, "'%s'", tensor.name); /* float32's own rounding: 140 or so */
    }
    qd_qgraph_destroy(q);
    q = quantize(-1, 0, 1); /* float weights, tensors quantized */
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, network.n));
    for (int t = 0; t < qd_qgraph_tensor_count(q); t++)
        cr_assert_lt(qd_qgraph_tensor(q, t).sqnr_rounding_db, 70.0, "'%s'", qd_qgraph_tensor(q, t).name);
    TEST_FAILS(ctx, qd_qgraph_keep_float(q, 1000), QD_ERR_USAGE, "expected one from 0 to");
    TEST_FAILS(ctx, qd_qgraph_keep_weight_float(q, -1), QD_ERR_USAGE, "expected a layer from 0 to");
    qd_qgraph_destroy(q);
}
