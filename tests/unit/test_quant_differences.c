/* Schemes as data: bits, overrides, exclusions, dynamic ranges, fused SiLU. */
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int find_tensor(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < q->quantizer_count; i++)
        if (strcmp(q->quantizers[i].name, name) == 0)
            return i;
    return -1;
}

static const qd_qconv *find_conv(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < q->conv_count; i++)
        if (strcmp(q->convs[i].name, name) == 0)
            return &q->convs[i];
    cr_assert_fail("no weights '%s'", name);
    return NULL;
}

/* 6 dB a bit: 4 to 8 bits, both granularities, symmetric and affine, each better than the one before. */
Test(quant_differences, more_bits_are_better)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", 8);

    for (int variant = 0; variant < 4; variant++) {
        double before = -INFINITY;
        for (int bits = 4; bits <= 8; bits++) {
            qd_quant_recipe recipe = qd_quant_recipe_defaults();
            recipe.scheme.weight_bits = recipe.scheme.activation_bits = bits;
            recipe.scheme.weight_per_channel = variant & 1;
            recipe.scheme.activation_symmetric = variant & 2;
            qd_qgraph *q = quant_network_cook(&network, &recipe, 8);
            quant_score score = quant_network_score(&network, q);
            cr_assert_gt(score.logits_db, before + 2.0, "variant %d: %g dB at %d bits, %g before", variant,
                         score.logits_db, bits, before);
            before = score.logits_db;
            qd_qgraph_destroy(q);
        }
    }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_differences, overrides_change_one_tensor)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    const qd_tensor_override tensors[] = {{.name = "relu", .bits = 4},
                                          {.name = "block.act1", .symmetric = true},
                                          {.name = "basic.relu#1", .is_float = true}};
    const qd_weight_override weights[] = {{.name = "basic.conv2.weight", .bits = 3, .per_channel = true},
                                          {.name = "fc.weight", .is_float = true}};
    qd_quant_recipe recipe = qd_quant_recipe_defaults();

    recipe.tensors = tensors;
    recipe.tensor_count = 3;
    recipe.weights = weights;
    recipe.weight_count = 2;
    qd_qgraph *q = quant_network_cook(&network, &recipe, 3);
    qd_quant_tensor relu = qd_qgraph_tensor(q, find_tensor(q, "relu"));
    cr_assert_eq(relu.scale, (double)(float)(relu.max / 15.0));
    cr_assert_eq(relu.zero_point, -8);
    cr_assert_eq(qd_qgraph_tensor(q, find_tensor(q, "block.act1")).zero_point, 0);
    cr_assert(qd_qgraph_tensor(q, find_tensor(q, "basic.relu#1")).is_float);
    const qd_qconv *conv = find_conv(q, "basic.conv2.weight"), *fc = find_conv(q, "fc.weight");
    for (int64_t k = 0; k < conv->filter * conv->config.out_channels; k++)
        cr_assert(abs(conv->codes[k]) <= 3);
    cr_assert_neq(conv->scale[0], conv->scale[1]);
    cr_assert_arr_eq(fc->weight_simulated, fc->weight, (size_t)(fc->filter * 7) * sizeof(float));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_differences, unknown_names_and_bits_are_refused)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    const qd_tensor_override tensor = {.name = "rela"}, wide = {.name = "relu", .bits = 17};
    const qd_weight_override weight = {.name = "fc"}, narrow = {.name = "fc.weight", .bits = 1};
    qd_qgraph *q = NULL;

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 1, &q));
    TEST_FAILS(ctx, qd_qgraph_override_tensor(q, &tensor), QD_ERR_USAGE, "'rela'");
    TEST_FAILS(ctx, qd_qgraph_override_tensor(q, &wide), QD_ERR_USAGE, "got 17");
    TEST_FAILS(ctx, qd_qgraph_override_weight(q, &weight), QD_ERR_USAGE, "'fc'");
    TEST_FAILS(ctx, qd_qgraph_override_weight(q, &narrow), QD_ERR_USAGE, "got 1");
    TEST_FAILS(ctx, qd_qgraph_exclude(q, "bloc"), QD_ERR_USAGE, "'bloc'");
    TEST_FAILS(ctx, qd_qgraph_exclude(q, ""), QD_ERR_USAGE, "''");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* A block, and then everything: what is excluded is float, what is not is not, and all of it is the float network. */
