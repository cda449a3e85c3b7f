/* The kernel table: function pointers filled by instruction set, each with the set's name. */
#ifndef QD_KERNELS_KERNELS_H
#define QD_KERNELS_KERNELS_H

#include "kernels/panels.h"

#include <quantdrift/context.h>
#include <quantdrift/tensor.h>

/* Elementwise functions a network may apply after a convolution or BatchNorm. */
enum qd_activation {
    QD_ACTIVATION_NONE = 0,
    QD_ACTIVATION_RELU,
    QD_ACTIVATION_RELU6,
    QD_ACTIVATION_SILU,
    QD_ACTIVATION_HARDSWISH,
    QD_ACTIVATION_SIGMOID
};

/* Geometry of a convolution or pooling window over NHWC images. */
typedef struct qd_conv_shape {
    int64_t n, ih, iw, ic;
    int64_t oh, ow, oc;
    int64_t kh, kw;
    int64_t stride, pad;
    int64_t groups; /* ic and oc are multiples; depthwise: groups == ic == oc */
} qd_conv_shape;

typedef struct qd_gemm_args {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    const void *a;
    int64_t lda;
    const void *b;
    int64_t ldb;
    double beta; /* 0: C is overwritten and may be uninitialised */
    void *c;
    int64_t ldc;
} qd_gemm_args;

/* A product whose left-hand rows are given by their addresses: a convolution names the rows its window sees. */
typedef struct qd_tile_rows_args {
    int64_t rows, columns;
    int64_t taps, depth;              /* left-hand rows an output row, values of each */
    const void *const *x;             /* [taps][rows] */
    const void *w;                    /* packed [panel][taps][depth][width] */
    int64_t first_panel, panel_count; /* columns to compute */
    bool accumulate;
    void *const *y; /* [rows]: where column 0 is */
    const void
        *next_w; /* weights that a call after this one reads first: fetched meanwhile; NULL: nothing is fetched */
} qd_tile_rows_args;

typedef struct qd_tile_outer_args {
    int64_t rows;           /* summed over */
    int64_t lines, columns; /* of c */
    const void *a;          /* [rows][lines], rows lda values apart */
    int64_t lda;
    const void *const *b; /* [rows]: addresses of rows of `columns` values */
    bool accumulate;
    void *c; /* lines ldc values apart */
    int64_t ldc;
} qd_tile_outer_args;

/* Winograd tiles (winograd.h) whose pixels are given by their addresses: planes are written ... */
typedef struct qd_winograd_planes_args {
    int64_t tiles, channels;
    const void *const *pixels; /* [36 or 16][tiles]: channel 0; line by line of the tile */
    void *planes;              /* [36][tiles][channels] */
    int64_t plane, line;       /* values from a plane to the next, from a tile to the next */
} qd_winograd_planes_args;

/* ... and read. */
typedef struct qd_winograd_pixels_args {
    int64_t tiles, channels;
    const void *planes;
    int64_t plane, line;
    void *const *pixels; /* [16][tiles] */
    bool accumulate;     /* pixels += */
} qd_winograd_pixels_args;

/* Results of a convolution and what follows it: y = activation(y + bias[c] + residual). */
typedef struct qd_finish_rows_args {
    int64_t rows, columns, stride; /* from a row of y and of residual to the next */
    void *y;
    const void *bias;     /* [columns] */
    const void *residual; /* NULL: none */
    enum qd_activation activation;
} qd_finish_rows_args;

/* What BatchNorm's backward pass knows of its forward pass; all arrays have `channels` values. */
typedef struct qd_bn_args {
    int64_t channels;
    const void *mean, *invstd; /* statistics used in the forward pass */
    const void *scale, *shift; /* gamma·invstd and beta - mean·gamma·invstd */
    enum qd_activation activation;
} qd_bn_args;

typedef struct qd_sgd_args {
    double lr, momentum, weight_decay;
    bool first_step; /* the momentum buffer is still empty: PyTorch starts it with the gradient itself */
} qd_sgd_args;

#include "kernels/kernel_list.h"

typedef struct qd_kernels {
    qd_panels panels; /* of the matrices that tile_rows reads */
    bool own_tiles;   /* the tile kernels are the instruction set's own: faster than OpenBLAS on columns */
#define QD_KERNEL_FIELD(name, parameters)                                                                            \
    void(*name) parameters;                                                                                          \
    const char *name##_isa;
    QD_KERNEL_LIST(QD_KERNEL_FIELD)
#undef QD_KERNEL_FIELD
} qd_kernels;

/* Whether float32 has kernels of its own for a set: the others take those of the nearest set below. */
static inline bool qd_kernels_know_isa(enum qd_isa isa)
{
    return isa == QD_ISA_REF || isa == QD_ISA_AVX2 || isa == QD_ISA_AVX512;
}

/*
 * Fills `out` for `dtype` (QD_F32 or QD_F64): reference first, then each instruction set up to `isa`
 * replaces what it does better. float64 exists for verification and has reference kernels only.
 */
void qd_kernels_fill(enum qd_isa isa, enum qd_dtype dtype, qd_kernels *out);

#endif
