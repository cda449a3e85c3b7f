/* One sample of a batch: read, check against the scan, transform, normalise. */
#ifndef QD_DATASET_SAMPLE_LOAD_H
#define QD_DATASET_SAMPLE_LOAD_H

#include "dataset/epoch_plan.h"
#include "dataset/image_cache.h"
#include "dataset/image_io.h"
#include "dataset/transform.h"

/* What a thread needs to load samples; one a thread. */
typedef struct qd_sample_worker {
    qd_resize_scratch scratch;
    uint8_t *bytes; /* [size][size][3] */
} qd_sample_worker;

/* Errors: QD_ERR_MEMORY. */
enum qd_status qd_sample_worker_create(qd_context *ctx, int32_t image_size, qd_sample_worker *out);
void qd_sample_worker_destroy(qd_sample_worker *worker);

typedef struct qd_sample_source {
    const qd_dataset *dataset;
    qd_image_cache *cache; /* NULL: none */
    int32_t image_size;
    bool training;
    qd_normalizer normalizer;
} qd_sample_source;

/*
 * Loads sample->index into images float32 [size][size][3] and bytes uint8 [size][size][3], each unless NULL.
 * Errors: QD_ERR_INPUT (an unreadable image, or one that changed since the scan), QD_ERR_IO, QD_ERR_MEMORY; the
 * sentence is left in `fault`. Thread-safe with a worker a thread.
 */
enum qd_status qd_sample_load(const qd_sample_source *source, qd_sample_worker *worker, const qd_sample_plan *sample,
                              float *images, uint8_t *bytes, qd_image_fault *fault);

#endif
