/* The residual sum: y = a + b, all of one shape. */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in[0].rank != in[1].rank || in[0].c != in[1].c || in[0].h != in[1].h || in[0].w != in[1].w)
        return qd_fail(ctx, QD_ERR_SHAPE,
                       "add '%s': expected two inputs of one shape, got %lld x %lld x %lld and %lld x %lld x %lld",
                       name, (long long)in[0].c, (long long)in[0].h, (long long)in[0].w, (long long)in[1].c,
                       (long long)in[1].h, (long long)in[1].w);
    *decl = (qd_layer_decl){.out = in[0]};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_NOTHING;
}

static enum qd_status forward(const qd_layer_call *call)
{
    const int64_t count = call->n * qd_dims_count(&call->out);
    const int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        call->k->add(qd_element(call->x[0], call->dtype, piece.first),
                     qd_element(call->x[1], call->dtype, piece.first), piece.count,
                     qd_element(call->y, call->dtype, piece.first));
    }
    return QD_OK;
}

/* da = dy, db = dy */
static enum qd_status backward(const qd_layer_call *call)
{
    const int64_t count = call->n * qd_dims_count(&call->out);
    const int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    for (int i = 0; i < 2; i++) {
        if (!call->dx[i])
            continue;
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t p = 0; p < pieces; p++) {
            const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
            call->k->scale(qd_element(call->dy, call->dtype, piece.first), piece.count, 1.0, call->accumulate[i],
                           qd_element(call->dx[i], call->dtype, piece.first));
        }
    }
    return QD_OK;
}

const qd_layer_ops qd_layer_add = {
    .name = "add",
    .input_count = 2,
    .infer = infer,
    .backward_needs = backward_needs,
    .forward = forward,
    .backward = backward,
};
