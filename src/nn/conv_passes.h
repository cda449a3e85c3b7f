/*
 * The passes of a convolution, as conv2d.c puts them together: dense (any groups) through GEMM, depthwise through
 * its own kernels. Every pass cuts its work by the problem alone, so any thread count gives the same bits.
 */
#ifndef QD_NN_CONV_PASSES_H
#define QD_NN_CONV_PASSES_H

#include "nn/layer_work.h"

/* Weight gradients are summed in at most this many partial buffers: fewer than QD_MAX_PARTIALS, because each is as
 * large as the weights. */
#define QD_CONV_MAX_PARTIALS 16

static inline int64_t qd_min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t qd_max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* out[count] += partials[0] + partials[1] + …, in this order; partials follow each other in memory. */
void qd_conv_add_partials(const qd_layer_call *call, const void *partials, int64_t partial_count, int64_t count,
                          void *out);

/* y = x * w. Weights [oc][kh][kw][ic/groups]. */
size_t qd_conv_dense_forward_bytes(const qd_conv_shape *s, enum qd_dtype dtype, int threads);
void qd_conv_dense_forward(const qd_layer_call *call, const qd_conv_shape *s);

/* dx = (or +=) dy * wᵀ. */
size_t qd_conv_dense_backward_data_bytes(const qd_conv_shape *s, enum qd_dtype dtype, int threads);
void qd_conv_dense_backward_data(const qd_layer_call *call, const qd_conv_shape *s);

/* dw = dyᵀ · im2col(x). */
size_t qd_conv_dense_backward_weights_bytes(const qd_conv_shape *s, enum qd_dtype dtype, int threads);
void qd_conv_dense_backward_weights(const qd_layer_call *call, const qd_conv_shape *s);

/* Bias: y += bias in every row, and db = Σ_rows dy summed in double; rows = n·oh·ow. */
void qd_conv_add_bias(const qd_layer_call *call, const qd_conv_shape *s);
size_t qd_conv_backward_bias_bytes(const qd_conv_shape *s);
void qd_conv_backward_bias(const qd_layer_call *call, const qd_conv_shape *s);

/* Weights [kh][kw][c]; only the weights' gradient needs workspace. */
void qd_conv_depthwise_forward(const qd_layer_call *call, const qd_conv_shape *s);
void qd_conv_depthwise_backward_data(const qd_layer_call *call, const qd_conv_shape *s);
size_t qd_conv_depthwise_backward_weights_bytes(const qd_conv_shape *s, enum qd_dtype dtype);
void qd_conv_depthwise_backward_weights(const qd_layer_call *call, const qd_conv_shape *s);

#endif
