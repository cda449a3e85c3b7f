/* Scales, zero points and codes: docs/quantization.md section 1, with every expectation worked out by hand or in
 * double. */
#include "quantize/scheme.h"
#include "support/test_context.h"
#include <float.h>
#include <math.h>

static qd_quant_scheme scheme_of(int bits, bool symmetric)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    scheme.activation_bits = bits;
    scheme.activation_symmetric = symmetric;
    return scheme;
}

Test(quant_scheme, defaults_are_the_posts)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();

    cr_assert_eq(scheme.weight_bits, 8);
    cr_assert_eq(scheme.activation_bits, 8);
    cr_assert(scheme.activation_signed && !scheme.activation_symmetric && !scheme.weight_per_channel);
}

Test(quant_scheme, bits_outside_2_to_16_are_refused)
{
    qd_context *ctx = test_context_create(1);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();

    TEST_OK(ctx, qd_quant_scheme_check(ctx, &scheme));
    scheme.weight_bits = 1;
    TEST_FAILS(ctx, qd_quant_scheme_check(ctx, &scheme), QD_ERR_USAGE, "2 to 16 weight bits, got 1");
    scheme.weight_bits = 16;
    scheme.activation_bits = 17;
    TEST_FAILS(ctx, qd_quant_scheme_check(ctx, &scheme), QD_ERR_USAGE, "2 to 16 activation bits, got 17");
    qd_context_destroy(ctx);
}

Test(quant_scheme, affine_ranges)
{
    const struct {
        double min, max;
        float scale;
        int32_t zero;
    } cases[] = {
        {0.0, 255.0, 1.0f, -128}, /* a ReLU's output: the post's zero point */
        {-128.0, 127.0, 1.0f, 0},  {-255.0, 0.0, 1.0f, 127},  {5.0, 25.5, 0.1f, -128}, /* widened to hold 0 */
        {-25.5, -5.0, 0.1f, 127},  {-0.5, 254.5, 1.0f, -128}, /* −128 + 0.5 is a tie: to even */
        {-1.5, 253.5, 1.0f, -126},                            /* −126.5 to −126 */
        {-2.5, 252.5, 1.0f, -126},                            /* −125.5 to −126 */
    };
    qd_quant_scheme scheme = scheme_of(8, false);

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qd_quant_params params = qd_quant_activation_params(&scheme, cases[i].min, cases[i].max);
        cr_assert_eq(params.scale, cases[i].scale, "case %zu: scale %.9g", i, (double)params.scale);
        cr_assert_eq(params.range.zero, cases[i].zero, "case %zu: zero point %d", i, params.range.zero);
        cr_assert_eq(params.range.low, -128);
        cr_assert_eq(params.range.high, 127);
    }
}

Test(quant_scheme, symmetric_ranges)
{
    qd_quant_scheme scheme = scheme_of(8, true);
    qd_quant_params params = qd_quant_activation_params(&scheme, -3.0, 254.0);

    cr_assert_eq(params.scale, 2.0f);
    cr_assert_eq(params.range.zero, 0);
    params = qd_quant_activation_params(&scheme, -254.0, 3.0);
    cr_assert_eq(params.scale, 2.0f);
    cr_assert_eq(params.range.low, -128);
}

Test(quant_scheme, degenerate_ranges_have_scale_1)
{
    const double tiny = 200.0 * (double)FLT_MIN; /* its 255th part is denormal */

    for (int symmetric = 0; symmetric < 2; symmetric++) {
        qd_quant_scheme scheme = scheme_of(8, symmetric);
        const double ranges[][2] = {{0.0, 0.0}, {-0.0, 0.0}, {0.0, tiny / 2}, {-tiny / 2, 0.0}, {0.0, DBL_MIN}};
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
            qd_quant_params params = qd_quant_activation_params(&scheme, ranges[i][0], ranges[i][1]);
            cr_assert_eq(params.scale, 1.0f);
            cr_assert_eq(params.range.zero, 0);
        }
    }
    /* a constant other than 0 is nothing special */
    qd_quant_scheme scheme = scheme_of(8, false);
    qd_quant_params params = qd_quant_activation_params(&scheme, 2.55, 2.55);
    cr_assert_eq(params.scale, 0.01f);
    cr_assert_eq(qd_quantize_value(2.55f, params.scale, params.range), 127);
    /* nor is an outlier of 1e30 */
    params = qd_quant_activation_params(&scheme, -1e30, 1e30);
    cr_assert_eq(params.scale, (float)(2e30 / 255.0));
    cr_assert(isfinite(qd_dequantize_value(-128, params.scale, params.range.zero)));
}

