/* Vectors of 8 floats: what the templates in kernels/simd/ are written in. */
#ifndef QD_KERNELS_AVX2_VEC_AVX2_H
#define QD_KERNELS_AVX2_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>

#define VEC_LANES 8

typedef __m256 vec;

static inline vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vec vec_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline void vec_store(float *p, vec v)
{
    _mm256_storeu_ps(p, v);
}

/* All lanes the one value at p. */
static inline vec vec_broadcast(const float *p)
{
    return _mm256_broadcast_ss(p);
}

/* Lanes 0 … count-1 set. */
static inline __m256i vec_first_mask(int64_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* The first `count` (1 to VEC_LANES) lanes; memory behind them is not touched, lanes behind them are 0. */
static inline vec vec_load_first(const float *p, int64_t count)
{
    return _mm256_maskload_ps(p, vec_first_mask(count));
}

static inline void vec_store_first(float *p, vec v, int64_t count)
{
    _mm256_maskstore_ps(p, vec_first_mask(count), v);
}

static inline vec vec_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}

static inline vec vec_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

/* a·b + c, rounded once. */
static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* All lanes the constant. */
static inline vec vec_set(float value)
{
    return _mm256_set1_ps(value);
}

static inline vec vec_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}

/* The smaller and the larger; b where either is a NaN. */
static inline vec vec_min(vec a, vec b)
{
    return _mm256_min_ps(a, b);
}

static inline vec vec_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}

/* Truth of each lane; false where either is a NaN. */
typedef __m256 vec_mask;

static inline vec_mask vec_less(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}

static inline vec_mask vec_less_equal(vec a, vec b)
{
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}

/* a where the mask is true, b elsewhere. */
static inline vec vec_select(vec_mask mask, vec a, vec b)
{
    return _mm256_blendv_ps(b, a, mask);
}

/* 2^(n-1) of an integer n from -125 to 128, given as n + 1.5·2^23: n stands in the low bits of that sum. */
static inline vec vec_half_power(vec n_shifted)
{
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(n_shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(126 << 23)));
}

/* p[0 … VEC_LANES-1] += v. */
static inline void vec_add_to_doubles(double *p, vec v)
{
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)),
                  high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), low));
    _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), high));
}

#endif
