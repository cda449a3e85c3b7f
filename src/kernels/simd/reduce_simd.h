/* Sums of rows per channel, for every instruction set that defines `vec` (vec_<set>.h) and QD_NAME. */
#include "kernels/simd/runs_simd.h"

enum reduction { SUM_AND_SQUARES, SUM, DOT };

/*
 * One vector of channels over a run: with d = x - pivot, Σd and Σd² (SUM_AND_SQUARES); Σx (SUM); Σx·dy (DOT).
 */
RUN_INLINE void reduce_run(enum reduction what, int64_t rows, int64_t channels, int64_t tail, const float *x,
                           const float *dy, vec pivot, double *total, double *squares)
{
    vec sum = vec_zero(), square_sum = vec_zero();

    for (int64_t r = 0; r < rows; r++) {
        const vec value = run_load(x + r * channels, tail);

        if (what == SUM_AND_SQUARES) {
            const vec d = vec_sub(value, pivot);
            sum = vec_add(sum, d);
            square_sum = vec_fma(d, d, square_sum);
        } else if (what == SUM) {
            sum = vec_add(sum, value);
        } else {
            sum = vec_fma(value, run_load(dy + r * channels, tail), sum);
        }
    }
    vec_add_to_doubles(total, sum);
    if (what == SUM_AND_SQUARES)
        vec_add_to_doubles(squares, square_sum);
}

/* `width` channels from x (and dy) on over all rows; total and squares hold RUN_CHANNELS values and are set. */
RUN_INLINE void reduce_block(enum reduction what, const float *x, const float *dy, int64_t rows, int64_t channels,
                             int64_t width, double *total, double *squares)
{
    const float *first_row = x;

    memset(total, 0, RUN_CHANNELS * sizeof *total);
    if (what == SUM_AND_SQUARES)
        memset(squares, 0, RUN_CHANNELS * sizeof *squares);
    for (int64_t left = rows; left > 0; left -= RUN_ROWS) {
        const int64_t run = left < RUN_ROWS ? left : RUN_ROWS;
        int64_t c = 0;

        for (; c + VEC_LANES <= width; c += VEC_LANES)
            reduce_run(what, run, channels, 0, x + c, what == DOT ? dy + c : NULL,
                       what == SUM_AND_SQUARES ? vec_load(first_row + c) : vec_zero(), total + c,
                       what == SUM_AND_SQUARES ? squares + c : NULL);
        if (c < width)
            reduce_run(what, run, channels, width - c, x + c, what == DOT ? dy + c : NULL,
                       what == SUM_AND_SQUARES ? vec_load_first(first_row + c, width - c) : vec_zero(), total + c,
                       what == SUM_AND_SQUARES ? squares + c : NULL);
        x += RUN_ROWS * channels;
        if (what == DOT)
            dy += RUN_ROWS * channels;
    }
}

/*
 * The values are shifted by the channel's first one before they are squared: Σd² then carries float32's rounding
 * relative to the channel's spread, not to its mean, and the shift is taken back in double,
 *     Σx = Σd + m·pivot    Σx² = Σd² + 2·pivot·Σd + m·pivot².
 * A variance from these sums errs by (RUN_ROWS + 3)·u·(1 + (pivot - mean)²/variance), relatively, at most: for a
 * first value within three deviations 1e-5 in the worst case and about 1e-7 with roundings that cancel.
 */
void QD_NAME(channel_sums)(const void *x, int64_t rows, int64_t channels, double *sum, double *sum_squares)
{
    const double m = (double)rows;
    double total[RUN_CHANNELS], squares[RUN_CHANNELS];

    for (int64_t first = 0; first < channels && rows > 0; first += RUN_CHANNELS) {
        const int64_t width = channels - first < RUN_CHANNELS ? channels - first : RUN_CHANNELS;
        const float *from = (const float *)x + first;

        reduce_block(SUM_AND_SQUARES, from, NULL, rows, channels, width, total, squares);
        for (int64_t c = 0; c < width; c++) {
            const double pivot = (double)from[c];
            sum[first + c] += total[c] + m * pivot;
            sum_squares[first + c] += squares[c] + pivot * (2.0 * total[c] + m * pivot);
        }
    }
}

void QD_NAME(channel_dot)(const void *x, const void *dy, int64_t rows, int64_t channels, bool accumulate, void *ds)
{
    float *out = ds;
    double total[RUN_CHANNELS];

    for (int64_t first = 0; first < channels; first += RUN_CHANNELS) {
        const int64_t width = channels - first < RUN_CHANNELS ? channels - first : RUN_CHANNELS;

        reduce_block(DOT, (const float *)x + first, (const float *)dy + first, rows, channels, width, total, NULL);
        for (int64_t c = 0; c < width; c++)
            out[first + c] = accumulate ? out[first + c] + (float)total[c] : (float)total[c];
    }
}

void QD_NAME(mean_rows)(const void *x, int64_t rows, int64_t channels, void *y)
{
    float *out = y;
    double total[RUN_CHANNELS];

    for (int64_t first = 0; first < channels; first += RUN_CHANNELS) {
        const int64_t width = channels - first < RUN_CHANNELS ? channels - first : RUN_CHANNELS;

        reduce_block(SUM, (const float *)x + first, NULL, rows, channels, width, total, NULL);
        for (int64_t c = 0; c < width; c++)
            out[first + c] = (float)(total[c] / (double)rows);
    }
}
