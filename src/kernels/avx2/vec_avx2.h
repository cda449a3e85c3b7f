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

#endif
