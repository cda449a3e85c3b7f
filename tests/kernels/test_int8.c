/*
 * The INT8 kernels against docs/quantization.md written again in double and plain loops. Codes are compared exactly.
 * Doubles are an independent way to the same bits: with 53 bits a product of two floats is exact, and a sum or
 * quotient rounded to double and then to float equals the float operation (2·24 + 2 bits are enough for that).
 */
#include "kernels/int8.h"

#include <criterion/criterion.h>
#include <math.h>
#include <quantdrift/random.h>
#include <stdlib.h>

/* Bytes of this value around an output show writes outside it. */
#define FENCE  8
#define CANARY 0x5A

static qd_rng rng;
static qd_int8_kernels kernels;

static void setup(void)
{
    qd_rng_seed(&rng, 17);
    qd_int8_kernels_fill(QD_ISA_REF, &kernels);
}

TestSuite(int8, .init = setup);

static int64_t draw(int64_t low, int64_t high)
{
    return low + qd_rng_randint(&rng, high - low + 1);
}

/* One code in four is an end of the range, where overflows live. */
static int8_t draw_code(void)
{
    int64_t kind = draw(0, 7);
    return (int8_t)(kind == 0 ? -128 : kind == 1 ? 127 : draw(-128, 127));
}

static int8_t *draw_codes(int64_t count)
{
    int8_t *codes = malloc((size_t)count);
    cr_assert_not_null(codes);
    for (int64_t i = 0; i < count; i++)
        codes[i] = draw_code();
    return codes;
}

static int16_t *draw_weights(int64_t count)
{
    int16_t *weights = malloc((size_t)count * sizeof *weights);
    cr_assert_not_null(weights);
    for (int64_t i = 0; i < count; i++)
        weights[i] = (int16_t)draw(-127, 127);
    return weights;
}

/* An output with fences; check_fence() frees nothing. */
static void *fenced(size_t bytes)
{
    unsigned char *block = malloc(bytes + 2 * FENCE);
    cr_assert_not_null(block);
    memset(block, CANARY, bytes + 2 * FENCE);
    return block + FENCE;
}

static void release_fenced(void *data, size_t bytes, const char *what)
{
    unsigned char *block = (unsigned char *)data - FENCE;
    for (size_t i = 0; i < FENCE; i++) {
        cr_assert_eq(block[i], CANARY, "%s wrote before its output", what);
        cr_assert_eq(block[FENCE + bytes + i], CANARY, "%s wrote behind its output", what);
    }
    free(block);
}

static qd_code_range draw_range(void)
{
    int64_t half = 1 << draw(1, 7);
    return (qd_code_range){.zero = (int32_t)draw(-half, half - 1), .low = (int32_t)-half, .high = (int32_t)half - 1};
}

static double to_float(double v)
{
    return (double)(float)v;
}

/* clamp after rounding here, before it there. */
static int32_t code_of(double v, qd_code_range range)
{
    if (isnan(v))
        return range.low;
    double code = rint(v) + range.zero;
    return (int32_t)fmin(fmax(code, range.low), range.high);
}

