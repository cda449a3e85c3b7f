/*
 * Pillow's antialiased bilinear resize of 8-bit RGB, bit for bit.
 * Source: Pillow 9.4, src/libImaging/Resample.c.
 */
#ifndef QD_DATASET_RESIZE_H
#define QD_DATASET_RESIZE_H

#include <quantdrift/dataset.h>

/* Pixels to read: an image or a rectangle of one. Borrowed. */
typedef struct qd_pixel_view {
    const uint8_t *rgb;  /* first pixel of the first row */
    size_t stride_bytes; /* from row to row */
    int32_t width, height;
} qd_pixel_view;

/* A rectangle of an image; it must lie inside. */
qd_pixel_view qd_pixel_view_of(const qd_image *image, int32_t left, int32_t top, int32_t width, int32_t height);

/* What part of the resized image is wanted: all of width x height, or the window of it that a crop would keep. */
typedef struct qd_resize_target {
    int32_t width, height; /* of the whole resized image */
    int32_t window_left, window_top, window_width, window_height;
} qd_resize_target;

/* Memory that resizes reuse; one a thread. Zeroed to begin with, grows as needed. */
typedef struct qd_resize_scratch {
    void *block;
    size_t block_bytes;
} qd_resize_scratch;

void qd_resize_scratch_free(qd_resize_scratch *scratch);

/*
 * Resizes `in` to target->width x target->height and writes the window to out: uint8
 * [window_height][window_width][3]. Each output pixel depends on the input only, so that a window equals the same
 * part of the whole. Errors: QD_ERR_MEMORY. Thread-safe with a scratch a thread.
 */
enum qd_status qd_resize_window(qd_resize_scratch *scratch, const qd_pixel_view *in, const qd_resize_target *target,
                                uint8_t *out);

#endif
