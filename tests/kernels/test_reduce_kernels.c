/* Reductions, BatchNorm's backward pass and SGD of every instruction set against naive double loops. */
#include "support/activation_truth.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t channel_counts[] = {1, 3, 4, 5, 8, 16, 17, 24, 63, 64, 65, 130, 513};
static const int64_t row_counts[] = {1, 2, 3, 4, 5, 7, 16, 17, 50};
#define CHANNEL_COUNTS ((int)(sizeof channel_counts / sizeof channel_counts[0]))
#define ROW_COUNTS     ((int)(sizeof row_counts / sizeof row_counts[0]))

static const enum qd_activation kinds[] = {QD_ACTIVATION_NONE, QD_ACTIVATION_RELU,      QD_ACTIVATION_RELU6,
                                           QD_ACTIVATION_SILU, QD_ACTIVATION_HARDSWISH, QD_ACTIVATION_SIGMOID};
#define KINDS ((int)(sizeof kinds / sizeof kinds[0]))

static char label[128];

static const char *describe(const kernel_variant *v, const char *kernel, int64_t a, int64_t b)
{
    snprintf(label, sizeof label, "%s %s %lld %lld", v->name, kernel, (long long)a, (long long)b);
    return label;
}

/* Vector sets add in float32 over runs of rows, of at most this length, and shift values by the channel's first one
 * before squaring them; see src/kernels/simd/runs_simd.h. */
#define RUN 16

static bool sums_in_runs(const kernel_variant *v, const char *isa)
{
    return v->dtype == QD_F32 && strcmp(isa, "ref") != 0;
}

Test(reduce_kernels, channel_sums_add_to_what_is_there)
{
    uint64_t state = 1;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS], rows = row_counts[i / CHANNEL_COUNTS];
            const char *what = describe(v, "channel_sums", rows, channels);
            kernel_array x = kernel_array_create(v->dtype, rows * channels, i % 4);
            kernel_array sum = kernel_array_create(QD_F64, channels, i % 2);
            kernel_array squares = kernel_array_create(QD_F64, channels, (i + 1) % 2);
            kernel_array_fill(&x, &state, -2, 6);
            for (int64_t c = 0; c < channels; c++) {
                kernel_array_put(&sum, c, 100);
                kernel_array_put(&squares, c, 200);
            }
            v->k->channel_sums(x.data, rows, channels, sum.data, squares.data);
            for (int64_t c = 0; c < channels; c++) {
                const double first = kernel_array_get(&x, c);
                double expected_sum = 100, expected_squares = 200, spread = 0, squared_spread = 0;
                for (int64_t r = 0; r < rows; r++) {
                    const double value = kernel_array_get(&x, r * channels + c);
                    expected_sum += value;
                    expected_squares += value * value;
                    spread += fabs(value - first);
                    squared_spread += (value - first) * (value - first);
                }
                /* Double sums of `rows` terms in another order: a rounding for each addition; five more take the
                 * shift back. Of float32, RUN - 1 additions of the shifted values and the shift itself; squared, the
                 * shift's rounding counts twice and the product's once. */
                const double unit = 0x1p-53 * ((double)rows + 7);
                const double run_unit = sums_in_runs(v, v->k->channel_sums_isa) ? 0x1p-24 : 0;
                const double bound = unit * (100 + 6 * (double)rows) + run_unit * RUN * spread;
                const double squares_bound = unit * (200 + 36 * (double)rows) +
                                             run_unit * ((RUN + 2) * squared_spread + 2 * fabs(first) * RUN * spread);
                cr_assert(fabs(kernel_array_get(&sum, c) - expected_sum) <= bound, "%s: sum %lld is %.17g, not %.17g",
                          what, (long long)c, kernel_array_get(&sum, c), expected_sum);
                cr_assert(fabs(kernel_array_get(&squares, c) - expected_squares) <= squares_bound,
                          "%s: sum of squares %lld is %.17g, not %.17g", what, (long long)c,
                          kernel_array_get(&squares, c), expected_squares);
            }
            kernel_array_check_fences(&sum, what);
            kernel_array_check_fences(&squares, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&sum);
            kernel_array_destroy(&squares);
        }
    }
}

