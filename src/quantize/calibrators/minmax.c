/* Minimum and maximum of all values: nothing is clipped. The post's calibrator. */
#include "quantize/calibrators/calibrator.h"

static enum qd_status choose(const qd_calibrator_input *input, qd_extremes *range)
{
    *range = input->all;
    return QD_OK;
}

const qd_calibrator_ops qd_calibrator_minmax = {.name = "minmax", .choose = choose};
