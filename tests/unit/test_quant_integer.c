/* The integer network: against the simulated one, against its own definition, and what must not change its bits. */
#include "base/cpu.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include <math.h>
#include <stdlib.h>

/* How often codes of the integer network equal, or lie within 1 of, those of the simulated one. */
typedef struct agreement {
    int64_t count, equal, within_one;
} agreement;

static void compare_value(const qd_qgraph *q, int value, int64_t n, agreement *a)
{
    const qd_quant_params *params = &q->quantizers[q->values[value].quantizer].params;
    const float *simulated = qd_qgraph_value(q, QD_QMODE_SIMULATED, value);
    const uint8_t *codes = qd_qgraph_value(q, QD_QMODE_INTEGER, value);
    int64_t count = n * qd_dims_count(&q->values[value].dims);

    for (int64_t i = 0; i < count; i++) {
        int code = codes[i] - QD_STORED_OFFSET;
        long difference = lrint((double)simulated[i] / (double)params->scale) + params->range.zero - code;
        a->equal += difference == 0;
        a->within_one += labs(difference) <= 1;
    }
    a->count += count;
}

/* The simulated value becomes what the integer codes stand for. */
static void synchronise(const qd_qgraph *q, int value, int64_t n)
{
    const qd_quant_params *params = &q->quantizers[q->values[value].quantizer].params;

    q->int8.dequantize(qd_qgraph_value(q, QD_QMODE_INTEGER, value), n * qd_dims_count(&q->values[value].dims),
                       params->scale, params->range.zero + QD_STORED_OFFSET,
                       qd_qgraph_value(q, QD_QMODE_SIMULATED, value));
}

/*
 * Both networks, step by step, because a value's memory is used again after its last reader. `each`: every step
 * begins with equal inputs, so that it is judged alone.
 */
static agreement compare_networks(qd_qgraph *q, const float *images, int64_t n, bool each)
{
    agreement a = {0};

    TEST_OK(q->ctx, qd_qgraph_prepare(q, QD_QMODE_SIMULATED));
    TEST_OK(q->ctx, qd_qgraph_prepare(q, QD_QMODE_INTEGER));
    qd_qgraph_load(q, QD_QMODE_SIMULATED, images, n);
    qd_qgraph_load(q, QD_QMODE_INTEGER, images, n);
    compare_value(q, q->input, n, &a);
    cr_assert_eq(a.equal, a.count, "the input is quantized by one formula in both");
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        for (int k = 0; each && k < 2; k++)
            if (step->input[k] >= 0)
                synchronise(q, step->input[k], n);
        TEST_OK(q->ctx, qd_qgraph_step(q, QD_QMODE_SIMULATED, step, n, true));
        TEST_OK(q->ctx, qd_qgraph_step(q, QD_QMODE_INTEGER, step, n, true));
        if (step->inner >= 0)
            compare_value(q, step->inner, n, &a);
        if (q->values[step->output].quantizer >= 0)
            compare_value(q, step->output, n, &a);
    }
    return a;
}

static int64_t argmax(const float *logits, int64_t classes)
{
    int64_t best = 0;

    for (int64_t c = 1; c < classes; c++)
        best = logits[c] > logits[best] ? c : best;
    return best;
}

/*
 * A step alone differs where a float sum of exact products lands on the other side of a tie: a relative error of some
 * 1e-6 on values of some 30 codes, so in less than one code of 10,000, and never by more than one. Through a whole
 * network one such difference spreads to ten times as many codes at every 3x3 convolution (these random networks are
 * far more chaotic than trained ones), so how many differ in the end is luck, another for each instruction set: none,
 * or a few in a hundred. A wrong scale or zero point leaves codes within one by accident only: a few in a hundred.
 */