/* A mean of 1000 and a deviation of 0.01: float32 sums would lose every digit of the variance. */
Test(reduce_kernels, channel_sums_keep_the_variance_of_a_large_mean)
{
    enum { rows = 4096, channels = 4 };
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        kernel_array x = kernel_array_create(v->dtype, rows * channels, 0);
        double sum[channels] = {0}, squares[channels] = {0};
        for (int64_t j = 0; j < rows * channels; j++)
            kernel_array_put(&x, j, 1000 + (j / channels % 2 ? 0x1p-7 : -0x1p-7)); /* exact in float32 */
        v->k->channel_sums(x.data, rows, channels, sum, squares);
        for (int c = 0; c < channels; c++) {
            const double mean = sum[c] / rows, variance = squares[c] / rows - mean * mean;
            /* Σx² / rows is 1e6 with a relative error of a few 1e-16, against a variance of 6.1e-5. */
            cr_assert_float_eq(variance, 0x1p-14, 1e-9, "%s: variance %g, expected %g", v->name, variance, 0x1p-14);
        }
        kernel_array_destroy(&x);
    }
}

/* As many rows as a layer's partial sum has: the variance BatchNorm makes of it, against two passes in double. */
Test(reduce_kernels, channel_sums_variance_of_many_rows)
{
    enum { rows = 6000, channels = 37 };
    uint64_t state = 7;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        kernel_array x = kernel_array_create(v->dtype, rows * channels, 1);
        double sum[channels] = {0}, squares[channels] = {0};
        kernel_array_fill(&x, &state, -1, 1);
        for (int64_t j = 0; j < x.count; j++) /* means of 0 to 36, which is 62 deviations */
            kernel_array_put(&x, j, (double)(float)(kernel_array_get(&x, j) + (double)(j % channels)));
        v->k->channel_sums(x.data, rows, channels, sum, squares);
        for (int c = 0; c < channels; c++) {
            double mean = 0, variance = 0;
            for (int64_t r = 0; r < rows; r++)
                mean += kernel_array_get(&x, r * channels + c) / rows;
            for (int64_t r = 0; r < rows; r++)
                variance += pow(kernel_array_get(&x, r * channels + c) - mean, 2) / rows;
            const double found = squares[c] / rows - sum[c] / rows * (sum[c] / rows);
            /* (RUN + 3)·u·(1 + (first - mean)²/variance), and the first value is within √3 deviations. */
            cr_assert(fabs(found - variance) <= (RUN + 3) * 0x1p-24 * 4 * variance,
                      "%s: variance %d is %.9g, not %.9g", v->name, c, found, variance);
            cr_assert(fabs(sum[c] / rows - mean) <= RUN * 0x1p-24 * 2, "%s: mean %d is %.9g, not %.9g", v->name, c,
                      sum[c] / rows, mean);
        }
        kernel_array_destroy(&x);
    }
}

