/* Statistics of a tensor's values in double. */
#include "observe/observe.h"
#include <math.h>

/* Values handled at a time: 32 KiB as doubles stay in the first-level cache for both passes over them. */
#define CHUNK 4096

/* Accumulators side by side, so that sums vectorise in an order fixed by the code. */
#define LANES 8

/* The work is cut into at most this many blocks, whatever the number of threads: the same sums in the same order. */
#define MAX_BLOCKS 256

/* Below this, about 50 microseconds of work, waking other threads costs more than they save. */
#define PARALLEL_COUNT 65536

typedef struct moments {
    int64_t count;
    double min, max, mean;
    double m2; /* Σ (x - mean)² */
    int64_t zero_count, nonfinite_count;
} moments;

static const moments empty_moments = {.min = INFINITY, .max = -INFINITY};

/* Adds b to a. Source: Chan, Golub & LeVeque 1979, pairwise update of mean and sum of squares. */
static void merge(moments *a, const moments *b)
{
    a->zero_count += b->zero_count;
    a->nonfinite_count += b->nonfinite_count;
    if (b->count == 0)
        return;
    double total = (double)(a->count + b->count);
    double delta = b->mean - a->mean;
    a->m2 += b->m2 + delta * delta * ((double)a->count * (double)b->count / total);
    a->mean += delta * ((double)b->count / total);
    a->count += b->count;
    if (b->min < a->min)
        a->min = b->min;
    if (b->max > a->max)
        a->max = b->max;
}

/* Moves the finite values to the front; returns how many there are. */
static int64_t keep_finite(double *x, int64_t count)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++)
        if (isfinite(x[i]))
            x[kept++] = x[i];
    return kept;
}

static double sum_lanes(const double *lane)
{
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* Moments of up to CHUNK doubles; overwrites them. Two passes, because Σx² - n·mean² cancels. */
static moments chunk_moments(double *x, int64_t count)
{
    moments result = empty_moments;
    int64_t bad = 0;
    for (int64_t i = 0; i < count; i++)
        bad += !(x[i] - x[i] == 0.0); /* infinity - infinity and NaN - NaN are NaN */
    if (bad > 0) {
        result.nonfinite_count = bad;
        count = keep_finite(x, count);
    }
    result.count = count;
    if (count == 0)
        return result;

    double low[LANES], high[LANES], sum[LANES] = {0}, squares[LANES] = {0};
    int64_t zeros = 0;
    for (int l = 0; l < LANES; l++) {
        low[l] = INFINITY;
        high[l] = -INFINITY;
    }
    int64_t whole = count - count % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double v = x[i + l];
            low[l] = v < low[l] ? v : low[l];
            high[l] = v > high[l] ? v : high[l];
            sum[l] += v;
        }
    }
    for (int64_t i = whole; i < count; i++) {
        double v = x[i];
        low[0] = v < low[0] ? v : low[0];
        high[0] = v > high[0] ? v : high[0];
        sum[0] += v;
    }
    for (int64_t i = 0; i < count; i++)
        zeros += x[i] == 0.0;
    for (int l = 0; l < LANES; l++) {
        result.min = low[l] < result.min ? low[l] : result.min;
        result.max = high[l] > result.max ? high[l] : result.max;
    }
    result.zero_count = zeros;
    result.mean = sum_lanes(sum) / (double)count;

    for (int64_t i = 0; i < whole; i += LANES) {
        for (int l = 0; l < LANES; l++) {
            double d = x[i + l] - result.mean;
            squares[l] += d * d;
        }
    }
    for (int64_t i = whole; i < count; i++)
        squares[0] += (x[i] - result.mean) * (x[i] - result.mean);
    result.m2 = sum_lanes(squares);
    return result;
}

/* Moments of elements [first, last) of dense memory. */
static moments block_moments(const qd_tensor *tensor, int64_t first, int64_t last)
{
    double buffer[CHUNK];
    moments result = empty_moments;
    for (int64_t at = first; at < last; at += CHUNK) {
        int64_t count = last - at < CHUNK ? last - at : CHUNK;
        if (tensor->dtype == QD_F64) {
            const double *x = (const double *)tensor->data + at;
            for (int64_t i = 0; i < count; i++)
                buffer[i] = x[i];
        } else {
            const float *x = (const float *)tensor->data + at;
            for (int64_t i = 0; i < count; i++)
                buffer[i] = (double)x[i];
        }
        moments part = chunk_moments(buffer, count);
        merge(&result, &part);
    }
    return result;
}

void qd_stats_compute(const qd_tensor *tensor, int threads, qd_stats *out)
{
    int64_t count = qd_tensor_count(tensor);
    int64_t chunks = (count + CHUNK - 1) / CHUNK;
    int64_t block = CHUNK * ((chunks + MAX_BLOCKS - 1) / MAX_BLOCKS);
    int64_t block_count = block > 0 ? (count + block - 1) / block : 0;
    moments parts[MAX_BLOCKS];
#pragma omp parallel for schedule(static) num_threads(threads) if (count >= PARALLEL_COUNT)
    for (int64_t b = 0; b < block_count; b++) {
        int64_t last = (b + 1) * block < count ? (b + 1) * block : count;
        parts[b] = block_moments(tensor, b * block, last);
    }
    moments all = empty_moments;
    for (int64_t b = 0; b < block_count; b++)
        merge(&all, &parts[b]);

    *out = (qd_stats){
        .count = all.count,
        .mean = all.mean,
        .std = all.count > 1 ? sqrt(all.m2 / (double)(all.count - 1)) : 0.0,
        .zero_count = all.zero_count,
        .nonfinite_count = all.nonfinite_count,
    };
    if (all.count > 0) {
        out->min = all.min;
        out->max = all.max;
    }
}

double qd_stats_outlier_ratio(const qd_stats *stats)
{
    return fmax(fabs(stats->min), fabs(stats->max)) / (stats->std + 1e-8);
}
