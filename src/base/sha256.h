/* SHA-256 (FIPS 180-4), for fingerprints and file checks. */
#ifndef QD_BASE_SHA256_H
#define QD_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct qd_sha256 {
    uint32_t state[8];
    uint64_t length_bytes;
    uint8_t block[64];
} qd_sha256;

void qd_sha256_init(qd_sha256 *hash);
void qd_sha256_update(qd_sha256 *hash, const void *data, size_t bytes);
/* Hex digits and a NUL. */
void qd_sha256_finish(qd_sha256 *hash, char text[65]);

#endif