Test(reduce_kernels, channel_dot_and_mean_rows)
{
    uint64_t state = 2;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS * 2; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS];
            const int64_t rows = row_counts[i / CHANNEL_COUNTS % ROW_COUNTS];
            const bool accumulate = i >= CHANNEL_COUNTS * ROW_COUNTS;
            const char *what = describe(v, accumulate ? "channel_dot +=" : "channel_dot", rows, channels);
            kernel_array x = kernel_array_create(v->dtype, rows * channels, i % 4);
            kernel_array dy = kernel_array_create(v->dtype, rows * channels, (i + 1) % 4);
            kernel_array ds = kernel_array_create(v->dtype, channels, (i + 2) % 4);
            kernel_array mean = kernel_array_create(v->dtype, channels, (i + 3) % 4);
            kernel_array_fill(&x, &state, -2, 2);
            kernel_array_fill(&dy, &state, -2, 2);
            for (int64_t c = 0; accumulate && c < channels; c++)
                kernel_array_put(&ds, c, 5);
            v->k->channel_dot(x.data, dy.data, rows, channels, accumulate, ds.data);
            v->k->mean_rows(x.data, rows, channels, mean.data);
            for (int64_t c = 0; c < channels; c++) {
                double dot = 0, sum = 0;
                for (int64_t r = 0; r < rows; r++) {
                    dot += kernel_array_get(&x, r * channels + c) * kernel_array_get(&dy, r * channels + c);
                    sum += kernel_array_get(&x, r * channels + c);
                }
                /* Terms of at most 4 (dot) and 2 (mean). Dot: a rounding for each product, the result's two; where
                 * sums go in runs, one for each addition of a run. */
                const double units = sums_in_runs(v, v->k->channel_dot_isa) ? RUN + 4 : 4;
                kernel_array_check(&ds, c, dot + (accumulate ? 5 : 0), units, 5 + 4 * (double)rows, what);
                kernel_array_check(&mean, c, sum / (double)rows, 4 + (double)rows, 2,
                                   describe(v, "mean_rows", rows, channels));
            }
            kernel_array_check_fences(&ds, what);
            kernel_array_check_fences(&mean, what);
            kernel_array_destroy(&x);
            kernel_array_destroy(&dy);
            kernel_array_destroy(&ds);
            kernel_array_destroy(&mean);
        }
    }
}

Test(reduce_kernels, sum_squares_adds_in_double)
{
    static const int64_t counts[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 1027};
    uint64_t state = 3;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            kernel_array x = kernel_array_create(v->dtype, counts[i], (int64_t)i % 4);
            double sum = 7, expected = 7;
            kernel_array_fill(&x, &state, -2, 2);
            v->k->sum_squares(x.data, counts[i], &sum);
            for (int64_t j = 0; j < counts[i]; j++)
                expected += kernel_array_get(&x, j) * kernel_array_get(&x, j);
            /* Double sums in another order. */
            cr_assert(fabs(sum - expected) <= 0x1p-53 * (double)(counts[i] + 2) * expected,
                      "%s sum_squares %lld: %.17g, expected %.17g", v->name, (long long)counts[i], sum, expected);
            kernel_array_destroy(&x);
        }
    }
}

/* Everything BatchNorm's backward kernels read, for one shape. */
typedef struct bn_case {
    kernel_array x, dy, mean, invstd, scale, shift, mean_dz, mean_dz_xhat;
    qd_bn_args args;
} bn_case;

static void bn_case_create(bn_case *b, enum qd_dtype dtype, int64_t rows, int64_t channels, enum qd_activation kind,
                           int64_t offset, uint64_t *state)
{
    kernel_array *vectors[] = {&b->mean, &b->invstd, &b->scale, &b->shift, &b->mean_dz, &b->mean_dz_xhat};
    static const double limits[][2] = {{-1, 1}, {0.5, 2}, {-2, 2}, {-2, 2}, {-1, 1}, {-1, 1}};
    b->x = kernel_array_create(dtype, rows * channels, offset);
    b->dy = kernel_array_create(dtype, rows * channels, (offset + 1) % 4);
    kernel_array_fill(&b->x, state, -3, 3);
    kernel_array_fill(&b->dy, state, -2, 2);
    for (int i = 0; i < 6; i++) {
        *vectors[i] = kernel_array_create(dtype, channels, (offset + i) % 4);
        kernel_array_fill(vectors[i], state, limits[i][0], limits[i][1]);
    }
    b->args = (qd_bn_args){channels, b->mean.data, b->invstd.data, b->scale.data, b->shift.data, kind};
}

static void bn_case_destroy(bn_case *b)
{
    kernel_array *all[] = {&b->x, &b->dy, &b->mean, &b->invstd, &b->scale, &b->shift, &b->mean_dz, &b->mean_dz_xhat};
    for (int i = 0; i < 8; i++)
        kernel_array_destroy(all[i]);
}

