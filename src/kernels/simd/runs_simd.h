/*
 * Sums of rows per channel in two steps: float32 in a register over a run of rows, then double in memory. A double
 * sum of every value costs two conversions and two additions a vector; a run costs them once.
 *
 * Error. Adding k values in float32 one after the other errs by at most (k-1)·u·Σ|value|, u = 2^-24 (Higham, Accuracy
 * and Stability of Numerical Algorithms, 4.2). Runs are summed in double, so this is also the bound for any number of
 * rows: relative to the sum of magnitudes, RUN_ROWS roundings of float32, where a float32 sum of m rows has m.
 */
#ifndef QD_KERNELS_SIMD_RUNS_SIMD_H
#define QD_KERNELS_SIMD_RUNS_SIMD_H

#include <string.h>

/* Rows of a run: the conversions at its end cost less than its additions, and the processor follows as many rows of
 * memory at once. */
#define RUN_ROWS 16

/* Channels whose double sums wait on the stack: 4 KiB an array, which stays in the first-level cache. A multiple of
 * VEC_LANES, so that only the last block has a tail. */
#define RUN_CHANNELS 512

#define RUN_INLINE static inline __attribute__((always_inline))

/* `tail` is 0 for a whole vector, or the number of its lanes that are channels. */
RUN_INLINE vec run_load(const float *p, int64_t tail)
{
    return tail ? vec_load_first(p, tail) : vec_load(p);
}

#endif
