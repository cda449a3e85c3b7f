/*
 * One block of memory, aligned to 64 bytes so that vector loads never split a cache line. An arena has
 * one owner, is sized once and freed once; views into it own nothing.
 */
#ifndef QD_BASE_ARENA_H
#define QD_BASE_ARENA_H

#include <quantdrift/context.h>

#define QD_ALIGNMENT 64

typedef struct qd_arena {
    unsigned char *data;
    size_t size_bytes;
    size_t used_bytes;
} qd_arena;

/* Rounds up to the arena's alignment. */
size_t qd_align_bytes(size_t bytes);

/* Allocates `size_bytes` zeroed bytes; `purpose` names them in the error. Errors: QD_ERR_MEMORY. */
enum qd_status qd_arena_create(qd_context *ctx, size_t size_bytes, const char *purpose, qd_arena *out);

/* Frees the block and zeroes the struct; a zeroed struct is accepted. */
void qd_arena_destroy(qd_arena *arena);

/* Takes the next `bytes`, aligned; NULL when the arena is exhausted. */
void *qd_arena_take(qd_arena *arena, size_t bytes);

/* Checked allocation of count*size zeroed bytes with overflow check; NULL on failure and on count 0 a valid pointer.
 */
void *qd_calloc(size_t count, size_t size);

#endif
