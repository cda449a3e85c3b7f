/*
 * Exponential moving average of each batch's minimum and maximum, from the first batch's on:
 *   min ← min + c·(min_batch − min),  max likewise.
 * It depends on the order of the images and on their batches, as it is meant to.
 * Source: Jacob et al. 2018, section 3.1; PyTorch, torch.ao.quantization.MovingAverageMinMaxObserver (c = 0.01).
 */
#include "base/error.h"
#include "quantize/calibrators/calibrator.h"

static enum qd_status check(qd_context *ctx, const qd_calibrator_settings *settings)
{
    double c = settings->moving_average;

    if (!(c > 0.0 && c <= 1.0))
        return qd_fail(ctx, QD_ERR_USAGE,
                       "calibrator 'moving_minmax': expected a moving average's share above 0 and at most 1, got %g",
                       c);
    return QD_OK;
}

static enum qd_status choose(const qd_calibrator_input *input, qd_extremes *range)
{
    double c = input->settings->moving_average;
    qd_extremes average = input->batches[0];

    for (int64_t i = 1; i < input->batch_count; i++) {
        average.min += c * (input->batches[i].min - average.min);
        average.max += c * (input->batches[i].max - average.max);
    }
    *range = average;
    return QD_OK;
}

const qd_calibrator_ops qd_calibrator_moving_minmax = {.name = "moving_minmax", .check = check, .choose = choose};
