/* From ranges to scales and zero points, and codes of float arrays: section 1 of docs/quantization.md. */
#ifndef QD_QUANTIZE_SCHEME_H
#define QD_QUANTIZE_SCHEME_H

#include "kernels/quant_params.h"
#include "quantize/quantize.h"

/* Biases and the sums of products stay below 2^30 each, so that an accumulator never leaves int32. */
#define QD_BIAS_LIMIT 1073741824.0

/* Errors: QD_ERR_USAGE (bits out of 2 to 16). */
enum qd_status qd_quant_scheme_check(qd_context *ctx, const qd_quant_scheme *scheme);

/* Parameters of an activation from its range, widened to hold 0. min and max are finite, min <= max. */
qd_quant_params qd_quant_activation_params(const qd_quant_scheme *scheme, double min, double max);

/*
 * Scale of symmetric weights whose largest magnitude is `peak`, raised where int32 could not hold the `bias_peak`
 * (largest |bias| of the same channels) at scale S_x·S_w.
 */
float qd_quant_weight_scale(int bits, double peak, double bias_peak, float input_scale);

/* Codes of symmetric weights: -(2^(bits-1)-1) to 2^(bits-1)-1. */
int32_t qd_quant_weight_code(int bits, float weight, float scale);

/* rne(bias / (S_x·S_w)), limited to ±QD_BIAS_LIMIT. */
int32_t qd_quant_bias_code(float bias, float input_scale, float weight_scale);

/* (a·b)/c in float32, left to right, at most 2^64 and never NaN: a requantization multiplier. */
float qd_quant_multiplier(float a, float b, float c);

/* x = dequantize(quantize(x)) in place. */
void qd_quant_simulate(float *x, int64_t count, const qd_quant_params *params);

#endif
