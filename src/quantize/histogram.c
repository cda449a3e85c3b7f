#include "quantize/histogram.h"

#include "base/arena.h"
#include "base/error.h"
#include "nn/layer_work.h"
#include <float.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#define BIN_COUNT (QD_OCTAVE_COUNT * QD_OCTAVE_BINS)

/* Bins of positive values; those of negative ones follow. */
#define SIGN_BINS (BIN_COUNT / 2)

/* One thread's counters; `touched` octaves are those that are not all 0. */
typedef struct counters {
    uint32_t count[BIN_COUNT];
    uint8_t touched[QD_OCTAVE_COUNT];
} counters;

struct qd_histogram_scratch {
    int threads;
    counters each[];
};

enum qd_status qd_histogram_scratch_create(qd_context *ctx, int threads, qd_histogram_scratch **out)
{
    qd_histogram_scratch *scratch = qd_calloc(1, sizeof *scratch + (size_t)threads * sizeof(counters));

    if (scratch == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "calibrate: no memory for the counters of %d threads", threads);
    scratch->threads = threads;
    *out = scratch;
    return QD_OK;
}

void qd_histogram_scratch_destroy(qd_histogram_scratch *scratch)
{
    free(scratch);
}

static void count_piece(const float *values, int64_t count, counters *c)
{
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        uint32_t bin = bits >> QD_HISTOGRAM_SHIFT;
        c->count[bin]++;
        c->touched[bin / QD_OCTAVE_BINS] = 1;
    }
}

/* Makes room for the octaves that some thread has touched, then adds and empties their counters. */
static enum qd_status merge(qd_context *ctx, qd_histogram *histogram, qd_histogram_scratch *scratch)
{
    enum qd_status status = QD_OK;
    bool touched[QD_OCTAVE_COUNT] = {false};

    for (int o = 0; o < QD_OCTAVE_COUNT; o++) {
        for (int t = 0; t < scratch->threads; t++)
            touched[o] |= scratch->each[t].touched[o] != 0;
        if (!touched[o] || histogram->octave[o] != NULL || status != QD_OK)
            continue;
        histogram->octave[o] = qd_calloc(QD_OCTAVE_BINS, sizeof(int64_t));
        if (histogram->octave[o] == NULL)
            status = qd_fail(ctx, QD_ERR_MEMORY, "calibrate: no memory for a histogram");
    }
    for (int o = 0; o < QD_OCTAVE_COUNT; o++) {
        for (int t = 0; touched[o] && t < scratch->threads; t++) {
            uint32_t *from = scratch->each[t].count + o * QD_OCTAVE_BINS;
            for (int b = 0; status == QD_OK && b < QD_OCTAVE_BINS; b++)
                histogram->octave[o][b] += from[b];
            memset(from, 0, QD_OCTAVE_BINS * sizeof *from);
            scratch->each[t].touched[o] = 0;
        }
    }
    return status;
}

enum qd_status qd_histogram_add(qd_context *ctx, qd_histogram *histogram, qd_histogram_scratch *scratch,
                                const float *values, int64_t count)
{
    int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);

    /* Which thread counts a piece does not matter: whole numbers add up to the same. */
#pragma omp parallel for schedule(static) num_threads(scratch->threads)
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        count_piece(values + piece.first, piece.count, &scratch->each[omp_get_thread_num()]);
    }
    return merge(ctx, histogram, scratch);
}

void qd_histogram_clear(qd_histogram *histogram)
{
    for (int o = 0; o < QD_OCTAVE_COUNT; o++)
        free(histogram->octave[o]);
    *histogram = (qd_histogram){0};
}

/* Smallest magnitude of bin `index` of one sign; of the last finite bin's successor it would be infinite. */
static double lower_end(uint32_t index)
{
    uint32_t bits = index << QD_HISTOGRAM_SHIFT;
    float value;

    memcpy(&value, &bits, sizeof value);
    return isfinite(value) ? (double)value : (double)FLT_MAX;
}

static qd_bin bin_of(uint32_t index, int64_t count)
{
    uint32_t magnitude = index % SIGN_BINS;
    double low = lower_end(magnitude), high = lower_end(magnitude + 1);

    if (magnitude == 0)
        high = 0.0;
    return index < SIGN_BINS ? (qd_bin){low, high, count} : (qd_bin){-high, -low, count};
}

static int64_t occupied(const qd_histogram *histogram)
{
    int64_t found = 0;

    for (int o = 0; o < QD_OCTAVE_COUNT; o++)
        for (int b = 0; histogram->octave[o] != NULL && b < QD_OCTAVE_BINS; b++)
            found += histogram->octave[o][b] > 0;
    return found;
}

static int64_t count_at(const qd_histogram *histogram, uint32_t index)
{
    const int64_t *octave = histogram->octave[index / QD_OCTAVE_BINS];

    return octave == NULL ? 0 : octave[index % QD_OCTAVE_BINS];
}

enum qd_status qd_histogram_bins(qd_context *ctx, const qd_histogram *histogram, qd_bin **bins, int64_t *count)
{
    int64_t found = 0;
    qd_bin *list = qd_calloc((size_t)occupied(histogram), sizeof *list);

    if (list == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "calibrate: no memory for the bins of a histogram");
    /* Negative values first, the largest magnitudes before the others; zero of either sign is one bin. */
    for (uint32_t i = BIN_COUNT - 1; i > SIGN_BINS; i--)
        if (count_at(histogram, i) > 0)
            list[found++] = bin_of(i, count_at(histogram, i));
    if (count_at(histogram, 0) + count_at(histogram, SIGN_BINS) > 0)
        list[found++] = (qd_bin){0.0, 0.0, count_at(histogram, 0) + count_at(histogram, SIGN_BINS)};
    for (uint32_t i = 1; i < SIGN_BINS; i++)
        if (count_at(histogram, i) > 0)
            list[found++] = bin_of(i, count_at(histogram, i));
    *bins = list;
    *count = found;
    return QD_OK;
}
