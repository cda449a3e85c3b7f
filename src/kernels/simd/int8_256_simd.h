/*
 * Vectors of 32 bytes for the INT8 templates: 8 int32 sums, or 32 codes. With AVX-VNNI a dot product of four bytes a
 * lane is one instruction; without it, bytes are widened to int16 and multiplied in pairs (vpmaddwd), which is exact
 * too, where vpmaddubsw would saturate.
 */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define I8_LANES 8
#define I8_BYTES 32

typedef __m256i ivec;
typedef __m256 fvec;

/* The first of a vector's bytes. */
typedef int64_t ifirst;

static inline ifirst i8_first(int64_t count)
{
    return count;
}

static inline ivec i8_load(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* Bytes behind the first ones are 0 and not read. */
static inline ivec i8_load_first(const uint8_t *p, ifirst first)
{
    uint8_t bytes[I8_BYTES] = {0};

    if (first >= I8_BYTES)
        return i8_load(p);
    memcpy(bytes, p, (size_t)first);
    return i8_load(bytes);
}

static inline void i8_store_first(uint8_t *p, ivec v, ifirst first)
{
    uint8_t bytes[I8_BYTES];

    if (first >= I8_BYTES) {
        _mm256_storeu_si256((__m256i *)(void *)p, v);
        return;
    }
    _mm256_storeu_si256((__m256i *)(void *)bytes, v);
    memcpy(p, bytes, (size_t)first);
}

/* I8_LANES codes as int32 ... */
static inline ivec i8_load_widened(const uint8_t *p)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

/* ... of which those behind `count` are 0 and not read. */
static inline ivec i8_load_widened_first(const uint8_t *p, int64_t count)
{
    uint8_t bytes[I8_LANES] = {0};

    if (count > 0)
        memcpy(bytes, p, count >= I8_LANES ? I8_LANES : (size_t)count);
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)bytes));
}

static inline ivec i8_set_bytes(int value)
{
    return _mm256_set1_epi8((char)value);
}

static inline ivec i8_set_word(uint32_t value)
{
    return _mm256_set1_epi32((int32_t)value);
}

static inline ivec i8_max_bytes(ivec a, ivec b)
{
    return _mm256_max_epu8(a, b);
}

static inline ivec i8_zero(void)
{
    return _mm256_setzero_si256();
}

static inline void i8_store_sums(int32_t *p, ivec v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

/* All bits of the first `count` (1 to I8_LANES) lanes. */
static inline __m256i f8_first(int64_t count)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline fvec f8_load(const float *p)
{
    return _mm256_loadu_ps(p);
}

static inline fvec f8_load_first(const float *p, int64_t count)
{
    return _mm256_maskload_ps(p, f8_first(count));
}

static inline void f8_store_first(float *p, fvec v, int64_t count)
{
    _mm256_maskstore_ps(p, f8_first(count), v);
}

static inline fvec f8_set(float value)
{
    return _mm256_set1_ps(value);
}

static inline fvec f8_of(ivec v)
{
    return _mm256_cvtepi32_ps(v);
}

/* Rounded to nearest even, the processor's mode in every C program that does not change it. */
static inline ivec i8_of(fvec v)
{
    return _mm256_cvtps_epi32(v);
}

static inline fvec f8_add(fvec a, fvec b)
{
    return _mm256_add_ps(a, b);
}

static inline fvec f8_sub(fvec a, fvec b)
{
    return _mm256_sub_ps(a, b);
}

static inline fvec f8_mul(fvec a, fvec b)
{
    return _mm256_mul_ps(a, b);
}

static inline fvec f8_div(fvec a, fvec b)
{
    return _mm256_div_ps(a, b);
}

/* b where a is a NaN. */
static inline fvec f8_max(fvec a, fvec b)
{
    return _mm256_max_ps(a, b);
}

static inline fvec f8_min(fvec a, fvec b)
{
    return _mm256_min_ps(a, b);
}

/*
 * Four vectors of integers between -2^31 and 2^15 to bytes, `zero` added on the way, limited to 0 … 255. The result's
 * order is that of interleaved bytes (int8_pack.h): 16 bytes hold four of each vector.
 */
static inline ivec i8_pack(ivec a, ivec b, ivec c, ivec d, ivec zero)
{
    const ivec low = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero);
    const ivec high = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero);
    return _mm256_packus_epi16(low, high);
}

static inline ivec i8_set_shorts(int value)
{
    return _mm256_set1_epi16((short)value);
}

/* Packed bytes in the order of the four vectors. */
static inline ivec i8_in_order(ivec v)
{
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Four vectors of bytes to four of quadruples. */
static inline void i8_interleave(ivec v[4])
{
    const ivec low01 = _mm256_unpacklo_epi8(v[0], v[1]), high01 = _mm256_unpackhi_epi8(v[0], v[1]);
    const ivec low23 = _mm256_unpacklo_epi8(v[2], v[3]), high23 = _mm256_unpackhi_epi8(v[2], v[3]);
    v[0] = _mm256_unpacklo_epi16(low01, low23);
    v[1] = _mm256_unpackhi_epi16(low01, low23);
    v[2] = _mm256_unpacklo_epi16(high01, high23);
    v[3] = _mm256_unpackhi_epi16(high01, high23);
}

/* Factors of a dot product: codes, and weights. */
#if defined(__AVXVNNI__)
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
    return _mm256_dpbusd_avx_epi32(sum, a, b);
}
#else
/* Bytes of even and of odd places, as int16. */
typedef struct icodes {
    ivec even, odd;
} icodes;
typedef icodes iweights;

static inline icodes i8_codes(ivec v)
{
    return (icodes){_mm256_and_si256(v, _mm256_set1_epi16(0xFF)), _mm256_srli_epi16(v, 8)};
}

static inline iweights i8_weights(ivec v)
{
    return (iweights){_mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8), _mm256_srai_epi16(v, 8)};
}

static inline ivec i8_dot(ivec sum, icodes a, iweights b)
{
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(a.even, b.even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a.odd, b.odd));
}
#endif

/* A table of 256 bytes. No instruction here looks so many up; loads from the first-level cache do. */
typedef const uint8_t *itable;

static inline itable i8_table(const uint8_t *table)
{
    return table;
}

static inline ivec i8_lookup(const itable *t, ivec v)
{
    uint8_t bytes[I8_BYTES];

    _mm256_storeu_si256((__m256i *)(void *)bytes, v);
    for (int i = 0; i < I8_BYTES; i++)
        bytes[i] = (*t)[bytes[i]];
    return i8_load(bytes);
}
