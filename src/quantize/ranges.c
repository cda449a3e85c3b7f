#include "quantize/ranges.h"

#include "base/arena.h"
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One tensor so far. */
typedef struct record {
    qd_extremes all; /* once there is a batch */
    qd_extremes *batches;
    int64_t batch_count, batch_room;
    int64_t value_count;
    qd_histogram histogram;
} record;

struct qd_ranges {
    qd_qgraph *qgraph;
    record *records;               /* [quantizer_count] */
    qd_histogram_scratch *scratch; /* NULL: no histograms */
};

/* Range of values, and whether all of them are finite. Infinities show in the ends; a NaN fails every comparison, so
 * it is looked for by itself. */
static bool range_of(const float *values, int64_t count, float *min, float *max)
{
    float low = values[0], high = values[0];
    int64_t nan_count = 0;

    for (int64_t i = 0; i < count; i++) {
        low = values[i] < low ? values[i] : low;
        high = values[i] > high ? values[i] : high;
        nan_count += values[i] != values[i];
    }
    *min = low;
    *max = high;
    return nan_count == 0 && isfinite(low) && isfinite(high);
}

enum qd_status qd_ranges_extremes(const qd_qgraph *qgraph, int index, const float *values, int64_t count,
                                  qd_extremes *out)
{
    int64_t pieces = qd_piece_count(count, QD_PIECE_ELEMENTS), bad_pieces = 0;
    double min = INFINITY, max = -INFINITY;

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(qgraph->ctx)) reduction(min : min)          \
    reduction(max : max) reduction(+ : bad_pieces)
    for (int64_t p = 0; p < pieces; p++) {
        qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
        float low, high;
        bad_pieces += !range_of(values + piece.first, piece.count, &low, &high);
        min = fmin(min, (double)low);
        max = fmax(max, (double)high);
    }
    if (bad_pieces > 0)
        return qd_fail(
            qgraph->ctx, QD_ERR_NUMERIC,
            "calibrate '%s': expected finite values, got a NaN or infinity; this network cannot be quantized",
            qgraph->quantizers[index].name);
    *out = (qd_extremes){min, max};
    return QD_OK;
}

enum qd_status qd_ranges_create(qd_qgraph *qgraph, bool histograms, qd_ranges **out)
{
    enum qd_status status = QD_OK;
    qd_ranges *ranges = qd_calloc(1, sizeof *ranges);

    if (ranges == NULL)
        return qd_fail(qgraph->ctx, QD_ERR_MEMORY, "calibrate: no memory for the ranges");
    ranges->qgraph = qgraph;
    ranges->records = qd_calloc((size_t)qgraph->quantizer_count, sizeof *ranges->records);
    if (ranges->records == NULL) {
        status = qd_fail(qgraph->ctx, QD_ERR_MEMORY, "calibrate: no memory for the ranges of %d tensors",
                         qgraph->quantizer_count);
        goto fail;
    }
    if (histograms)
        QD_TRY_GOTO(qd_histogram_scratch_create(qgraph->ctx, qd_context_threads(qgraph->ctx), &ranges->scratch));
    *out = ranges;
    return QD_OK;
fail:
    qd_ranges_destroy(ranges);
    return status;
}

void qd_ranges_destroy(qd_ranges *ranges)
{
    if (ranges == NULL)
        return;
    for (int i = 0; ranges->records != NULL && i < ranges->qgraph->quantizer_count; i++) {
        free(ranges->records[i].batches);
        qd_histogram_clear(&ranges->records[i].histogram);
    }
    free(ranges->records);
    qd_histogram_scratch_destroy(ranges->scratch);
    free(ranges);
}

/* Appends a batch; room doubles, so that a long calibration allocates rarely. */
static enum qd_status add_batch(qd_context *ctx, record *r, const qd_extremes *batch)
{
    if (r->batch_count == r->batch_room) {
        int64_t room = r->batch_room == 0 ? 16 : 2 * r->batch_room;
        qd_extremes *grown = realloc(r->batches, (size_t)room * sizeof *grown);
        if (grown == NULL)
            return qd_fail(ctx, QD_ERR_MEMORY, "calibrate: no memory for the ranges of %lld batches",
                           (long long)room);
        r->batches = grown;
        r->batch_room = room;
    }
    r->batches[r->batch_count++] = *batch;
    return QD_OK;
}

