/*
 * Every INT8 kernel, once: X(name, parameters). Pure single-threaded functions over pointers; activations are signed
 * codes in NHWC; semantics in int8_scalar.h and docs/quantization.md. "rows" are positions (image, y, x).
 */
#ifndef QD_KERNELS_INT8_LIST_H
#define QD_KERNELS_INT8_LIST_H

#define QD_INT8_KERNEL_LIST(X)                                                                                       \
    X(quantize, (const float *x, int64_t count, float scale, qd_code_range range, int8_t *y))                        \
    X(dequantize, (const int8_t *x, int64_t count, float scale, int32_t zero, float *y))                             \
    /* col[row_count][depth]: codes minus `zero`, widened, for output positions first_row… of one group;           \
     * depth >= kh·kw·ic/groups, the rest is 0. */                                                                 \
    X(im2col, (const qd_conv_shape *s, int64_t group, const int8_t *x, int32_t zero, int64_t first_row,              \
               int64_t row_count, int64_t depth, int16_t *col))                                                      \
    /* c[rows][columns] = Σ_k a[row][k]·b[column][k]; depth is a multiple of QD_INT8_DEPTH. */                     \
    X(gemm, (const int16_t *a, const int16_t *b, int64_t rows, int64_t columns, int64_t depth, int32_t *c))          \
    /* Depthwise: w[kh][kw][c]; acc[line_count][ow][c] for output lines (image, oh) first_line… */                 \
    X(dwconv, (const qd_conv_shape *s, const int8_t *x, int32_t zero, const int16_t *w, int64_t first_line,          \
               int64_t line_count, int32_t *acc))                                                                    \
    /* y[row·stride + c] from acc[row][c] + bias[c]. */                                                             \
    X(requantize, (const int32_t *acc, int64_t rows, int64_t channels, const int32_t *bias, const float *multiplier, \
                   qd_code_range range, int64_t stride, int8_t *y))                                                  \
    /* y[row][c] = float(acc + bias)·multiplier: logits. */                                                         \
    X(dequantize_rows,                                                                                               \
      (const int32_t *acc, int64_t rows, int64_t channels, const int32_t *bias, const float *multiplier, float *y))  \
    /* y = table[x + 128]. */                                                                                        \
    X(lookup, (const int8_t *x, int64_t count, const int8_t *table, int8_t *y))                                      \
    X(add, (const int8_t *a, int32_t zero_a, float multiplier_a, const int8_t *b, int32_t zero_b,                    \
            float multiplier_b, int64_t count, qd_code_range range, int8_t *y))                                      \
    /* y[row][c] = x[row][c]·gate[c]. */                                                                            \
    X(channel_multiply, (const int8_t *x, int32_t zero_x, const int8_t *gate, int32_t zero_gate, int64_t rows,       \
                         int64_t channels, float multiplier, qd_code_range range, int8_t *y))                        \
    /* Output lines (image, oh) first_line… */                                                                     \
    X(maxpool, (const qd_conv_shape *s, const int8_t *x, int64_t first_line, int64_t line_count, int8_t *y))         \
    /* sum[c] = Σ over rows of x − zero. */                                                                       \
    X(sum_rows, (const int8_t *x, int32_t zero, int64_t rows, int64_t channels, int32_t *sum))

#endif
