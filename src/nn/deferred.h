/* Makes inputs that a fused plan has left to their readers (qd_deferred). */
#ifndef QD_NN_DEFERRED_H
#define QD_NN_DEFERRED_H

#include "nn/layer_work.h"

/* out = activation(x[0]·scale + shift), all rows of the call's first input, in parallel; out as large as that input.
 */
void qd_deferred_make(const qd_layer_call *call, const qd_deferred *deferred, void *out);

/* Rows of x[0] as the layer is to see them: made in `scratch` where they are deferred, else where they lie. `x` is
 * the first row's address. */
static inline const void *qd_input_rows(const qd_layer_call *call, const void *x, int64_t rows, void *scratch)
{
    if (!call->deferred.present)
        return x;
    call->k->scale_shift(x, rows, call->in[0].c, call->deferred.scale, call->deferred.shift,
                         call->deferred.activation, scratch);
    return scratch;
}

#endif
