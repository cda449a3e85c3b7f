/* Histograms and calibrators, each against a plain second calculation from the values themselves. */
#include "quantize/calibrators/calibrator.h"
#include "support/test_context.h"
#include <float.h>
#include <math.h>
#include <quantdrift/random.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 30000

/* Shapes of activations: both signs; ReLU's, more than half zeros; long tails; ReLU's with rare large values. */
enum shape { SHAPE_NORMAL, SHAPE_RELU, SHAPE_TAILS, SHAPE_SPIKES, SHAPE_COUNT };

static float *draw(enum shape shape, int64_t count)
{
    float *values = malloc((size_t)count * sizeof *values);
    qd_rng rng;

    cr_assert_not_null(values);
    qd_rng_seed(&rng, 11 + (uint64_t)shape);
    qd_rng_normal_f32(&rng, values, count, 0.0f, 1.5f);
    for (int64_t i = 0; i < count; i++) {
        if (shape == SHAPE_TAILS)
            values[i] = values[i] * values[i] * values[i] + 0.5f;
        if (shape == SHAPE_RELU || shape == SHAPE_SPIKES)
            values[i] = values[i] > 0.2f ? values[i] - 0.2f : 0.0f;
        if (shape == SHAPE_SPIKES && i % 10000 == 17)
            values[i] = 300.0f;
    }
    return values;
}

static qd_extremes extremes_of(const float *values, int64_t count)
{
    qd_extremes e = {(double)values[0], (double)values[0]};

    for (int64_t i = 1; i < count; i++) {
        e.min = fmin(e.min, (double)values[i]);
        e.max = fmax(e.max, (double)values[i]);
    }
    return e;
}

/* What a calibrator makes of values, `parts` of them counted one after the other. */
static qd_extremes choose(qd_context *ctx, const qd_calibrator_settings *settings, int bits, bool symmetric,
                          const float *values, int64_t count, int64_t parts)
{
    const qd_calibrator_ops *ops = NULL;
    qd_histogram histogram = {{NULL}};
    qd_histogram_scratch *scratch = NULL;
    qd_bin *bins = NULL;
    qd_extremes range = {0.0, 0.0};
    qd_calibrator_input input = {.ctx = ctx,
                                 .settings = settings,
                                 .bits = bits,
                                 .symmetric = symmetric,
                                 .all = extremes_of(values, count),
                                 .value_count = count};

    TEST_OK(ctx, qd_calibrator_find(ctx, settings, &ops));
    TEST_OK(ctx, qd_histogram_scratch_create(ctx, qd_context_threads(ctx), &scratch));
    for (int64_t p = 0; p < parts; p++) {
        int64_t first = count * p / parts, end = count * (p + 1) / parts;
        TEST_OK(ctx, qd_histogram_add(ctx, &histogram, scratch, values + first, end - first));
    }
    TEST_OK(ctx, qd_histogram_bins(ctx, &histogram, &bins, &input.bin_count));
    input.bins = bins;
    TEST_OK(ctx, ops->choose(&input, &range));
    free(bins);
    qd_histogram_clear(&histogram);
    qd_histogram_scratch_destroy(scratch);
    return range;
}

static qd_calibrator_settings settings_of(const char *name)
{
    qd_calibrator_settings settings = qd_calibrator_settings_defaults();

    settings.name = name;
    return settings;
}

Test(calibrators, are_found_by_name)
{
    static const char *const names[] = {"minmax", "moving_minmax", "percentile", "entropy", "mse"};
    qd_context *ctx = test_context_create(1);
    qd_calibrator_settings settings = qd_calibrator_settings_defaults();
    const qd_calibrator_ops *ops = NULL;

    for (int i = 0; i < 5; i++) {
        cr_assert_str_eq(qd_calibrator_name(i), names[i]);
        settings.name = names[i];
        TEST_OK(ctx, qd_calibrator_find(ctx, &settings, &ops));
        cr_assert_str_eq(ops->name, names[i]);
    }
    cr_assert_null(qd_calibrator_name(5));
    cr_assert_null(qd_calibrator_name(-1));
    settings.name = NULL;
    TEST_OK(ctx, qd_calibrator_find(ctx, &settings, &ops));
    cr_assert_str_eq(ops->name, "minmax");
    settings.name = "histogram";
    TEST_FAILS(ctx, qd_calibrator_find(ctx, &settings, &ops), QD_ERR_USAGE,
               "there are minmax, moving_minmax, percentile, entropy, mse");
    qd_context_destroy(ctx);
}

