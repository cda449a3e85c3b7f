/*
 * mt19937 and the distributions drawn from it, word for word as PyTorch 1.13's CPU generator draws them.
 * Source: PyTorch, aten/src/ATen/core/{MT19937RNGEngine,DistributionsHelper}.h; Matsumoto & Nishimura 1998.
 */
#ifndef QUANTDRIFT_RANDOM_H
#define QUANTDRIFT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

#define QD_MT19937_WORDS 624

/* Plain data: copy it to save a state, compare it with qd_rng_equal(). */
typedef struct qd_rng {
    uint32_t state[QD_MT19937_WORDS];
    uint32_t next;          /* index of the next word, QD_MT19937_WORDS when a twist is due */
    bool has_cached_normal; /* second value of the last pair of small normal draws */
    double cached_normal;
} qd_rng;

/* torch.manual_seed(seed): keeps the low 32 bits. */
void qd_rng_seed(qd_rng *rng, uint64_t seed);

uint32_t qd_rng_u32(qd_rng *rng);
uint64_t qd_rng_u64(qd_rng *rng); /* (first word << 32) | second */

/* Advances by `words` 32-bit words without using them. */
void qd_rng_skip(qd_rng *rng, uint64_t words);

/* uniform_(low, high) of one float32: fused multiply-add, as PyTorch computes it. One word. */
float qd_rng_uniform_f32(qd_rng *rng, float low, float high);

/* random_() on int64, in [0, 2^63). Two words. */
int64_t qd_rng_random_i64(qd_rng *rng);

/* randint(0, n), 0 < n < 2^32. One word. */
int64_t qd_rng_randint(qd_rng *rng, int64_t n);

/* randperm(n), n < 2^32/20, into out[n]. n - 1 words. */
void qd_rng_randperm(qd_rng *rng, int64_t n, int64_t *out);

/* One value of bernoulli_(p) on a float tensor: a 53-bit double below p. Two words. */
bool qd_rng_bernoulli(qd_rng *rng, double p);

/* normal_(mean, std) of a float32 tensor of `count` values, contiguous. */
void qd_rng_normal_f32(qd_rng *rng, float *out, int64_t count, float mean, float std);

/* uniform_(low, high) of a float32 tensor of `count` values. */
void qd_rng_fill_uniform_f32(qd_rng *rng, float *out, int64_t count, float low, float high);

bool qd_rng_equal(const qd_rng *a, const qd_rng *b);

/* Text form of the state for checkpoints: QD_RNG_TEXT_BYTES including the final NUL; parse returns
 * false on anything that was not written by qd_rng_to_text(). */
#define QD_RNG_TEXT_BYTES (QD_MT19937_WORDS * 8 + 64)
void qd_rng_to_text(const qd_rng *rng, char *text);
bool qd_rng_from_text(qd_rng *rng, const char *text);

#endif
