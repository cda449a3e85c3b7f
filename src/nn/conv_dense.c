#include "nn/conv_passes.h"

#define QD_CHOOSE(pass)                                                                                              \
    size_t qd_conv_dense_##pass##_bytes(const qd_layer_call *call, const qd_conv_shape *s)                           \
    {                                                                                                                \
        return call->k->own_tiles ? qd_conv_tiles_##pass##_bytes(call, s) : qd_conv_blas_##pass##_bytes(call, s);    \
    }                                                                                                                \
    void qd_conv_dense_##pass(const qd_layer_call *call, const qd_conv_shape *s)                                     \
    {                                                                                                                \
        if (call->k->own_tiles)                                                                                      \
            qd_conv_tiles_##pass(call, s);                                                                           \
        else                                                                                                         \
            qd_conv_blas_##pass(call, s);                                                                            \
    }

QD_CHOOSE(forward)
QD_CHOOSE(backward_data)
QD_CHOOSE(backward_weights)

/* Rows of a 1x1 convolution are read once a pass: to make them there is as cheap as to make them before. */
bool qd_conv_dense_takes_deferred(const qd_layer_call *call, const qd_conv_shape *s)
{
    return call->k->own_tiles && s->kh == 1 && s->kw == 1 && s->stride == 1 && s->pad == 0 && s->groups == 1;
}
