/*
 * The range that `percentile` per cent of the values lie in. Affine: half of the others may lie beyond each end;
 * symmetric: the largest magnitudes are cut. Of N values, floor(share·N) are cut, so a tensor with too few values for
 * one of them to be cut keeps its minimum and maximum. An end is that of its bin: never inside the values that stay,
 * and at most 2^-10 of itself outside.
 * Source: Wu et al. 2020, "Integer Quantization for Deep Learning Inference", section 4.1 (99.9 to 99.9999 % of
 * magnitudes); two-sided as ONNX Runtime's percentile calibrator cuts it.
 */
#include "base/error.h"
#include "quantize/calibrators/calibrator.h"
#include <math.h>

static enum qd_status check(qd_context *ctx, const qd_calibrator_settings *settings)
{
    double percentile = settings->percentile;

    if (!(percentile > 50.0 && percentile <= 100.0))
        return qd_fail(ctx, QD_ERR_USAGE,
                       "calibrator 'percentile': expected a percentile above 50 and at most 100, got %g", percentile);
    return QD_OK;
}

/* How many values may be cut. 1e-6 of a value covers the rounding of the percentile to binary. */
static int64_t cut_count(double share, int64_t count)
{
    return (int64_t)floor(share * (double)count + 1e-6);
}

static double clamp_to(double x, const qd_extremes *all)
{
    return fmin(fmax(x, all->min), all->max);
}

static void cut_ends(const qd_calibrator_input *input, int64_t each, qd_extremes *range)
{
    int64_t below = 0, above = 0, first = 0, last = input->bin_count - 1;

    while (below + input->bins[first].count <= each)
        below += input->bins[first++].count;
    while (above + input->bins[last].count <= each)
        above += input->bins[last--].count;
    range->min = clamp_to(input->bins[first].low, &input->all);
    range->max = clamp_to(input->bins[last].high, &input->all);
}

static void cut_magnitudes(const qd_calibrator_input *input, int64_t cut, qd_extremes *range)
{
    int64_t gone = 0, first = 0, last = input->bin_count - 1;
    double magnitude = 0.0;

    for (;;) {
        bool lowest = -input->bins[first].low > input->bins[last].high;
        const qd_bin *bin = &input->bins[lowest ? first : last];
        magnitude = lowest ? -bin->low : bin->high;
        gone += bin->count;
        if (gone > cut)
            break;
        first += lowest;
        last -= !lowest;
    }
    range->min = fmax(input->all.min, -magnitude);
    range->max = fmin(input->all.max, magnitude);
}

static enum qd_status choose(const qd_calibrator_input *input, qd_extremes *range)
{
    double share = 1.0 - input->settings->percentile / 100.0;

    if (input->symmetric)
        cut_magnitudes(input, cut_count(share, input->value_count), range);
    else
        cut_ends(input, cut_count(share / 2.0, input->value_count), range);
    return QD_OK;
}

const qd_calibrator_ops qd_calibrator_percentile = {
    .name = "percentile", .needs_histogram = true, .check = check, .choose = choose};
