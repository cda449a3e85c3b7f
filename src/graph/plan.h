/*
 * A plan executes a graph: which nodes run fused, which values live when, one planned arena. Several plans may
 * share one state. A plan is used by one thread at a time; its layers use the context's threads.
 */
#ifndef QD_GRAPH_PLAN_H
#define QD_GRAPH_PLAN_H

#include "graph/graph.h"
#include <quantdrift/random.h>

typedef struct qd_plan qd_plan;

typedef struct qd_plan_config {
    int64_t max_batch;
    bool training; /* batch statistics and masks; running statistics updated */
    bool backward; /* keep what the backward pass needs; the state must have gradients */
    bool fuse;     /* BatchNorm with the activation that follows it, both left to their readers where these can;
                    * false: every value exists, and is computed with the fewest rounding errors */
    const qd_communicator
        *statistics_over; /* whose batches' statistics a training plan takes together; NULL: its own */
} qd_plan_config;

/* The three plans of the house. */
#define QD_PLAN_TRAINING(batch)                                                                                      \
    ((qd_plan_config){.max_batch = (batch), .training = true, .backward = true, .fuse = true})
#define QD_PLAN_OBSERVING(batch) ((qd_plan_config){.max_batch = (batch)})
#define QD_PLAN_INFERENCE(batch) ((qd_plan_config){.max_batch = (batch), .fuse = true})

/* Called after each node has run with a view of its output (valid during the call only); `node` indexes
 * graph->nodes (a fused BatchNorm reports once, as the activation's node; one left to its readers does not report). A
 * status other than QD_OK ends the pass.
 */
typedef enum qd_status qd_plan_observer(void *user, int node, const qd_tensor *value);

/* Bytes the plan will allocate, without allocating. Errors: as qd_plan_create(). */
enum qd_status qd_plan_bytes(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype,
                             const qd_plan_config *config, size_t *bytes);

/* Errors: QD_ERR_MEMORY; QD_ERR_USAGE (max_batch < 1, backward without gradients in the state). */
enum qd_status qd_plan_create(qd_context *ctx, const qd_graph *graph, qd_state *state, const qd_plan_config *config,
                              qd_plan **out);
void qd_plan_destroy(qd_plan *plan);

/*
 * Runs 1 to max_batch samples, or, in a plan with a backward pass, none where processes share a batch that is too
 * small: then only what they do together is done. x: NHWC of the state's dtype, unchanged until the backward pass is
 * over. draws: needed in training when the graph has random layers. observer may be NULL. logits (may be NULL): view
 * [n][classes] into the plan, valid until the next pass. Errors: QD_ERR_USAGE (n, missing draws), QD_ERR_SHAPE (a
 * layer, named), the observer's.
 */
enum qd_status qd_plan_forward(qd_plan *plan, const void *x, int64_t n, const qd_draws *draws,
                               qd_plan_observer *observer, void *user, qd_tensor *logits);

/* Backward pass of the last forward pass, once; fills the state's gradients (overwriting). dlogits [n][classes].
 * Errors: QD_ERR_USAGE (no forward pass before it, or a plan without backward). Of 0 samples the gradients are zero.
 */
enum qd_status qd_plan_backward(qd_plan *plan, const void *dlogits);

/* Called in backward passes when the gradients of a node's parameters are there; a status other than QD_OK ends the
 * pass. NULL: no more. */
typedef enum qd_status qd_plan_gradients_fn(void *user, int node);
void qd_plan_on_gradients(qd_plan *plan, qd_plan_gradients_fn *on_gradients, void *user);

/* What a traced layer call was for. Layers with two separable gradients are called once for each. */
enum qd_plan_pass {
    QD_PLAN_PASS_FORWARD,
    QD_PLAN_PASS_BACKWARD,
    QD_PLAN_PASS_BACKWARD_DATA,
    QD_PLAN_PASS_BACKWARD_WEIGHTS
};

/* Told around each layer call of a traced plan, `begin` true before and false after it; `node` as for observers. */
typedef void qd_plan_tracer(void *user, int node, enum qd_plan_pass pass, const qd_layer_call *call, bool begin);

/* Traces every later pass; NULL: no more. */
void qd_plan_set_tracer(qd_plan *plan, qd_plan_tracer *tracer, void *user);

/* A qd_draws that takes every decision from `rng` in order. */
qd_draws qd_draws_from_rng(qd_rng *rng);

/* Samples first, first + 1, … of a batch of whole_n, of which one process computes n. */
typedef struct qd_draws_share {
    qd_rng *rng;
    int64_t first, n, whole_n;
} qd_draws_share;

/* A qd_draws that takes the decisions of these samples as the whole batch's pass would, and skips the others'. */
qd_draws qd_draws_from_share(qd_draws_share *share);

/* 32-bit words of the generator that one sample's training forward pass consumes. */
int64_t qd_graph_draw_words_per_sample(const qd_graph *graph);

#endif
