/* Elementwise kernels of every instruction set against naive double loops. */
#include "support/activation_truth.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Around every vector width from 2 to 16, and one that takes many rounds. */
static const int64_t counts[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 1027};
#define COUNTS ((int)(sizeof counts / sizeof counts[0]))

/* Channel counts of the networks, odd ones, and the borders of blocks of 64. */
static const int64_t channel_counts[] = {1, 3, 4, 5, 8, 16, 17, 24, 63, 64, 65, 130};
static const int64_t row_counts[] = {0, 1, 2, 3, 4, 5, 9};
#define CHANNEL_COUNTS ((int)(sizeof channel_counts / sizeof channel_counts[0]))
#define ROW_COUNTS     ((int)(sizeof row_counts / sizeof row_counts[0]))

static const enum qd_activation kinds[] = {QD_ACTIVATION_NONE, QD_ACTIVATION_RELU,      QD_ACTIVATION_RELU6,
                                           QD_ACTIVATION_SILU, QD_ACTIVATION_HARDSWISH, QD_ACTIVATION_SIGMOID};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))

/* Rounding units (half ulps): exp up to 4, each further operation 1; SiLU's derivative uses the sigmoid twice. */
#define ACTIVATION_UNITS 16.0
/* One rounding of the product and one of the sum. */
#define SUM_UNITS 2.0

static char label[128];

static const char *describe(const kernel_variant *v, const char *kernel, const char *detail, int64_t a, int64_t b)
{
    snprintf(label, sizeof label, "%s %s %s %lld %lld", v->name, kernel, detail, (long long)a, (long long)b);
    return label;
}

Test(elementwise_kernels, activation_forward)
{
    uint64_t state = 1;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < COUNTS * KINDS * 2; i++) {
            const int64_t count = counts[i % COUNTS], offset = i % 4;
            const enum qd_activation kind = kinds[i / COUNTS % KINDS];
            const bool in_place = i / (COUNTS * KINDS) == 1;
            const char *what = describe(v, "activation_forward", truth_activation_name(kind), count, in_place);
            kernel_array x = kernel_array_create(v->dtype, count, offset);
            kernel_array y = kernel_array_create(v->dtype, count, (offset + 1) % 4);
            kernel_array_fill(&x, &state, -20, 20);
            kernel_array_copy(&y, &x);
            v->k->activation_forward(kind, in_place ? y.data : x.data, count, y.data);
            for (int64_t j = 0; j < count; j++) {
                const double expected = truth_activate(kind, kernel_array_get(&x, j));
                kernel_array_check(&y, j, expected, ACTIVATION_UNITS, fabs(expected), what);
            }
            kernel_array_check_fences(&y, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&y);
        }
    }
}

Test(elementwise_kernels, activation_backward)
{
    uint64_t state = 2;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < COUNTS * KINDS * 3; i++) {
            const int64_t count = counts[i % COUNTS], offset = i % 4;
            const enum qd_activation kind = kinds[i / COUNTS % KINDS];
            const bool in_place = i / (COUNTS * KINDS) == 1, accumulate = i / (COUNTS * KINDS) == 2;
            const char *what = describe(v, "activation_backward", truth_activation_name(kind), count, accumulate);
            kernel_array x = kernel_array_create(v->dtype, count, offset);
            kernel_array dy = kernel_array_create(v->dtype, count, (offset + 2) % 4);
            kernel_array dx = kernel_array_create(v->dtype, count, (offset + 1) % 4);
            kernel_array before = kernel_array_create(v->dtype, count, 0);
            kernel_array_fill(&x, &state, -20, 20);
            kernel_array_fill(&dy, &state, -2, 2);
            if (count > 3) { /* the kinks themselves */
                kernel_array_put(&x, 0, 0);
                kernel_array_put(&x, 1, 6);
                kernel_array_put(&x, 2, 3);
                kernel_array_put(&x, 3, -3);
            }
            kernel_array_fill(&before, &state, -2, 2);
            kernel_array_copy(&dx, in_place ? &dy : &before);
            v->k->activation_backward(kind, x.data, in_place ? dx.data : dy.data, count, accumulate, dx.data);
            for (int64_t j = 0; j < count; j++) {
                const double at = kernel_array_get(&x, j), dyj = kernel_array_get(&dy, j);
                const double start = accumulate ? kernel_array_get(&before, j) : 0;
                /* SiLU's s·(1 + x·(1 - s)) carries the rounding of 1 - s, times x; 1.5 is the others' largest slope.
                 */
                const double slope =
                    kind == QD_ACTIVATION_SILU ? (1 + fabs(at)) * truth_activate(QD_ACTIVATION_SIGMOID, at) : 1.5;
                kernel_array_check(&dx, j, start + dyj * truth_derivative(kind, at), ACTIVATION_UNITS,
                                   fabs(start) + fabs(dyj) * slope, what);
            }
            kernel_array_check_fences(&dx, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&dy);
            kernel_array_destroy(&dx);
            kernel_array_destroy(&before);
        }
    }
}