static void check_agreement(const char *name, bool per_channel)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, name, 8);
    int64_t classes = quant_network_classes(&network), same = 0;
    float integer[80], simulated[80];
    qd_quant_scheme scheme = qd_quant_scheme_defaults();

    scheme.weight_per_channel = per_channel;
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    agreement alone = compare_networks(q, network.images, network.n, true);
    agreement a = compare_networks(q, network.images, network.n, false);
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, network.n, integer));
    TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, network.n, simulated));
    for (int64_t i = 0; i < network.n; i++)
        same += argmax(integer + i * classes, classes) == argmax(simulated + i * classes, classes);
    double near = (double)a.within_one / (double)a.count;
    cr_assert_geq((double)alone.equal, 0.9999 * (double)alone.count, "%s: %lld of %lld codes differ in single steps",
                  name, (long long)(alone.count - alone.equal), (long long)alone.count);
    cr_assert_eq(alone.within_one, alone.count, "%s: a single step differs by more than one code", name);
    cr_assert_geq(near, 0.9, "%s: %g of the codes within one", name, near);
    cr_assert_geq(same, network.n - 1, "%s: %lld of %lld predictions agree", name, (long long)same,
                  (long long)network.n);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_integer, small_agrees_with_simulation)
{
    check_agreement("small", false);
}

Test(quant_integer, small_per_channel_agrees_with_simulation)
{
    check_agreement("small", true);
}

Test(quant_integer, resnet18_agrees_with_simulation)
{
    SKIP_IF_EMULATED();
    check_agreement("resnet18", false);
}

Test(quant_integer, efficientnet_b0_agrees_with_simulation)
{
    check_agreement("efficientnet_b0", false);
}

static qd_quant_scheme scheme_number(int i)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();

    scheme.weight_per_channel = i & 1;
    scheme.activation_symmetric = i & 2;
    scheme.weight_bits = i & 4 ? 5 : 8;
    scheme.activation_bits = i & 4 ? 6 : 8;
    return scheme;
}

/* S8 and U8 are one network: equal logits, zero points 2^(bits-1) apart. */
Test(quant_integer, signedness_changes_names_of_codes_only)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 3);
    float as_signed[21], as_unsigned[21];

    for (int i = 0; i < 8; i++) {
        qd_quant_scheme scheme = scheme_number(i);
        int32_t half = 1 << (scheme.activation_bits - 1);
        qd_qgraph *s = quant_network_quantize(&network, &scheme);
        scheme.activation_signed = false;
        qd_qgraph *u = quant_network_quantize(&network, &scheme);
        TEST_OK(ctx, qd_qgraph_run_integer(s, network.images, network.n, as_signed));
        TEST_OK(ctx, qd_qgraph_run_integer(u, network.images, network.n, as_unsigned));
        cr_assert_arr_eq(as_signed, as_unsigned, sizeof as_signed);
        for (int t = 0; t < qd_qgraph_tensor_count(s); t++) {
            qd_quant_tensor a = qd_qgraph_tensor(s, t), b = qd_qgraph_tensor(u, t);
            cr_assert_eq(a.zero_point + half, b.zero_point);
            cr_assert_eq(a.scale, b.scale);
            if (scheme.activation_symmetric)
                cr_assert_eq(a.zero_point, 0);
        }
        qd_qgraph_destroy(s);
        qd_qgraph_destroy(u);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* However many images run at once, each gets the same logits. */
Test(quant_integer, batches_do_not_matter)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 5);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *whole = quant_network_quantize(&network, &scheme), *halves = NULL;
    float a[35], b[35];

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &halves));
    for (int i = 0; i < qd_qgraph_tensor_count(whole); i++) {
        qd_quant_tensor tensor = qd_qgraph_tensor(whole, i);
        TEST_OK(ctx, qd_qgraph_set_range(halves, i, tensor.min, tensor.max));
    }
    TEST_OK(ctx, qd_qgraph_finalize(halves));
    TEST_OK(ctx, qd_qgraph_run_integer(whole, network.images, network.n, a));
    TEST_OK(ctx, qd_qgraph_run_integer(halves, network.images, network.n, b));
    cr_assert_arr_eq(a, b, sizeof a);
    qd_qgraph_destroy(whole);
    qd_qgraph_destroy(halves);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* A fused ReLU or ReLU6 leaves no code below zero or above 6, whatever the range was calibrated to. */