Test(quant_scheme, weights_are_symmetric_without_the_lowest_code)
{
    float scale = qd_quant_weight_scale(8, 12.7, 0.0, 0.01f);

    cr_assert_eq(scale, 0.1f);
    cr_assert_eq(qd_quant_weight_code(8, 12.7f, scale), 127);
    cr_assert_eq(qd_quant_weight_code(8, -12.7f, scale), -127);
    cr_assert_eq(qd_quant_weight_code(8, -100.0f, scale), -127);
    cr_assert_eq(qd_quant_weight_code(8, 0.0f, scale), 0);
    cr_assert_eq(qd_quant_weight_code(8, 0.25f, 0.5f), 0); /* ties to even */
    cr_assert_eq(qd_quant_weight_code(8, 0.75f, 0.5f), 2);
    cr_assert_eq(qd_quant_weight_code(4, 100.0f, 1.0f), 7);
    cr_assert_eq(qd_quant_weight_code(2, -100.0f, 1.0f), -1);
    cr_assert_eq(qd_quant_weight_code(16, 1e9f, 1.0f), 32767);
}

/* A nearly dead filter with an ordinary bias: without the raised scale the bias would saturate and the output be
 * wrong. */
Test(quant_scheme, weight_scale_rises_until_int32_holds_the_bias)
{
    const float input_scale = 0.02f;
    const double biases[] = {0.5, -3.0, 1e-3, 1e4, 1e30};

    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
        float scale = qd_quant_weight_scale(8, 1e-25, fabs(biases[i]), input_scale);
        int32_t code = qd_quant_bias_code((float)biases[i], input_scale, scale);
        double back = (double)code * (double)input_scale * (double)scale;
        cr_assert_lt(abs(code), 1 << 30);
        cr_assert_gt(abs(code), (1 << 30) - 1024, "the scale was raised further than it had to be");
        cr_assert_float_eq(back, (double)(float)biases[i], 1e-9 * fabs(biases[i]) + 1e-30); /* 2^-30 of it */
    }
    cr_assert_eq(qd_quant_weight_scale(8, 0.0, 0.0, input_scale), 1.0f);
    cr_assert_eq(qd_quant_weight_scale(8, 1e-44, 0.0, input_scale), 1.0f);
    cr_assert_gt(qd_quant_weight_scale(8, 0.0, 0.5, input_scale), 0.0f);
    cr_assert_lt(qd_quant_weight_scale(8, 0.0, 0.5, input_scale),
                 1e-7f); /* 30 bits for the bias of an empty filter */
}

Test(quant_scheme, bias_codes)
{
    cr_assert_eq(qd_quant_bias_code(3.0f, 0.5f, 0.25f), 24);
    cr_assert_eq(qd_quant_bias_code(-0.0625f, 0.5f, 0.25f), 0);  /* −0.5, to even */
    cr_assert_eq(qd_quant_bias_code(-0.1875f, 0.5f, 0.25f), -2); /* −1.5, to even */
    cr_assert_eq(qd_quant_bias_code(1e30f, 1e-3f, 1e-3f), 1 << 30);
    cr_assert_eq(qd_quant_bias_code(-1e30f, 1e-3f, 1e-3f), -(1 << 30));
}

Test(quant_scheme, multipliers_are_floats_left_to_right_and_never_nan)
{
    /* 0.1f·0.7f rounds before the division: a double quotient rounded once differs in the last bit */
    float product = 0.1f * 0.7f;

    cr_assert_eq(qd_quant_multiplier(0.1f, 0.7f, 0.3f), product / 0.3f);
    cr_assert_eq(qd_quant_multiplier(FLT_MAX, FLT_MAX, 1.0f), 0x1p64f);
    cr_assert_eq(qd_quant_multiplier(FLT_MAX, FLT_MAX, INFINITY), 0x1p64f);
    cr_assert_eq(qd_quant_multiplier(1.0f, 1.0f, FLT_MIN), 0x1p64f);
    cr_assert_eq(qd_quant_multiplier(FLT_MIN, FLT_MIN, 1.0f), 0.0f);
    cr_assert_eq(qd_requantize_value(0, 0x1p64f, (qd_code_range){3, -128, 127}), 3);
    cr_assert_eq(qd_requantize_value(1, 0x1p64f, (qd_code_range){3, -128, 127}), 127);
    cr_assert_eq(qd_requantize_value(-1, 0x1p64f, (qd_code_range){3, -128, 127}), -128);
}
