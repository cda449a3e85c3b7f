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

#endif