/* dz and xhat of element j. z is rounded as the kernel rounds it, so that both stand on one side of a kink. */
static void bn_case_element(const bn_case *b, int64_t j, double *dz, double *xhat)
{
    const int64_t c = j % b->args.channels;
    const double x = kernel_array_get(&b->x, j), scale = kernel_array_get(&b->scale, c);
    const double shift = kernel_array_get(&b->shift, c);
    const double z =
        b->x.dtype == QD_F64 ? x * scale + shift : (double)((float)((float)x * (float)scale) + (float)shift);
    *dz = kernel_array_get(&b->dy, j) * truth_derivative(b->args.activation, z);
    *xhat = (x - kernel_array_get(&b->mean, c)) * kernel_array_get(&b->invstd, c);
}

/* Rounding units of dz (|dy| <= 2, slopes up to 1.5, 1 + x·(1 - s) up to 9) and of dz·xhat (|xhat| <= 8). */
#define DZ_SCALE      4.0
#define DZ_XHAT_SCALE (DZ_SCALE * 8.0)
#define DZ_UNITS      32.0

Test(reduce_kernels, bn_backward_sums)
{
    uint64_t state = 4;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS * KINDS; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS];
            const int64_t rows = row_counts[i / CHANNEL_COUNTS % ROW_COUNTS];
            const enum qd_activation kind = kinds[i / (CHANNEL_COUNTS * ROW_COUNTS)];
            const char *what = describe(v, truth_activation_name(kind), rows, channels);
            bn_case b;
            kernel_array sum = kernel_array_create(QD_F64, channels, 1),
                         products = kernel_array_create(QD_F64, channels, 0);
            bn_case_create(&b, v->dtype, rows, channels, kind, i % 4, &state);
            for (int64_t c = 0; c < channels; c++) {
                kernel_array_put(&sum, c, 10);
                kernel_array_put(&products, c, 20);
            }
            const bool keep = i % 3 != 0, in_place = i % 3 == 1;
            kernel_array kept = kernel_array_create(v->dtype, rows * channels, (i + 3) % 4);
            if (in_place)
                kernel_array_copy(&kept, &b.dy);
            v->k->bn_backward_sums(&b.args, b.x.data, in_place ? kept.data : b.dy.data, rows, sum.data, products.data,
                                   keep ? kept.data : NULL);
            for (int64_t j = 0; keep && j < rows * channels; j++) {
                double expected, xhat;
                bn_case_element(&b, j, &expected, &xhat);
                kernel_array_check(&kept, j, expected, DZ_UNITS, DZ_SCALE, what);
            }
            kernel_array_check_fences(&kept, what);
            kernel_array_destroy(&kept);
            for (int64_t c = 0; c < channels; c++) {
                double expected_sum = 10, expected_products = 20;
                const double unit = v->dtype == QD_F64 ? 0x1p-53 : 0x1p-24;
                for (int64_t r = 0; r < rows; r++) {
                    double dz, xhat;
                    bn_case_element(&b, r * channels + c, &dz, &xhat);
                    expected_sum += dz;
                    expected_products += dz * xhat;
                }
                const double bound = unit * DZ_UNITS * (20 + (double)rows * DZ_SCALE);
                cr_assert(fabs(kernel_array_get(&sum, c) - expected_sum) <= bound,
                          "%s: Σdz of channel %lld is %.17g, expected %.17g", what, (long long)c,
                          kernel_array_get(&sum, c), expected_sum);
                cr_assert(fabs(kernel_array_get(&products, c) - expected_products) <=
                              bound * DZ_XHAT_SCALE / DZ_SCALE,
                          "%s: Σdz·xhat of channel %lld is %.17g, expected %.17g", what, (long long)c,
                          kernel_array_get(&products, c), expected_products);
            }
            kernel_array_check_fences(&sum, what);
            kernel_array_check_fences(&products, what);
            kernel_array_destroy(&sum);
            kernel_array_destroy(&products);
            bn_case_destroy(&b);
        }
    }
}