Test(calibrators, settings_out_of_range_are_refused)
{
    static const double percentiles[] = {50.0, 0.0, -1.0, 100.5, (double)NAN, (double)INFINITY};
    static const double shares[] = {0.0, -0.1, 1.1, (double)NAN};
    qd_context *ctx = test_context_create(1);
    const qd_calibrator_ops *ops = NULL;

    for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
        qd_calibrator_settings settings = settings_of("percentile");
        settings.percentile = percentiles[i];
        TEST_FAILS(ctx, qd_calibrator_find(ctx, &settings, &ops), QD_ERR_USAGE, "above 50 and at most 100");
    }
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        qd_calibrator_settings settings = settings_of("moving_minmax");
        settings.moving_average = shares[i];
        TEST_FAILS(ctx, qd_calibrator_find(ctx, &settings, &ops), QD_ERR_USAGE, "above 0 and at most 1");
    }
    qd_context_destroy(ctx);
}

/* Every value lies in its bin, bins are ascending and at most 2^-10 wide, and their counts are those of the values.
 */
Test(calibrators, histograms_count_every_value_once)
{
    qd_context *ctx = test_context_create(2);
    qd_histogram histogram = {{NULL}};
    qd_histogram_scratch *scratch = NULL;
    qd_bin *bins = NULL;
    int64_t bin_count = 0, total = 0;
    float *values = draw(SHAPE_TAILS, COUNT);

    values[0] = -0.0f;
    values[1] = 0.0f;
    values[2] = 1e30f;
    values[3] = -3.4e38f;
    values[4] = FLT_MAX;
    values[5] = 1e-40f;
    values[6] = -1e-37f;
    TEST_OK(ctx, qd_histogram_scratch_create(ctx, 2, &scratch));
    TEST_OK(ctx, qd_histogram_add(ctx, &histogram, scratch, values, COUNT));
    TEST_OK(ctx, qd_histogram_bins(ctx, &histogram, &bins, &bin_count));
    for (int64_t b = 0; b < bin_count; b++) {
        int64_t count = 0;
        for (int64_t i = 0; i < COUNT; i++) {
            double x = (double)values[i];
            /* an end belongs to the bin further from 0; the largest float ends the last bin */
            count += (x > bins[b].low && x < bins[b].high) || (x == bins[b].low && x > 0.0) ||
                     (x == bins[b].high && x < 0.0) || (bins[b].low == 0.0 && bins[b].high == 0.0 && x == 0.0);
            count += x == bins[b].high && x == (double)FLT_MAX;
        }
        cr_assert_eq(count, bins[b].count, "[%g, %g]: %lld values, %lld counted", bins[b].low, bins[b].high,
                     (long long)count, (long long)bins[b].count);
        cr_assert(b == 0 || bins[b].low >= bins[b - 1].high);
        double magnitude = fmax(fabs(bins[b].low), fabs(bins[b].high));
        cr_assert(magnitude < 1e-37 || bins[b].high - bins[b].low <= ldexp(magnitude, -10));
        total += bins[b].count;
    }
    cr_assert_eq(total, COUNT);
    free(bins);
    free(values);
    qd_histogram_clear(&histogram);
    qd_histogram_scratch_destroy(scratch);
    qd_context_destroy(ctx);
}