Test(quant_integer, fused_clamps_hold_for_any_range)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = NULL;
    int checked = 0;

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &q));
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        TEST_OK(ctx, qd_qgraph_set_range(q, i, -9.0, 9.0));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    TEST_OK(ctx, qd_qgraph_prepare(q, QD_QMODE_INTEGER));
    qd_qgraph_load(q, QD_QMODE_INTEGER, network.images, 2);
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        TEST_OK(ctx, qd_qgraph_step(q, QD_QMODE_INTEGER, step, 2, false));
        if (step->activation != QD_ACTIVATION_RELU && step->activation != QD_ACTIVATION_RELU6)
            continue;
        const qd_quant_params *params = &q->quantizers[q->values[step->output].quantizer].params;
        const uint8_t *codes = qd_qgraph_value(q, QD_QMODE_INTEGER, step->output);
        for (int64_t k = 0; k < 2 * qd_dims_count(&q->values[step->output].dims); k++) {
            float x = qd_dequantize_value(codes[k] - QD_STORED_OFFSET, params->scale, params->range.zero);
            cr_assert_geq(x, 0.0f);
            /* half a step above 6 at most: the code nearest to it */
            if (step->activation == QD_ACTIVATION_RELU6)
                cr_assert_leq(x, 6.0f + params->scale / 2);
        }
        checked++;
    }
    cr_assert_eq(checked, 4); /* relu, basic.relu twice, relu6 */
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double hard_swish(double x)
{
    return x <= -3.0 ? 0.0 : x >= 3.0 ? x : x * (x + 3.0) / 6.0;
}

static double relu6(double x)
{
    return x < 0.0 ? 0.0 : x > 6.0 ? 6.0 : x;
}

/*
 * Tables against the functions, and SiLU's two steps in one against the sequence of sigmoid tensor and product. A
 * table entry is the code nearest to the function's value: at most half a step away from it (and 1e-9 steps for
 * rounding in double).
 */
Test(quant_integer, tables_hold_the_nearest_codes)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    int tables = 0;

    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        if (step->kind != QD_QSTEP_TABLE && step->kind != QD_QSTEP_SILU)
            continue;
        bool silu = step->kind == QD_QSTEP_SILU;
        const qd_quant_params *in = &q->quantizers[q->values[step->input[0]].quantizer].params;
        const qd_quant_params *first = &q->quantizers[q->values[silu ? step->inner : step->output].quantizer].params;
        const qd_quant_params *out = &q->quantizers[q->values[step->output].quantizer].params;
        double (*function)(double) = step->activation == QD_ACTIVATION_HARDSWISH ? hard_swish
                                     : step->activation == QD_ACTIVATION_RELU6   ? relu6
                                                                                 : sigmoid;
        for (int code = -128; code < 128; code++) {
            double x = (double)in->scale * (code - in->range.zero), y = function(x);
            int entry = (silu ? step->inner_table : step->table)[code + QD_STORED_OFFSET] - QD_STORED_OFFSET;
            double back = (double)first->scale * (entry - first->range.zero);
            double low = (double)first->scale * (-128 - first->range.zero);
            double high = (double)first->scale * (127 - first->range.zero);
            double expected = y < low ? low : y > high ? high : y;
            cr_assert_leq(fabs(back - expected), (double)first->scale * (0.5 + 1e-9), "'%s', code %d", step->name,
                          code);
            if (!silu)
                continue;
            float multiplier = in->scale * first->scale / out->scale;
            int32_t product = (code - in->range.zero) * (entry - first->range.zero);
            cr_assert_eq(step->table[code + QD_STORED_OFFSET] - QD_STORED_OFFSET,
                         qd_requantize_value(product, multiplier, out->range));
        }
        tables++;
    }
    cr_assert_eq(tables, 6); /* three SiLUs, the gate's sigmoid, hard-swish, ReLU6 */
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* All bits the same for any number of threads: ranges, logits of the three networks, noise. */
Test(quant_integer, threads_do_not_matter)
{
    float logits[3][3][21];
    qd_quant_tensor tensors[3][64];
    int count = 0;

    for (int t = 0; t < 3; t++) {
        qd_context *one = test_context_create(1), *ctx = test_context_create(t + 1);
        quant_network network = quant_network_create(one, "small", 3);
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        network.ctx = ctx;
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, network.n, logits[t][0]));
        TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, network.n, logits[t][1]));
        TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, network.n, logits[t][2]));
        TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, network.n));
        count = qd_qgraph_tensor_count(q);
        cr_assert_leq(count, 64);
        for (int i = 0; i < count; i++) {
            tensors[t][i] = qd_qgraph_tensor(q, i);
            tensors[t][i].name = NULL;
        }
        qd_qgraph_destroy(q);
        quant_network_free(&network);
        qd_context_destroy(ctx);
        qd_context_destroy(one);
    }
    for (int t = 1; t < 3; t++) {
        cr_assert_arr_eq(logits[t], logits[0], sizeof logits[0]);
        for (int i = 0; i < count; i++) {
            cr_assert_eq(tensors[t][i].min, tensors[0][i].min);
            cr_assert_eq(tensors[t][i].max, tensors[0][i].max);
            cr_assert_eq(tensors[t][i].sqnr_rounding_db, tensors[0][i].sqnr_rounding_db);
            cr_assert_eq(tensors[t][i].sqnr_accumulated_db, tensors[0][i].sqnr_accumulated_db);
        }
    }
}

