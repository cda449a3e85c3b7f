#include "quantize/code_place.h"

#include <math.h>

qd_code_place qd_code_place_of(const qd_quant_params *params, float value)
{
    const qd_code_range *range = &params->range;
    const double steps = (double)value / (double)params->scale;
    const int32_t code = qd_quantize_value(value, params->scale, *range);
    const double below = fabs(steps - (code - range->zero - 0.5)), above = fabs(code - range->zero + 0.5 - steps);
    double nearest = fmin(below, above);
    if (code == range->low)
        nearest = above;
    if (code == range->high)
        nearest = below;
    return (qd_code_place){
        .code = code,
        .value_back = (double)qd_dequantize_value(code, params->scale, range->zero),
        .distance = nearest * (double)params->scale,
        .saturated = steps < range->low - range->zero - 0.5 || steps > range->high - range->zero + 0.5,
    };
}
