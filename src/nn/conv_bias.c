/* The bias of convolutions and linear layers: one value a channel, added to every row. */
#include "nn/conv_passes.h"

void qd_conv_add_bias(const qd_layer_call *call, const qd_conv_shape *s)
{
    int64_t rows = s->n * s->oh * s->ow, per_piece = qd_piece_rows(s->oc);
    int64_t pieces = qd_piece_count(rows, per_piece);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < pieces; i++) {
        qd_piece piece = qd_piece_of(rows, per_piece, i);

        call->k->broadcast_rows(call->param[1], piece.count, s->oc, 1.0, true,
                                qd_element(call->y, call->dtype, piece.first * s->oc));
    }
}

/* A sum and a sum of squares (unused, but channel_sums() gives both) a channel and partial. */
size_t qd_conv_backward_bias_bytes(const qd_conv_shape *s)
{
    return (size_t)(qd_partial_count(s->n * s->oh * s->ow, s->oc) * 2 * s->oc) * sizeof(double);
}

void qd_conv_backward_bias(const qd_layer_call *call, const qd_conv_shape *s)
{
    int64_t rows = s->n * s->oh * s->ow, partials = qd_partial_count(rows, s->oc);
    double *sums = call->workspace;

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < partials; p++) {
        qd_piece piece = qd_partial_rows(rows, partials, p);
        double *sum = sums + p * 2 * s->oc;

        for (int64_t i = 0; i < 2 * s->oc; i++)
            sum[i] = 0;
        call->k->channel_sums(qd_element(call->dy, call->dtype, piece.first * s->oc), piece.count, s->oc, sum,
                              sum + s->oc);
    }
    for (int64_t o = 0; o < s->oc; o++) {
        double sum = 0;

        for (int64_t p = 0; p < partials; p++)
            sum += sums[p * 2 * s->oc + o];
        qd_element_put(call->grad[1], call->dtype, o, sum);
    }
}