/* The network of `q` again, with its ranges, on the kernels of `isa`. */
static qd_qgraph *on_kernels_of(enum qd_isa isa, int threads, const quant_network *network, const qd_qgraph *q,
                                qd_context **ctx)
{
    const qd_context_config config = {.threads = threads, .limit_isa = true, .max_isa = isa};
    qd_qgraph *other = NULL;

    cr_assert_eq(qd_context_create(&config, ctx), QD_OK);
    TEST_OK(*ctx, qd_qgraph_create(*ctx, network->graph, network->state, &q->scheme, network->n, &other));
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        TEST_OK(*ctx, qd_qgraph_set_range(other, i, qd_qgraph_tensor(q, i).min, qd_qgraph_tensor(q, i).max));
    TEST_OK(*ctx, qd_qgraph_finalize(other));
    return other;
}

/* Every instruction set makes the reference's logits, and merged steps make those of steps one by one. */
static void check_instruction_sets(const char *name)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, name, 2);
    float expected[20], logits[20];
    size_t bytes = (size_t)(network.n * quant_network_classes(&network)) * sizeof(float);

    for (int i = 0; i < 4; i++) {
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        scheme.weight_per_channel = i & 1;
        scheme.activation_signed = i & 2;
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        for (int isa = 0; isa <= (int)qd_context_isa(ctx); isa++) {
            qd_context *own = NULL;
            if (!qd_cpu_has_isa((enum qd_isa)isa))
                continue;
            qd_qgraph *other = on_kernels_of((enum qd_isa)isa, 1 + isa % 3, &network, q, &own);
            TEST_OK(own, qd_qgraph_run_integer(other, network.images, network.n, isa == 0 ? expected : logits));
            if (isa > 0)
                cr_assert_eq(memcmp(logits, expected, bytes), 0, "%s, scheme %d, %s", name, i,
                             qd_isa_name((enum qd_isa)isa));
            qd_qgraph_load(other, QD_QMODE_INTEGER, network.images, network.n);
            for (int s = 0; s < other->step_count; s++)
                TEST_OK(own, qd_qgraph_step(other, QD_QMODE_INTEGER, &other->steps[s], network.n, true));
            qd_qgraph_result(other, QD_QMODE_INTEGER, network.n, logits);
            cr_assert_eq(memcmp(logits, expected, bytes), 0, "%s, scheme %d, %s, step by step", name, i,
                         qd_isa_name((enum qd_isa)isa));
            qd_qgraph_destroy(other);
            qd_context_destroy(own);
        }
        qd_qgraph_destroy(q);
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_integer, small_has_the_same_bits_on_every_instruction_set)
{
    check_instruction_sets("small");
}

Test(quant_integer, resnet18_has_the_same_bits_on_every_instruction_set)
{
    SKIP_IF_EMULATED();
    check_instruction_sets("resnet18");
}

Test(quant_integer, efficientnet_b0_has_the_same_bits_on_every_instruction_set)
{
    SKIP_IF_EMULATED();
    check_instruction_sets("efficientnet_b0");
}
