/*
 * BatchNorm's backward pass, fused with the activation behind it: z = x·scale + shift is recomputed instead of kept,
 * dz = dy·activation'(z). Rows are positions of the whole batch, channels lie beside each other.
 */

/* dz of one value; all pointers at the value's row, c its channel. */
static inline __attribute__((always_inline)) QD_REAL QD_NAME(dz)(enum qd_activation activation, const QD_REAL *x,
                                                                 const QD_REAL *dy, const QD_REAL *scale,
                                                                 const QD_REAL *shift, int64_t c)
{
    return QD_NAME(activation_gradient)(activation, x[c] * scale[c] + shift[c], dy[c]);
}

static inline __attribute__((always_inline)) void QD_NAME(sum_rows)(enum qd_activation activation, bool keep_dz,
                                                                    const qd_bn_args *a, const QD_REAL *x,
                                                                    const QD_REAL *dy, int64_t rows, double *sum_dz,
                                                                    double *sum_dz_xhat, QD_REAL *dz)
{
    const QD_REAL *mean = a->mean, *invstd = a->invstd, *scale = a->scale, *shift = a->shift;
    const int64_t channels = a->channels;
    int64_t r = 0;
    /* Two rows at a time: the double accumulators are loaded and stored once for two values. */
    for (; r + 2 <= rows; r += 2) {
        const QD_REAL *x0 = x + r * channels, *x1 = x0 + channels;
        const QD_REAL *dy0 = dy + r * channels, *dy1 = dy0 + channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const QD_REAL dz0 = QD_NAME(dz)(activation, x0, dy0, scale, shift, c);
            const QD_REAL dz1 = QD_NAME(dz)(activation, x1, dy1, scale, shift, c);
            const QD_REAL xhat0 = (x0[c] - mean[c]) * invstd[c], xhat1 = (x1[c] - mean[c]) * invstd[c];
            sum_dz[c] += (double)dz0 + (double)dz1;
            sum_dz_xhat[c] += (double)(dz0 * xhat0) + (double)(dz1 * xhat1);
            if (keep_dz) {
                dz[r * channels + c] = dz0;
                dz[(r + 1) * channels + c] = dz1;
            }
        }
    }
    for (; r < rows; r++) {
        const QD_REAL *x0 = x + r * channels, *dy0 = dy + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const QD_REAL dz0 = QD_NAME(dz)(activation, x0, dy0, scale, shift, c);
            const QD_REAL xhat0 = (x0[c] - mean[c]) * invstd[c];
            sum_dz[c] += (double)dz0;
            sum_dz_xhat[c] += (double)(dz0 * xhat0);
            if (keep_dz)
                dz[r * channels + c] = dz0;
        }
    }
}

void QD_NAME(bn_backward_sums)(const qd_bn_args *a, const void *x, const void *dy, int64_t rows, double *sum_dz,
                               double *sum_dz_xhat, void *dz)
{
    if (dz)
        QD_FOR_ACTIVATION(a->activation, QD_NAME(sum_rows), true, a, x, dy, rows, sum_dz, sum_dz_xhat, dz);
    else
        QD_FOR_ACTIVATION(a->activation, QD_NAME(sum_rows), false, a, x, dy, rows, sum_dz, sum_dz_xhat, NULL);
}

static inline __attribute__((always_inline)) void
QD_NAME(apply_rows)(enum qd_activation activation, const qd_bn_args *a, const QD_REAL *x, const QD_REAL *dy,
                    const QD_REAL *mean_dz, const QD_REAL *mean_dz_xhat, int64_t rows, bool accumulate, QD_REAL *dx)
{
    const QD_REAL *mean = a->mean, *invstd = a->invstd, *scale = a->scale, *shift = a->shift;
    const int64_t channels = a->channels;
    for (int64_t r = 0; r < rows; r++) {
        const QD_REAL *xr = x + r * channels, *dyr = dy + r * channels;
        QD_REAL *dxr = dx + r * channels;
        if (accumulate) {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                const QD_REAL dz = QD_NAME(dz)(activation, xr, dyr, scale, shift, c);
                const QD_REAL xhat = (xr[c] - mean[c]) * invstd[c];
                dxr[c] += scale[c] * (dz - mean_dz[c] - xhat * mean_dz_xhat[c]);
            }
        } else {
#pragma omp simd
            for (int64_t c = 0; c < channels; c++) {
                const QD_REAL dz = QD_NAME(dz)(activation, xr, dyr, scale, shift, c);
                const QD_REAL xhat = (xr[c] - mean[c]) * invstd[c];
                dxr[c] = scale[c] * (dz - mean_dz[c] - xhat * mean_dz_xhat[c]);
            }
        }
    }
}

void QD_NAME(bn_backward_apply)(const qd_bn_args *a, const void *x, const void *dy, const void *mean_dz,
                                const void *mean_dz_xhat, int64_t rows, bool accumulate, void *dx)
{
    QD_FOR_ACTIVATION(a->activation, QD_NAME(apply_rows), a, x, dy, mean_dz, mean_dz_xhat, rows, accumulate, dx);
}
