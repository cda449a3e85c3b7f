/* A grid's networks that are trained on before they are quantized. */
#ifndef QD_EXPERIMENT_GRID_TRAINING_H
#define QD_EXPERIMENT_GRID_TRAINING_H

#include "experiment/config.h"
#include "quantize/quantize.h"
#include <quantdrift/grid.h>

/* What is trained on, and how. */
typedef struct qd_grid_training {
    const qd_grid_config *grid;
    const qd_network *network; /* of `checkpoint` */
    const char *checkpoint, *checkpoint_sha256;
    const qd_config *settings, *recipe; /* numbers of images; what decides the rest, num_epochs above 0 among it */
    int64_t max_batch;
} qd_grid_training;

/*
 * Trains the network for INT8 in a run of its own, or finds it trained, and gives the integer network of the
 * checkpoint and ranges that the run left. Errors: those of qd_experiment_run() and qd_network_load().
 */
enum qd_status qd_grid_train(qd_context *ctx, const qd_grid_training *training, qd_qgraph **out);

#endif