static int32_t expected_requantized(int64_t acc, float multiplier, qd_code_range range)
{
    return code_of(to_float(to_float((double)acc) * (double)multiplier), range);
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
        qd_code_range range = draw_range();
        for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
            for (size_t m = 0; m < sizeof multipliers / sizeof *multipliers; m++)
                cr_assert_eq(qd_requantize_value(fixed[i], multipliers[m], range),
                             expected_requantized(fixed[i], multipliers[m], range), "%d * %g, zero %d", fixed[i],
                             (double)multipliers[m], range.zero);
        for (int i = 0; i < 1000; i++) {
            int32_t acc = (int32_t)(qd_rng_u32(&rng) >> draw(0, 24)) * (draw(0, 1) ? 1 : -1);
            float multiplier =
                (float)ldexp(draw(0, 1) ? 1.0 : (double)qd_rng_uniform_f32(&rng, 0.5f, 1.0f), (int)draw(-24, 2));
            cr_assert_eq(qd_requantize_value(acc, multiplier, range), expected_requantized(acc, multiplier, range),
                         "%d * %g, zero %d", acc, (double)multiplier, range.zero);
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
    qd_code_range range = {.zero = -5, .low = -128, .high = 127};
    const float x[] = {0.0f, -0.0f, NAN, INFINITY, -INFINITY, 3.4e38f, -3.4e38f, 0.25f, 0.75f, -0.25f, 1e-40f};
    const int8_t expected[] = {-5, -5, -128, 127, -128, 127, -128, -5, -3, -5, -5};
    int8_t y[sizeof expected];

    kernels.quantize(x, sizeof expected, 0.5f, range, y);
    for (size_t i = 0; i < sizeof expected; i++)
        cr_assert_eq(y[i], expected[i], "value %zu: %d, expected %d", i, y[i], expected[i]);
}

Test(int8, quantize_and_dequantize_match_doubles)
{
    for (int round = 0; round < 300; round++) {
        int64_t count = draw(1, 67);
        float scale = (float)ldexp(1.0 + (double)qd_rng_uniform_f32(&rng, 0.0f, 1.0f), (int)draw(-12, 4));
        qd_code_range range = draw_range();
        float *x = malloc((size_t)count * sizeof *x), *back = fenced((size_t)count * sizeof *back);
        int8_t *y = fenced((size_t)count);
        for (int64_t i = 0; i < count; i++) /* one value in three is a tie, as far as floats can say it */
            x[i] = draw(0, 2) == 0 ? scale * ((float)draw(-140, 140) + 0.5f)
                                   : qd_rng_uniform_f32(&rng, -150, 150) * scale;
        kernels.quantize(x, count, scale, range, y);
        kernels.dequantize(y, count, scale, range.zero, back);
        for (int64_t i = 0; i < count; i++) {
            cr_assert_eq(y[i], code_of(to_float((double)x[i] / (double)scale), range), "%g / %g", (double)x[i],
                         (double)scale);
            cr_assert_eq((double)back[i], to_float((double)scale * (y[i] - range.zero)));
        }
        free(x);
        release_fenced(back, (size_t)count * sizeof *back, "dequantize");
        release_fenced(y, (size_t)count, "quantize");
    }
}

static qd_conv_shape draw_shape(bool depthwise)
{
    qd_conv_shape s = {.n = draw(1, 2),
                       .ih = draw(1, 9),
                       .iw = draw(1, 9),
                       .kh = draw(1, 3),
                       .kw = draw(1, 3),
                       .stride = draw(1, 3),
                       .pad = draw(0, 2)};
    s.groups = depthwise ? draw(1, 37) : draw(1, 3);
    s.ic = depthwise ? s.groups : s.groups * draw(1, 19);
    s.oc = depthwise ? s.groups : s.groups * draw(1, 9);
    s.kh = s.kh > s.ih + 2 * s.pad ? 1 : s.kh;
    s.kw = s.kw > s.iw + 2 * s.pad ? 1 : s.kw;
    s.oh = (s.ih + 2 * s.pad - s.kh) / s.stride + 1;
    s.ow = (s.iw + 2 * s.pad - s.kw) / s.stride + 1;
    return s;
}

/* Σ (q_x − Z)·q_w of one output, padding worth 0. `weight(…)` indexes w as [o][kh][kw][c] or [kh][kw][c]. */
static int64_t expected_sum(const qd_conv_shape *s, const int8_t *x, int32_t zero, const int16_t *w, bool depthwise,
                            int64_t depth, int64_t n, int64_t oh, int64_t ow, int64_t o)
{
    int64_t channels = s->ic / s->groups, group = o / (s->oc / s->groups), sum = 0;

    for (int64_t kh = 0; kh < s->kh; kh++)
        for (int64_t kw = 0; kw < s->kw; kw++)
            for (int64_t c = 0; c < channels; c++) {
                int64_t ih = oh * s->stride - s->pad + kh, iw = ow * s->stride - s->pad + kw;
                if (ih < 0 || iw < 0 || ih >= s->ih || iw >= s->iw)
                    continue;
                int64_t tap = kh * s->kw + kw;
                int16_t weight = depthwise ? w[tap * s->oc + o] : w[o * depth + tap * channels + c];
                sum += (int64_t)(x[((n * s->ih + ih) * s->iw + iw) * s->ic + group * channels + c] - zero) * weight;
            }
    return sum;
}

Test(int8, dense_convolution_sums_are_exact)
{
    for (int round = 0; round < 200; round++) {
        qd_conv_shape s = draw_shape(false);
        int64_t filter = s.kh * s.kw * s.ic / s.groups,
                depth = (filter + QD_INT8_DEPTH - 1) / QD_INT8_DEPTH * QD_INT8_DEPTH;
        int64_t all_rows = s.n * s.oh * s.ow, channels = s.oc / s.groups;
        int64_t first = draw(0, all_rows - 1), rows = draw(1, all_rows - first);
        int32_t zero = (int32_t)draw(-128, 127);
        int8_t *x = draw_codes(s.n * s.ih * s.iw * s.ic);
        int16_t *w = draw_weights(s.oc * depth), *col = fenced((size_t)(rows * depth) * sizeof *col);
        int32_t *acc = fenced((size_t)(rows * channels) * sizeof *acc);
        for (int64_t g = 0; g < s.groups; g++) {
            kernels.im2col(&s, g, x, zero, first, rows, depth, col);
            kernels.gemm(col, w + g * channels * depth, rows, channels, depth, acc);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t c = 0; c < channels; c++) {
                    int64_t row = first + r, oh = row / s.ow % s.oh, n = row / (s.ow * s.oh);
                    int64_t expected =
                        expected_sum(&s, x, zero, w, false, depth, n, oh, row % s.ow, g * channels + c);
                    cr_assert_eq(acc[r * channels + c], expected, "%d, expected %lld", acc[r * channels + c],
                                 (long long)expected);
                }
        }
        free(x);
        free(w);
        release_fenced(col, (size_t)(rows * depth) * sizeof *col, "im2col");
        release_fenced(acc, (size_t)(rows * channels) * sizeof *acc, "gemm");
    }
}

