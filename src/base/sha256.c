/* SHA-256 as FIPS 180-4 defines it; the letters a to h, W and K are the standard's. */
#include "base/sha256.h"
#include <string.h>

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#define ROTATE_RIGHT(x, bits) ((x) >> (bits) | (x) << (32 - (bits)))

/* The standard's functions of one and three words. */
#define BIG_SIGMA_0(x)    (ROTATE_RIGHT(x, 2) ^ ROTATE_RIGHT(x, 13) ^ ROTATE_RIGHT(x, 22))
#define BIG_SIGMA_1(x)    (ROTATE_RIGHT(x, 6) ^ ROTATE_RIGHT(x, 11) ^ ROTATE_RIGHT(x, 25))
#define SMALL_SIGMA_0(x)  (ROTATE_RIGHT(x, 7) ^ ROTATE_RIGHT(x, 18) ^ (x) >> 3)
#define SMALL_SIGMA_1(x)  (ROTATE_RIGHT(x, 17) ^ ROTATE_RIGHT(x, 19) ^ (x) >> 10)
#define CHOOSE(x, y, z)   (((x) & (y)) ^ (~(x) & (z)))
#define MAJORITY(x, y, z) (((x) & (y)) ^ ((x) & (z)) ^ ((y) & (z)))

/* Macros with constant indices, because checkpoints are hashed in builds without inlining too: w then stays in
 * registers, and with sanitizers this takes less than half the time of functions and loops. w is a ring of 16 words:
 * of the block, and after 16 rounds the next 16 of the standard's W. */
#define BLOCK_WORD(i) w[i]
#define NEXT_WORD(i)                                                                                                 \
    (w[i] += SMALL_SIGMA_1(w[((i) + 14) % 16]) + w[((i) + 9) % 16] + SMALL_SIGMA_0(w[((i) + 1) % 16]))

/* Round i of 16; the next one takes the letters turned, which saves moving them. */
#define ROUND(a, b, c, d, e, f, g, h, i, WORD)                                                                       \
    do {                                                                                                             \
        const uint32_t t1 = (h) + BIG_SIGMA_1(e) + CHOOSE(e, f, g) + k[i] + WORD(i);                                 \
        (d) += t1;                                                                                                   \
        (h) = t1 + BIG_SIGMA_0(a) + MAJORITY(a, b, c);                                                               \
    } while (0)

#define EIGHT_ROUNDS(i, WORD)                                                                                        \
    do {                                                                                                             \
        ROUND(a, b, c, d, e, f, g, h, (i), WORD);                                                                    \
        ROUND(h, a, b, c, d, e, f, g, (i) + 1, WORD);                                                                \
        ROUND(g, h, a, b, c, d, e, f, (i) + 2, WORD);                                                                \
        ROUND(f, g, h, a, b, c, d, e, (i) + 3, WORD);                                                                \
        ROUND(e, f, g, h, a, b, c, d, (i) + 4, WORD);                                                                \
        ROUND(d, e, f, g, h, a, b, c, (i) + 5, WORD);                                                                \
        ROUND(c, d, e, f, g, h, a, b, (i) + 6, WORD);                                                                \
        ROUND(b, c, d, e, f, g, h, a, (i) + 7, WORD);                                                                \
    } while (0)

static uint32_t read_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[3];
}

static void compress(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[16];
    for (int t = 0; t < 16; t++)
        w[t] = read_word(block + 4 * t);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    const uint32_t *k = round_constants;
    EIGHT_ROUNDS(0, BLOCK_WORD);
    EIGHT_ROUNDS(8, BLOCK_WORD);
    for (k += 16; k < round_constants + 64; k += 16) {
        EIGHT_ROUNDS(0, NEXT_WORD);
        EIGHT_ROUNDS(8, NEXT_WORD);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
    state[5] += f;
    state[6] += g;
    state[7] += h;
}

void qd_sha256_init(qd_sha256 *hash)
{
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(hash, 0, sizeof(*hash));
    memcpy(hash->state, initial, sizeof(initial));
}

void qd_sha256_update(qd_sha256 *hash, const void *data, size_t bytes)
{
    const uint8_t *in = data;
    size_t held = (size_t)(hash->length_bytes % 64);
    hash->length_bytes += bytes;
    if (held > 0) {
        size_t wanted = 64 - held;
        if (bytes < wanted) {
            if (bytes > 0)
                memcpy(hash->block + held, in, bytes);
            return;
        }
        memcpy(hash->block + held, in, wanted);
        compress(hash->state, hash->block);
        in += wanted;
        bytes -= wanted;
    }
    for (; bytes >= 64; in += 64, bytes -= 64)
        compress(hash->state, in);
    if (bytes > 0)
        memcpy(hash->block, in, bytes);
}

void qd_sha256_finish(qd_sha256 *hash, char text[65])
{
    static const uint8_t padding[64] = {0x80};
    static const char digits[] = "0123456789abcdef";
    uint64_t length_bits = hash->length_bytes * 8;
    size_t held = (size_t)(hash->length_bytes % 64);
    qd_sha256_update(hash, padding, held < 56 ? 56 - held : 120 - held);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)(length_bits >> (56 - 8 * i));
    qd_sha256_update(hash, length, sizeof(length));
    for (int i = 0; i < 64; i++)
        text[i] = digits[(hash->state[i / 8] >> (28 - 4 * (i % 8))) & 15];
    text[64] = '\0';
}
