/*
 * The range with the smallest mean squared error of rounding and clipping: argmin over [lo, hi] of Σ (x − x̂)², x̂ with
 * the scale and zero point that this range gives. Source: Nagel et al. 2021, "A White Paper on Neural Network
 * Quantization", section 3.1 (MSE); Choukroun et al. 2019 for the symmetric case.
 *
 * A bin's values count as its middle (the bin's own width adds the same to every range). First both ends shrink
 * together, by 2^(−j/4) as long as that does not cost four times what it began with, then in steps of 2^(1/32) around
 * the best; then each end in the same way while the other stays, in turns until neither gets better. Symmetric ranges
 * and values of one sign have one end.
 */
#include "base/arena.h"
#include "base/error.h"
#include "quantize/calibrators/calibrator.h"
#include "quantize/scheme.h"
#include <math.h>
#include <stdlib.h>

/* Octaves that a range may shrink by: below 2^-12 of the values clipping always costs more than rounding to 8 bits.
 */
#define OCTAVES 12

/* Rounds of both ends; two or three are enough. */
#define ROUNDS 4

typedef struct search {
    const qd_calibrator_input *input;
    float *middle; /* [bin_count] */
    float *count;
    qd_extremes best;
    double least;
} search;

static double squared_error(const search *s, const qd_extremes *range)
{
    const qd_quant_scheme form = {.activation_bits = s->input->bits, .activation_symmetric = s->input->symmetric};
    qd_quant_params params = qd_quant_activation_params(&form, range->min, range->max);
    double sum = 0.0;

    for (int64_t i = 0; i < s->input->bin_count; i++) {
        int32_t code = qd_quantize_value(s->middle[i], params.scale, params.range);
        double error = (double)s->middle[i] - (double)qd_dequantize_value(code, params.scale, params.range.zero);
        sum += (double)s->count[i] * error * error;
    }
    return sum;
}

static double try_range(search *s, double min, double max)
{
    qd_extremes range = {min, max};
    double error = squared_error(s, &range);

    if (error < s->least) {
        s->least = error;
        s->best = range;
    }
    return error;
}

/* What is shrunk: both ends alike, or one while the other stays as it is best so far. */
enum ends { BOTH_ENDS, UPPER_END, LOWER_END };

static double try_factor(search *s, enum ends ends, double factor)
{
    const qd_extremes *all = &s->input->all;
    double widest = fmax(-all->min, all->max) * factor;

    if (s->input->symmetric)
        return try_range(s, fmax(all->min, -widest), fmin(all->max, widest));
    return try_range(s, ends == UPPER_END ? s->best.min : all->min * factor,
                     ends == LOWER_END ? s->best.max : all->max * factor);
}

/* The best range's share of all. */
static double best_factor(const search *s, enum ends ends)
{
    const qd_extremes *all = &s->input->all;

    if (s->input->symmetric)
        return fmax(-s->best.min, s->best.max) / fmax(-all->min, all->max);
    return ends == LOWER_END || all->max <= 0.0 ? s->best.min / all->min : s->best.max / all->max;
}

static void search_ends(search *s, enum ends ends)
{
    double start = s->least;

    for (int j = 1; j <= 4 * OCTAVES; j++)
        if (try_factor(s, ends, exp2(-j / 4.0)) > 4.0 * start)
            break;
    double middle = best_factor(s, ends);
    for (int j = -7; j <= 7; j++)
        (void)try_factor(s, ends, fmin(middle * exp2(j / 32.0), 1.0));
}

static enum qd_status choose(const qd_calibrator_input *input, qd_extremes *range)
{
    search s = {.input = input, .best = input->all, .least = INFINITY};
    enum qd_status status = QD_OK;

    s.middle = qd_calloc((size_t)input->bin_count, sizeof *s.middle);
    s.count = qd_calloc((size_t)input->bin_count, sizeof *s.count);
    if (s.middle == NULL || s.count == NULL) {
        status = qd_fail(input->ctx, QD_ERR_MEMORY, "calibrate: no memory for the values of the mse calibrator");
        goto fail;
    }
    for (int64_t i = 0; i < input->bin_count; i++) {
        s.middle[i] = (float)(0.5 * (input->bins[i].low + input->bins[i].high));
        s.count[i] = (float)input->bins[i].count;
    }
    (void)try_range(&s, input->all.min, input->all.max);
    if (input->all.min < 0.0 || input->all.max > 0.0)
        search_ends(&s, BOTH_ENDS);
    for (int round = 0; round < ROUNDS && !input->symmetric && input->all.min < 0.0 && input->all.max > 0.0;
         round++) {
        double before = s.least;
        search_ends(&s, UPPER_END);
        search_ends(&s, LOWER_END);
        if (!(s.least < before))
            break;
    }
    *range = s.best;
fail:
    free(s.middle);
    free(s.count);
    return status;
}

const qd_calibrator_ops qd_calibrator_mse = {.name = "mse", .needs_histogram = true, .choose = choose};
