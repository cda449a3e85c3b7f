/* What joined processes do in a run: the first leads, the others follow its orders. */
#ifndef QD_EXPERIMENT_DATA_PARALLEL_H
#define QD_EXPERIMENT_DATA_PARALLEL_H

#include "base/communicator.h"
#include "experiment/run.h"
#include <quantdrift/processes.h>

/* How they reach each other (processes_mpi.c, or processes_none.c in a build without MPI). */
const qd_communicator *qd_processes_communicator(const qd_processes *processes);

/*
 * What a run shares among its processes; NULL: it is alone. The functions below but the last do nothing then. Errors
 * of all: the communicator's.
 */

/* All are ready with `status`, and see the same data. Errors: the first one's that is not, QD_ERR_INPUT (other data).
 */
enum qd_status qd_processes_meet(const qd_run *run, enum qd_status status);

/* The leader: the others set up the model at this place of the list, or take down what they have. */
enum qd_status qd_order_set_up(const qd_model_run *m, int model_index);
void qd_order_tear_down(const qd_model_run *m);

/* The leader: the others go through an epoch, or a validation, with it; they get its network. */
enum qd_status qd_order_training(const qd_model_run *m, const qd_epoch_options *options);
enum qd_status qd_order_validation(const qd_model_run *m);

/* The leader: the run is over. */
void qd_order_end(const qd_run *run);

/* The others: does as they are told until the run is over. Errors: the communicator's, when the leader is gone. */
enum qd_status qd_run_follow(qd_run *run);

/* Images of this process's part of a full batch, the largest of all processes' where it is not known which. */
int64_t qd_run_batch_part(const qd_run *run);

#endif
