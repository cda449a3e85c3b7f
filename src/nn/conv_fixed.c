/* Which way a convolution with fixed weights goes, and the ways that need no layout: depthwise, and any other. */
#include "nn/conv_fixed.h"

#include "kernels/winograd.h"
#include "nn/conv_pack.h"

#include <omp.h>

enum way { WAY_DEPTHWISE, WAY_TILES, WAY_WINOGRAD, WAY_LAYER };

static bool is_depthwise(const qd_conv_shape *s)
{
    return s->groups > 1 && s->groups == s->ic && s->groups == s->oc;
}

bool qd_fixed_conv_takes_gate(const qd_conv_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && s->pad == 0 && s->groups == 1;
}

bool qd_fixed_conv_takes_pooled(const qd_conv_shape *s)
{
    return is_depthwise(s);
}

qd_layer_call qd_fixed_conv_call(const qd_fixed_conv *conv, const qd_fixed_conv_run *run, qd_conv_shape *shape)
{
    const qd_conv_shape *s = &conv->shape;
    *shape = *s;
    shape->n = run->n;
    return (qd_layer_call){.k = run->k,
                           .dtype = QD_F32,
                           .threads = run->threads,
                           .exact = conv->exact,
                           .n = run->n,
                           .in = {{.rank = 4, .c = s->ic, .h = s->ih, .w = s->iw}},
                           .out = {.rank = 4, .c = s->oc, .h = s->oh, .w = s->ow},
                           .x = {run->x},
                           .y = run->y,
                           .param = {(void *)(uintptr_t)conv->weight}, /* which a forward pass only reads */
                           .workspace = run->workspace};
}

/* A call of the largest run, without addresses. */
static qd_layer_call largest_call(const qd_kernels *k, int threads, const qd_fixed_conv *conv, qd_conv_shape *shape)
{
    const qd_fixed_conv_run run = {.k = k, .threads = threads, .n = conv->shape.n};
    return qd_fixed_conv_call(conv, &run, shape);
}

/*
 * Transformed weights are four times as large, and a run reads all of them: they pay where tiles are enough to use
 * each of them often. Otherwise as in conv_dense.c. The largest run decides, so that smaller ones give the same bits.
 */
static bool wants_winograd(const qd_layer_call *call, const qd_conv_shape *s)
{
    enum { TILES_MIN = 16, CHANNELS_MIN = 16 };
    const int64_t tiles = qd_piece_count(s->oh, QD_WINOGRAD_TILE) * qd_piece_count(s->ow, QD_WINOGRAD_TILE);
    return qd_conv_allows_winograd(call, s) && qd_min_i64(s->ic, s->oc) >= CHANNELS_MIN &&
           s->n * tiles >= TILES_MIN && 2 * QD_WINOGRAD_PLANES * tiles <= 9 * s->oh * s->ow;
}

static enum way way_of(const qd_kernels *k, const qd_fixed_conv *conv)
{
    qd_conv_shape s;
    const qd_layer_call call = largest_call(k, 1, conv, &s);
    if (is_depthwise(&s))
        return WAY_DEPTHWISE;
    if (!k->own_tiles || s.groups != 1)
        return WAY_LAYER;
    return wants_winograd(&call, &s) ? WAY_WINOGRAD : WAY_TILES;
}

/* ---- depthwise: a line of the result is finished, and summed for its mean, while it is in first-level cache ---- */

/* Means of lines [n][oh][c], of which the image's mean is the mean. */
static size_t line_means_bytes(const qd_conv_shape *s)
{
    return (size_t)(s->n * s->oh * s->oc) * sizeof(float);
}

static void run_depthwise(const qd_fixed_conv *conv, const qd_fixed_conv_run *run)
{
    qd_conv_shape s;
    const qd_layer_call call = qd_fixed_conv_call(conv, run, &s);
    const int64_t lines = s.n * s.oh;
    float *means = call.workspace;

#pragma omp parallel for schedule(static) num_threads(run->threads)
    for (int64_t line = 0; line < lines; line++) {
        run->k->dwconv_forward(&s, run->x, conv->weight, line, 1, run->y);
        qd_fixed_conv_finish(conv, run, line * s.ow, s.ow, 0, s.oc);
        if (run->pooled)
            run->k->mean_rows(run->y + line * s.ow * s.oc, s.ow, s.oc, means + line * s.oc);
    }
    for (int64_t i = 0; run->pooled && i < s.n; i++)
        run->k->mean_rows(means + i * s.oh * s.oc, s.oh, s.oc, run->pooled + i * s.oc);
}

