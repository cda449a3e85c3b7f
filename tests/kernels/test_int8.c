/*
 * The integer definition and the INT8 kernels without products, of every instruction set, against
 * docs/quantization.md written again in double and plain loops (support/int8_variants.h). Codes are compared exactly.
 */
#include "support/guard_page.h"
#include "support/int8_variants.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static qd_rng rng;

static void setup(void)
{
    qd_rng_seed(&rng, 17);
}

TestSuite(int8, .init = setup);

static int64_t draw(int64_t low, int64_t high)
{
    return int8_draw(&rng, low, high);
}

/* Codes that end where a forbidden page begins. */
static guard_page draw_codes(int64_t count)
{
    guard_page page = guard_page_create((size_t)count);

    for (int64_t i = 0; i < count; i++)
        ((uint8_t *)page.data)[i] = int8_draw_code(&rng);
    return page;
}

Test(int8, round_even_is_rint)
{
    const float limit = 4194304.0f; /* 2^22, the documented domain */
    const float fixed[] = {0.0f,  -0.0f,       0.5f,   -0.5f,  1.5f,  -1.5f, 2.5f,
                           -2.5f, 0.49999997f, 126.5f, 127.5f, limit, -limit};

    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        cr_assert_eq(qd_round_even(fixed[i]), (int32_t)rint((double)fixed[i]), "%.9g", (double)fixed[i]);
    for (int i = 0; i < 100000; i++) {
        float span = (float)ldexp(1.0, (int)draw(-3, 22));
        float v = qd_rng_uniform_f32(&rng, -span, span);
        cr_assert_eq(qd_round_even(v), (int32_t)rint((double)v), "%.9g", (double)v);
        float tie = (float)draw(-100000, 100000) + 0.5f;
        cr_assert_eq(qd_round_even(tie), (int32_t)rint((double)tie), "%.9g", (double)tie);
    }
}

Test(int8, requantize_matches_doubles_on_ties_saturation_and_large_accumulators)
{
    const int32_t fixed[] = {0,        1,        -1,        3,        -3,        255,      -256,
                             16777216, 16777217, -16777219, 33554435, INT32_MAX, INT32_MIN};
    const float multipliers[] = {0.5f, 0.25f, 1.0f, 1e-3f, 0.0f, 1e-45f, 0x1p64f, 3.0f, 7.450581e-09f};

    for (int round = 0; round < 200; round++) {
        qd_code_range range = int8_draw_range(&rng);
        for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
            for (size_t m = 0; m < sizeof multipliers / sizeof *multipliers; m++)
                cr_assert_eq(qd_requantize_value(fixed[i], multipliers[m], range),
                             int8_expected_requantized(fixed[i], multipliers[m], range), "%d * %g, zero %d", fixed[i],
                             (double)multipliers[m], range.zero);
        for (int i = 0; i < 1000; i++) {
            int32_t acc = (int32_t)(qd_rng_u32(&rng) >> draw(0, 24)) * (draw(0, 1) ? 1 : -1);
            float multiplier =
                (float)ldexp(draw(0, 1) ? 1.0 : (double)qd_rng_uniform_f32(&rng, 0.5f, 1.0f), (int)draw(-24, 2));
            cr_assert_eq(qd_requantize_value(acc, multiplier, range),
                         int8_expected_requantized(acc, multiplier, range), "%d * %g, zero %d", acc,
                         (double)multiplier, range.zero);
        }
    }
}

/* |acc| above 2^24 loses low bits in the conversion, by the definition and not by accident. */
Test(int8, large_accumulators_round_to_float_first)
{
    qd_code_range range = {.zero = 0, .low = -128, .high = 127};

    /* 2^24 + 1 becomes 2^24, 2^24 + 3 becomes 2^24 + 4; scaled to 64 + 2^-18·k they round alike, so look at a tie: */
    cr_assert_eq((int32_t)(float)16777217, 16777216);
    cr_assert_eq((int32_t)(float)16777219, 16777220);
    /* 8388609·2 + 1 = 16777219 scaled by 2^-19 is 32.0000057: 32 */
    cr_assert_eq(qd_requantize_value(16777219, 0x1p-19f, range), 32);
    /* 32.5 + 2^-20 lies above the tie, yet its accumulator 34078721 is even-rounded to 34078720: the tie, which goes
     * to 32 */
    cr_assert_eq(qd_requantize_value(34078721, 0x1p-20f, range), 32);
}

