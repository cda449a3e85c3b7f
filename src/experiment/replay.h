/* A run's generator without the run: nothing that is drawn depends on a weight or a pixel. */
#ifndef QD_EXPERIMENT_REPLAY_H
#define QD_EXPERIMENT_REPLAY_H

#include "experiment/run.h"

/*
 * The generator as training epoch `epoch` (1 for the first) of the run's model `model_index` finds it: construction
 * of all models up to it, the epochs of those before it, its own epochs before this one, and the validation passes
 * between. `run` has its configuration, training split and class count. Errors: QD_ERR_USAGE (no such epoch),
 * QD_ERR_MEMORY.
 */
enum qd_status qd_replay_epoch_start(const qd_run *run, int model_index, int64_t epoch, qd_rng *out);

#endif
