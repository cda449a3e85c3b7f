/* mt19937 and what PyTorch 1.13's CPU generator draws from it. */
#include <math.h>
#include <quantdrift/random.h>
#include <stdio.h>
#include <string.h>

#include "random/box_muller.h"

/* ---- the generator: names and constants of Matsumoto & Nishimura 1998 ---- */

#define MT_SHIFT_SIZE 397
#define MT_MATRIX_A   0x9908b0dfu
#define MT_UPPER_MASK 0x80000000u
#define MT_LOWER_MASK 0x7fffffffu

void qd_rng_seed(qd_rng *rng, uint64_t seed)
{
    memset(rng, 0, sizeof(*rng));
    rng->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < QD_MT19937_WORDS; i++) {
        const uint32_t last = rng->state[i - 1];
        rng->state[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
    rng->next = QD_MT19937_WORDS;
}

static uint32_t mix(uint32_t upper, uint32_t lower, uint32_t far)
{
    const uint32_t y = (upper & MT_UPPER_MASK) | (lower & MT_LOWER_MASK);
    return far ^ (y >> 1) ^ ((lower & 1u) ? MT_MATRIX_A : 0u);
}

static void twist(qd_rng *rng)
{
    uint32_t *s = rng->state;
    const int n = QD_MT19937_WORDS, m = MT_SHIFT_SIZE;
    for (int i = 0; i < n - m; i++)
        s[i] = mix(s[i], s[i + 1], s[i + m]);
    for (int i = n - m; i < n - 1; i++)
        s[i] = mix(s[i], s[i + 1], s[i + m - n]);
    s[n - 1] = mix(s[n - 1], s[0], s[m - 1]);
    rng->next = 0;
}

uint32_t qd_rng_u32(qd_rng *rng)
{
    if (rng->next >= QD_MT19937_WORDS)
        twist(rng);
    uint32_t y = rng->state[rng->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    y ^= y >> 18;
    return y;
}

uint64_t qd_rng_u64(qd_rng *rng)
{
    const uint64_t high = qd_rng_u32(rng);
    return high << 32 | qd_rng_u32(rng);
}

void qd_rng_skip(qd_rng *rng, uint64_t words)
{
    while (words > 0) {
        if (rng->next >= QD_MT19937_WORDS)
            twist(rng);
        const uint64_t here = QD_MT19937_WORDS - rng->next;
        const uint64_t taken = words < here ? words : here;
        rng->next += (uint32_t)taken;
        words -= taken;
    }
}

bool qd_rng_equal(const qd_rng *a, const qd_rng *b)
{
    return a->next == b->next && memcmp(a->state, b->state, sizeof(a->state)) == 0 &&
           a->has_cached_normal == b->has_cached_normal &&
           (!a->has_cached_normal || a->cached_normal == b->cached_normal);
}

/* ---- integers ---- */

int64_t qd_rng_random_i64(qd_rng *rng)
{
    return (int64_t)(qd_rng_u64(rng) & (uint64_t)INT64_MAX);
}

int64_t qd_rng_randint(qd_rng *rng, int64_t n)
{
    return (int64_t)(qd_rng_u32(rng) % (uint32_t)n);
}

void qd_rng_randperm(qd_rng *rng, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    for (int64_t i = 0; i + 1 < n; i++) {
        const int64_t j = i + qd_rng_randint(rng, n - i);
        const int64_t swapped = out[i];
        out[i] = out[j];
        out[j] = swapped;
    }
}

/* ---- uniform ---- */

/* 24 random bits below 1: a float holds no more. */
static float draw_unit_f32(qd_rng *rng)
{
    return (float)(qd_rng_u32(rng) & 0xffffffu) * 0x1p-24f;
}

/* 53 random bits below 1: a double holds no more. */
static double draw_unit_f64(qd_rng *rng)
{
    return (double)(qd_rng_u64(rng) & 0x1fffffffffffffu) * 0x1p-53;
}

float qd_rng_uniform_f32(qd_rng *rng, float low, float high)
{
    /* PyTorch's build fuses the two operations; apart they differ in the last bit of one draw in four. */
    return fmaf(draw_unit_f32(rng), high - low, low);
}

void qd_rng_fill_uniform_f32(qd_rng *rng, float *out, int64_t count, float low, float high)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = qd_rng_uniform_f32(rng, low, high);
}

bool qd_rng_bernoulli(qd_rng *rng, double p)
{
    return draw_unit_f64(rng) < p;
}

/* ---- normal ---- */

/* Tensors of fewer values are drawn one by one in double; larger ones in blocks of this size in float. */
#define NORMAL_BLOCK 16

static float draw_normal(qd_rng *rng, double mean, double std)
{
    double value;
    if (rng->has_cached_normal) {
        value = rng->cached_normal;
        rng->has_cached_normal = false;
        rng->cached_normal = 0.0;
    } else {
        const double u1 = draw_unit_f64(rng);
        const double u2 = draw_unit_f64(rng);
        const double radius = sqrt(-2.0 * log1p(-u2));
        const double theta = 2.0 * 3.14159265358979323846 * u1;
        value = radius * cos(theta);
        rng->cached_normal = radius * sin(theta);
        rng->has_cached_normal = true;
    }
    return (float)fma(value, std, mean);
}

static void draw_normal_block(qd_rng *rng, float *block, float mean, float std)
{
    for (int i = 0; i < NORMAL_BLOCK; i++)
        block[i] = draw_unit_f32(rng);
    qd_box_muller_16(block, mean, std);
}

void qd_rng_normal_f32(qd_rng *rng, float *out, int64_t count, float mean, float std)
{
    if (count < NORMAL_BLOCK) {
        for (int64_t i = 0; i < count; i++)
            out[i] = draw_normal(rng, (double)mean, (double)std);
        return;
    }
    /* A block of words becomes a block of values; what is left over costs its words and is then drawn again together
     * with the values before it, so that the last 16 are whole. */
    int64_t i = 0;
    for (; i + NORMAL_BLOCK <= count; i += NORMAL_BLOCK)
        draw_normal_block(rng, out + i, mean, std);
    if (i < count) {
        qd_rng_skip(rng, (uint64_t)(count - i));
        draw_normal_block(rng, out + count - NORMAL_BLOCK, mean, std);
    }
}

/* ---- text ---- */

/* "mt19937:<next>:<1 or 0>:<bits of the cached normal>:<state>", numbers in hexadecimal but for next. */
void qd_rng_to_text(const qd_rng *rng, char *text)
{
    uint64_t cached_bits = 0;
    if (rng->has_cached_normal)
        memcpy(&cached_bits, &rng->cached_normal, sizeof(cached_bits));
    int used = snprintf(text, QD_RNG_TEXT_BYTES, "mt19937:%03u:%d:%016llx:", (unsigned)rng->next,
                        rng->has_cached_normal ? 1 : 0, (unsigned long long)cached_bits);
    for (int i = 0; i < QD_MT19937_WORDS; i++)
        used += snprintf(text + used, (size_t)(QD_RNG_TEXT_BYTES - used), "%08x", (unsigned)rng->state[i]);
}

/* Exactly `count` lower-case hexadecimal digits. */
static bool read_hex(const char *text, int count, uint64_t *out)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) {
        unsigned digit;
        if (text[i] >= '0' && text[i] <= '9')
            digit = (unsigned)(text[i] - '0');
        else if (text[i] >= 'a' && text[i] <= 'f')
            digit = (unsigned)(text[i] - 'a') + 10;
        else
            return false;
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

bool qd_rng_from_text(qd_rng *rng, const char *text)
{
    static const char prefix[] = "mt19937:";
    const size_t next_at = sizeof(prefix) - 1, flag_at = next_at + 4, cached_at = flag_at + 2,
                 state_at = cached_at + 17;
    if (strlen(text) != state_at + 8 * QD_MT19937_WORDS)
        return false;
    qd_rng parsed = {0};
    uint64_t next, cached_bits;
    /* next is decimal, but three digits below 0x625 cannot be mistaken: what is written again below must be equal. */
    if (!read_hex(text + next_at, 3, &next) || !read_hex(text + cached_at, 16, &cached_bits))
        return false;
    parsed.next = (uint32_t)((next >> 8) * 100 + (next >> 4 & 15) * 10 + (next & 15));
    parsed.has_cached_normal = text[flag_at] == '1';
    if (parsed.has_cached_normal)
        memcpy(&parsed.cached_normal, &cached_bits, sizeof(parsed.cached_normal));
    for (size_t i = 0; i < QD_MT19937_WORDS; i++) {
        uint64_t word;
        if (!read_hex(text + state_at + 8 * i, 8, &word))
            return false;
        parsed.state[i] = (uint32_t)word;
    }
    char again[QD_RNG_TEXT_BYTES];
    qd_rng_to_text(&parsed, again);
    if (parsed.next > QD_MT19937_WORDS || strcmp(text, again) != 0 || !isfinite(parsed.cached_normal))
        return false;
    *rng = parsed;
    return true;
}
