/* Statistics against a naive sum in long double. */
#include "observe/observe.h"
#include "support/test_context.h"
#include <math.h>
#include <quantdrift/random.h>
#include <stdlib.h>
#include <string.h>

static void naive_stats(const float *x, int64_t count, qd_stats *out)
{
    long double sum = 0, squares = 0;
    *out = (qd_stats){.min = INFINITY, .max = -INFINITY};
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(x[i])) {
            out->nonfinite_count++;
            continue;
        }
        out->count++;
        sum += (long double)x[i];
        out->zero_count += x[i] == 0.0f;
        out->min = fmin(out->min, (double)x[i]);
        out->max = fmax(out->max, (double)x[i]);
    }
    long double mean = sum / (long double)out->count;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(x[i]))
            squares += ((long double)x[i] - mean) * ((long double)x[i] - mean);
    out->mean = (double)mean;
    out->std = out->count > 1 ? sqrt((double)(squares / (long double)(out->count - 1))) : 0.0;
}

static float *random_values(int64_t count, float offset)
{
    float *x = malloc((size_t)count * sizeof *x);
    qd_rng rng;
    qd_rng_seed(&rng, 7);
    qd_rng_fill_uniform_f32(&rng, x, count, offset - 1.0f, offset + 1.0f);
    return x;
}

static qd_stats compute(const float *x, int64_t count, int threads)
{
    qd_stats stats;
    float *copy = malloc((size_t)count * sizeof *copy);
    memcpy(copy, x, (size_t)count * sizeof *copy);
    const int64_t shape[1] = {count};
    qd_tensor tensor = qd_tensor_contiguous(QD_F32, 1, shape, copy);
    qd_stats_compute(&tensor, threads, &stats);
    cr_assert_eq(memcmp(copy, x, (size_t)count * sizeof *copy), 0, "the input was changed");
    free(copy);
    return stats;
}

static void expect_equal(const qd_stats *a, const qd_stats *b)
{
    cr_assert_eq(a->count, b->count);
    cr_assert_eq(a->zero_count, b->zero_count);
    cr_assert_eq(a->nonfinite_count, b->nonfinite_count);
    cr_assert_eq(a->min, b->min);
    cr_assert_eq(a->max, b->max);
    /* A pairwise sum of n doubles is off by log2(n)·2^-53 of the sum of magnitudes at most. */
    double scale = fmax(fabs(b->min), fabs(b->max));
    cr_assert_lt(fabs(a->mean - b->mean), 1e-14 * scale, "mean %.17g, expected %.17g", a->mean, b->mean);
    /* The deviations are sums of squares of all magnitudes near the scale of the spread; the mean's error is second
     * order. */
    cr_assert_lt(fabs(a->std - b->std), 1e-12 * (b->std + 1e-300), "std %.17g, expected %.17g", a->std, b->std);
}

Test(stats, agrees_with_naive_sums)
{
    /* Around the chunk of 4096 and its lanes of 8, and beyond 256 blocks of one chunk. */
    const int64_t counts[] = {1, 2, 7, 8, 9, 4095, 4096, 4097, 100003, 256 * 4096 + 5, 3 * 256 * 4096 + 4097};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        float *x = random_values(counts[c], 0.0f);
        qd_stats expected, found = compute(x, counts[c], 2);
        naive_stats(x, counts[c], &expected);
        expect_equal(&found, &expected);
        free(x);
    }
}

Test(stats, a_large_mean_does_not_swallow_the_spread)
{
    /* Σx² - n·mean² loses all digits of a spread of 1 around 10^5 in float, and half of them in double. */
    int64_t count = 50000;
    float *x = random_values(count, 1e5f);
    qd_stats expected, found = compute(x, count, 1);
    naive_stats(x, count, &expected);
    expect_equal(&found, &expected);
    cr_assert_gt(found.std, 0.5);
    free(x);
}

Test(stats, counts_zeros_and_leaves_out_what_is_not_finite)
{
    int64_t count = 9001;
    float *x = random_values(count, 0.0f);
    x[0] = NAN;
    x[17] = INFINITY;
    x[4096] = -INFINITY;
    x[9000] = NAN;
    x[5] = 0.0f;
    x[6] = -0.0f;
    qd_stats expected, found = compute(x, count, 2);
    naive_stats(x, count, &expected);
    cr_assert_eq(found.nonfinite_count, 4);
    cr_assert_geq(found.zero_count, 2);
    expect_equal(&found, &expected);
    free(x);
}

Test(stats, nothing_finite_is_all_zero)
{
    const float x[3] = {NAN, INFINITY, NAN};
    qd_stats found = compute(x, 3, 1);
    cr_assert_eq(found.count, 0);
    cr_assert_eq(found.nonfinite_count, 3);
    cr_assert_eq(found.min, 0.0);
    cr_assert_eq(found.max, 0.0);
    cr_assert_eq(found.std, 0.0);
}

Test(stats, are_the_same_bits_for_any_number_of_threads)
{
    int64_t count = 700001;
    float *x = random_values(count, 0.3f);
    qd_stats one = compute(x, count, 1);
    for (int threads = 2; threads <= 5; threads++) {
        qd_stats many = compute(x, count, threads);
        cr_assert_eq(memcmp(&one, &many, sizeof one), 0, "%d threads differ", threads);
    }
    free(x);
}

Test(stats, read_float64_and_any_dense_layout)
{
    double x[24];
    for (int i = 0; i < 24; i++)
        x[i] = (double)i;
    qd_tensor tensor = qd_tensor_nhwc(QD_F64, 1, 2, 3, 4, x);
    qd_stats stats;
    qd_stats_compute(&tensor, 1, &stats);
    cr_assert_eq(stats.count, 24);
    cr_assert_eq(stats.mean, 11.5);
    /* Variance of 0 … n-1, unbiased: n(n+1)/12 = 50. */
    cr_assert_lt(fabs(stats.std - sqrt(50.0)), 1e-15 * 8);
}

Test(stats, outlier_ratio_is_the_posts)
{
    const qd_stats stats = {.min = -3.0, .max = 2.0, .std = 0.5};
    cr_assert_eq(qd_stats_outlier_ratio(&stats), 3.0 / (0.5 + 1e-8));
}
