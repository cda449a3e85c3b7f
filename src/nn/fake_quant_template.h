/* Loops of fake_quant.c in one dtype: QD_REAL, QD_NAME, QD_ROUND come from there. */

/* Smallest and largest of `count` >= 1 values; both NaN where one of them is. */
static void QD_NAME(extremes)(const QD_REAL *x, int64_t count, double ends[2])
{
    /* Lanes of their own are vectors to any compiler; a reduction of minima is not to clang, which minds NaN. */
    enum { LANES = 16 };
    QD_REAL low[LANES], high[LANES];
    int unordered = 0;
    for (int j = 0; j < LANES; j++)
        low[j] = high[j] = x[0];
    for (int64_t first = 0; first < count; first += LANES) {
        const int lanes = count - first < LANES ? (int)(count - first) : LANES;
        for (int j = 0; j < lanes; j++) {
            const QD_REAL v = x[first + j];
            low[j] = v < low[j] ? v : low[j];
            high[j] = v > high[j] ? v : high[j];
            unordered |= v != v;
        }
    }
    for (int j = 1; j < LANES; j++) {
        low[0] = low[j] < low[0] ? low[j] : low[0];
        high[0] = high[j] > high[0] ? high[j] : high[0];
    }
    ends[0] = unordered ? (double)NAN : (double)low[0];
    ends[1] = unordered ? (double)NAN : (double)high[0];
}

/* y = S·clamp(rne(x/S)), `inside` where nothing was clamped; low and high are codes without the zero point. */
static void QD_NAME(round_trip)(const QD_REAL *x, int64_t count, QD_REAL scale, QD_REAL low, QD_REAL high, QD_REAL *y,
                                uint8_t *inside)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        QD_REAL v = x[i] / scale;
        v = v > low - 1 ? v : low - 1; /* a NaN becomes the lowest code, as in the quantizer */
        v = v < high + 1 ? v : high + 1;
        const QD_REAL code = QD_ROUND(v);
        inside[i] = (uint8_t)(code >= low && code <= high);
        const QD_REAL end = code > low ? code : low;
        y[i] = scale * (end < high ? end : high);
    }
}

static void QD_NAME(pass_inside)(const QD_REAL *dy, const uint8_t *inside, int64_t count, bool accumulate,
                                 QD_REAL *dx)
{
    if (accumulate) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            dx[i] += inside[i] ? dy[i] : (QD_REAL)0;
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            dx[i] = inside[i] ? dy[i] : (QD_REAL)0;
    }
}