/* The distance in units of the last place of a float32 near `exact`. */
static double ulps(double value, double exact)
{
    const double unit = fabs(exact) < 0x1p-126 ? 0x1p-149 : ldexp(1.0, ilogb(exact) - 23);
    return fabs(value - exact) / unit;
}

/*
 * Every 65537th float: all signs and exponents, 128 mantissas each. The exponential errs by less than 1.5 ulp, adding
 * 1 and dividing by half an ulp each: 2.5 (measured: 2.24). Below -88.7 exp(-x) is no float32 and both are 0, as in
 * PyTorch; float64 is exact beside these units.
 */
Test(elementwise_kernels, sigmoid_and_silu_over_the_whole_range)
{
    enum { count = 65536 };
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        kernel_array x = kernel_array_create(v->dtype, count, 0), y = kernel_array_create(v->dtype, count, 0);
        for (int64_t j = 0; j < count; j++) {
            const uint32_t bits = (uint32_t)j * 65537u;
            float value;
            memcpy(&value, &bits, sizeof value);
            kernel_array_put(&x, j, (double)value);
        }
        for (int which = 0; which < 2; which++) {
            const enum qd_activation kind = which ? QD_ACTIVATION_SIGMOID : QD_ACTIVATION_SILU;
            double worst = 0, worst_at = 0;
            v->k->activation_forward(kind, x.data, count, y.data);
            for (int64_t j = 0; j < count; j++) {
                const double at = kernel_array_get(&x, j), found = kernel_array_get(&y, j);
                const double exact = truth_activate(kind, at);
                if (isnan(at) || isinf(at))
                    continue; /* activation_limits_as_pytorch */
                if (at < -88.7 && v->dtype == QD_F32) {
                    cr_assert(fabs(found) <= fabs(exact), "%s: %s(%a) is %a", v->name, truth_activation_name(kind),
                              at, found);
                    continue;
                }
                if (ulps(found, exact) > worst) {
                    worst = ulps(found, exact);
                    worst_at = at;
                }
            }
            cr_assert(worst <= 2.5, "%s: %s(%a) is %.3f ulp off", v->name, truth_activation_name(kind), worst_at,
                      worst);
        }
        kernel_array_destroy(&x);
        kernel_array_destroy(&y);
    }
}

/* What PyTorch 1.13 answers for these inputs (made with torch.nn.functional on 39 elements, so by its vector code).
 */
