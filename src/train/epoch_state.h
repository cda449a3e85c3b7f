/* Where an epoch stands: enough to go on from any step. */
#ifndef QD_TRAIN_EPOCH_STATE_H
#define QD_TRAIN_EPOCH_STATE_H

#include <quantdrift/random.h>

/* Sums over the images of an epoch or a validation pass. */
typedef struct qd_totals {
    int64_t count, correct;
    double loss_sum; /* Σ over images, so loss_sum / count is the mean that the plain script prints */
} qd_totals;

typedef struct qd_epoch_state {
    qd_rng start;    /* the generator as the epoch found it */
    qd_rng consumed; /* as the last step left it */
    int64_t batches; /* steps of this epoch already taken; 0: it has not begun */
    qd_totals totals;
} qd_epoch_state;

#endif
