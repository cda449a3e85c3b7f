/* Weights of dense convolutions as packed panels (kernels/panels.h), and workspace cut into parts. float32. */
#ifndef QD_NN_CONV_PACK_H
#define QD_NN_CONV_PACK_H

#include "nn/conv_window.h"

#include "base/arena.h"

/* Room in a workspace for a part behind those before; returns where it begins, in bytes. */
static inline size_t qd_take_bytes(size_t *used_bytes, size_t bytes)
{
    const size_t at = *used_bytes;
    *used_bytes += qd_align_bytes(bytes);
    return at;
}

static inline void *qd_workspace_at(const qd_layer_call *call, size_t at)
{
    return (unsigned char *)call->workspace + at;
}

/* Bytes of a packed matrix of [depth][columns]. */
size_t qd_conv_packed_bytes(const qd_layer_call *call, int64_t depth, int64_t columns);

/* [panel][K][width] from w[columns][K], K in the order of the kernel's taps: for the forward pass. */
void qd_conv_pack_rows(const qd_layer_call *call, const float *w, int64_t columns, int64_t depth, float *out);

/* [panel][tap][oc][width] over some input channels, from w[oc][kh][kw][ic], for the taps of one phase of backward
 * data. */
void qd_conv_pack_phase(const qd_layer_call *call, const qd_conv_shape *s, const qd_conv_window *window,
                        qd_piece columns, const float *w, float *out);

#endif
