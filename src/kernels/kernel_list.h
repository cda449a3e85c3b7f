/*
 * Every kernel, once: X(name, parameters). The table, its filling, the tests' completeness check and the
 * benchmarks come from this list. Kernels are pure single-threaded functions over pointers; `void`
 * pointers are float or double according to the table they were taken from. "rows" are positions
 * (image, y, x) of NHWC memory, "channels" the contiguous dimension. Nothing aliases unless said.
 */
#ifndef QD_KERNELS_KERNEL_LIST_H
#define QD_KERNELS_KERNEL_LIST_H

/* GEMM has no portable twin in the library: OpenBLAS is the portable path. */
#define QD_KERNEL_LIST(X)                                                                                            \
    /* C[m,n] = A·B + beta·C, row-major, A or B transposed on request. */                                          \
    X(gemm, (const qd_gemm_args *args))                                                                              \
    QD_REFERENCE_KERNEL_LIST(X)

/* Kernels with a reference in ref/. */
#define QD_REFERENCE_KERNEL_LIST(X)                                                                                  \
    /* col[row_count][kh*kw*ic/groups] for output positions first_row... of one group. */                            \
    X(im2col,                                                                                                        \
      (const qd_conv_shape *s, int64_t group, const void *x, int64_t first_row, int64_t row_count, void *col))       \
    /* The adjoint: dx += col. */                                                                                    \
    X(col2im,                                                                                                        \
      (const qd_conv_shape *s, int64_t group, const void *col, int64_t first_row, int64_t row_count, void *dx))      \
    /* Depthwise: weights in [kh][kw][c]; output lines (image, oh) first_line... */                                  \
    X(dwconv_forward,                                                                                                \
      (const qd_conv_shape *s, const void *x, const void *w, int64_t first_line, int64_t line_count, void *y))       \
    /* Input lines (image, ih) first_line...: dx = or += */                                                          \
    X(dwconv_backward_data, (const qd_conv_shape *s, const void *dy, const void *w, int64_t first_line,              \
                             int64_t line_count, bool accumulate, void *dx))                                         \
    /* dw[kh][kw][c] += over output lines first_line... */                                                           \
    X(dwconv_backward_weights,                                                                                       \
      (const qd_conv_shape *s, const void *x, const void *dy, int64_t first_line, int64_t line_count, void *dw))     \
    /* y[row][column] = (or +=) Σ_tap Σ_k x[tap][row][k]·w[tap][k][column], w packed (panels.h). */               \
    X(tile_rows, (const qd_tile_rows_args *args))                                                                    \
    /* c[line][column] = (or +=) Σ_row a[row][line]·b[row][column]. */                                             \
    X(tile_outer, (const qd_tile_outer_args *args))                                                                  \
    /* Winograd's transforms (winograd.h). Tiles of 6x6 pixels to planes: V = Bt·d·B. */                           \
    X(winograd_input, (const qd_winograd_planes_args *args))                                                         \
    /* Planes to tiles of 4x4 pixels: y = (or +=) At·M·A. */                                                       \
    X(winograd_output, (const qd_winograd_pixels_args *args))                                                        \
    /* The adjoint, tiles of 4x4 pixels to planes: M = A·dy·At. */                                                 \
    X(winograd_output_adjoint, (const qd_winograd_planes_args *args))                                                \
    /* Kernels of 3x3 taps, `tap` values apart, to planes: U = G·w·Gt, value by value. */                          \
    X(winograd_weights, (const void *w, int64_t tap, int64_t count, void *planes, int64_t plane))                    \
    /* The adjoint: w = (or +=) Gt·U·G. */                                                                         \
    X(winograd_weights_adjoint,                                                                                      \
      (const void *planes, int64_t plane, int64_t count, bool accumulate, void *w, int64_t tap))                     \
    /* Per channel, added to sum and sum_squares. */                                                                 \
    X(channel_sums, (const void *x, int64_t rows, int64_t channels, double *sum, double *sum_squares))               \
    /* y = activation(x·scale[c] + shift[c]); y may be x. */                                                        \
    X(scale_shift, (const void *x, int64_t rows, int64_t channels, const void *scale, const void *shift,             \
                    enum qd_activation activation, void *y))                                                         \
    /* dz = dy·activation'(x·scale + shift), kept unless dz is NULL (it may be dy); adds Σdz and */               \
    /* Σdz·(x-mean)·invstd per channel. */                                                                        \
    X(bn_backward_sums, (const qd_bn_args *a, const void *x, const void *dy, int64_t rows, double *sum_dz,           \
                         double *sum_dz_xhat, void *dz))                                                             \
    /* dx = (or +=) scale·(dz - mean_dz[c] - xhat·mean_dz_xhat[c]). dx may be dy. */                               \
    X(bn_backward_apply, (const qd_bn_args *a, const void *x, const void *dy, const void *mean_dz,                   \
                          const void *mean_dz_xhat, int64_t rows, bool accumulate, void *dx))                        \
    /* y = activation(x); y may be x. */                                                                             \
    X(activation_forward, (enum qd_activation activation, const void *x, int64_t count, void *y))                    \
    /* What follows a convolution, in place: bias, a residual sum, an activation. */                                 \
    X(finish_rows, (const qd_finish_rows_args *args))                                                                \
    /* dx = (or +=) dy·activation'(x); dx may be dy. */                                                             \
    X(activation_backward,                                                                                           \
      (enum qd_activation activation, const void *x, const void *dy, int64_t count, bool accumulate, void *dx))      \
    /* y = a + b; y may be a. */                                                                                     \
    X(add, (const void *a, const void *b, int64_t count, void *y))                                                   \
    /* y = (or +=) a·b. */                                                                                          \
    X(multiply, (const void *a, const void *b, int64_t count, bool accumulate, void *y))                             \
    /* y = (or +=) factor·x; y may be x. */                                                                         \
    X(scale, (const void *x, int64_t count, double factor, bool accumulate, void *y))                                \
    /* y[r][c] = (or +=) x[r][c]·s[c]. */                                                                           \
    X(channel_scale, (const void *x, const void *s, int64_t rows, int64_t channels, bool accumulate, void *y))       \
    /* ds[c] = (or +=) Σ_r x[r][c]·dy[r][c]. */                                                                    \
    X(channel_dot, (const void *x, const void *dy, int64_t rows, int64_t channels, bool accumulate, void *ds))       \
    /* y[c] = mean over rows. */                                                                                     \
    X(mean_rows, (const void *x, int64_t rows, int64_t channels, void *y))                                           \
    /* dx[r][c] = (or +=) dy[c]·factor. */                                                                          \
    X(broadcast_rows, (const void *dy, int64_t rows, int64_t channels, double factor, bool accumulate, void *dx))    \
    /* Output lines (image, oh); argmax, unless NULL, gets the window position of the first maximum. */              \
    X(maxpool_forward,                                                                                               \
      (const qd_conv_shape *s, const void *x, int64_t first_line, int64_t line_count, void *y, uint8_t *argmax))     \
    /* One whole image; dx += . */                                                                                   \
    X(maxpool_backward, (const qd_conv_shape *s, const void *dy, const uint8_t *argmax, void *dx))                   \
    /* g += decay·w; m = first ? g : momentum·m + g; w -= lr·m. */                                                \
    X(sgd_step, (const qd_sgd_args *args, void *w, const void *g, void *m, int64_t count))                           \
    /* Multiply-adds that never leave the registers, `count` rounds of them: what the processor can do at most. */   \
    /* out[0]: operations (two a multiply-add); out[1]: a value that depends on all of them. */                      \
    X(multiply_add_chain, (int64_t count, double out[2]))                                                            \
    /* Σ x² added to *sum in double. */                                                                            \
    X(sum_squares, (const void *x, int64_t count, double *sum))

#endif
