/*
 * What a plan does, in order, and when each piece of memory is in use: made from a graph and a plan's configuration,
 * without allocating any of that memory. Time: step s runs forward at s, backward at 2·step_count - 1 - s.
 */
#ifndef QD_GRAPH_SCHEDULE_H
#define QD_GRAPH_SCHEDULE_H

#include "graph/plan.h"
#include "graph/plan_memory.h"

/* One call of a layer. Block numbers index qd_schedule.blocks; -1: no memory needed. */
typedef struct qd_step {
    int node;          /* whose layer, parameters and inputs */
    int reported_node; /* whose value comes out: the activation's of a fused pair, else `node` */
    int output;        /* value */
    enum qd_activation fused;
    bool deferred;                  /* the output is never made: every reader makes it from this step's input */
    int deferred_by;                /* step whose deferred output is input 0; -1: none */
    bool accumulate[QD_MAX_INPUTS]; /* in backward: the input's gradient already holds another consumer's share */
    int saved, forward_workspace, backward_workspace;
} qd_step;

/* A value that is not kept for the backward pass but made again there, just before it is needed first. */
typedef struct qd_again {
    int step;   /* that makes it; -1: there is none */
    int before; /* the step whose backward pass needs it first */
    int value;
    int block, workspace;
} qd_again;

typedef struct qd_schedule {
    qd_step *steps; /* in forward order */
    int step_count;
    qd_block_life *blocks;
    int block_count;
    int *value_block; /* of each value of the graph; -1: the input, or a value that a fused step never makes */
    qd_again again;
    int *grad_block; /* -1: nobody needs it, or the caller gives it (the output's) */
    size_t arena_bytes;
} qd_schedule;

/* Fills *out; the caller frees it with qd_schedule_free(). Errors: QD_ERR_MEMORY, QD_ERR_USAGE (max_batch). */
enum qd_status qd_schedule_make(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype,
                                const qd_plan_config *config, qd_schedule *out);
/* Frees what a schedule holds; a zeroed one is accepted. */
void qd_schedule_free(qd_schedule *schedule);

#endif
