/*
 * Reductions over rows. Sums are kept in double for either dtype: a channel of a 112x112 map
 * adds thousands of values, and BatchNorm's variance is a difference of such sums.
 */

/* Channels summed together: their double accumulators take 4 KiB of the stack and stay in first-level cache, and a
 * row's part of the block is long enough (2 KiB of float32) for the processor to read ahead. */
#define QD_CHANNEL_BLOCK 512

void QD_NAME(channel_sums)(const void *x, int64_t rows, int64_t channels, double *sum, double *sum_squares)
{
    const QD_REAL *xv = x;
    int64_t r = 0;
    /* Four rows at a time: the accumulators are loaded and stored once for four values. */
    for (; r + 4 <= rows; r += 4) {
        const QD_REAL *x0 = xv + r * channels, *x1 = x0 + channels, *x2 = x1 + channels, *x3 = x2 + channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const double a0 = (double)x0[c], a1 = (double)x1[c], a2 = (double)x2[c], a3 = (double)x3[c];
            sum[c] += (a0 + a1) + (a2 + a3);
            sum_squares[c] += (a0 * a0 + a1 * a1) + (a2 * a2 + a3 * a3);
        }
    }
    for (; r < rows; r++) {
        const QD_REAL *x0 = xv + r * channels;
#pragma omp simd
        for (int64_t c = 0; c < channels; c++) {
            const double a0 = (double)x0[c];
            sum[c] += a0;
            sum_squares[c] += a0 * a0;
        }
    }
}

void QD_NAME(channel_dot)(const void *x, const void *dy, int64_t rows, int64_t channels, bool accumulate, void *ds)
{
    const QD_REAL *xv = x, *dyv = dy;
    QD_REAL *dsv = ds;
    for (int64_t first = 0; first < channels; first += QD_CHANNEL_BLOCK) {
        const int64_t width = channels - first < QD_CHANNEL_BLOCK ? channels - first : QD_CHANNEL_BLOCK;
        double total[QD_CHANNEL_BLOCK] = {0};
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const QD_REAL *x0 = xv + r * channels + first, *x1 = x0 + channels, *x2 = x1 + channels,
                          *x3 = x2 + channels;
            const QD_REAL *d0 = dyv + r * channels + first, *d1 = d0 + channels, *d2 = d1 + channels,
                          *d3 = d2 + channels;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                total[c] += ((double)(x0[c] * d0[c]) + (double)(x1[c] * d1[c])) +
                            ((double)(x2[c] * d2[c]) + (double)(x3[c] * d3[c]));
        }
        for (; r < rows; r++) {
            const QD_REAL *xr = xv + r * channels + first, *dr = dyv + r * channels + first;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                total[c] += (double)(xr[c] * dr[c]);
        }
        for (int64_t c = 0; c < width; c++)
            dsv[first + c] = accumulate ? dsv[first + c] + (QD_REAL)total[c] : (QD_REAL)total[c];
    }
}

void QD_NAME(mean_rows)(const void *x, int64_t rows, int64_t channels, void *y)
{
    const QD_REAL *xv = x;
    QD_REAL *yv = y;
    for (int64_t first = 0; first < channels; first += QD_CHANNEL_BLOCK) {
        const int64_t width = channels - first < QD_CHANNEL_BLOCK ? channels - first : QD_CHANNEL_BLOCK;
        double total[QD_CHANNEL_BLOCK] = {0};
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            const QD_REAL *x0 = xv + r * channels + first, *x1 = x0 + channels, *x2 = x1 + channels,
                          *x3 = x2 + channels;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                total[c] += ((double)x0[c] + (double)x1[c]) + ((double)x2[c] + (double)x3[c]);
        }
        for (; r < rows; r++) {
            const QD_REAL *xr = xv + r * channels + first;
#pragma omp simd
            for (int64_t c = 0; c < width; c++)
                total[c] += (double)xr[c];
        }
        for (int64_t c = 0; c < width; c++)
            yv[first + c] = (QD_REAL)(total[c] / (double)rows);
    }
}

#undef QD_CHANNEL_BLOCK
