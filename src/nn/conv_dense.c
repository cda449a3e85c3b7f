/* Which way a dense convolution's pass goes. */
#include "nn/conv_pack.h"
#include "nn/conv_passes.h"
#include "nn/deferred.h"

#include "kernels/winograd.h"

/*
 * Winograd's way errs by 1e-6 of the results' root mean square where the others err by 1e-7 (docs/winograd.md).
 * Neither training nor an accuracy notices; what others compare to the digit (the observing plan) keeps the direct
 * way.
 */
bool qd_conv_allows_winograd(const qd_layer_call *call, const qd_conv_shape *s)
{
    return call->k->own_tiles && !call->exact && s->kh == 3 && s->kw == 3 && s->stride == 1 && s->pad == 1 &&
           s->groups == 1;
}

/*
 * Measured on both instruction sets against the direct way, 8 to 512 channels and images of 1 to 28 pixels: faster,
 * mostly by 1.3 to 2.5, where it at least halves the multiplications (edge tiles reach over small images), where the
 * 16 channels of a vector are there, and where there are enough tiles for the transforms of the weights to pay.
 */
static bool wants_winograd(const qd_layer_call *call, const qd_conv_shape *s)
{
    enum { TILES_MIN = 32, CHANNELS_MIN = 16 };
    const int64_t tiles = qd_piece_count(s->oh, QD_WINOGRAD_TILE) * qd_piece_count(s->ow, QD_WINOGRAD_TILE);
    return qd_conv_allows_winograd(call, s) && qd_min_i64(s->ic, s->oc) >= CHANNELS_MIN &&
           s->n * tiles >= TILES_MIN && 2 * QD_WINOGRAD_PLANES * tiles <= 9 * s->oh * s->ow;
}

/*
 * Rows of a 1x1 convolution are read once a pass: its way makes deferred ones where it reads them. The others read
 * each several times: their input is made in the workspace first, where it costs memory during the pass alone.
 */
static bool makes_input_first(const qd_layer_call *call, const qd_conv_shape *s)
{
    return call->deferred.present && !(s->kh == 1 && s->kw == 1 && s->stride == 1 && s->pad == 0);
}

bool qd_conv_dense_takes_deferred(const qd_layer_call *call, const qd_conv_shape *s)
{
    return call->k->own_tiles && s->groups == 1;
}

/* Of the input in the workspace, before the pass's own part of that. */
static size_t made_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return makes_input_first(call, s) ? qd_align_bytes((size_t)(s->n * s->ih * s->iw * s->ic) * sizeof(float)) : 0;
}

/* The call as the pass sees it. */
static qd_layer_call after_input(const qd_layer_call *call, const qd_conv_shape *s)
{
    qd_layer_call after = *call;
    if (makes_input_first(call, s)) {
        after.deferred = (qd_deferred){0};
        after.x[0] = call->workspace;
        after.workspace = qd_workspace_at(call, made_bytes(call, s));
    }
    return after;
}

/* A call of fewer samples may go another way than the one of as many as the workspace is for. */
#define QD_CHOOSE(pass)                                                                                              \
    static size_t pass##_bytes(const qd_layer_call *call, const qd_conv_shape *s)                                    \
    {                                                                                                                \
        const size_t direct =                                                                                        \
            call->k->own_tiles ? qd_conv_tiles_##pass##_bytes(call, s) : qd_conv_blas_##pass##_bytes(call, s);       \
        const size_t winograd = wants_winograd(call, s) ? qd_conv_winograd_##pass##_bytes(call, s) : 0;              \
        return direct > winograd ? direct : winograd;                                                                \
    }                                                                                                                \
    static void pass(const qd_layer_call *call, const qd_conv_shape *s)                                              \
    {                                                                                                                \
        if (wants_winograd(call, s))                                                                                 \
            qd_conv_winograd_##pass(call, s);                                                                        \
        else if (call->k->own_tiles)                                                                                 \
            qd_conv_tiles_##pass(call, s);                                                                           \
        else                                                                                                         \
            qd_conv_blas_##pass(call, s);                                                                            \
    }

QD_CHOOSE(forward)
QD_CHOOSE(backward_data)
QD_CHOOSE(backward_weights)

/* Passes that read x. */
#define QD_MAKE_INPUT(pass)                                                                                          \
    size_t qd_conv_dense_##pass##_bytes(const qd_layer_call *call, const qd_conv_shape *s)                           \
    {                                                                                                                \
        const qd_layer_call after = after_input(call, s);                                                            \
        return made_bytes(call, s) + pass##_bytes(&after, s);                                                        \
    }                                                                                                                \
    void qd_conv_dense_##pass(const qd_layer_call *call, const qd_conv_shape *s)                                     \
    {                                                                                                                \
        const qd_layer_call after = after_input(call, s);                                                            \
        if (makes_input_first(call, s))                                                                              \
            qd_deferred_make(call, &call->deferred, call->workspace);                                                \
        pass(&after, s);                                                                                             \
    }

QD_MAKE_INPUT(forward)
QD_MAKE_INPUT(backward_weights)

size_t qd_conv_dense_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return backward_data_bytes(call, s);
}

void qd_conv_dense_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    backward_data(call, s);
}
