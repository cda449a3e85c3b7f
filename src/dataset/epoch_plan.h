/*
 * What an epoch draws, without decoding anything: order, crops and flips follow from the generator and the image
 * sizes alone, so that images can be decoded ahead and an interrupted epoch replayed.
 */
#ifndef QD_DATASET_EPOCH_PLAN_H
#define QD_DATASET_EPOCH_PLAN_H

#include "base/communicator.h"
#include "dataset/augment.h"
#include <quantdrift/dataset.h>

typedef struct qd_sample_plan {
    int64_t index; /* into the dataset */
    qd_crop crop;  /* training only */
} qd_sample_plan;

typedef struct qd_epoch_plan {
    qd_loader_config config;
    int64_t *order; /* [images]; training: the epoch's permutation; validation: NULL, as listed */
    int64_t image_count, batch_count;
    int64_t next_batch; /* the one planned next */
    qd_rng rng;         /* as that batch's first image finds it */
} qd_epoch_plan;

/* Batches of an epoch with this configuration. */
int64_t qd_epoch_plan_batch_count(const qd_loader_config *config);

/* Images of the largest batch, of this configuration's part of it. */
int64_t qd_epoch_plan_batch_size(const qd_loader_config *config);

/* Makes a plan without an epoch. Errors: QD_ERR_MEMORY. */
enum qd_status qd_epoch_plan_create(qd_context *ctx, const qd_loader_config *config, qd_epoch_plan *out);
void qd_epoch_plan_destroy(qd_epoch_plan *plan);

/* Draws the iterator's base seed and, in training, the sampler's seed and permutation; replays `first_batch` batches.
 */
void qd_epoch_plan_start(qd_epoch_plan *plan, const qd_rng *rng, int64_t first_batch);

/*
 * Draws the next batch and returns its size, 0 after the last. *part: what is this configuration's part of it,
 * planned into samples[at least qd_epoch_plan_batch_size()]. *after: the generator once the images are drawn, as the
 * batch's forward pass finds it. The pointers may be NULL.
 */
int64_t qd_epoch_plan_next(qd_epoch_plan *plan, qd_sample_plan *samples, qd_part *part, qd_rng *after);

#endif
