/*
 * The passes of a convolution, as conv2d.c puts them together: dense (any groups) through matrix products, depthwise
 * through its own kernels. Every pass cuts its work by the problem alone, so any thread count gives the same bits.
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

/* Geometry of `n` samples. */
qd_conv_shape qd_conv2d_shape(const qd_conv2d_config *config, const qd_dims *in, const qd_dims *out, int64_t n);

/* out[count] += partials[0] + partials[1] + …, in this order; partials follow each other in memory. */
void qd_conv_add_partials(const qd_layer_call *call, const void *partials, int64_t partial_count, int64_t count,
                          void *out);

/*
 * Dense passes, any groups; weights [oc][kh][kw][ic/groups]. Workspace for a call without addresses.
 *     forward           y = x * w
 *     backward data     dx = (or +=) dy * wᵀ
 *     backward weights  dw = dyᵀ · im2col(x)
 * Three ways to do each: through OpenBLAS anywhere, through the kernel table's tile kernels where the instruction set
 * has its own, and by Winograd's transforms and the tile kernels (float32; 3x3, stride 1, padding 1, one group).
 */
#define QD_CONV_DENSE_PASSES(way)                                                                                    \
    size_t qd_conv_##way##_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s);                         \
    void qd_conv_##way##_forward(const qd_layer_call *call, const qd_conv_shape *s);                                 \
    size_t qd_conv_##way##_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s);                   \
    void qd_conv_##way##_backward_data(const qd_layer_call *call, const qd_conv_shape *s);                           \
    size_t qd_conv_##way##_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s);                \
    void qd_conv_##way##_backward_weights(const qd_layer_call *call, const qd_conv_shape *s);

/* Whether Winograd's way exists for a convolution and the call may take it. */
bool qd_conv_allows_winograd(const qd_layer_call *call, const qd_conv_shape *s);

/* Whether the chosen ways of forward and backward weights read a deferred input. */
bool qd_conv_dense_takes_deferred(const qd_layer_call *call, const qd_conv_shape *s);

QD_CONV_DENSE_PASSES(dense) /* chooses one of: */
QD_CONV_DENSE_PASSES(blas)
QD_CONV_DENSE_PASSES(tiles)
QD_CONV_DENSE_PASSES(winograd)
#undef QD_CONV_DENSE_PASSES

/* Bias: y += bias in every row, and db = Σ_rows dy summed in double; rows = n·oh·ow. */
void qd_conv_add_bias(const qd_layer_call *call, const qd_conv_shape *s);
size_t qd_conv_backward_bias_bytes(const qd_conv_shape *s);
void qd_conv_backward_bias(const qd_layer_call *call, const qd_conv_shape *s);

/* Weights [kh][kw][c]; backward data needs no workspace. */
size_t qd_conv_depthwise_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s);
void qd_conv_depthwise_forward(const qd_layer_call *call, const qd_conv_shape *s);
void qd_conv_depthwise_backward_data(const qd_layer_call *call, const qd_conv_shape *s);
size_t qd_conv_depthwise_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s);
void qd_conv_depthwise_backward_weights(const qd_layer_call *call, const qd_conv_shape *s);

#endif
