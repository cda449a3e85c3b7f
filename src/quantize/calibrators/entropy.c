/*
 * The threshold T that loses the least information: over thresholds, the Kullback-Leibler divergence between the
 * distribution of values clipped at ±T and its own version in as many levels as the tensor has codes. Source: Migacz
 * 2017, "8-bit Inference with TensorRT", the pseudocode of the calibration slides:
 *
 *   for T of i bins:  P = bins inside T, those outside added to the outermost bins
 *                     Q = bins inside T (without the others) merged into L levels, each level's sum shared evenly by
 *                         its bins where P is not 0
 *                     KL(P, Q) = Σ p·ln(p / q), both normalised;  Q = 0 where P is not: infinite
 *
 * What is particular here:
 * - The grid is signed, its bins 2^k wide, 1025 to 2048 of them up to the largest magnitude, so that it is a coarser
 *   histogram of ours to the last count. Levels are the codes between the clipped ends: 2^b, when symmetric 2^b − 1,
 *   of which values of one sign use half (2^(b−1); TensorRT's 128).
 * - Zeros are left out: 0 has a code of its own under every threshold. (ReLU's zeros would outweigh all else.)
 * - Thresholds go in steps of eight bins, 1/256 to 1/128 of the largest magnitude.
 * - Magnitudes beyond 16 times the 99.9 % quantile are outside the grid, so they are always clipped: an outlier of
 *   1e30 would otherwise leave one bin for everything else.
 * - Fewer than 2048 values other than 0 say nothing about a distribution over as many bins, and denormal ones have
 *   coarser bins than the grid: the range is then minimum and maximum.
 */
#include "base/arena.h"
#include "base/error.h"
#include "quantize/calibrators/calibrator.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

#define GRID_BINS      2048
#define THRESHOLD_STEP 8
#define LEAST_VALUES   2048

/* Bins of one sign, innermost first, and how much lies outside the grid. */
typedef struct side {
    double count[GRID_BINS];
    int64_t bins; /* that the values reach */
    double outside;
} side;

typedef struct grid {
    side negative, positive;
    double width;
} grid;

/* Magnitude that 99.9 % of the `nonzero` values do not exceed. */
static double usual_magnitude(const qd_calibrator_input *input, int64_t nonzero)
{
    int64_t beyond = nonzero / 1000, seen = 0, first = 0, last = input->bin_count - 1;

    while (first <= last) {
        bool lowest = -input->bins[first].low > input->bins[last].high;
        const qd_bin *bin = &input->bins[lowest ? first : last];
        seen += bin->count;
        if (seen > beyond)
            return lowest ? -bin->low : bin->high;
        first += lowest;
        last -= !lowest;
    }
    return 0.0;
}

static void fill_grid(const qd_calibrator_input *input, double limit, grid *g)
{
    int exponent;

    (void)frexp(limit, &exponent); /* limit <= 2^exponent */
    g->width = ldexp(1.0, exponent) / GRID_BINS;
    for (int64_t i = 0; i < input->bin_count; i++) {
        const qd_bin *bin = &input->bins[i];
        side *to = bin->high > 0.0 ? &g->positive : &g->negative;
        double low = bin->high > 0.0 ? bin->low : -bin->high;
        if (bin->low == 0.0 && bin->high == 0.0)
            continue;
        if (low > limit) {
            to->outside += (double)bin->count;
            continue;
        }
        int64_t at = (int64_t)floor(low / g->width);
        to->count[at] += (double)bin->count;
        to->bins = at + 1 > to->bins ? at + 1 : to->bins;
    }
}

/* Count of bin `at` of the row [-(negative) … positive-1] of grid bins. */
static double raw_count(const grid *g, int64_t negative, int64_t at)
{
    return at < negative ? g->negative.count[negative - 1 - at] : g->positive.count[at - negative];
}

/* What lies beyond the first `bins` of a side. */
static double clipped(const side *s, int64_t bins)
{
    double sum = s->outside;

    for (int64_t i = bins; i < s->bins; i++)
        sum += s->count[i];
    return sum;
}

/* KL(P, Q) of the grid clipped to `negative` and `positive` bins; infinite where Q is 0 and P is not. */
static double divergence(const grid *g, int64_t negative, int64_t positive, int64_t levels)
{
    int64_t bins = negative + positive;
    double below = clipped(&g->negative, negative), above = clipped(&g->positive, positive);
    double inside = 0.0, sum = 0.0;

    for (int64_t i = 0; i < bins; i++)
        inside += raw_count(g, negative, i);
    double total = inside + below + above;
    for (int64_t level = 0; level < levels; level++) {
        int64_t first = level * bins / levels, end = (level + 1) * bins / levels, used = 0;
        double mass = 0.0;
        for (int64_t i = first; i < end; i++) {
            double raw = raw_count(g, negative, i);
            double p = raw + (i == 0 ? below : 0.0) + (i == bins - 1 ? above : 0.0);
            mass += raw;
            used += p > 0.0;
        }
        for (int64_t i = first; i < end; i++) {
            double p = raw_count(g, negative, i) + (i == 0 ? below : 0.0) + (i == bins - 1 ? above : 0.0);
            if (p <= 0.0)
                continue;
            if (mass <= 0.0)
                return INFINITY;
            sum += p / total * log(p / total / (mass / (double)used / inside));
        }
    }
    return sum;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Bins of the best threshold; all of them when no threshold leaves as many bins as there are levels. */
static int64_t best_threshold(const qd_calibrator_input *input, const grid *g)
{
    bool one_sign = g->negative.bins == 0 || g->positive.bins == 0;
    int64_t codes = (int64_t)1 << input->bits;
    int64_t levels = input->symmetric ? (one_sign ? codes / 2 : codes - 1) : codes;
    int64_t largest = g->negative.bins > g->positive.bins ? g->negative.bins : g->positive.bins, best = largest;
    double lowest = INFINITY;

    /* From the largest inwards, so that among equals the widest range wins. */
    for (int64_t i = largest; i > 0; i -= THRESHOLD_STEP) {
        int64_t negative = least(i, g->negative.bins), positive = least(i, g->positive.bins);
        if (input->symmetric && !one_sign)
            negative = positive = i;
        if (negative + positive < levels)
            break;
        double found = divergence(g, negative, positive, levels);
        if (found < lowest) {
            lowest = found;
            best = i;
        }
    }
    return best;
}

static enum qd_status choose(const qd_calibrator_input *input, qd_extremes *range)
{
    int64_t zeros = 0;

    for (int64_t i = 0; i < input->bin_count; i++)
        if (input->bins[i].low == 0.0 && input->bins[i].high == 0.0)
            zeros = input->bins[i].count;
    double widest = fmax(-input->all.min, input->all.max);
    *range = input->all;
    if (input->value_count - zeros < LEAST_VALUES || widest < (double)FLT_MIN)
        return QD_OK;

    grid *g = qd_calloc(1, sizeof *g);
    if (g == NULL)
        return qd_fail(input->ctx, QD_ERR_MEMORY, "calibrate: no memory for the grid of the entropy calibrator");
    double usual = usual_magnitude(input, input->value_count - zeros);
    fill_grid(input, fmin(widest, 16.0 * usual), g);
    double threshold = (double)best_threshold(input, g) * g->width;
    range->min = fmax(input->all.min, -threshold);
    range->max = fmin(input->all.max, threshold);
    free(g);
    return QD_OK;
}

const qd_calibrator_ops qd_calibrator_entropy = {.name = "entropy", .needs_histogram = true, .choose = choose};
