/*
 * The squeeze-excite product: a map times one gate per sample and channel.
 *
 * x [n][h][w][C], s [n][1][1][C] → y [n][h][w][C]: y = x·s. Source: torchvision.ops.SqueezeExcitation.
 */
#include "base/arena.h"
#include "base/error.h"
#include "nn/deferred.h"
#include <omp.h>

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in[0].rank != 4 || in[1].rank != 4 || in[1].c != in[0].c || in[1].h != 1 || in[1].w != 1)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "channel_multiply '%s': expected a map and a 1 x 1 gate of rank 4 with %lld channels, got a "
                       "gate of %lld x %lld x %lld",
                       name, (long long)in[0].c, (long long)in[1].c, (long long)in[1].h, (long long)in[1].w);
    *decl = (qd_layer_decl){.out = in[0]};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_INPUT0 | QD_NEEDS_INPUT1;
}

static bool takes_deferred(const qd_layer_call *call)
{
    (void)call;
    return true;
}

/* Rows of one image made from a deferred input, for each thread. */
static size_t piece_bytes(const qd_layer_call *call)
{
    return qd_align_bytes((size_t)(qd_piece_rows(call->in[0].c) * call->in[0].c) * qd_dtype_size(call->dtype));
}

static size_t workspace_bytes(const qd_layer_call *call, bool backward)
{
    (void)backward;
    return call->deferred.present ? (size_t)call->threads * piece_bytes(call) : 0;
}

static void *own_piece(const qd_layer_call *call)
{
    return (unsigned char *)call->workspace + (size_t)omp_get_thread_num() * piece_bytes(call);
}

static enum qd_status forward(const qd_layer_call *call)
{
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
    const int64_t per_piece = qd_piece_rows(channels), pieces = qd_piece_count(rows, per_piece);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < call->n * pieces; job++) {
        const int64_t i = job / pieces;
        const qd_piece piece = qd_piece_of(rows, per_piece, job % pieces);
        const int64_t offset = (i * rows + piece.first) * channels;
        const void *x =
            qd_input_rows(call, qd_element(call->x[0], call->dtype, offset), piece.count, own_piece(call));
        call->k->channel_scale(x, qd_element(call->x[1], call->dtype, i * channels), piece.count, channels, false,
                               qd_element(call->y, call->dtype, offset));
    }
    return QD_OK;
}

/* dx = dy·s, ds = Σ over h, w of x·dy, an image on one thread: pieces are added in their order. */
static enum qd_status backward(const qd_layer_call *call)
{
    const int64_t channels = call->in[0].c, rows = call->in[0].h * call->in[0].w;
    const int64_t per_piece = qd_piece_rows(channels), pieces = qd_piece_count(rows, per_piece);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < call->n; i++) {
        for (int64_t p = 0; p < pieces; p++) {
            const qd_piece piece = qd_piece_of(rows, per_piece, p);
            const int64_t offset = (i * rows + piece.first) * channels;
            const void *dy = qd_element(call->dy, call->dtype, offset);
            if (call->dx[1]) {
                const void *x =
                    qd_input_rows(call, qd_element(call->x[0], call->dtype, offset), piece.count, own_piece(call));
                call->k->channel_dot(x, dy, piece.count, channels, p > 0 || call->accumulate[1],
                                     qd_element(call->dx[1], call->dtype, i * channels));
            }
            if (call->dx[0])
                call->k->channel_scale(dy, qd_element(call->x[1], call->dtype, i * channels), piece.count, channels,
                                       call->accumulate[0], qd_element(call->dx[0], call->dtype, offset));
        }
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_channel_multiply = {
    .name = "channel_multiply",
    .input_count = 2,
    .infer = infer,
    .backward_needs = backward_needs,
    .workspace_bytes = workspace_bytes,
    .takes_deferred = takes_deferred,
    .forward = forward,
    .backward = backward,
};
