/* Where everything a plan needs lies in one arena: blocks whose lives overlap in time never overlap in memory. */
#ifndef QD_GRAPH_PLAN_MEMORY_H
#define QD_GRAPH_PLAN_MEMORY_H

#include <quantdrift/context.h>

typedef struct qd_block_life {
    size_t bytes;
    int first, last; /* steps of the timeline, both included */
    size_t offset;   /* the answer; a multiple of the arena's alignment */
} qd_block_life;

/*
 * Chooses all offsets and returns the arena's size: blocks by falling size, each into the smallest gap that is free
 * during its whole life ("greedy by size", Pisarchyk & Lee 2020, arXiv 2001.03288, section 5.2). Deterministic.
 * Errors: QD_ERR_MEMORY.
 */
enum qd_status qd_plan_memory_place(qd_context *ctx, qd_block_life *blocks, int count, size_t *arena_bytes);

#endif
