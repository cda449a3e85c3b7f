/* From the range of a tensor to its scale and zero point: section 1 of docs/quantization.md, once for the quantizer
 * and for training that anticipates it. */
#ifndef QD_KERNELS_QUANT_PARAMS_H
#define QD_KERNELS_QUANT_PARAMS_H

#include "kernels/int8_scalar.h"
#include <math.h>
#include <stdbool.h>

/* Parameters of one quantized tensor in the signed form (unsigned codes are 2^(bits-1) higher). */
typedef struct qd_quant_params {
    float scale; /* positive and normal */
    qd_code_range range;
} qd_quant_params;

/* A scale that is 0 or denormal quantizes nothing meaningful: such a tensor is as good as constant at 0. */
static inline bool qd_quant_is_degenerate(float scale)
{
    return scale < FLT_MIN;
}

/* Parameters for a range, widened to hold 0. min and max are finite, min <= max; bits from 2 to 16. */
static inline qd_quant_params qd_quant_params_of_range(int bits, bool symmetric, double min, double max)
{
    const int32_t half = 1 << (bits - 1);
    qd_quant_params params = {.scale = 1.0f, .range = {.zero = 0, .low = -half, .high = half - 1}};

    min = fmin(min, 0.0);
    max = fmax(max, 0.0);
    const float scale = symmetric ? (float)(fmax(-min, max) / (half - 1)) : (float)((max - min) / (2.0 * half - 1.0));
    if (qd_quant_is_degenerate(scale))
        return params;
    params.scale = scale;
    if (!symmetric) {
        const double zero = rint(-half - min / scale);
        params.range.zero = (int32_t)fmin(fmax(zero, -half), half - 1);
    }
    return params;
}

#endif
