#include "nn/deferred.h"

void qd_deferred_make(const qd_layer_call *call, const qd_deferred *deferred, void *out)
{
    const qd_dims *in = &call->in[0];
    const int64_t rows = call->n * in->h * in->w, per_piece = qd_piece_rows(in->c);
    const int64_t pieces = qd_piece_count(rows, per_piece);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < pieces; p++) {
        const qd_piece piece = qd_piece_of(rows, per_piece, p);
        const int64_t offset = piece.first * in->c;
        call->k->scale_shift(qd_element(call->x[0], call->dtype, offset), piece.count, in->c, deferred->scale,
                             deferred->shift, deferred->activation, qd_element(out, call->dtype, offset));
    }
}