/* The largest sums there can be: every code 255 from its zero point, every weight 127, the longest filter allowed. */
Test(int8, sums_of_the_longest_filter_stay_inside_int32)
{
    const int64_t depth = 33152; /* 2^30 / (255·127), down to a multiple of QD_INT8_DEPTH */
    int16_t *a = malloc((size_t)depth * sizeof *a), *b = malloc((size_t)depth * sizeof *b);
    int32_t sum;

    for (int sign = -1; sign <= 1; sign += 2) {
        for (int64_t k = 0; k < depth; k++) {
            a[k] = (int16_t)(255 * sign);
            b[k] = 127;
        }
        kernels.gemm(a, b, 1, 1, depth, &sum);
        cr_assert_eq(sum, sign * 255 * 127 * depth);
        cr_assert_leq(llabs((long long)sum), 1LL << 30);
    }
    free(a);
    free(b);
}

Test(int8, depthwise_convolution_sums_are_exact)
{
    for (int round = 0; round < 300; round++) {
        qd_conv_shape s = draw_shape(true);
        int64_t all_lines = s.n * s.oh, first = draw(0, all_lines - 1), lines = draw(1, all_lines - first);
        int32_t zero = (int32_t)draw(-128, 127);
        int8_t *x = draw_codes(s.n * s.ih * s.iw * s.ic);
        int16_t *w = draw_weights(s.kh * s.kw * s.oc);
        size_t bytes = (size_t)(lines * s.ow * s.oc) * sizeof(int32_t);
        int32_t *acc = fenced(bytes);
        kernels.dwconv(&s, x, zero, w, first, lines, acc);
        for (int64_t i = 0; i < lines * s.ow * s.oc; i++) {
            int64_t line = first + i / (s.ow * s.oc);
            int64_t expected =
                expected_sum(&s, x, zero, w, true, 0, line / s.oh, line % s.oh, i / s.oc % s.ow, i % s.oc);
            cr_assert_eq(acc[i], expected, "%d, expected %lld", acc[i], (long long)expected);
        }
        free(x);
        free(w);
        release_fenced(acc, bytes, "dwconv");
    }
}

Test(int8, requantized_rows_and_logits_match_doubles)
{
    for (int round = 0; round < 200; round++) {
        int64_t rows = draw(1, 5), channels = draw(1, 37), stride = channels + draw(0, 9);
        qd_code_range range = draw_range();
        int32_t *acc = malloc((size_t)(rows * channels) * sizeof *acc),
                *bias = malloc((size_t)channels * sizeof *bias);
        float *multiplier = malloc((size_t)channels * sizeof *multiplier);
        size_t bytes = (size_t)((rows - 1) * stride + channels),
               float_bytes = (size_t)(rows * channels) * sizeof(float);
        int8_t *y = fenced(bytes);
        float *logits = fenced(float_bytes);
        for (int64_t c = 0; c < channels; c++) {
            bias[c] = (int32_t)draw(-(1 << 30), 1 << 30) >> draw(0, 30);
            multiplier[c] = (float)ldexp(1.0 + (double)qd_rng_uniform_f32(&rng, 0, 1), (int)draw(-30, 0));
        }
        for (int64_t i = 0; i < rows * channels; i++)
            acc[i] = (int32_t)draw(-(1 << 30), 1 << 30) >> draw(0, 30);
        memset(y, CANARY, bytes);
        kernels.requantize(acc, rows, channels, bias, multiplier, range, stride, y);
        kernels.dequantize_rows(acc, rows, channels, bias, multiplier, logits);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < stride && r * stride + c < (int64_t)bytes; c++) {
                int64_t sum = c < channels ? (int64_t)acc[r * channels + c] + bias[c] : 0;
                int32_t expected = c < channels ? expected_requantized(sum, multiplier[c], range) : CANARY;
                cr_assert_eq(y[r * stride + c], expected, "row %lld column %lld", (long long)r, (long long)c);
                if (c < channels)
                    cr_assert_eq((double)logits[r * channels + c],
                                 to_float(to_float((double)sum) * (double)multiplier[c]));
            }
        free(acc);
        free(bias);
        free(multiplier);
        release_fenced(y, bytes, "requantize");
        release_fenced(logits, float_bytes, "dequantize_rows");
    }
}

