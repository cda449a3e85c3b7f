/* Loading several images at once, where all of them are wanted or none. */
#ifndef QD_DATASET_PARALLEL_LOAD_H
#define QD_DATASET_PARALLEL_LOAD_H

#include "dataset/sample_load.h"

/* Loads item `item` with the calling thread's worker; a failure leaves its sentence in `fault`. */
typedef enum qd_status qd_load_item(void *user, qd_sample_worker *worker, int64_t item, qd_image_fault *fault);

/*
 * Calls load(user, …) for items 0 … n - 1 on `threads` threads, each with a worker for images of `image_size` pixels.
 * Errors: QD_ERR_USAGE (image_size, threads); QD_ERR_MEMORY; that of the first item, in order, that failed.
 */
enum qd_status qd_load_parallel(qd_context *ctx, int64_t n, int32_t image_size, int threads, qd_load_item *load,
                                void *user);

#endif
