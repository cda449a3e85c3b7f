/*
 * Vectors of 64 bytes for the INT8 templates: 16 int32 sums, or 64 codes. With VNNI a dot product of four bytes a
 * lane is one instruction; without it, bytes are widened to int16 and multiplied in pairs (vpmaddwd), which is exact
 * too, where vpmaddubsw would saturate. With VBMI a table of 256 bytes is looked up in registers.
 */
#include <immintrin.h>
#include <stdint.h>

#define I8_LANES 16
#define I8_BYTES 64

typedef __m512i ivec;
typedef __m512 fvec;

/* The first of a vector's bytes. */
typedef __mmask64 ifirst;

static inline ifirst i8_first(int64_t count)
{
    return count >= I8_BYTES ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1;
}

static inline ivec i8_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* Bytes behind the first ones are 0 and not read. */
static inline ivec i8_load_first(const uint8_t *p, ifirst first)
{
    return _mm512_maskz_loadu_epi8(first, p);
}

static inline void i8_store_first(uint8_t *p, ivec v, ifirst first)
{
    _mm512_mask_storeu_epi8(p, first, v);
}

/* I8_LANES codes as int32 ... */
static inline ivec i8_load_widened(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

/* ... of which those behind `count` are 0 and not read. */
static inline ivec i8_load_widened_first(const uint8_t *p, int64_t count)
{
    const __mmask16 first = (__mmask16)(count >= I8_LANES ? 0xFFFFu : (1u << (count > 0 ? count : 0)) - 1);
    return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(first, p));
}

static inline ivec i8_set_bytes(int value)
{
    return _mm512_set1_epi8((char)value);
}

static inline ivec i8_set_word(uint32_t value)
{
    return _mm512_set1_epi32((int32_t)value);
}

static inline ivec i8_max_bytes(ivec a, ivec b)
{
    return _mm512_max_epu8(a, b);
}

static inline ivec i8_zero(void)
{
    return _mm512_setzero_si512();
}

static inline void i8_store_sums(int32_t *p, ivec v)
{
    _mm512_storeu_si512(p, v);
}

static inline fvec f8_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

/* The first `count` (1 to I8_LANES) floats. */
static inline fvec f8_load_first(const float *p, int64_t count)
{
    return _mm512_maskz_loadu_ps((__mmask16)(0xFFFFu >> (I8_LANES - count)), p);
}

static inline void f8_store_first(float *p, fvec v, int64_t count)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(0xFFFFu >> (I8_LANES - count)), v);
}

static inline fvec f8_set(float value)
{
    return _mm512_set1_ps(value);
}

static inline fvec f8_of(ivec v)
{
    return _mm512_cvtepi32_ps(v);
}

/* Rounded to nearest even, the processor's mode in every C program that does not change it. */
static inline ivec i8_of(fvec v)
{
    return _mm512_cvtps_epi32(v);
}

static inline fvec f8_add(fvec a, fvec b)
{
    return _mm512_add_ps(a, b);
}

static inline fvec f8_sub(fvec a, fvec b)
{
    return _mm512_sub_ps(a, b);
}

static inline fvec f8_mul(fvec a, fvec b)
{
    return _mm512_mul_ps(a, b);
}

static inline fvec f8_div(fvec a, fvec b)
{
    return _mm512_div_ps(a, b);
}

/* b where a is a NaN. */
static inline fvec f8_max(fvec a, fvec b)
{
    return _mm512_max_ps(a, b);
}

static inline fvec f8_min(fvec a, fvec b)
{
    return _mm512_min_ps(a, b);
}

/*
 * Four vectors of integers between -2^31 and 2^15 to bytes, `zero` added on the way, limited to 0 … 255. The result's
 * order is that of interleaved bytes (int8_pack.h): 16 bytes hold four of each vector.
 */
static inline ivec i8_pack(ivec a, ivec b, ivec c, ivec d, ivec zero)
{
    const ivec low = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero);
    const ivec high = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero);
    return _mm512_packus_epi16(low, high);
}

static inline ivec i8_set_shorts(int value)
{
    return _mm512_set1_epi16((short)value);
}

/* Packed bytes in the order of the four vectors. */
static inline ivec i8_in_order(ivec v)
{
    const ivec order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, v);
}

/* Four vectors of bytes to four of quadruples. */
static inline void i8_interleave(ivec v[4])
{
    const ivec low01 = _mm512_unpacklo_epi8(v[0], v[1]), high01 = _mm512_unpackhi_epi8(v[0], v[1]);
    const ivec low23 = _mm512_unpacklo_epi8(v[2], v[3]), high23 = _mm512_unpackhi_epi8(v[2], v[3]);
    v[0] = _mm512_unpacklo_epi16(low01, low23);
    v[1] = _mm512_unpackhi_epi16(low01, low23);
    v[2] = _mm512_unpacklo_epi16(high01, high23);
    v[3] = _mm512_unpackhi_epi16(high01, high23);
}

/* Factors of a dot product: codes, and weights. */
#if defined(__AVX512VNNI__)
typedef ivec icodes;
typedef ivec iweights;

static inline icodes i8_codes(ivec v)
{
    return v;
}

static inline iweights i8_weights(ivec v)
{
    return v;
}

/* sum + Σ of four products in each lane. */
static inline ivec i8_dot(ivec sum, icodes a, iweights b)
{
    return _mm512_dpbusd_epi32(sum, a, b);
}
#else
/* Bytes of even and of odd places, as int16. */
typedef struct icodes {
    ivec even, odd;
} icodes;
typedef icodes iweights;

static inline icodes i8_codes(ivec v)
{
    return (icodes){_mm512_and_si512(v, _mm512_set1_epi16(0xFF)), _mm512_srli_epi16(v, 8)};
}

static inline iweights i8_weights(ivec v)
{
    return (iweights){_mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8), _mm512_srai_epi16(v, 8)};
}

static inline ivec i8_dot(ivec sum, icodes a, iweights b)
{
    sum = _mm512_add_epi32(sum, _mm512_madd_epi16(a.even, b.even));
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a.odd, b.odd));
}
#endif

/* A table of 256 bytes. */
#if defined(__AVX512VBMI__)
typedef struct itable {
    ivec quarter[4];
} itable;

static inline itable i8_table(const uint8_t *table)
{
    return (itable){{i8_load(table), i8_load(table + 64), i8_load(table + 128), i8_load(table + 192)}};
}

static inline ivec i8_lookup(const itable *t, ivec v)
{
    const ivec low = _mm512_permutex2var_epi8(t->quarter[0], v, t->quarter[1]);
    const ivec high = _mm512_permutex2var_epi8(t->quarter[2], v, t->quarter[3]);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(v), low, high);
}
#else
typedef const uint8_t *itable;

static inline itable i8_table(const uint8_t *table)
{
    return table;
}

/* No instruction here looks 256 bytes up; loads from the first-level cache do. */
static inline ivec i8_lookup(const itable *t, ivec v)
{
    uint8_t bytes[I8_BYTES];

    _mm512_storeu_si512(bytes, v);
    for (int i = 0; i < I8_BYTES; i++)
        bytes[i] = (*t)[bytes[i]];
    return _mm512_loadu_si512(bytes);
}
#endif
