/* Ten steps of a training, by one process or by several that share each batch, and what each of them found: for tests
 * with threads in place of processes, and for the comparison over MPI. */
#ifndef TESTS_SUPPORT_SHARED_TRAINING_H
#define TESTS_SUPPORT_SHARED_TRAINING_H

#include "base/communicator.h"
#include <quantdrift/random.h>
#include <quantdrift/tensor.h>

enum { SHARED_TRAINING_STEPS = 10 };

typedef struct shared_training {
    const char *images; /* a folder with one subfolder for each of two classes or more */
    const char *model;
    int64_t batch_size;
    enum qd_dtype dtype;
    bool sync_batchnorm;
    bool fails; /* this process reports an error in its third step */
} shared_training;

typedef struct shared_outcome {
    double losses[SHARED_TRAINING_STEPS];
    void *params, *buffers; /* of the network's dtype */
    int64_t param_count, buffer_count;
    qd_rng consumed;
} shared_outcome;

/* Trains at 64 px: there a channel of the last stage has four values an image. With a handful in all its variance
 * would be a matter of chance, and training would multiply rounding errors a thousandfold a step. `processes` NULL:
 * alone. The outcome is freed with shared_outcome_free() in any case. */
enum qd_status shared_training_run(qd_context *ctx, const shared_training *training, const qd_communicator *processes,
                                   shared_outcome *out);
void shared_outcome_free(shared_outcome *outcome);

/* Largest absolute difference of two blocks; NaN counts as infinite. */
double shared_difference(const void *a, const void *b, enum qd_dtype dtype, int64_t count);

#endif
