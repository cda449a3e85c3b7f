/*
 * Elementwise kernels: one value in, one value out, or with one value per channel beside it. Every loop carries
 * `omp simd`: outputs may be the very input array, never a shifted one, so no iteration reads what another wrote.
 */

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
