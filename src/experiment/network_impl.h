/* The inside of a qd_network. */
#ifndef QD_EXPERIMENT_NETWORK_IMPL_H
#define QD_EXPERIMENT_NETWORK_IMPL_H

#include "graph/plan.h"
#include "train/checkpoint.h"
#include <quantdrift/network.h>

struct qd_network {
    qd_context *ctx;
    const qd_model_info *model;
    qd_model_config config;
    qd_checkpoint_info info; /* of the file; zeroed for weights from elsewhere */
    qd_graph *graph;
    qd_state *state;
    qd_plan *plan;
    int64_t max_batch;
};

#endif