Test(elementwise_kernels, activation_limits_as_pytorch)
{
    static const double in[] = {NAN, INFINITY, -INFINITY, 0, -200, 200};
    enum { inputs = sizeof in / sizeof in[0] };
    static const struct {
        enum qd_activation kind;
        double y[inputs], dx[inputs];
    } expected[] = {
        {QD_ACTIVATION_RELU, {NAN, INFINITY, 0, 0, 0, 200}, {1, 1, 0, 0, 0, 1}},
        {QD_ACTIVATION_RELU6, {NAN, 6, 0, 0, 0, 6}, {0, 0, 0, 0, 0, 0}},
        {QD_ACTIVATION_SILU, {NAN, INFINITY, NAN, 0, 0, 200}, {NAN, NAN, NAN, 0.5, 0, 1}},
        {QD_ACTIVATION_HARDSWISH, {NAN, INFINITY, NAN, 0, 0, 200}, {NAN, 1, 0, 0.5, 0, 1}},
        {QD_ACTIVATION_SIGMOID, {NAN, 1, 0, 0.5, 0, 1}, {NAN, 0, 0, 0.25, 0, 0}},
    };
    /* In float32 exp(200) is infinite and the results below are exact; float64 is 1e-87 away from them. */
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t e = 0; e < sizeof expected / sizeof expected[0]; e++) {
            /* Long enough for vector code and its tail: each input stands in both. */
            kernel_array x = kernel_array_create(v->dtype, 7 * inputs, 1);
            kernel_array dy = kernel_array_create(v->dtype, 7 * inputs, 0);
            kernel_array y = kernel_array_create(v->dtype, 7 * inputs, 2);
            for (int64_t j = 0; j < x.count; j++) {
                kernel_array_put(&x, j, in[j % inputs]);
                kernel_array_put(&dy, j, 1);
            }
            const char *what = describe(v, "activation", truth_activation_name(expected[e].kind), 0, 0);
            v->k->activation_forward(expected[e].kind, x.data, x.count, y.data);
            for (int64_t j = 0; j < x.count; j++)
                kernel_array_check(&y, j, expected[e].y[j % inputs], 1, 1e-30, what);
            v->k->activation_backward(expected[e].kind, x.data, dy.data, x.count, false, y.data);
            for (int64_t j = 0; j < x.count; j++)
                kernel_array_check(&y, j, expected[e].dx[j % inputs], 1, 1e-30, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&dy);
            kernel_array_destroy(&y);
        }
    }
}

Test(elementwise_kernels, add_multiply_scale)
{
    uint64_t state = 3;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < COUNTS * 2; i++) {
            const int64_t count = counts[i % COUNTS], offset = i % 4;
            const bool second = i >= COUNTS; /* in place, or accumulating */
            const double factor = 0.3;
            const double rounded = v->dtype == QD_F32 ? (double)(float)factor : factor;
            kernel_array a = kernel_array_create(v->dtype, count, offset);
            kernel_array b = kernel_array_create(v->dtype, count, (offset + 1) % 4);
            kernel_array before = kernel_array_create(v->dtype, count, 0);
            kernel_array y = kernel_array_create(v->dtype, count, (offset + 2) % 4);
            kernel_array_fill(&a, &state, -2, 2);
            kernel_array_fill(&b, &state, -2, 2);
            kernel_array_fill(&before, &state, -2, 2);

            kernel_array_copy(&y, &a);
            v->k->add(second ? y.data : a.data, b.data, count, y.data);
            for (int64_t j = 0; j < count; j++)
                kernel_array_check(&y, j, kernel_array_get(&a, j) + kernel_array_get(&b, j), SUM_UNITS, 4,
                                   describe(v, "add", "", count, second));
            kernel_array_copy(&y, &before);
            v->k->multiply(a.data, b.data, count, second, y.data);
            for (int64_t j = 0; j < count; j++)
                kernel_array_check(&y, j,
                                   (second ? kernel_array_get(&before, j) : 0) +
                                       kernel_array_get(&a, j) * kernel_array_get(&b, j),
                                   SUM_UNITS, 4, describe(v, "multiply", "", count, second));
            kernel_array_copy(&y, &before);
            v->k->scale(a.data, count, factor, second, y.data);
            for (int64_t j = 0; j < count; j++)
                kernel_array_check(&y, j,
                                   (second ? kernel_array_get(&before, j) : 0) + rounded * kernel_array_get(&a, j),
                                   SUM_UNITS, 4, describe(v, "scale", "", count, second));
            kernel_array_copy(&y, &a);
            v->k->scale(y.data, count, factor, false, y.data);
            for (int64_t j = 0; j < count; j++)
                kernel_array_check(&y, j, rounded * kernel_array_get(&a, j), SUM_UNITS, 4,
                                   describe(v, "scale in place", "", count, 0));
            kernel_array_check_fences(&y, describe(v, "add, multiply, scale", "", count, second));
            kernel_array_destroy(&a);
            kernel_array_destroy(&b);
            kernel_array_destroy(&before);
            kernel_array_destroy(&y);
        }
    }
}

