/*
 * Activations and their derivatives on vectors, with the limits of ref/activation_template.h (PyTorch's). Included by
 * the templates that need them, after the set's vec_*.h. A constant `kind` leaves one branch-free expression.
 */
#ifndef QD_KERNELS_SIMD_ACTIVATION_FUNCTIONS_SIMD_H
#define QD_KERNELS_SIMD_ACTIVATION_FUNCTIONS_SIMD_H

#include "kernels/kernels.h"

#define ACT_INLINE static inline __attribute__((always_inline))

/*
 * 1 + exp(-x), the exponential within 2 ulp wherever that can be seen in the sum: exp(-x) = 2^n·exp(r) as in
 * ref/exp_f32.h, which has the polynomial and its error. From x = 64 on exp(-x) vanishes beside 1, and -89 is beyond
 * where it overflows, so clamping there changes nothing and keeps n within -92 … 128. NaN stays NaN.
 * A reciprocal estimate with a Newton step instead of the divisions that follow measured no faster (the divider works
 * beside the multipliers) and lost an ulp.
 */
ACT_INLINE vec act_one_plus_exp_minus(vec x)
{
    const vec shifter = vec_set(0x1.8p23f), one = vec_set(1.0f);
    x = vec_max(vec_set(-89.0f), vec_min(vec_set(64.0f), x));
    /* Adding 1.5·2^23 rounds to an integer. */
    const vec shifted = vec_fma(x, vec_set(-0x1.715476p0f), shifter);
    const vec n = vec_sub(shifted, shifter);
    /* -x - n·ln 2; fused, so that ln 2 in two floats is enough. */
    const vec negative_r = vec_fma(n, vec_set(-0x1.05c61p-29f), vec_fma(n, vec_set(0x1.62e43p-1f), x));
    const vec r = vec_sub(vec_zero(), negative_r);
    vec q = vec_set(0x1.6a2352p-10f);
    q = vec_fma(q, r, vec_set(0x1.123a6cp-7f));
    q = vec_fma(q, r, vec_set(0x1.5558f4p-5f));
    q = vec_fma(q, r, vec_set(0x1.55549p-3f));
    q = vec_fma(q, r, vec_set(0x1.fffffcp-2f));
    const vec exp_r = vec_add(vec_fma(vec_mul(r, r), q, r), one);
    /* Half of the power first: 2^128 is no float, and the doubling overflows as it should. */
    return vec_fma(vec_mul(exp_r, vec_half_power(shifted)), vec_set(2.0f), one);
}

ACT_INLINE vec act_sigmoid(vec x)
{
    return vec_div(vec_set(1.0f), act_one_plus_exp_minus(x));
}

/* activation(x) */
ACT_INLINE vec act_apply(enum qd_activation kind, vec x)
{
    const vec zero = vec_zero(), six = vec_set(6.0f);
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return vec_max(zero, x);
    case QD_ACTIVATION_RELU6:
        return vec_min(six, vec_max(zero, x));
    case QD_ACTIVATION_SILU:
        return vec_div(x, act_one_plus_exp_minus(x));
    case QD_ACTIVATION_HARDSWISH:
        return vec_div(vec_mul(x, vec_min(six, vec_max(zero, vec_add(x, vec_set(3.0f))))), six);
    case QD_ACTIVATION_SIGMOID:
        return act_sigmoid(x);
    case QD_ACTIVATION_NONE:
        break;
    }
    return x;
}

/* dy·activation'(x); kinks and NaN as activation_gradient in ref/activation_template.h. */
ACT_INLINE vec act_gradient(enum qd_activation kind, vec x, vec dy)
{
    const vec zero = vec_zero(), one = vec_set(1.0f), three = vec_set(3.0f);
    vec s;
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return vec_select(vec_less_equal(x, zero), zero, dy);
    case QD_ACTIVATION_RELU6:
        return vec_select(vec_less(zero, x), vec_select(vec_less(x, vec_set(6.0f)), dy, zero), zero);
    case QD_ACTIVATION_SILU: /* s + x·s·(1 - s) */
        s = act_sigmoid(x);
        return vec_mul(vec_mul(dy, s), vec_fma(x, vec_sub(one, s), one));
    case QD_ACTIVATION_HARDSWISH:
        s = vec_select(vec_less_equal(three, x), dy, vec_mul(dy, vec_add(vec_div(x, three), vec_set(0.5f))));
        return vec_select(vec_less(x, vec_set(-3.0f)), zero, s);
    case QD_ACTIVATION_SIGMOID:
        s = act_sigmoid(x);
        return vec_mul(vec_mul(dy, vec_sub(one, s)), s);
    case QD_ACTIVATION_NONE:
        break;
    }
    return dy;
}

#endif