/* ---- the layer's own forward pass, its input multiplied before and its output finished after ---- */

static size_t gated_bytes(const qd_conv_shape *s)
{
    return qd_fixed_conv_takes_gate(s) ? qd_align_bytes((size_t)(s->n * s->ih * s->iw * s->ic) * sizeof(float)) : 0;
}

static void run_layer(const qd_fixed_conv *conv, const qd_fixed_conv_run *run)
{
    qd_conv_shape s;
    qd_layer_call call = qd_fixed_conv_call(conv, run, &s);
    const int64_t in_rows = s.ih * s.iw, rows = s.n * s.oh * s.ow, per_piece = qd_piece_rows(s.oc);

    if (run->gate) {
        float *gated = call.workspace;
#pragma omp parallel for schedule(static) num_threads(run->threads)
        for (int64_t i = 0; i < s.n; i++)
            run->k->channel_scale(run->x + i * in_rows * s.ic, run->gate + i * s.ic, in_rows, s.ic, false,
                                  gated + i * in_rows * s.ic);
        call.x[0] = gated;
    }
    call.workspace = qd_workspace_at(&call, gated_bytes(&s));
    qd_conv_dense_forward(&call, &s);
#pragma omp parallel for schedule(static) num_threads(run->threads)
    for (int64_t i = 0; i < qd_piece_count(rows, per_piece); i++) {
        const qd_piece piece = qd_piece_of(rows, per_piece, i);
        qd_fixed_conv_finish(conv, run, piece.first, piece.count, 0, s.oc);
    }
}

/* ---- the choice ---- */

size_t qd_fixed_conv_packed_bytes(const qd_kernels *k, const qd_fixed_conv *conv)
{
    switch (way_of(k, conv)) {
    case WAY_TILES:
        return qd_fixed_tiles_packed_bytes(k, conv);
    case WAY_WINOGRAD:
        return qd_fixed_winograd_packed_bytes(k, conv);
    case WAY_DEPTHWISE:
    case WAY_LAYER:
        break;
    }
    return 0;
}

void qd_fixed_conv_pack(const qd_kernels *k, int threads, const qd_fixed_conv *conv, void *workspace, float *packed)
{
    switch (way_of(k, conv)) {
    case WAY_TILES:
        qd_fixed_tiles_pack(k, threads, conv, workspace, packed);
        break;
    case WAY_WINOGRAD:
        qd_fixed_winograd_pack(k, threads, conv, workspace, packed);
        break;
    case WAY_DEPTHWISE:
    case WAY_LAYER:
        break;
    }
}

size_t qd_fixed_conv_workspace_bytes(const qd_kernels *k, int threads, const qd_fixed_conv *conv)
{
    qd_conv_shape s;
    const qd_layer_call call = largest_call(k, threads, conv, &s);
    switch (way_of(k, conv)) {
    case WAY_DEPTHWISE:
        return line_means_bytes(&s);
    case WAY_TILES:
        return qd_fixed_tiles_workspace_bytes(k, threads, conv);
    case WAY_WINOGRAD:
        return qd_fixed_winograd_workspace_bytes(k, threads, conv);
    case WAY_LAYER:
        break;
    }
    return gated_bytes(&s) + qd_conv_dense_forward_bytes(&call, &s);
}

void qd_fixed_conv_forward(const qd_fixed_conv *conv, const qd_fixed_conv_run *run)
{
    switch (way_of(run->k, conv)) {
    case WAY_DEPTHWISE:
        run_depthwise(conv, run);
        break;
    case WAY_TILES:
        qd_fixed_tiles_forward(conv, run);
        break;
    case WAY_WINOGRAD:
        qd_fixed_winograd_forward(conv, run);
        break;
    case WAY_LAYER:
        run_layer(conv, run);
        break;
    }
}