Test(elementwise_kernels, scale_shift)
{
    uint64_t state = 4;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS * KINDS; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS];
            const int64_t rows = row_counts[i / CHANNEL_COUNTS % ROW_COUNTS];
            const enum qd_activation kind = kinds[i / (CHANNEL_COUNTS * ROW_COUNTS)];
            const bool in_place = i % 2 == 1;
            const char *what = describe(v, "scale_shift", truth_activation_name(kind), rows, channels);
            kernel_array x = kernel_array_create(v->dtype, rows * channels, i % 4);
            kernel_array y = kernel_array_create(v->dtype, rows * channels, (i + 1) % 4);
            kernel_array scale = kernel_array_create(v->dtype, channels, (i + 2) % 4);
            kernel_array shift = kernel_array_create(v->dtype, channels, (i + 3) % 4);
            kernel_array_fill(&x, &state, -4, 4);
            kernel_array_fill(&scale, &state, -2, 2);
            kernel_array_fill(&shift, &state, -2, 2);
            kernel_array_copy(&y, &x);
            v->k->scale_shift(in_place ? y.data : x.data, rows, channels, scale.data, shift.data, kind, y.data);
            for (int64_t j = 0; j < rows * channels; j++) {
                const double term = kernel_array_get(&x, j) * kernel_array_get(&scale, j % channels);
                const double z = term + kernel_array_get(&shift, j % channels), expected = truth_activate(kind, z);
                /* The roundings of x·scale and of z pass through slopes of 1.5 at most. */
                kernel_array_check(&y, j, expected, ACTIVATION_UNITS, fabs(term) + fabs(z) + fabs(expected), what);
            }
            kernel_array_check_fences(&y, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&y);
            kernel_array_destroy(&scale);
            kernel_array_destroy(&shift);
        }
    }
}

Test(elementwise_kernels, channel_scale_and_broadcast_rows)
{
    uint64_t state = 5;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS * 2; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS];
            const int64_t rows = row_counts[i / CHANNEL_COUNTS % ROW_COUNTS];
            const bool accumulate = i >= CHANNEL_COUNTS * ROW_COUNTS;
            const double factor = 1.0 / 49.0;
            const double rounded = v->dtype == QD_F32 ? (double)(float)factor : factor;
            kernel_array x = kernel_array_create(v->dtype, rows * channels, i % 4);
            kernel_array s = kernel_array_create(v->dtype, channels, (i + 2) % 4);
            kernel_array before = kernel_array_create(v->dtype, rows * channels, 0);
            kernel_array y = kernel_array_create(v->dtype, rows * channels, (i + 1) % 4);
            kernel_array_fill(&x, &state, -2, 2);
            kernel_array_fill(&s, &state, -2, 2);
            kernel_array_fill(&before, &state, -2, 2);

            kernel_array_copy(&y, &before);
            v->k->channel_scale(x.data, s.data, rows, channels, accumulate, y.data);
            for (int64_t j = 0; j < y.count; j++)
                kernel_array_check(&y, j,
                                   (accumulate ? kernel_array_get(&before, j) : 0) +
                                       kernel_array_get(&x, j) * kernel_array_get(&s, j % channels),
                                   SUM_UNITS, 4, describe(v, "channel_scale", "", rows, channels));
            kernel_array_copy(&y, &before);
            v->k->broadcast_rows(s.data, rows, channels, factor, accumulate, y.data);
            for (int64_t j = 0; j < y.count; j++)
                kernel_array_check(&y, j,
                                   (accumulate ? kernel_array_get(&before, j) : 0) +
                                       kernel_array_get(&s, j % channels) * rounded,
                                   SUM_UNITS, 4, describe(v, "broadcast_rows", "", rows, channels));
            kernel_array_check_fences(&y, describe(v, "channel_scale, broadcast_rows", "", rows, channels));
            kernel_array_destroy(&x);
            kernel_array_destroy(&s);
            kernel_array_destroy(&before);
            kernel_array_destroy(&y);
        }
    }
}
