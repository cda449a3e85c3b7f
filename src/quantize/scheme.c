#include "quantize/scheme.h"

#include "base/error.h"
#include <float.h>
#include <math.h>

/* The post's defaults. */
qd_quant_scheme qd_quant_scheme_defaults(void)
{
    return (qd_quant_scheme){
        .weight_bits = 8,
        .activation_bits = 8,
        .activation_signed = true,
    };
}

enum qd_status qd_quant_scheme_check(qd_context *ctx, const qd_quant_scheme *scheme)
{
    if (scheme->weight_bits < 2 || scheme->weight_bits > 16)
        return qd_fail(ctx, QD_ERR_USAGE, "quantization scheme: expected 2 to 16 weight bits, got %d",
                       scheme->weight_bits);
    if (scheme->activation_bits < 2 || scheme->activation_bits > 16)
        return qd_fail(ctx, QD_ERR_USAGE, "quantization scheme: expected 2 to 16 activation bits, got %d",
                       scheme->activation_bits);
    return QD_OK;
}

qd_quant_params qd_quant_activation_params(const qd_quant_scheme *scheme, double min, double max)
{
    return qd_quant_params_of_range(scheme->activation_bits, scheme->activation_symmetric, min, max);
}

float qd_quant_weight_scale(int bits, double peak, double bias_peak, float input_scale)
{
    double limit = (1 << (bits - 1)) - 1;
    float scale = (float)(peak / limit);
    float raised = (float)fmin(bias_peak / input_scale / QD_BIAS_LIMIT, FLT_MAX / 2);

    if (raised > scale)
        scale = nextafterf(raised, INFINITY); /* up, so that the bias fits after this rounding too */
    return qd_quant_is_degenerate(scale) ? 1.0f : scale;
}

int32_t qd_quant_weight_code(int bits, float weight, float scale)
{
    int32_t limit = (1 << (bits - 1)) - 1;

    return qd_quantize_value(weight, scale, (qd_code_range){.zero = 0, .low = -limit, .high = limit});
}

int32_t qd_quant_bias_code(float bias, float input_scale, float weight_scale)
{
    double code = rint((double)bias / ((double)input_scale * (double)weight_scale));

    return (int32_t)fmin(fmax(code, -QD_BIAS_LIMIT), QD_BIAS_LIMIT);
}

float qd_quant_multiplier(float a, float b, float c)
{
    const float limit = 0x1p64f;
    float product = a * b, multiplier = product / c;

    return multiplier < limit ? multiplier : limit; /* an infinity or NaN fails the comparison too */
}

void qd_quant_simulate(float *x, int64_t count, const qd_quant_params *params)
{
    for (int64_t i = 0; i < count; i++) {
        int32_t code = qd_quantize_value(x[i], params->scale, params->range);
        x[i] = qd_dequantize_value(code, params->scale, params->range.zero);
    }
}
