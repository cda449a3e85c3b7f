#include "graph/plan_memory.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdlib.h>

/* Largest first; equal ones by their place in the list, so that every qsort gives the same order. */
static int by_falling_size(const void *a, const void *b)
{
    const qd_block_life *x = *(qd_block_life *const *)a, *y = *(qd_block_life *const *)b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y;
}

static bool lives_overlap(const qd_block_life *a, const qd_block_life *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* Offset of the smallest gap that `block` fits into among `placed`, which are sorted by offset. */
static size_t best_fit(const qd_block_life *block, qd_block_life *const *placed, int placed_count)
{
    size_t bytes = qd_align_bytes(block->bytes);
    size_t best_offset = 0, best_gap = SIZE_MAX;
    size_t end = 0; /* of all neighbours in time seen so far */
    for (int i = 0; i < placed_count; i++) {
        if (!lives_overlap(block, placed[i]))
            continue;
        if (placed[i]->offset > end) {
            size_t gap = placed[i]->offset - end;
            if (gap >= bytes && gap < best_gap) {
                best_gap = gap;
                best_offset = end;
            }
        }
        size_t placed_end = placed[i]->offset + qd_align_bytes(placed[i]->bytes);
        if (placed_end > end)
            end = placed_end;
    }
    return best_gap < SIZE_MAX ? best_offset : end;
}

enum qd_status qd_plan_memory_place(qd_context *ctx, qd_block_life *blocks, int count, size_t *arena_bytes)
{
    /* One half holds the order of placing, the other what is placed, sorted by offset. */
    qd_block_life **order = qd_calloc(2 * (size_t)count, sizeof(qd_block_life *));
    if (!order)
        return qd_fail(ctx, QD_ERR_MEMORY, "plan: no memory to place %d blocks", count);
    qd_block_life **placed = order + count;
    for (int i = 0; i < count; i++)
        order[i] = &blocks[i];
    qsort(order, (size_t)count, sizeof(qd_block_life *), by_falling_size);

    size_t total = 0;
    for (int i = 0; i < count; i++) {
        qd_block_life *block = order[i];
        block->offset = best_fit(block, placed, i);
        size_t end = block->offset + qd_align_bytes(block->bytes);
        if (end > total)
            total = end;
        int at = i;
        for (; at > 0 && placed[at - 1]->offset > block->offset; at--)
            placed[at] = placed[at - 1];
        placed[at] = block;
    }
    free(order);
    *arena_bytes = total;
    return QD_OK;
}
