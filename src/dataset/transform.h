/* From a decoded image to the network's input: crop, resize, flip, bytes, floats. */
#ifndef QD_DATASET_TRANSFORM_H
#define QD_DATASET_TRANSFORM_H

#include "dataset/augment.h"
#include "dataset/resize.h"

/* Above any network of this library; a larger side is a typing mistake. */
#define QD_MAX_INPUT_SIZE 4096

/* The float of every byte in every channel: value/255, then (v - mean)/std, each step rounded to float32. */
typedef struct qd_normalizer {
    float value[3][256];
} qd_normalizer;

/* ImageNet's mean and std. */
void qd_normalizer_init(qd_normalizer *normalizer);

/* bytes: uint8 [pixels][3]; out: float32 [pixels][3]. */
void qd_normalize(const qd_normalizer *normalizer, const uint8_t *bytes, int64_t pixels, float *out);

/* Crop, resize to size x size, flip. out: uint8 [size][size][3]. Errors: QD_ERR_MEMORY. */
enum qd_status qd_transform_training(qd_resize_scratch *scratch, const qd_image *in, const qd_crop *crop,
                                     int32_t size, uint8_t *out);

/* Shorter side to round(size·256/224), centre crop to size. out: uint8 [size][size][3]. Errors: QD_ERR_MEMORY,
 * QD_ERR_SHAPE (so narrow an image that its resized length has no 32-bit number). */
enum qd_status qd_transform_validation(qd_resize_scratch *scratch, const qd_image *in, int32_t size, uint8_t *out);

/* The whole image to size x size, whatever its proportions: torchvision's Resize((size, size)). out: uint8
 * [size][size][3]. Errors: QD_ERR_MEMORY. */
enum qd_status qd_transform_squash(qd_resize_scratch *scratch, const qd_image *in, int32_t size, uint8_t *out);

#endif