Test(calibrators, minmax_clips_nothing)
{
    qd_context *ctx = test_context_create(1);
    float *values = draw(SHAPE_SPIKES, COUNT);
    qd_calibrator_settings settings = settings_of("minmax");
    qd_extremes range = choose(ctx, &settings, 8, false, values, COUNT, 1);

    cr_assert_eq(range.min, 0.0);
    cr_assert_eq(range.max, 300.0);
    free(values);
    qd_context_destroy(ctx);
}

/* PyTorch's update, min + c·(batch − min), from the first batch on. */
Test(calibrators, moving_average_follows_the_batches)
{
    static const qd_extremes batches[] = {{-1.0, 2.0}, {-3.0, 1.0}, {0.5, 10.0}};
    qd_context *ctx = test_context_create(1);
    qd_calibrator_settings settings = settings_of("moving_minmax");
    qd_calibrator_input input = {.ctx = ctx, .settings = &settings, .bits = 8, .batches = batches, .batch_count = 3};
    qd_extremes range;

    TEST_OK(ctx, qd_calibrator_moving_minmax.choose(&input, &range));
    cr_assert_float_eq(range.min, 0.99 * (0.99 * -1.0 + 0.01 * -3.0) + 0.01 * 0.5, 1e-15);
    cr_assert_float_eq(range.max, 0.99 * (0.99 * 2.0 + 0.01 * 1.0) + 0.01 * 10.0, 1e-15);
    settings.moving_average = 1.0; /* the last batch alone */
    TEST_OK(ctx, qd_calibrator_moving_minmax.choose(&input, &range));
    cr_assert_eq(range.min, 0.5);
    cr_assert_eq(range.max, 10.0);
    input.batch_count = 1; /* too few for an average: the batch itself */
    TEST_OK(ctx, qd_calibrator_moving_minmax.choose(&input, &range));
    cr_assert_eq(range.min, -1.0);
    cr_assert_eq(range.max, 2.0);
    qd_context_destroy(ctx);
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* An end is the order statistic, or up to 2^-10 of it further from 0 (nearer, for a lower end above 0). */
static void check_end(double end, double statistic, const char *what)
{
    cr_assert_float_eq(end, statistic, ldexp(fabs(statistic), -10), "%s: %.9g, by sorting %.9g", what, end,
                       statistic);
}

Test(calibrators, percentile_is_an_order_statistic)
{
    static const double percentiles[] = {99.9, 99.99, 99.0, 51.0, 100.0};
    qd_context *ctx = test_context_create(2);

    for (int shape = 0; shape < SHAPE_COUNT; shape++) {
        float *values = draw((enum shape)shape, COUNT), *sorted = malloc(COUNT * sizeof *sorted);
        cr_assert_not_null(sorted);
        for (size_t p = 0; p < sizeof percentiles / sizeof *percentiles; p++) {
            qd_calibrator_settings settings = settings_of("percentile");
            settings.percentile = percentiles[p];
            double share = 1.0 - percentiles[p] / 100.0;
            int64_t each = (int64_t)floor(share / 2.0 * COUNT + 1e-6), all = (int64_t)floor(share * COUNT + 1e-6);
            memcpy(sorted, values, COUNT * sizeof *sorted);
            qsort(sorted, COUNT, sizeof *sorted, by_value);
            qd_extremes range = choose(ctx, &settings, 8, false, values, COUNT, 1);
            check_end(range.min, (double)sorted[each], "lower end");
            check_end(range.max, (double)sorted[COUNT - 1 - each], "upper end");

            for (int64_t i = 0; i < COUNT; i++)
                sorted[i] = fabsf(values[i]);
            qsort(sorted, COUNT, sizeof *sorted, by_value);
            range = choose(ctx, &settings, 8, true, values, COUNT, 1);
            double magnitude = fmax(-range.min, range.max);
            check_end(magnitude, (double)sorted[COUNT - 1 - all], "magnitude");
        }
        free(values);
        free(sorted);
    }
    qd_context_destroy(ctx);
}

/* ---- entropy, once more: distributions written out for every threshold ---- */

static double kl_of_row(const double *raw, int64_t bins, double below, double above, int64_t levels)
{
    double *p = calloc((size_t)bins, sizeof *p), *q = calloc((size_t)bins, sizeof *q);
    double p_sum = 0.0, q_sum = 0.0, divergence = 0.0;

    cr_assert(p != NULL && q != NULL);
    memcpy(p, raw, (size_t)bins * sizeof *p);
    p[0] += below;
    p[bins - 1] += above;
    for (int64_t i = 0; i < bins; i++) { /* every bin looks for those of its level */
        int64_t level = 0;
        while ((level + 1) * bins / levels <= i)
            level++;
        double sum = 0.0, used = 0.0;
        for (int64_t k = level * bins / levels; k < (level + 1) * bins / levels; k++) {
            sum += raw[k];
            used += p[k] > 0.0 ? 1.0 : 0.0;
        }
        q[i] = p[i] > 0.0 ? sum / used : 0.0;
        p_sum += p[i];
        q_sum += q[i];
    }
    for (int64_t i = 0; i < bins; i++)
        if (p[i] > 0.0)
            divergence += q[i] > 0.0 ? p[i] / p_sum * log(p[i] / p_sum * q_sum / q[i]) : INFINITY;
    free(p);
    free(q);
    return divergence;
}

/* The threshold by the definition, from values on a grid of 2048 bins up to the next power of two. */
static double entropy_threshold(const float *values, int64_t count, int64_t levels, bool both_signs, bool mirrored)
{
    double *row = calloc(4096, sizeof *row), largest = 0.0, best = INFINITY, threshold = 0.0, width;
    int64_t reach[2] = {0, 0};

    cr_assert_not_null(row);
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs((double)values[i]));
    width = exp2(ceil(log2(largest))) / 2048.0;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = (int64_t)(fabs((double)values[i]) / width);
        if (values[i] == 0.0f)
            continue;
        row[values[i] > 0.0f ? 2048 + at : 2047 - at] += 1.0;
        reach[values[i] > 0.0f] = at + 1 > reach[values[i] > 0.0f] ? at + 1 : reach[values[i] > 0.0f];
    }
    int64_t most = reach[0] > reach[1] ? reach[0] : reach[1];
    for (int64_t i = most; i > 0; i -= 8) {
        int64_t negative = i < reach[0] ? i : reach[0], positive = i < reach[1] ? i : reach[1];
        if (mirrored && both_signs)
            negative = positive = i;
        if (negative + positive < levels)
            break;
        double below = 0.0, above = 0.0;
        for (int64_t k = 0; k < 2048 - negative; k++)
            below += row[k];
        for (int64_t k = 2048 + positive; k < 4096; k++)
            above += row[k];
        double found = kl_of_row(row + 2048 - negative, negative + positive, below, above, levels);
        if (found < best) {
            best = found;
            threshold = (double)i * width;
        }
    }
    free(row);
    return threshold;
}

