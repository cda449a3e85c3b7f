/* Vectors of 16 floats: what the templates in kernels/simd/ are written in. */
#ifndef QD_KERNELS_AVX512_VEC_AVX512_H
#define QD_KERNELS_AVX512_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_LANES 16

typedef __m512 vec;

static inline vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vec vec_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vec_store(float *p, vec v)
{
    _mm512_storeu_ps(p, v);
}

/* All lanes the one value at p. */
static inline vec vec_broadcast(const float *p)
{
    return _mm512_set1_ps(*p);
}

/* The first `count` (1 to VEC_LANES) lanes; memory behind them is not touched, lanes behind them are 0. */
static inline vec vec_load_first(const float *p, int64_t count)
{
    return _mm512_maskz_loadu_ps((__mmask16)(0xFFFFu >> (VEC_LANES - count)), p);
}

static inline void vec_store_first(float *p, vec v, int64_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(0xFFFFu >> (VEC_LANES - count)), v);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

/* a·b + c, rounded once. */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* All lanes the constant. */
static inline vec vec_set(float value)
{
    return _mm512_set1_ps(value);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}

/* The smaller and the larger; b where either is a NaN. */
static inline vec vec_min(vec a, vec b)
{
    return _mm512_min_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm512_max_ps(a, b);
}

/* Truth of each lane; false where either is a NaN. */
typedef __mmask16 vec_mask;

static inline vec_mask vec_less(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vec_mask vec_less_equal(vec a, vec b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}

/* a where the mask is true, b elsewhere. */
static inline vec vec_select(vec_mask mask, vec a, vec b)
{
    return _mm512_mask_blend_ps(mask, b, a);
}

/* 2^(n-1) of an integer n from -125 to 128, given as n + 1.5·2^23: n stands in the low bits of that sum. */
static inline vec vec_half_power(vec n_shifted)
{
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(n_shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(126 << 23)));
}

/* p[0 … VEC_LANES-1] += v. */
static inline void vec_add_to_doubles(double *p, vec v)
{
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)),
                  high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), low));
    _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), high));
}

#endif
