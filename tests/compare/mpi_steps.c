/*
 * Ten steps of a training in double by the MPI processes this was started as, with BatchNorm's statistics over the
 * whole batch, against the same steps by one process. Usage: mpirun -np N mpi_steps TRAIN_FOLDER MODEL BATCH. The
 * first process prints the largest differences; exit code 1 where one exceeds 1e-8.
 */
#include "experiment/data_parallel.h"
#include "support/shared_training.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* What the project promises of ten steps in double. */
#define BOUND 1e-8

static int compare(const shared_outcome *alone, const shared_outcome *shared)
{
    double loss = 0.0;
    for (int i = 0; i < SHARED_TRAINING_STEPS; i++)
        loss = fmax(loss, fabs(alone->losses[i] - shared->losses[i]) / fabs(alone->losses[i]));
    const double params = shared_difference(alone->params, shared->params, QD_F64, alone->param_count);
    const double buffers = shared_difference(alone->buffers, shared->buffers, QD_F64, alone->buffer_count);
    printf("largest differences: loss %.1e (relative), parameters %.1e, running statistics %.1e\n", loss, params,
           buffers);
    return loss < BOUND && params < BOUND && buffers < BOUND ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const volatile int never = 0;
    qd_context *ctx = NULL;
    qd_processes *processes = NULL;
    shared_outcome alone = {0}, shared = {0};
    int code = 1;
    if (argc != 4 || qd_context_create(NULL, &ctx) != QD_OK)
        return 2;
    const shared_training training = {.images = argv[1],
                                      .model = argv[2],
                                      .batch_size = strtoll(argv[3], NULL, 10),
                                      .dtype = QD_F64,
                                      .sync_batchnorm = true};
    enum qd_status status = qd_processes_join(ctx, &never, &processes);
    if (status == QD_OK)
        status = shared_training_run(ctx, &training, qd_processes_communicator(processes), &shared);
    const bool leads = qd_processes_rank(processes) == 0;
    if (status == QD_OK && leads)
        status = shared_training_run(ctx, &training, NULL, &alone);
    if (status != QD_OK)
        fprintf(stderr, "mpi_steps: %s\n", qd_context_error(ctx));
    else
        code = leads ? compare(&alone, &shared) : 0;
    qd_processes_leave(processes);
    shared_outcome_free(&alone);
    shared_outcome_free(&shared);
    qd_context_destroy(ctx);
    return code;
}
