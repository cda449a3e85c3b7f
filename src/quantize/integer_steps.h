/* The parts of the integer run: each is executed by all threads of a team, every thread with its share of the work.
 */
#ifndef QD_QUANTIZE_INTEGER_STEPS_H
#define QD_QUANTIZE_INTEGER_STEPS_H

#include "kernels/int8_pack.h"
#include "nn/conv_pack.h"
#include "nn/conv_passes.h"
#include "quantize/qgraph.h"

/* Part `index` of `count`: of a team of threads, or 0 of 1. Integer results are exact and codes are made one by one,
 * so how work is shared out cannot change them. */
typedef struct qd_share {
    int64_t index, count;
} qd_share;

/* This share of `items`, in whole `units` of them; shares differ by one unit at most. */
static inline qd_piece qd_share_of(qd_share share, int64_t items, int64_t unit)
{
    const int64_t units = qd_piece_count(items, unit);
    const int64_t first = qd_min_i64(units * share.index / share.count * unit, items);
    const int64_t end = qd_min_i64(units * (share.index + 1) / share.count * unit, items);
    return (qd_piece){first, end - first};
}

static inline const qd_quant_params *qd_integer_params(const qd_qgraph *q, int value)
{
    return &q->quantizers[q->values[value].quantizer].params;
}

/* The zero point as it is stored. */
static inline int32_t qd_integer_zero(const qd_qgraph *q, int value)
{
    return qd_integer_params(q, value)->range.zero + QD_STORED_OFFSET;
}

/* Codes a step may write, in the stored form: all of the tensor's, or those a fused ReLU or ReLU6 leaves. */
qd_code_range qd_integer_range(const qd_qgraph *q, const qd_qstep *step);

/* Geometry of a convolution's or pool's window. */
qd_conv_shape qd_integer_shape(const qd_qgraph *q, const qd_qstep *step, int64_t n);

/* Memory of the calling part alone. */
static inline uint8_t *qd_integer_scratch(const qd_qgraph *q, int64_t part)
{
    return q->scratch.data + (size_t)part * q->scratch_bytes;
}

/* integer_conv.c: a convolution and, unless it is NULL, the step behind it, merged. */
void qd_integer_conv(const qd_qgraph *q, const qd_qstep *step, const qd_qstep *merged, int64_t n, qd_share share);
size_t qd_integer_conv_scratch_bytes(const qd_qgraph *q, const qd_qstep *step);

#endif
