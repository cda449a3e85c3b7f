/*
 * Elementwise kernels: one value in, one value out, or with one value per channel beside it. Every loop carries
 * `omp simd`: outputs may be the very input array, never a shifted one, so no iteration reads what another wrote.
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

void QD_NAME(add)(const void *a, const void *b, int64_t count, void *y)
{
    const QD_REAL *av = a, *bv = b;
    QD_REAL *yv = y;
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        yv[i] = av[i] + bv[i];
}

void QD_NAME(multiply)(const void *a, const void *b, int64_t count, bool accumulate, void *y)
{
    const QD_REAL *av = a, *bv = b;
    QD_REAL *yv = y;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            yv[i] += av[i] * bv[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            yv[i] = av[i] * bv[i];
    }
}

void QD_NAME(scale)(const void *x, int64_t count, double factor, bool accumulate, void *y)
{
    const QD_REAL *xv = x;
    const QD_REAL f = (QD_REAL)factor;
    QD_REAL *yv = y;
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            yv[i] += f * xv[i];
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            yv[i] = f * xv[i];
    }
}

void QD_NAME(channel_scale)(const void *x, const void *s, int64_t rows, int64_t channels, bool accumulate, void *y)
{
    const QD_REAL *xv = x, *sv = s;
    QD_REAL *yv = y;
    for (int64_t r = 0; r < rows; r++) {
        const QD_REAL *xr = xv + r * channels;
        QD_REAL *yr = yv + r * channels;
        if (accumulate) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                yr[c] += xr[c] * sv[c];
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                yr[c] = xr[c] * sv[c];
        }
    }
}

void QD_NAME(broadcast_rows)(const void *dy, int64_t rows, int64_t channels, double factor, bool accumulate, void *dx)
{
    const QD_REAL *dyv = dy;
    const QD_REAL f = (QD_REAL)factor;
    QD_REAL *dxv = dx;
    for (int64_t r = 0; r < rows; r++) {
        QD_REAL *dxr = dxv + r * channels;
        if (accumulate) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                dxr[c] += dyv[c] * f;
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++)
                dxr[c] = dyv[c] * f;
        }
    }
}
