/*
 * How layers cut their work, and access to elements of either dtype. Cuts depend on the problem alone, never on the
 * thread count, so that sums of partial results have the same bits everywhere.
 */
#ifndef QD_NN_LAYER_WORK_H
#define QD_NN_LAYER_WORK_H

#include "nn/layer.h"

/* Elements per kernel call: 64 KiB of float32, so that a call's inputs and output share a second-level cache, and the
 * cost of the call is nothing beside its work. */
#define QD_PIECE_ELEMENTS 16384

/* Most partial results of one sum: enough for as many threads, and little memory (2·64 doubles a channel). */
#define QD_MAX_PARTIALS 64

/* Elements a partial sum covers at least, below QD_MAX_PARTIALS of them. */
#define QD_PARTIAL_ELEMENTS 32768

/* Positions first ... first + count - 1 of a longer array. */
typedef struct qd_piece {
    int64_t first, count;
} qd_piece;

/* `items` cut into pieces of `per_piece` (the last may be shorter). */
static inline int64_t qd_piece_count(int64_t items, int64_t per_piece)
{
    return (items + per_piece - 1) / per_piece;
}

static inline qd_piece qd_piece_of(int64_t items, int64_t per_piece, int64_t index)
{
    const int64_t first = index * per_piece;
    return (qd_piece){first, items - first < per_piece ? items - first : per_piece};
}

/* Rows of `channels` elements in a piece, at least one. */
static inline int64_t qd_piece_rows(int64_t channels)
{
    return channels < QD_PIECE_ELEMENTS ? QD_PIECE_ELEMENTS / channels : 1;
}

/* Number of partial sums over rows x channels elements; grows with the rows, at most one a row. */
static inline int64_t qd_partial_count(int64_t rows, int64_t channels)
{
    int64_t count = qd_piece_count(rows * channels, QD_PARTIAL_ELEMENTS);
    count = count < QD_MAX_PARTIALS ? count : QD_MAX_PARTIALS;
    return count < rows ? count : rows;
}

/* Rows of partial sum `index` of `count`: sizes differ by one at most. */
static inline qd_piece qd_partial_rows(int64_t rows, int64_t count, int64_t index)
{
    const int64_t first = rows * index / count;
    return (qd_piece){first, rows * (index + 1) / count - first};
}

/* Address of an element; constness is the caller's to keep. */
static inline void *qd_element(const void *base, enum qd_dtype dtype, int64_t index)
{
    return (unsigned char *)base + (size_t)index * (dtype == QD_F64 ? sizeof(double) : sizeof(float));
}

static inline double qd_element_get(const void *base, enum qd_dtype dtype, int64_t index)
{
    return dtype == QD_F64 ? ((const double *)base)[index] : (double)((const float *)base)[index];
}

static inline void qd_element_put(void *base, enum qd_dtype dtype, int64_t index, double value)
{
    if (dtype == QD_F64)
        ((double *)base)[index] = value;
    else
        ((float *)base)[index] = (float)value;
}

/* What survives a random mask is multiplied by: 1/p_keep, divided in the dtype as PyTorch does. */
static inline double qd_keep_factor(enum qd_dtype dtype, double p_keep)
{
    return dtype == QD_F64 ? 1.0 / p_keep : (double)(1.0f / (float)p_keep);
}

#endif
