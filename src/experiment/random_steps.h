/* Training steps and forward passes of a network on random images: what benchmark and profile repeat. */
#ifndef QD_EXPERIMENT_RANDOM_STEPS_H
#define QD_EXPERIMENT_RANDOM_STEPS_H

#include "graph/plan.h"
#include "train/optimizer.h"

#include <quantdrift/benchmark.h>

typedef struct qd_random_steps {
    qd_context *ctx;
    qd_benchmark_config config;
    qd_graph *graph;
    qd_state *state;
    qd_plan *plan;
    qd_sgd *sgd; /* training only */
    qd_rng rng;
    float *images, *dlogits;
    int64_t *labels;
    int64_t done; /* steps */
} qd_random_steps;

/* Freshly initialised network and images from seed 42. Errors: as qd_benchmark_run(). */
enum qd_status qd_random_steps_create(qd_context *ctx, const qd_benchmark_config *config, qd_random_steps *out);
void qd_random_steps_destroy(qd_random_steps *steps);

/* One step; the first one touches all memory. Errors: QD_ERR_SHAPE. */
enum qd_status qd_random_steps_run(qd_random_steps *steps);

/* Seconds of a clock that only goes forward. */
double qd_random_steps_clock(void);

#endif
