/* Chosen images of a data set, decoded as evaluation sees them, some at a time. */
#ifndef QD_EXPERIMENT_IMAGE_SERIES_H
#define QD_EXPERIMENT_IMAGE_SERIES_H

#include <quantdrift/dataset.h>

typedef struct qd_image_series {
    qd_context *ctx;
    const qd_dataset *dataset; /* borrowed */
    int64_t *indices;          /* owned */
    int64_t count;
    int32_t size; /* side, pixels */
} qd_image_series;

/* At most `wanted` images: drawn with `seed`, as calibration draws them, or from the classes in turn. Freed with
 * qd_image_series_free(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_image_series_draw(qd_context *ctx, const qd_dataset *dataset, uint64_t seed, int64_t wanted,
                                    int64_t size, qd_image_series *out);
enum qd_status qd_image_series_balance(qd_context *ctx, const qd_dataset *dataset, int64_t wanted, int64_t size,
                                       qd_image_series *out);
void qd_image_series_free(qd_image_series *series);

/* Images first … first + n - 1 as float32 [n][size][size][3], and their labels (may be NULL). Errors: QD_ERR_INPUT
 * (an unreadable image, named), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_image_series_load(const qd_image_series *series, int64_t first, int64_t n, float *images,
                                    int64_t *labels);

#endif
