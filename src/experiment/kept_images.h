/* Images that are looked at again and again: decoded once, kept as bytes, normalised whenever they are wanted. */
#ifndef QD_EXPERIMENT_KEPT_IMAGES_H
#define QD_EXPERIMENT_KEPT_IMAGES_H

#include "dataset/transform.h"
#include <quantdrift/dataset.h>

typedef struct qd_kept_images {
    const qd_dataset *dataset; /* borrowed */
    int64_t *indices;          /* [count], owned: which images of the data set */
    int64_t count;
    int64_t size;   /* side in pixels; 0: not loaded yet */
    uint8_t *bytes; /* [count][size][size][3], owned */
    qd_normalizer normalizer;
} qd_kept_images;

/* Loads the chosen images with the validation transform at a size, unless they are there at that size. Errors:
 * QD_ERR_INPUT, QD_ERR_IO, QD_ERR_MEMORY (with what it would take). */
enum qd_status qd_kept_images_load(qd_context *ctx, qd_kept_images *kept, int64_t size);
void qd_kept_images_free(qd_kept_images *kept);

/* Writes images first … first + n - 1, float32 [n][size][size][3]; `user` is the qd_kept_images. */
enum qd_status qd_kept_images_give(void *user, int64_t first, int64_t n, float *images);

#endif