Test(reduce_kernels, bn_backward_apply)
{
    uint64_t state = 5;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (int i = 0; i < CHANNEL_COUNTS * ROW_COUNTS * KINDS * 3; i++) {
            const int64_t channels = channel_counts[i % CHANNEL_COUNTS];
            const int64_t rows = row_counts[i / CHANNEL_COUNTS % ROW_COUNTS];
            const enum qd_activation kind = kinds[i / (CHANNEL_COUNTS * ROW_COUNTS) % KINDS];
            const int way = i / (CHANNEL_COUNTS * ROW_COUNTS * KINDS);
            const bool accumulate = way == 1, in_place = way == 2;
            const char *what = describe(v, truth_activation_name(kind), rows, channels);
            bn_case b;
            bn_case_create(&b, v->dtype, rows, channels, kind, i % 4, &state);
            kernel_array before = kernel_array_create(v->dtype, rows * channels, 0);
            kernel_array dx = kernel_array_create(v->dtype, rows * channels, (i + 3) % 4);
            kernel_array_fill(&before, &state, -2, 2);
            kernel_array_copy(&dx, in_place ? &b.dy : &before);
            v->k->bn_backward_apply(&b.args, b.x.data, in_place ? dx.data : b.dy.data, b.mean_dz.data,
                                    b.mean_dz_xhat.data, rows, accumulate, dx.data);
            for (int64_t j = 0; j < rows * channels; j++) {
                const int64_t c = j % channels;
                double dz, xhat;
                bn_case_element(&b, j, &dz, &xhat);
                const double change =
                    dz - kernel_array_get(&b.mean_dz, c) - xhat * kernel_array_get(&b.mean_dz_xhat, c);
                const double start = accumulate ? kernel_array_get(&before, j) : 0;
                kernel_array_check(&dx, j, start + kernel_array_get(&b.scale, c) * change, DZ_UNITS,
                                   2 + 2 * (DZ_SCALE + 1 + 8), what);
            }
            kernel_array_check_fences(&dx, what);
            kernel_array_destroy(&before);
            kernel_array_destroy(&dx);
            bn_case_destroy(&b);
        }
    }
}

Test(sgd_kernels, three_steps)
{
    static const int64_t counts[] = {0, 1, 3, 4, 5, 8, 17, 1027};
    uint64_t state = 6;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            const int64_t count = counts[i];
            const char *what = describe(v, "sgd_step", count, 0);
            kernel_array w = kernel_array_create(v->dtype, count, (int64_t)i % 4);
            kernel_array g = kernel_array_create(v->dtype, count, (int64_t)(i + 1) % 4);
            kernel_array m =
                kernel_array_create(v->dtype, count, (int64_t)(i + 2) % 4); /* NaN: the first step must not read it */
            double *expected_w = calloc((size_t)count + 1, sizeof *expected_w);
            double *expected_m = calloc((size_t)count + 1, sizeof *expected_m);
            cr_assert(expected_w && expected_m);
            kernel_array_fill(&w, &state, -1, 1);
            for (int64_t j = 0; j < count; j++)
                expected_w[j] = kernel_array_get(&w, j);
            for (int step = 0; step < 3; step++) {
                const qd_sgd_args args = {
                    .lr = 0.1 / (1 + step), .momentum = 0.9, .weight_decay = 1e-2, .first_step = step == 0};
                kernel_array_fill(&g, &state, -1, 1);
                v->k->sgd_step(&args, w.data, g.data, m.data, count);
                for (int64_t j = 0; j < count; j++) {
                    const double decayed = kernel_array_get(&g, j) + args.weight_decay * expected_w[j];
                    expected_m[j] = step == 0 ? decayed : args.momentum * expected_m[j] + decayed;
                    expected_w[j] -= args.lr * expected_m[j];
                    /* Up to seven roundings a step of values of at most 3, hyperparameters included. */
                    kernel_array_check(&m, j, expected_m[j], 7.0 * (step + 1), 3, what);
                    kernel_array_check(&w, j, expected_w[j], 7.0 * (step + 1), 3, what);
                }
            }
            kernel_array_check_fences(&w, what);
            kernel_array_check_fences(&m, what);
            kernel_array_destroy(&w);
            kernel_array_destroy(&g);
            kernel_array_destroy(&m);
            free(expected_w);
            free(expected_m);
        }
    }
}