Test(calibrators, entropy_finds_the_least_divergence)
{
    qd_context *ctx = test_context_create(2);
    qd_calibrator_settings settings = settings_of("entropy");

    for (int shape = 0; shape < SHAPE_SPIKES; shape++) { /* the grid of spikes is cut: below */
        float *values = draw((enum shape)shape, COUNT);
        qd_extremes all = extremes_of(values, COUNT);
        bool both = all.min < 0.0 && all.max > 0.0;
        for (int bits = 4; bits <= 8; bits += 4)
            for (int symmetric = 0; symmetric < 2; symmetric++) {
                int64_t codes = (int64_t)1 << bits, levels = !symmetric ? codes : both ? codes - 1 : codes / 2;
                double threshold = entropy_threshold(values, COUNT, levels, both, symmetric);
                qd_extremes range = choose(ctx, &settings, bits, symmetric, values, COUNT, 3);
                cr_assert_eq(range.min, fmax(all.min, -threshold), "shape %d, %d bits: %.9g, expected %.9g", shape,
                             bits, range.min, -threshold);
                cr_assert_eq(range.max, fmin(all.max, threshold), "shape %d, %d bits: %.9g, expected %.9g", shape,
                             bits, range.max, threshold);
            }
        free(values);
    }
    qd_context_destroy(ctx);
}