static enum qd_status observe(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    qd_ranges *ranges = user;
    record *r = &ranges->records[index];
    int64_t count = n * qd_dims_count(dims);
    qd_extremes batch;

    QD_TRY(qd_ranges_extremes(ranges->qgraph, index, values, count, &batch));
    if (ranges->scratch != NULL)
        QD_TRY(qd_histogram_add(ranges->qgraph->ctx, &r->histogram, ranges->scratch, values, count));
    QD_TRY(add_batch(ranges->qgraph->ctx, r, &batch));
    r->all.min = r->batch_count == 1 ? batch.min : fmin(r->all.min, batch.min);
    r->all.max = r->batch_count == 1 ? batch.max : fmax(r->all.max, batch.max);
    r->value_count += count;
    return QD_OK;
}

enum qd_status qd_ranges_observe(qd_ranges *ranges, const float *images, int64_t n)
{
    return qd_qgraph_visit(ranges->qgraph, false, images, n, observe, ranges);
}

enum qd_status qd_ranges_need_histograms(qd_context *ctx, const qd_calibrator_settings *settings, bool *out)
{
    const qd_calibrator_ops *ops;

    QD_TRY(qd_calibrator_find(ctx, settings, &ops));
    *out = ops->needs_histogram;
    return QD_OK;
}

static enum qd_status choose_one(const qd_ranges *ranges, const qd_quantizer *quantizer, int index,
                                 const qd_calibrator_ops *ops, const qd_calibrator_settings *settings,
                                 qd_extremes *range)
{
    const record *r = &ranges->records[index];
    qd_context *ctx = ranges->qgraph->ctx;
    qd_bin *bins = NULL;
    enum qd_status status = QD_OK;
    qd_calibrator_input input = {.ctx = ctx,
                                 .settings = settings,
                                 .bits = quantizer->bits,
                                 .symmetric = quantizer->symmetric,
                                 .all = r->all,
                                 .batches = r->batches,
                                 .batch_count = r->batch_count,
                                 .value_count = r->value_count};

    if (ops->needs_histogram) {
        QD_TRY(qd_histogram_bins(ctx, &r->histogram, &bins, &input.bin_count));
        input.bins = bins;
    }
    status = ops->choose(&input, range);
    free(bins);
    return status;
}

static bool has_same_tensors(const qd_qgraph *a, const qd_qgraph *b)
{
    bool same = a->quantizer_count == b->quantizer_count;

    for (int i = 0; same && i < a->quantizer_count; i++)
        same = strcmp(a->quantizers[i].name, b->quantizers[i].name) == 0;
    return same;
}

static enum qd_status check_choice(const qd_ranges *ranges, const qd_calibrator_ops *ops, const qd_qgraph *q)
{
    if (!has_same_tensors(ranges->qgraph, q))
        return qd_fail(q->ctx, QD_ERR_USAGE,
                       "calibrate: the ranges were observed on a network with other tensors; observe this one");

    if (ranges->records[0].batch_count == 0)
        return qd_fail(q->ctx, QD_ERR_USAGE, "calibrate: no image seen yet; give at least one");
    if (ops->needs_histogram && ranges->scratch == NULL)
        return qd_fail(q->ctx, QD_ERR_USAGE,
                       "calibrator '%s': it chooses from histograms, which were not asked for before observing",
                       ops->name);
    return QD_OK;
}

enum qd_status qd_ranges_choose(const qd_ranges *ranges, const qd_calibrator_settings *settings, qd_qgraph *q)
{
    const qd_calibrator_ops *ops;
    enum qd_status status = QD_OK;
    qd_extremes *found;
    int failures = 0;

    QD_TRY(qd_calibrator_find(q->ctx, settings, &ops));
    QD_TRY(check_choice(ranges, ops, q));
    found = qd_calloc((size_t)q->quantizer_count, sizeof *found);
    if (found == NULL)
        return qd_fail(q->ctx, QD_ERR_MEMORY, "calibrate: no memory for %d ranges", q->quantizer_count);
        /* Memory is all that can fail here; which tensor's failure is told does not matter. */
#pragma omp parallel for schedule(static, 1) num_threads(qd_context_threads(q->ctx)) reduction(+ : failures)
    for (int i = 0; i < q->quantizer_count; i++)
        failures +=
            !q->quantizers[i].is_float && choose_one(ranges, &q->quantizers[i], i, ops, settings, &found[i]) != QD_OK;
    if (failures > 0) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    for (int i = 0; i < q->quantizer_count; i++)
        if (!q->quantizers[i].is_float)
            QD_TRY_GOTO(qd_qgraph_set_range(q, i, found[i].min, found[i].max));
fail:
    free(found);
    return status;
}
