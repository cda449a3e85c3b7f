/*
 * Convolutions whose weights stand still, float32: laid out for the kernels once and run many times, and what follows
 * a convolution is done on results that are still in cache:
 *     y = activation(bias + w * (x·gate) + residual)        pooled = mean of y over its positions
 * Work is cut by the problem alone, so any thread count gives the same bits.
 */
#ifndef QD_NN_CONV_FIXED_H
#define QD_NN_CONV_FIXED_H

#include "nn/conv_passes.h"

typedef struct qd_fixed_conv {
    qd_conv_shape shape; /* n: samples of a run at most */
    bool exact;          /* the way with the fewest rounding errors, however slow (conv_dense.c) */
    const float *weight; /* as qd_layer_conv2d's parameter lies; borrowed */
    const float *bias;   /* [oc]; borrowed */
    const float *packed; /* what qd_fixed_conv_pack() made; NULL where that takes no bytes */
} qd_fixed_conv;

typedef struct qd_fixed_conv_run {
    const qd_kernels *k;
    int threads;
    int64_t n;             /* samples, at most the shape's */
    const float *x;        /* [n][ih][iw][ic] */
    const float *gate;     /* [n][ic], for what qd_fixed_conv_takes_gate() tells; NULL: none */
    const float *residual; /* [n][oh][ow][oc]; NULL: none */
    enum qd_activation activation;
    float *y;      /* [n][oh][ow][oc] */
    float *pooled; /* [n][oc], for depthwise convolutions; NULL: not wanted */
    void *workspace;
} qd_fixed_conv_run;

/* Convolutions that read each value of x once a product: 1x1 without stride, padding and groups. */
bool qd_fixed_conv_takes_gate(const qd_conv_shape *s);

/* Convolutions whose lines are whole before the next one: depthwise. */
bool qd_fixed_conv_takes_pooled(const qd_conv_shape *s);

/* Workspace of the layout, and of a run of up to the shape's n, on so many threads. */
size_t qd_fixed_conv_workspace_bytes(const qd_kernels *k, int threads, const qd_fixed_conv *conv);

/* Bytes of the laid out weights, and the layout itself: the same kernel table as in the runs. */
size_t qd_fixed_conv_packed_bytes(const qd_kernels *k, const qd_fixed_conv *conv);
void qd_fixed_conv_pack(const qd_kernels *k, int threads, const qd_fixed_conv *conv, void *workspace, float *packed);

void qd_fixed_conv_forward(const qd_fixed_conv *conv, const qd_fixed_conv_run *run);

/* ---- for the ways that conv_fixed.c chooses from ---- */

/* The run as the functions of other passes see it; shape.n is the run's. */
qd_layer_call qd_fixed_conv_call(const qd_fixed_conv *conv, const qd_fixed_conv_run *run, qd_conv_shape *shape);

/* What follows, on some columns of positions first … first + rows - 1. */
static inline void qd_fixed_conv_finish(const qd_fixed_conv *conv, const qd_fixed_conv_run *run, int64_t first,
                                        int64_t rows, int64_t column, int64_t columns)
{
    const int64_t stride = conv->shape.oc, offset = first * stride + column;
    const qd_finish_rows_args args = {.rows = rows,
                                      .columns = columns,
                                      .stride = stride,
                                      .y = run->y + offset,
                                      .bias = conv->bias + column,
                                      .residual = run->residual ? run->residual + offset : NULL,
                                      .activation = run->activation};
    run->k->finish_rows(&args);
}

#define QD_FIXED_CONV_WAY(way)                                                                                       \
    size_t qd_fixed_##way##_packed_bytes(const qd_kernels *k, const qd_fixed_conv *conv);                            \
    void qd_fixed_##way##_pack(const qd_kernels *k, int threads, const qd_fixed_conv *conv, void *workspace,         \
                               float *packed);                                                                       \
    size_t qd_fixed_##way##_workspace_bytes(const qd_kernels *k, int threads, const qd_fixed_conv *conv);            \
    void qd_fixed_##way##_forward(const qd_fixed_conv *conv, const qd_fixed_conv_run *run);

QD_FIXED_CONV_WAY(tiles)    /* dense, one group */
QD_FIXED_CONV_WAY(winograd) /* where qd_conv_allows_winograd() */
#undef QD_FIXED_CONV_WAY

#endif
