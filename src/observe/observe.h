/* What a module's output looks like: statistics of values, as a PyTorch forward hook would compute them. */
#ifndef QD_OBSERVE_OBSERVE_H
#define QD_OBSERVE_OBSERVE_H

#include "graph/plan.h"

typedef struct qd_stats {
    int64_t count;
    double min, max, mean;
    double std; /* unbiased; 0 for one value */
    int64_t zero_count;
    int64_t nonfinite_count; /* counted, and left out of the rest */
} qd_stats;

/* Over all elements of a float32 or float64 tensor whose memory is dense. Accumulated in double, in an order
 * that does not depend on `threads`. */
void qd_stats_compute(const qd_tensor *tensor, int threads, qd_stats *out);

typedef struct qd_module_stats {
    int module; /* into graph->modules */
    int rank;
    int64_t shape[QD_MAX_RANK];
    qd_stats stats;
    const qd_stats *channels; /* [shape[1]] of outputs of rank 4, owned by the observation; NULL unless asked for */
} qd_module_stats;

/* Every called module, the root (path "") included, in the order of a hook dictionary: the place of the first
 * completed call, the values of the last. Freed with qd_observation_free(). */
typedef struct qd_observation {
    qd_module_stats *modules;
    int count;
    qd_stats *channels; /* of all modules together; NULL unless asked for */
} qd_observation;

/* One forward pass of an unfused plan over x [n] with statistics of every module. */
enum qd_status qd_observe(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                          const qd_draws *draws, qd_observation *out);

/* The same with the statistics of every channel, of a float32 plan in eval mode. */
enum qd_status qd_observe_channels(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                                   qd_observation *out);
void qd_observation_free(qd_observation *observation);

/* max(|min|, |max|) / (std + 1e-8): the post's outlier ratio. */
double qd_stats_outlier_ratio(const qd_stats *stats);

#endif
