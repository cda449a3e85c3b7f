/* Arenas: one zeroed, aligned block with one owner. */
#include "base/arena.h"
#include "base/error.h"
#include <stdlib.h>
#include <sys/mman.h>

/* Pointers into anything larger could not be subtracted. */
#define LARGEST_BLOCK ((size_t)PTRDIFF_MAX)

size_t qd_align_bytes(size_t bytes)
{
    return (bytes + (QD_ALIGNMENT - 1)) & ~(size_t)(QD_ALIGNMENT - 1);
}

/* Asks for huge pages inside a large block: a training step walks through gigabytes, and with pages of 4 KiB it waits
 * for their addresses as well (EfficientNet-B0's step takes 4 % longer). Only a wish: the answer does not matter. */
static void prefer_huge_pages(unsigned char *block, size_t bytes)
{
    const size_t huge = (size_t)2 << 20; /* x86-64 and aarch64 with base pages of 4 KiB */
    const size_t skip = (huge - (uintptr_t)block % huge) % huge;
    if (bytes >= skip + huge)
        (void)madvise(block + skip, (bytes - skip) & ~(huge - 1), MADV_HUGEPAGE);
}

enum qd_status qd_arena_create(qd_context *ctx, size_t size_bytes, const char *purpose, qd_arena *out)
{
    /* calloc() and not aligned_alloc() with memset(): large blocks come from the kernel already zeroed, and pages
     * nobody touches cost no memory. The byte before the block says how far behind calloc()'s pointer it begins. */
    unsigned char *base = size_bytes <= LARGEST_BLOCK - QD_ALIGNMENT ? calloc(1, size_bytes + QD_ALIGNMENT) : NULL;
    if (!base)
        return qd_fail(ctx, QD_ERR_MEMORY,
                       "allocating %zu bytes for %s: memory is short; use a smaller batch or image, or close other "
                       "programs",
                       size_bytes, purpose);
    prefer_huge_pages(base, size_bytes);
    unsigned shift = QD_ALIGNMENT - (unsigned)((uintptr_t)base % QD_ALIGNMENT); /* 1 to 64 */
    out->data = base + shift;
    out->data[-1] = (unsigned char)shift;
    out->size_bytes = size_bytes;
    out->used_bytes = 0;
    return QD_OK;
}

void qd_arena_destroy(qd_arena *arena)
{
    if (!arena)
        return;
    if (arena->data)
        free(arena->data - arena->data[-1]);
    *arena = (qd_arena){0};
}

void *qd_arena_take(qd_arena *arena, size_t bytes)
{
    size_t start = qd_align_bytes(arena->used_bytes);
    if (!arena->data || start < arena->used_bytes || start > arena->size_bytes || bytes > arena->size_bytes - start)
        return NULL;
    arena->used_bytes = start + bytes;
    return arena->data + start;
}

void *qd_calloc(size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > LARGEST_BLOCK)
        return NULL;
    return calloc(1, bytes > 0 ? bytes : 1); /* calloc() may return NULL for no bytes */
}
