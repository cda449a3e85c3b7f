/* exp in float32 that a compiler vectorises without a vector maths library. */
#ifndef QD_KERNELS_REF_EXP_F32_H
#define QD_KERNELS_REF_EXP_F32_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* The float with the given bits. */
static inline float qd_f32_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * exp(x) within 2 ulp for every x (measured: 1.0; subnormal results included), +inf above 88.7228, 0 below -104,
 * NaN for NaN. Cody-Waite: x = n·ln 2 + r with |r| <= ln 2 / 2, then exp(x) = 2^n·exp(r). No branch, no table, no
 * conversion of a float that might not fit an integer.
 */
static inline float qd_exp_f32(float x)
{
    /* Beyond ±104 the result is +inf or 0 whatever the argument. One comparison for both sides, written so that a NaN
     * stays a NaN: two of them in a row make gcc split the loop's body into paths. */
    float magnitude = fabsf(x);
    magnitude = 104.0f < magnitude ? 104.0f : magnitude;
    x = copysignf(magnitude, x);
    /* Adding 1.5·2^23 rounds to an integer, which then stands in the low bits of the sum. */
    const float shifter = 0x1.8p23f;
    const float shifted = x * 0x1.715476p0f + shifter;
    const float n = shifted - shifter;
    /* ln 2 in two parts; the first has 9 bits, so that n·part is exact for |n| <= 151. */
    const float r = (x - n * 0x1.63p-1f) - n * -0x1.bd0106p-13f;
    /* exp(r) = 1 + r + r²·q(r); q minimises the relative error of exp(r): 3.1e-9 (Remez exchange). */
    float q = 0x1.6a2352p-10f;
    q = q * r + 0x1.123a6cp-7f;
    q = q * r + 0x1.5558f4p-5f;
    q = q * r + 0x1.55549p-3f;
    q = q * r + 0x1.fffffcp-2f;
    const float exp_r = 1.0f + (r + r * r * q);
    /* 2^n as a product of two normal numbers: n reaches from -150 (subnormal results) to 150
     * (overflow). */
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    const uint32_t biased = bits - 0x4B400000u + 256u; /* n + 256 */
    const uint32_t half = biased >> 1;
    const float scale_a = qd_f32_from_bits((half - 128u + 127u) << 23);
    const float scale_b = qd_f32_from_bits((biased - half - 128u + 127u) << 23);
    return exp_r * scale_a * scale_b;
}

#endif
