#include "observe/channel_stats.h"

#include <math.h>

/* First pass: extremes, sums (in `mean`), zeros. */
static void add_sums(const float *row, int64_t channels, qd_stats *out)
{
    for (int64_t c = 0; c < channels; c++) {
        const double v = (double)row[c];
        qd_stats *s = &out[c];
        if (!isfinite(v)) {
            s->nonfinite_count++;
            continue;
        }
        s->count++;
        s->mean += v;
        s->min = v < s->min ? v : s->min;
        s->max = v > s->max ? v : s->max;
        s->zero_count += v == 0.0;
    }
}

/* Second pass: squares of distances from the mean (in `std`), because Σx² − n·mean² cancels. */
static void add_squares(const float *row, int64_t channels, qd_stats *out)
{
    for (int64_t c = 0; c < channels; c++) {
        const double d = (double)row[c] - out[c].mean;
        if (isfinite(d))
            out[c].std += d * d;
    }
}

void qd_channel_stats_compute(const qd_tensor *tensor, qd_stats *out)
{
    const int64_t channels = tensor->shape[1], rows = tensor->shape[0] * tensor->shape[2] * tensor->shape[3];
    const float *data = tensor->data;
    for (int64_t c = 0; c < channels; c++)
        out[c] = (qd_stats){.min = INFINITY, .max = -INFINITY};
    for (int64_t r = 0; r < rows; r++)
        add_sums(data + r * channels, channels, out);
    for (int64_t c = 0; c < channels; c++)
        out[c].mean = out[c].count > 0 ? out[c].mean / (double)out[c].count : 0.0;
    for (int64_t r = 0; r < rows; r++)
        add_squares(data + r * channels, channels, out);
    for (int64_t c = 0; c < channels; c++) {
        out[c].std = out[c].count > 1 ? sqrt(out[c].std / (double)(out[c].count - 1)) : 0.0;
        if (out[c].count == 0)
            out[c].min = out[c].max = 0.0;
    }
}

qd_stats qd_doubles_stats(const double *values, int64_t count)
{
    /* Views are not const; the values are only read. */
    const qd_tensor view = qd_tensor_contiguous(QD_F64, 1, &count, (void *)values);
    qd_stats stats;
    qd_stats_compute(&view, 1, &stats);
    return stats;
}
