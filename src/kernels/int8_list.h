/*
 * Every INT8 kernel, once: X(name, parameters). Pure single-threaded functions over pointers; activations are stored
 * codes in NHWC (int8.h); semantics in int8_scalar.h and docs/quantization.md. "rows" are positions (image, y, x).
 */
#ifndef QD_KERNELS_INT8_LIST_H
#define QD_KERNELS_INT8_LIST_H

/* What has a matrix extension of its own on some processors. */
#define QD_INT8_PRODUCT_LIST(X)                                                                                       \
    /* y[row][column] = code of bias[column] + Σ_tap Σ_k x[tap][row][k]·w[tap][k][column]: convolution, linear. */ \
    X(tile_rows, (const qd_u8_rows_args *args))

#define QD_INT8_OTHER_LIST(X)                                                                                        \
    /* Depthwise convolution of output lines (image, oh). */                                                         \
    X(dwconv, (const qd_u8_dwconv_args *args))                                                                       \
    X(quantize, (const float *x, int64_t count, float scale, qd_code_range range, uint8_t *y))                       \
    X(dequantize, (const uint8_t *x, int64_t count, float scale, int32_t zero, float *y))                            \
    /* y = table[x]; y may be x. */                                                                                  \
    X(lookup, (const uint8_t *x, int64_t count, const uint8_t *table, uint8_t *y))                                   \
    X(add, (const uint8_t *a, int32_t zero_a, float multiplier_a, const uint8_t *b, int32_t zero_b,                  \
            float multiplier_b, int64_t count, qd_code_range range, uint8_t *y))                                     \
    /* y[row][c] = x[row][c]·gate[c]. */                                                                            \
    X(channel_multiply, (const uint8_t *x, int32_t zero_x, const uint8_t *gate, int32_t zero_gate, int64_t rows,     \
                         int64_t channels, float multiplier, qd_code_range range, uint8_t *y))                       \
    /* Output lines (image, oh) first_line…; y is the first of them. */                                            \
    X(maxpool, (const qd_conv_shape *s, const uint8_t *x, int64_t first_line, int64_t line_count, uint8_t *y))       \
    /* sum[c] = Σ over rows of x − zero; rows are `stride` codes apart. */                                        \
    X(sum_rows, (const uint8_t *x, int32_t zero, int64_t rows, int64_t channels, int64_t stride, int32_t *sum))

#define QD_INT8_KERNEL_LIST(X)                                                                                       \
    QD_INT8_PRODUCT_LIST(X)                                                                                          \
    QD_INT8_OTHER_LIST(X)

#endif
