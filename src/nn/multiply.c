/* The elementwise product: y = a·b, all of one shape. SiLU is one of x and sigmoid(x) where each is a tensor. */
#include "base/error.h"
#include "nn/layer_work.h"

static enum qd_status infer(qd_context *ctx, const char *name, const void *config, const qd_dims *in,
                            qd_layer_decl *decl)
{
    (void)config;
    if (in[0].rank != in[1].rank || in[0].c != in[1].c || in[0].h != in[1].h || in[0].w != in[1].w)
        return qd_fail(
            ctx, QD_ERR_SHAPE,
            "multiply '%s': expected two inputs of one shape, got %lld x %lld x %lld and %lld x %lld x %lld", name,
            (long long)in[0].c, (long long)in[0].h, (long long)in[0].w, (long long)in[1].c, (long long)in[1].h,
            (long long)in[1].w);
    *decl = (qd_layer_decl){.out = in[0]};
    return QD_OK;
}

static unsigned backward_needs(const void *config, enum qd_activation fused)
{
    (void)config;
    (void)fused;
    return QD_NEEDS_INPUT0 | QD_NEEDS_INPUT1;
}

/* to = (or +=) a·b, in parallel. */
static void multiply(const qd_layer_call *call, const void *a, const void *b, bool accumulate, void *to)
{
    const int64_t count = call->n * qd_dims_count(&call->out);
    const int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        call->k->multiply(qd_element(a, call->dtype, piece.first), qd_element(b, call->dtype, piece.first),
                          piece.count, accumulate, qd_element(to, call->dtype, piece.first));
    }
}

static enum qd_status forward(const qd_layer_call *call)
{
    multiply(call, call->x[0], call->x[1], false, call->y);
    return QD_OK;
}

/* da = dy·b, db = dy·a */
static enum qd_status backward(const qd_layer_call *call)
{
    for (int i = 0; i < 2; i++)
        if (call->dx[i])
            multiply(call, call->dy, call->x[1 - i], call->accumulate[i], call->dx[i]);
    return QD_OK;
}

const qd_layer_ops qd_layer_multiply = {
    .name = "multiply",
    .input_count = 2,
    .infer = infer,
    .backward_needs = backward_needs,
    .forward = forward,
    .backward = backward,
};
