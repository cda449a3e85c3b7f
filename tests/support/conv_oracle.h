/*
 * Convolution and matrix product by their definitions, in double, one loop a dimension: slow and obvious. Beside each
 * sum stands the sum of its terms' magnitudes, which bounds the rounding of any order of summation: K terms err by at
 * most K·u·magnitude.
 */
#ifndef TESTS_SUPPORT_CONV_ORACLE_H
#define TESTS_SUPPORT_CONV_ORACLE_H

#include "kernels/kernels.h"
#include "support/kernel_memory.h"

typedef struct oracle_sums {
    int64_t count;
    double *value, *magnitude;
} oracle_sums;

oracle_sums oracle_sums_create(int64_t count);
void oracle_sums_destroy(oracle_sums *sums);

/* Adds one term; the sums start at 0. */
void oracle_add(oracle_sums *sums, int64_t index, double a, double b);

/* Fails unless found[i] is value[i] up to `terms` roundings of its magnitude. */
void oracle_check(const kernel_array *found, const oracle_sums *expected, int64_t terms, const char *what);

/* y[n][oh][ow][oc], dx[n][ih][iw][ic] and dw[oc][kh][kw][ic/groups]; weights likewise [oc][kh][kw][ic/groups]. For
 * depthwise kernels, whose weights are [kh][kw][c], pass hwo = true. */
oracle_sums oracle_conv_forward(const qd_conv_shape *s, bool hwo, const kernel_array *x, const kernel_array *w);
oracle_sums oracle_conv_backward_data(const qd_conv_shape *s, bool hwo, const kernel_array *dy,
                                      const kernel_array *w);
oracle_sums oracle_conv_backward_weights(const qd_conv_shape *s, bool hwo, const kernel_array *x,
                                         const kernel_array *dy);

/* C[m][n] dense, from the arguments' A and B as they lie in memory, plus beta·c_before (ldc apart; NULL: none). */
oracle_sums oracle_gemm(const qd_gemm_args *args, const kernel_array *a, const kernel_array *b,
                        const kernel_array *c_before);

#endif
