/*
 * Kernels that apply activations; every loop carries `omp simd`, for outputs may be the very input array, never a
 * shifted one, so no iteration reads what another wrote.
 */

static inline __attribute__((always_inline)) void QD_NAME(scale_shift_rows)(enum qd_activation activation,
                                                                            const QD_REAL *x, int64_t rows,
                                                                            int64_t channels, const QD_REAL *scale,
                                                                            const QD_REAL *shift, QD_REAL *y)
{
    for (int64_t r = 0; r < rows; r++) {
        const QD_REAL *xr = x + r * channels;
        QD_REAL *yr = y + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++)
            yr[c] = QD_NAME(activate)(activation, xr[c] * scale[c] + shift[c]);
    }
}

void QD_NAME(scale_shift)(const void *x, int64_t rows, int64_t channels, const void *scale, const void *shift,
                          enum qd_activation activation, void *y)
{
    QD_FOR_ACTIVATION(activation, QD_NAME(scale_shift_rows), x, rows, channels, scale, shift, y);
}

static inline __attribute__((always_inline)) void QD_NAME(activate_all)(enum qd_activation activation,
                                                                        const QD_REAL *x, int64_t count, QD_REAL *y)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = QD_NAME(activate)(activation, x[i]);
}

void QD_NAME(activation_forward)(enum qd_activation activation, const void *x, int64_t count, void *y)
{
    QD_FOR_ACTIVATION(activation, QD_NAME(activate_all), x, count, y);
}

static inline __attribute__((always_inline)) void QD_NAME(finish_all)(enum qd_activation activation, bool sum,
                                                                      const qd_finish_rows_args *args)
{
    const QD_REAL *bias = args->bias;
    for (int64_t r = 0; r < args->rows; r++) {
        QD_REAL *y = (QD_REAL *)args->y + r * args->stride;
        const QD_REAL *residual = sum ? (const QD_REAL *)args->residual + r * args->stride : y;
#pragma omp simd
        for (int64_t c = 0; c < args->columns; c++) {
            const QD_REAL value = y[c] + bias[c];
            y[c] = QD_NAME(activate)(activation, sum ? value + residual[c] : value);
        }
    }
}

void QD_NAME(finish_rows)(const qd_finish_rows_args *args)
{
    if (args->residual)
        QD_FOR_ACTIVATION(args->activation, QD_NAME(finish_all), true, args);
    else
        QD_FOR_ACTIVATION(args->activation, QD_NAME(finish_all), false, args);
}

static inline __attribute__((always_inline)) void QD_NAME(gradient_all)(enum qd_activation activation,
                                                                        const QD_REAL *x, const QD_REAL *dy,
                                                                        int64_t count, bool accumulate, QD_REAL *dx)
{
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            dx[i] += QD_NAME(activation_gradient)(activation, x[i], dy[i]);
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            dx[i] = QD_NAME(activation_gradient)(activation, x[i], dy[i]);
    }
}

void QD_NAME(activation_backward)(enum qd_activation activation, const void *x, const void *dy, int64_t count,
                                  bool accumulate, void *dx)
{
    QD_FOR_ACTIVATION(activation, QD_NAME(gradient_all), x, dy, count, accumulate, dx);
}
