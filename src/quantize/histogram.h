/*
 * Counts of float32 values by their leading bits: sign, exponent and ten bits of mantissa. The bins are the same for
 * every tensor and never move, so a histogram is a function of the values alone, in any order, batch and number of
 * threads; every bin is at most 2^-10 of its values wide, and a value of 1e30 takes nothing from the others.
 */
#ifndef QD_QUANTIZE_HISTOGRAM_H
#define QD_QUANTIZE_HISTOGRAM_H

#include <quantdrift/context.h>

/* Mantissa bits that a bin does not tell apart: 23 less the ten that uniform grids of 2048 bins (entropy) need. */
#define QD_HISTOGRAM_SHIFT 13

/* Bins of one octave: values with the same sign and exponent. */
#define QD_OCTAVE_BINS 1024

/* Pairs of sign and exponent. */
#define QD_OCTAVE_COUNT 512

typedef struct qd_histogram {
    int64_t *octave[QD_OCTAVE_COUNT]; /* [QD_OCTAVE_BINS] counts, owned; NULL: no value yet */
} qd_histogram;

/* What counting needs beside the histogram, for any number of tensors one after the other. */
typedef struct qd_histogram_scratch qd_histogram_scratch;

/* For `threads` threads, 2 MiB each. Errors: QD_ERR_MEMORY. */
enum qd_status qd_histogram_scratch_create(qd_context *ctx, int threads, qd_histogram_scratch **out);
void qd_histogram_scratch_destroy(qd_histogram_scratch *scratch);

/* Counts finite values, fewer than 2^32 a call. Errors: QD_ERR_MEMORY (nothing is counted then). */
enum qd_status qd_histogram_add(qd_context *ctx, qd_histogram *histogram, qd_histogram_scratch *scratch,
                                const float *values, int64_t count);
void qd_histogram_clear(qd_histogram *histogram);

/* One bin that holds values: low <= x <= high. */
typedef struct qd_bin {
    double low, high; /* 0 and 0: zeros, and what is smaller than 2^-136 */
    int64_t count;
} qd_bin;

/* The occupied bins from the lowest to the highest, *bins freed with free(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_histogram_bins(qd_context *ctx, const qd_histogram *histogram, qd_bin **bins, int64_t *count);

#endif