Test(quant_differences, excluded_modules_stay_float)
{
    static const char *const block[] = {"block"};
    static const char *const all[] = {"input", "conv1", "block", "basic",   "head",
                                      "relu6", "join",  "fc",    "avgpool", "hardswish"};
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    qd_quant_recipe recipe = qd_quant_recipe_defaults();
    float expected[21], found[21];

    recipe.scheme.weight_bits = recipe.scheme.activation_bits = 4;
    recipe.excluded = block;
    recipe.excluded_count = 1;
    qd_qgraph *q = quant_network_cook(&network, &recipe, 3);
    for (int i = 0; i < q->quantizer_count; i++)
        cr_assert_eq(q->quantizers[i].is_float, strncmp(q->quantizers[i].name, "block", 5) == 0, "'%s'",
                     q->quantizers[i].name);
    for (int i = 0; i < q->conv_count; i++)
        cr_assert_eq(q->convs[i].is_float, strncmp(q->convs[i].name, "block.", 6) == 0, "'%s'", q->convs[i].name);
    int act1 = find_tensor(q, "block.act1");
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, 3));
    double excluded = qd_qgraph_tensor(q, act1).sqnr_accumulated_db;
    cr_assert_eq(qd_qgraph_tensor(q, act1).sqnr_rounding_db, INFINITY);
    qd_qgraph_destroy(q);

    recipe.excluded_count = 0;
    q = quant_network_cook(&network, &recipe, 3);
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images, 3));
    cr_assert_lt(qd_qgraph_tensor(q, act1).sqnr_accumulated_db, excluded - 3.0);
    qd_qgraph_destroy(q);

    recipe.excluded = all;
    recipe.excluded_count = (int)(sizeof all / sizeof *all);
    q = quant_network_cook(&network, &recipe, 3);
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 3, expected));
    TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, 3, found));
    /* the float run does several steps at once, in other products and sums: some 1e-7 a layer */
    cr_assert_lt(quant_largest_difference(expected, found, 21), 1e-5);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* The first tensor is looked at alone; its values by hand, each image with the range it has itself. */
typedef struct inputs {
    float values[3 * 18 * 18 * 3];
} inputs;

static enum qd_status keep_input(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    inputs *in = user;

    if (index == 0)
        memcpy(in->values, values, (size_t)(n * qd_dims_count(dims)) * sizeof *values);
    return QD_OK;
}