/* ---- mse, once more: every value quantized by its formula, ends on a fine grid ---- */

static double mean_squared_error(const float *values, int64_t count, double min, double max, int bits, bool symmetric)
{
    double low = fmin(min, 0.0), high = fmax(max, 0.0), top = ldexp(1.0, bits - 1) - 1.0;
    double scale = symmetric ? fmax(-low, high) / top : (high - low) / (2.0 * top + 1.0);
    double zero = symmetric ? 0.0 : rint(-(top + 1.0) - low / scale), sum = 0.0;

    for (int64_t i = 0; i < count; i++) {
        double code = fmin(fmax(rint((double)values[i] / scale) + zero, -(top + 1.0)), top);
        double error = (double)values[i] - scale * (code - zero);
        sum += error * error;
    }
    return sum / (double)count;
}

Test(calibrators, mse_is_not_beaten_by_a_grid_of_ranges)
{
    const int64_t count = COUNT;
    qd_context *ctx = test_context_create(2);
    qd_calibrator_settings settings = settings_of("mse");

    for (int shape = 0; shape < SHAPE_COUNT; shape++) {
        float *values = draw((enum shape)shape, count);
        qd_extremes all = extremes_of(values, count);
        for (int bits = 4; bits <= 8; bits += 4)
            for (int symmetric = 0; symmetric < 2; symmetric++) {
                qd_extremes range = choose(ctx, &settings, bits, symmetric, values, count, 1);
                double ours = mean_squared_error(values, count, range.min, range.max, bits, symmetric);
                double best = INFINITY, whole = mean_squared_error(values, count, all.min, all.max, bits, symmetric);
                for (int i = 1; i <= 30; i++)
                    for (int j = 1; j <= 30; j++)
                        if ((i == j || !symmetric) && (all.min < 0.0 || i == 30))
                            best = fmin(best, mean_squared_error(values, count, all.min * i / 30.0,
                                                                 all.max * j / 30.0, bits, symmetric));
                /* 2 %: how 30000 values happen to fall makes 0.5 % either way, and the grid has the luck of many
                 * tries */
                cr_assert_leq(ours, 1.02 * best, "shape %d, %d bits, symmetric %d: %g, grid %g, min-max %g", shape,
                              bits, symmetric, ours, best, whole);
            }
        free(values);
    }
    qd_context_destroy(ctx);
}

/* ---- edges ---- */

Test(calibrators, constants_and_zeros_are_defined)
{
    static const float constants[] = {0.0f, 2.5f, -2.5f, 1e30f, 1e-40f};
    qd_context *ctx = test_context_create(1);
    float *values = malloc(COUNT * sizeof *values);

    cr_assert_not_null(values);
    for (size_t c = 0; c < sizeof constants / sizeof *constants; c++) {
        for (int64_t i = 0; i < COUNT; i++)
            values[i] = constants[c];
        for (int k = 0; qd_calibrator_name(k) != NULL; k++) {
            qd_calibrator_settings settings = settings_of(qd_calibrator_name(k));
            for (int symmetric = 0; symmetric < 2 && strcmp(settings.name, "moving_minmax") != 0; symmetric++) {
                qd_extremes range = choose(ctx, &settings, 8, symmetric, values, COUNT, 1);
                cr_assert_eq(fmin(range.min, 0.0), fmin((double)constants[c], 0.0), "%s of %g: lower end %g",
                             settings.name, (double)constants[c], range.min);
                cr_assert_eq(fmax(range.max, 0.0), fmax((double)constants[c], 0.0), "%s of %g: upper end %g",
                             settings.name, (double)constants[c], range.max);
            }
        }
    }
    free(values);
    qd_context_destroy(ctx);
}

