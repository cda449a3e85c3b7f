/*
 * Images cut into Winograd's tiles (kernels/winograd.h): which pixels a tile reads and writes, and the transforms of
 * runs of tiles. Tiles follow each other line by line, image after image; those at the lower and right edge reach
 * over it, where pixels read as zeros and results are thrown away. 3x3, stride 1, padding 1: images keep their size.
 * float32.
 */
#ifndef QD_NN_WINOGRAD_TILES_H
#define QD_NN_WINOGRAD_TILES_H

#include "nn/conv_pack.h"

#include "kernels/winograd.h"

typedef struct qd_winograd_grid {
    int64_t n, h, w;          /* images */
    int64_t tiles_h, tiles_w; /* of an image */
    int64_t tiles;            /* of all images */
} qd_winograd_grid;

qd_winograd_grid qd_winograd_grid_of(const qd_conv_shape *s);

/* Transformed tiles, [36][tiles][channels] with gaps. */
typedef struct qd_winograd_planes {
    float *data;
    int64_t plane, line; /* values from a plane to the next, from a tile to the next */
} qd_winograd_planes;

/* Their layout; data is NULL. An odd number of cache lines lies from one tile or plane to the next, because powers of
 * two would put all planes of a tile into the same few sets of a cache. */
qd_winograd_planes qd_winograd_planes_of(int64_t tiles, int64_t channels);

size_t qd_winograd_planes_bytes(const qd_winograd_planes *planes);

/* The same planes from tile `first` on. */
static inline qd_winograd_planes qd_winograd_planes_from(qd_winograd_planes planes, int64_t first)
{
    planes.data += first * planes.line;
    return planes;
}

/* The same planes in the calling thread's own copy of the memory: one of `bytes` for each. */
qd_winograd_planes qd_winograd_planes_own(qd_winograd_planes planes, size_t bytes);

/* What a transform needs beside its images: memory of the calling thread for addresses, and a pixel that stands for
 * those outside. */
typedef struct qd_winograd_scratch {
    const void **addresses;
    float *outside;
} qd_winograd_scratch;

/* Addresses for transforms, and for `rows` rows of a tile kernel's both sides. */
size_t qd_winograd_address_bytes(int64_t rows);

/* Channels first_channel … of an image with `pixel` values a pixel. */
typedef struct qd_winograd_channels {
    int64_t pixel, first_channel, count;
} qd_winograd_channels;

/* planes = Bt·x·B for tiles first … first + count - 1; scratch.outside: `pixel` zeros. */
void qd_winograd_transform_input(const qd_layer_call *call, const qd_winograd_grid *grid, const float *x,
                                 qd_winograd_channels channels, int64_t first, int64_t count,
                                 qd_winograd_scratch scratch, qd_winograd_planes planes);

/* planes = A·dy·At, likewise. */
void qd_winograd_transform_gradient(const qd_layer_call *call, const qd_winograd_grid *grid, const float *dy,
                                    qd_winograd_channels channels, int64_t first, int64_t count,
                                    qd_winograd_scratch scratch, qd_winograd_planes planes);

/* y = (or +=) At·planes·A; scratch.outside: `count` values to overwrite. */
void qd_winograd_transform_output(const qd_layer_call *call, const qd_winograd_grid *grid, qd_winograd_planes planes,
                                  int64_t first, int64_t count, qd_winograd_scratch scratch, bool accumulate,
                                  qd_winograd_channels channels, float *y);

#endif
