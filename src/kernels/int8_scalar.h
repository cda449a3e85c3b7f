/*
 * The integer semantics of docs/quantization.md as scalar C: the definition that every INT8 kernel on every
 * instruction set matches bit for bit. Codes are in the signed form. Float operations are single IEEE operations,
 * rounded to nearest even; this library is compiled without contraction into fused multiply-adds.
 */
#ifndef QD_KERNELS_INT8_SCALAR_H
#define QD_KERNELS_INT8_SCALAR_H

#include <float.h>
#include <stdint.h>
#include <string.h>

_Static_assert(FLT_EVAL_METHOD == 0, "float operations must round to float: excess precision would change codes");

/* What a float must become before it is a code. */
typedef struct qd_code_range {
    int32_t zero;      /* code of 0 */
    int32_t low, high; /* first and last code used */
} qd_code_range;

/*
 * Nearest integer, ties to even, of |v| <= 2^22: adding 1.5·2^23 leaves no bit for a fraction, so the addition itself
 * rounds, and the integer is in the sum's low bits. Unlike lrintf() this vectorises on every instruction set.
 */
static inline int32_t qd_round_even(float v)
{
    float shifted = v + 12582912.0f;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return bits - 0x4B400000;
}

/* clamp before rounding: the same as after it, because both ends are integers. A NaN becomes `low`. */
static inline int32_t qd_code_of(float v, qd_code_range range)
{
    float low = (float)(range.low - range.zero), high = (float)(range.high - range.zero);

    v = v > low ? v : low;
    v = v < high ? v : high;
    return qd_round_even(v) + range.zero;
}

/* q = clamp(rne(x / S) + Z). */
static inline int32_t qd_quantize_value(float x, float scale, qd_code_range range)
{
    return qd_code_of(x / scale, range);
}

/* x̂ = S·(q − Z). */
static inline float qd_dequantize_value(int32_t q, float scale, int32_t zero)
{
    return scale * (float)(q - zero);
}

/* An int32 accumulator back to a code. */
static inline int32_t qd_requantize_value(int32_t accumulator, float multiplier, qd_code_range range)
{
    return qd_code_of((float)accumulator * multiplier, range);
}

/* Sum of two tensors with scales of their own; a and b are codes without their zero points. */
static inline int32_t qd_add_value(int32_t a, float multiplier_a, int32_t b, float multiplier_b, qd_code_range range)
{
    float u = (float)a * multiplier_a, v = (float)b * multiplier_b;

    return qd_code_of(u + v, range);
}

#endif