Test(int8, sums_and_products_match_doubles)
{
    for (int round = 0; round < 300; round++) {
        int64_t rows = draw(1, 4), channels = draw(1, 41), count = rows * channels;
        qd_code_range range = draw_range();
        int32_t zero_a = draw_code(), zero_b = draw_code();
        /* powers of two now and then: they make ties */
        float ma = draw(0, 2) == 0 ? 0.5f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f);
        float mb = draw(0, 2) == 0 ? 0.25f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f);
        int8_t *a = draw_codes(count), *b = draw_codes(count), *sum = fenced((size_t)count),
               *product = fenced((size_t)count);
        kernels.add(a, zero_a, ma, b, zero_b, mb, count, range, sum);
        kernels.channel_multiply(a, zero_a, b, zero_b, rows, channels, ma * mb / 16.0f, range, product);
        for (int64_t i = 0; i < count; i++) {
            double u = to_float((a[i] - zero_a) * (double)ma), v = to_float((b[i] - zero_b) * (double)mb);
            cr_assert_eq(sum[i], code_of(to_float(u + v), range));
            int64_t exact = (int64_t)(a[i] - zero_a) * (b[i % channels] - zero_b);
            cr_assert_eq(product[i], expected_requantized(exact, ma * mb / 16.0f, range));
        }
        free(a);
        free(b);
        release_fenced(sum, (size_t)count, "add");
        release_fenced(product, (size_t)count, "channel_multiply");
    }
}

Test(int8, lookup_maxpool_and_row_sums)
{
    int8_t table[256];

    for (int round = 0; round < 200; round++) {
        qd_conv_shape s = draw_shape(true);
        s.pad = s.pad > s.kh / 2 || s.pad > s.kw / 2 ? 0 : s.pad; /* PyTorch's rule: no window of padding alone */
        if (s.kh > s.ih || s.kw > s.iw)
            continue;
        s.oh = (s.ih + 2 * s.pad - s.kh) / s.stride + 1;
        s.ow = (s.iw + 2 * s.pad - s.kw) / s.stride + 1;
        int64_t in_count = s.n * s.ih * s.iw * s.ic, count = s.n * s.oh * s.ow * s.oc;
        int32_t zero = draw_code();
        int8_t *x = draw_codes(in_count), *y = fenced((size_t)in_count), *pooled = fenced((size_t)count);
        size_t sum_bytes = (size_t)s.ic * sizeof(int32_t);
        int32_t *sum = fenced(sum_bytes);
        for (int i = 0; i < 256; i++)
            table[i] = draw_code();
        kernels.lookup(x, in_count, table, y);
        kernels.maxpool(&s, x, 0, s.n * s.oh, pooled);
        kernels.sum_rows(x, zero, s.n * s.ih * s.iw, s.ic, sum);
        for (int64_t i = 0; i < in_count; i++)
            cr_assert_eq(y[i], table[x[i] + 128]);
        for (int64_t i = 0; i < count; i++) {
            int64_t c = i % s.oc, ow = i / s.oc % s.ow, oh = i / (s.oc * s.ow) % s.oh, n = i / (s.oc * s.ow * s.oh);
            int best = -1000;
            for (int64_t ih = oh * s.stride - s.pad; ih < oh * s.stride - s.pad + s.kh; ih++)
                for (int64_t iw = ow * s.stride - s.pad; iw < ow * s.stride - s.pad + s.kw; iw++)
                    if (ih >= 0 && iw >= 0 && ih < s.ih && iw < s.iw) {
                        int code = x[((n * s.ih + ih) * s.iw + iw) * s.ic + c];
                        best = code > best ? code : best;
                    }
            cr_assert_eq(pooled[i], best);
        }
        for (int64_t c = 0; c < s.ic; c++) {
            int64_t expected = 0;
            for (int64_t i = c; i < in_count; i += s.ic)
                expected += x[i] - zero;
            cr_assert_eq(sum[c], expected);
        }
        free(x);
        release_fenced(y, (size_t)in_count, "lookup");
        release_fenced(pooled, (size_t)count, "maxpool");
        release_fenced(sum, sum_bytes, "sum_rows");
    }
}
