/* Decoded images kept in memory: one place an image, filled when it is first read, never changed afterwards. */
#ifndef QD_DATASET_IMAGE_CACHE_H
#define QD_DATASET_IMAGE_CACHE_H

#include <pthread.h>
#include <quantdrift/dataset.h>

typedef struct qd_image_cache {
    qd_image *images; /* [count]; rgb is NULL where nothing is kept yet */
    int64_t count;
    pthread_mutex_t mutex; /* guards the structs; pixels are only written before they are put here */
} qd_image_cache;

/* Errors: QD_ERR_MEMORY. */
enum qd_status qd_image_cache_create(qd_context *ctx, int64_t count, qd_image_cache **out);
void qd_image_cache_destroy(qd_image_cache *cache);

/* The image at `index`, its pixels borrowed; false when it is not there. Thread-safe. */
bool qd_image_cache_get(qd_image_cache *cache, int64_t index, qd_image *out);

/* Gives `image` to the cache; *image is then what the cache holds, borrowed. Thread-safe. */
void qd_image_cache_put(qd_image_cache *cache, int64_t index, qd_image *image);

#endif