Test(int8, quantize_handles_nan_infinity_and_both_ends)
{
    qd_code_range range = {.zero = 123, .low = 0, .high = 255};
    const float x[] = {0.0f, -0.0f, NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 0.25f, 0.75f, -0.25f, 1e-40f};
    const uint8_t expected[] = {123, 123, 0, 255, 0, 255, 0, 123, 125, 123, 123};

    for (const int8_variant *v = int8_variants(); v->name; v++) {
        uint8_t y[sizeof expected];
        v->k.quantize(x, sizeof expected, 0.5f, range, y);
        for (size_t i = 0; i < sizeof expected; i++)
            cr_assert_eq(y[i], expected[i], "%s: value %zu: %d, expected %d", v->name, i, y[i], expected[i]);
    }
}

static void check_quantize(const int8_variant *v)
{
    int64_t count = draw(1, 199);
    float scale = (float)ldexp(1.0 + (double)qd_rng_uniform_f32(&rng, 0.0f, 1.0f), (int)draw(-12, 4));
    qd_code_range range = int8_draw_range(&rng);
    guard_page page = guard_page_create((size_t)count * sizeof(float));
    float *x = page.data, *back = int8_fenced((size_t)count * sizeof *back);
    uint8_t *y = int8_fenced((size_t)count);

    for (int64_t i = 0; i < count; i++) /* one value in three is a tie, as far as floats can say it */
        x[i] =
            draw(0, 2) == 0 ? scale * ((float)draw(-140, 140) + 0.5f) : qd_rng_uniform_f32(&rng, -150, 150) * scale;
    v->k.quantize(x, count, scale, range, y);
    v->k.dequantize(y, count, scale, range.zero, back);
    for (int64_t i = 0; i < count; i++) {
        cr_assert_eq(y[i], int8_expected_code(int8_to_float((double)x[i] / (double)scale), range), "%s: %g / %g",
                     v->name, (double)x[i], (double)scale);
        cr_assert_eq((double)back[i], int8_to_float((double)scale * (y[i] - range.zero)), "%s", v->name);
    }
    guard_page_destroy(&page);
    int8_release_fenced(back, (size_t)count * sizeof *back, "dequantize");
    int8_release_fenced(y, (size_t)count, "quantize");
}

Test(int8, quantize_and_dequantize_match_doubles)
{
    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (int round = 0; round < 300; round++)
            check_quantize(v);
}

static void check_sums_and_products(const int8_variant *v)
{
    int64_t rows = draw(1, 4), channels = draw(1, 150), count = rows * channels;
    qd_code_range range = int8_draw_range(&rng);
    int32_t zero_a = int8_draw_code(&rng), zero_b = int8_draw_code(&rng);
    /* powers of two now and then: they make ties; and the largest multiplier there is */
    float ma = draw(0, 2) == 0 ? 0.5f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f);
    float mb = draw(0, 2) == 0 ? 0.25f : draw(0, 9) == 0 ? 0x1p64f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f);
    guard_page a_page = draw_codes(count), b_page = draw_codes(count), gate_page = draw_codes(channels);
    const uint8_t *a = a_page.data, *b = b_page.data, *gate = gate_page.data;
    uint8_t *sum = int8_fenced((size_t)count), *product = int8_fenced((size_t)count);

    v->k.add(a, zero_a, ma, b, zero_b, mb, count, range, sum);
    v->k.channel_multiply(a, zero_a, gate, zero_b, rows, channels, ma * mb / 16.0f, range, product);
    for (int64_t i = 0; i < count; i++) {
        double u = int8_to_float((a[i] - zero_a) * (double)ma), w = int8_to_float((b[i] - zero_b) * (double)mb);
        cr_assert_eq(sum[i], int8_expected_code(int8_to_float(u + w), range), "%s", v->name);
        int64_t exact = (int64_t)(a[i] - zero_a) * (gate[i % channels] - zero_b);
        cr_assert_eq(product[i], int8_expected_requantized(exact, ma * mb / 16.0f, range), "%s", v->name);
    }
    guard_page_destroy(&a_page);
    guard_page_destroy(&b_page);
    guard_page_destroy(&gate_page);
    int8_release_fenced(sum, (size_t)count, "add");
    int8_release_fenced(product, (size_t)count, "channel_multiply");
}