/* A constant has no width; an outlier of one batch stays by its share, and decides the range all the same. */
Test(calibrators, edges_of_the_moving_average)
{
    static const qd_extremes zeros[] = {{0.0, 0.0}, {0.0, 0.0}}, constants[] = {{-2.5, -2.5}, {-2.5, -2.5}};
    static const qd_extremes outlier[] = {{-1.0, 2.0}, {-1.0, 1e30}, {-1.0, 2.0}};
    static const struct {
        const qd_extremes *batches;
        int count;
        double min, max;
    } cases[] = {{zeros, 2, 0.0, 0.0},
                 {constants, 2, -2.5, -2.5},
                 {outlier, 1, -1.0, 2.0},
                 {outlier, 3, -1.0, 0.99 * (0.99 * 2.0 + 0.01 * 1e30) + 0.01 * 2.0}};
    qd_context *ctx = test_context_create(1);
    qd_calibrator_settings settings = settings_of("moving_minmax");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const qd_calibrator_input input = {
            .ctx = ctx, .settings = &settings, .bits = 8, .batches = cases[i].batches, .batch_count = cases[i].count};
        qd_extremes range;
        TEST_OK(ctx, qd_calibrator_moving_minmax.choose(&input, &range));
        /* A rounding in each of two updates. */
        cr_assert_float_eq(range.min, cases[i].min, 4e-16 * fabs(cases[i].min), "case %zu: %g", i, range.min);
        cr_assert_float_eq(range.max, cases[i].max, 4e-16 * fabs(cases[i].max), "case %zu: %g", i, range.max);
    }
    qd_context_destroy(ctx);
}

/* One value of 1e30 among 30000: percentile and entropy clip it, mse keeps it because clipping costs its square. */
Test(calibrators, an_outlier_of_1e30)
{
    qd_context *ctx = test_context_create(2);
    float *values = draw(SHAPE_NORMAL, COUNT);
    qd_extremes all = extremes_of(values, COUNT);

    values[1234] = 1e30f;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        qd_calibrator_settings percentile = settings_of("percentile"), entropy = settings_of("entropy");
        qd_calibrator_settings mse = settings_of("mse"), minmax = settings_of("minmax");
        qd_extremes range = choose(ctx, &percentile, 8, symmetric, values, COUNT, 1);
        cr_assert(range.max > 4.0 && range.max <= all.max * (1.0 + 0x1p-10), "percentile: %g", range.max);
        range = choose(ctx, &entropy, 8, symmetric, values, COUNT, 1);
        /* 16 times the 99.9 % quantile of 1.5·N(0, 1), which is 4.94 */
        cr_assert(range.max > 4.0 && range.max < 16.0 * 5.3, "entropy: %g", range.max);
        range = choose(ctx, &mse, 8, symmetric, values, COUNT, 1);
        cr_assert_geq(range.max, 0.9 * (double)1e30f, "mse: %g", range.max);
        range = choose(ctx, &minmax, 8, symmetric, values, COUNT, 1);
        cr_assert_eq(range.max, (double)1e30f);
    }
    free(values);
    qd_context_destroy(ctx);
}

/* Too few values for a statistic: nothing is cut. */
Test(calibrators, few_values_keep_their_range)
{
    const float values[3] = {-1.0f, 0.25f, 3.0f};
    qd_context *ctx = test_context_create(1);

    for (int k = 0; qd_calibrator_name(k) != NULL; k++) {
        qd_calibrator_settings settings = settings_of(qd_calibrator_name(k));
        if (strcmp(settings.name, "moving_minmax") == 0 || strcmp(settings.name, "mse") == 0)
            continue; /* mse is exact for any number */
        qd_extremes range = choose(ctx, &settings, 8, false, values, 3, 1);
        cr_assert_eq(range.min, -1.0, "%s", settings.name);
        cr_assert_eq(range.max, 3.0, "%s", settings.name);
    }
    qd_context_destroy(ctx);
}