Test(quant_differences, dynamic_ranges_are_each_images_own)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    qd_quant_recipe recipe = qd_quant_recipe_defaults();
    int64_t count = qd_dims_count(&network.graph->input_dims);
    float together[21], alone[21];
    static inputs in;

    for (int64_t i = 0; i < count; i++)
        network.images[i] *= 50.0f; /* an image that must not change the others */
    recipe.scheme.activation_dynamic = true;
    qd_qgraph *q = quant_network_cook(&network, &recipe, 3);
    TEST_OK(ctx, qd_qgraph_visit(q, true, network.images, 3, keep_input, &in));
    for (int64_t i = 0; i < 3; i++) {
        double min = 0.0, max = 0.0;
        for (int64_t k = 0; k < count; k++) {
            min = fmin(min, (double)network.images[i * count + k]);
            max = fmax(max, (double)network.images[i * count + k]);
        }
        float scale = (float)((max - min) / 255.0);
        double zero = fmin(fmax(rint(-128.0 - min / (double)scale), -128.0), 127.0);
        for (int64_t k = 0; k < count; k++) {
            double code = rint((double)(network.images[i * count + k] / scale)) + zero;
            code = fmin(fmax(code, -128.0), 127.0);
            cr_assert_eq(in.values[i * count + k], scale * (float)(code - zero));
        }
    }
    TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, 3, together));
    for (int64_t i = 0; i < 3; i++)
        TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images + i * count, 1, alone + i * 7));
    cr_assert_arr_eq(together, alone, sizeof alone);
    TEST_FAILS(ctx, qd_qgraph_run_integer(q, network.images, 3, together), QD_ERR_USAGE, "dynamic ranges");

    /* static ranges have to stretch for the first image, and the others pay */
    double dynamic = quant_network_score(&network, q).logits_db;
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images + count, 2));
    double input_dynamic = qd_qgraph_tensor(q, 0).sqnr_rounding_db;
    qd_qgraph_destroy(q);
    recipe.scheme.activation_dynamic = false;
    q = quant_network_cook(&network, &recipe, 3);
    TEST_OK(ctx, qd_qgraph_measure_sqnr(q, network.images + count, 2));
    /* 50 times the range is 34 dB; to 24 the first image's level and waves may differ from the others' */
    cr_assert_gt(input_dynamic, qd_qgraph_tensor(q, 0).sqnr_rounding_db + 24.0);
    cr_assert_gt(dynamic, quant_network_score(&network, q).logits_db);
    qd_qgraph_destroy(q);

    network.images[count + 5] = NAN;
    recipe.scheme.activation_dynamic = true;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &recipe.scheme, 3, &q));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    TEST_FAILS(ctx, qd_qgraph_run_float(q, true, network.images, 3, together), QD_ERR_NUMERIC, "'input'");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* No tensor for sigmoid, four more bits before it, and a lower end where SiLU is a quarter of a code. */
Test(quant_differences, fused_silu_reads_a_finer_code)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 4);
    qd_quant_recipe recipe = qd_quant_recipe_defaults();
    float logits[28];

    qd_qgraph *plain = quant_network_cook(&network, &recipe, 4);
    recipe.scheme.fused_silu = true;
    qd_qgraph *fused = quant_network_cook(&network, &recipe, 4);
    /* act1, act2 and the squeeze-excite's: a convolution before each */
    cr_assert_eq(qd_qgraph_tensor_count(fused), qd_qgraph_tensor_count(plain) - 3);
    cr_assert_eq(find_tensor(fused, "block.act1.sigmoid"), -1);
    TEST_FAILS(ctx, qd_qgraph_run_integer(fused, network.images, 4, logits), QD_ERR_USAGE, "fused SiLU");

    const qd_quantizer *before = &fused->quantizers[find_tensor(fused, "block.bn")];
    qd_quant_tensor after = qd_qgraph_tensor(fused, find_tensor(fused, "block.act1"));
    cr_assert(before->bits == 12 && before->feeds_silu);
    double low = (double)before->params.scale * (before->params.range.low - before->params.range.zero);
    double high = (double)before->params.scale * (before->params.range.high - before->params.range.zero);
    cr_assert_float_eq(high, before->max, (double)before->params.scale);
    cr_assert_geq(low, before->min - (double)before->params.scale);
    if (low > before->min + (double)before->params.scale)
        cr_assert_float_eq(-low / (1.0 + exp(-low)), after.scale / 4.0, (double)before->params.scale);

    TEST_OK(ctx, qd_qgraph_measure_sqnr(plain, network.images, 4));
    TEST_OK(ctx, qd_qgraph_measure_sqnr(fused, network.images, 4));
    qd_quant_tensor unfused = qd_qgraph_tensor(plain, find_tensor(plain, "block.act1"));
    after = qd_qgraph_tensor(fused, find_tensor(fused, "block.act1"));
    /* one rounding instead of three on the way */
    cr_assert_gt(after.sqnr_accumulated_db, unfused.sqnr_accumulated_db, "%g against %g dB",
                 after.sqnr_accumulated_db, unfused.sqnr_accumulated_db);
    qd_qgraph_destroy(plain);
    qd_qgraph_destroy(fused);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}