Test(int8, sums_and_products_match_doubles)
{
    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (int round = 0; round < 300; round++)
            check_sums_and_products(v);
}

static qd_conv_shape draw_window(void)
{
    qd_conv_shape s = {.n = draw(1, 2), .ih = draw(1, 9), .iw = draw(1, 9), .stride = draw(1, 3)};

    s.ic = s.oc = s.groups = draw(1, 100);
    s.kh = draw(1, s.ih < 3 ? s.ih : 3);
    s.kw = draw(1, s.iw < 3 ? s.iw : 3);
    s.pad = draw(0, (s.kh < s.kw ? s.kh : s.kw) / 2); /* PyTorch's rule: no window of padding alone */
    s.oh = (s.ih + 2 * s.pad - s.kh) / s.stride + 1;
    s.ow = (s.iw + 2 * s.pad - s.kw) / s.stride + 1;
    return s;
}

static void check_windows(const int8_variant *v)
{
    const qd_conv_shape s = draw_window();
    int64_t in_count = s.n * s.ih * s.iw * s.ic, count = s.n * s.oh * s.ow * s.oc;
    int32_t zero = int8_draw_code(&rng);
    guard_page page = draw_codes(in_count);
    const uint8_t *x = page.data;
    uint8_t *y = int8_fenced((size_t)in_count), *pooled = int8_fenced((size_t)count), table[256];
    size_t sum_bytes = (size_t)s.ic * sizeof(int32_t);
    int32_t *sum = int8_fenced(sum_bytes);

    for (int i = 0; i < 256; i++)
        table[i] = int8_draw_code(&rng);
    v->k.lookup(x, in_count, table, y);
    v->k.maxpool(&s, x, 0, s.n * s.oh, pooled);
    v->k.sum_rows(x, zero, s.n * s.ih * s.iw, s.ic, s.ic, sum);
    for (int64_t i = 0; i < in_count; i++)
        cr_assert_eq(y[i], table[x[i]], "%s", v->name);
    for (int64_t i = 0; i < count; i++) {
        int64_t c = i % s.oc, ow = i / s.oc % s.ow, oh = i / (s.oc * s.ow) % s.oh, n = i / (s.oc * s.ow * s.oh);
        int best = -1;
        for (int64_t ih = oh * s.stride - s.pad; ih < oh * s.stride - s.pad + s.kh; ih++)
            for (int64_t iw = ow * s.stride - s.pad; iw < ow * s.stride - s.pad + s.kw; iw++)
                if (ih >= 0 && iw >= 0 && ih < s.ih && iw < s.iw) {
                    int code = x[((n * s.ih + ih) * s.iw + iw) * s.ic + c];
                    best = code > best ? code : best;
                }
        cr_assert_eq(pooled[i], best, "%s", v->name);
    }
    for (int64_t c = 0; c < s.ic; c++) {
        int64_t expected = 0;
        for (int64_t i = c; i < in_count; i += s.ic)
            expected += x[i] - zero;
        cr_assert_eq(sum[c], expected, "%s", v->name);
    }
    guard_page_destroy(&page);
    int8_release_fenced(y, (size_t)in_count, "lookup");
    int8_release_fenced(pooled, (size_t)count, "maxpool");
    int8_release_fenced(sum, sum_bytes, "sum_rows");
}

Test(int8, lookup_maxpool_and_row_sums)
{
    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (int round = 0; round < 200; round++)
            check_windows(v);
}
