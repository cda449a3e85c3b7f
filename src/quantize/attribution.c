#include "quantize/attribution.h"

#include "base/arena.h"
#include "base/error.h"
#include "nn/layer_work.h"
#include "quantize/qgraph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Codes of 8 bits. */
#define CODES 256

/* What is counted of one tensor. */
typedef struct counts {
    int64_t codes[CODES]; /* by code − lowest code */
    int64_t histogram[QD_ATTRIBUTION_BINS];
} counts;

typedef struct record {
    counts counts;
    int64_t channels, values;
    float *min, *max; /* [channels] */
} record;

struct qd_attribution {
    qd_qgraph *qgraph;
    record *records; /* [quantizer_count] */
    float *extremes; /* those of all records */
};

static int64_t channels_of(const qd_qgraph *q, int quantizer)
{
    for (int v = 0; v < q->value_count; v++)
        if (q->values[v].quantizer == quantizer)
            return q->values[v].dims.c;
    return 0; /* a fused SiLU's sigmoid, which has no quantizer, is not asked for */
}

static enum qd_status check(const qd_qgraph *q)
{
    if (!q->finalized || q->restored || !qd_qgraph_has_integer_form(q))
        return qd_fail(
            q->ctx, QD_ERR_USAGE,
            "attribution: expected a calibrated network of at most 8 bits with static ranges and its float "
            "weights; quantize a checkpoint first");
    return QD_OK;
}

enum qd_status qd_attribution_create(qd_qgraph *qgraph, qd_attribution **out)
{
    const size_t tensors = (size_t)qgraph->quantizer_count;
    int64_t total = 0, used = 0;
    QD_TRY(check(qgraph));
    for (int i = 0; i < qgraph->quantizer_count; i++)
        total += channels_of(qgraph, i);
    qd_attribution *a = qd_calloc(1, sizeof *a);
    if (a != NULL) {
        a->qgraph = qgraph;
        a->records = qd_calloc(tensors, sizeof *a->records);
        a->extremes = qd_calloc(2 * (size_t)total, sizeof *a->extremes);
    }
    if (a == NULL || a->records == NULL || a->extremes == NULL) {
        qd_attribution_destroy(a);
        return qd_fail(qgraph->ctx, QD_ERR_MEMORY, "attribution: no memory for %d tensors", qgraph->quantizer_count);
    }
    for (int i = 0; i < qgraph->quantizer_count; i++) {
        record *r = &a->records[i];
        r->channels = channels_of(qgraph, i);
        r->min = a->extremes + used;
        r->max = a->extremes + total + used;
        used += r->channels;
    }
    *out = a;
    return QD_OK;
}

void qd_attribution_destroy(qd_attribution *attribution)
{
    if (attribution == NULL)
        return;
    free(attribution->records);
    free(attribution->extremes);
    free(attribution);
}

/* Widens the channels' ranges by rows of values. False when one is not finite. */
static bool widen_channels(const float *values, int64_t rows, int64_t channels, float *min, float *max)
{
    bool finite = true;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < channels; c++) {
            const float v = values[r * channels + c];
            min[c] = v < min[c] ? v : min[c];
            max[c] = v > max[c] ? v : max[c];
            finite &= v - v == 0.0f; /* infinity − infinity and NaN are NaN */
        }
    }
    return finite;
}

/* Counts the codes and bins of a piece of a tensor. */
static void count_values(const qd_quantizer *quantizer, const float *values, int64_t count, counts *out)
{
    const qd_quant_params *params = &quantizer->params;
    const float low = (float)quantizer->min;
    const double width = quantizer->max - quantizer->min;
    const float bins = width > 0.0 ? (float)(QD_ATTRIBUTION_BINS / width) : 0.0f;
    for (int64_t i = 0; i < count; i++) {
        const float at = (values[i] - low) * bins;
        int bin = at > 0.0f ? (int)fminf(at, QD_ATTRIBUTION_BINS - 1) : 0;
        out->histogram[bin]++;
        out->codes[qd_quantize_value(values[i], params->scale, params->range) - params->range.low]++;
    }
}

static void add_counts(counts *sum, const counts *part)
{
    for (int i = 0; i < CODES; i++)
        sum->codes[i] += part->codes[i];
    for (int i = 0; i < QD_ATTRIBUTION_BINS; i++)
        sum->histogram[i] += part->histogram[i];
}

static enum qd_status observe(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    qd_attribution *a = user;
    record *r = &a->records[index];
    const qd_quantizer *quantizer = &a->qgraph->quantizers[index];
    const int64_t count = n * qd_dims_count(dims), pieces = qd_piece_count(count, QD_PIECE_ELEMENTS);
    if (r->values == 0) {
        memcpy(r->min, values, (size_t)r->channels * sizeof *r->min);
        memcpy(r->max, values, (size_t)r->channels * sizeof *r->max);
    }
    if (!widen_channels(values, count / r->channels, r->channels, r->min, r->max))
        return qd_fail(a->qgraph->ctx, QD_ERR_NUMERIC,
                       "attribution '%s': expected finite values, got a NaN or infinity", quantizer->name);
        /* Sums of integers: the same whatever thread counts what. */
#pragma omp parallel num_threads(qd_context_threads(a->qgraph->ctx))
    {
        counts own = {{0}, {0}};
#pragma omp for schedule(static) nowait
        for (int64_t p = 0; p < pieces; p++) {
            const qd_piece piece = qd_piece_of(count, QD_PIECE_ELEMENTS, p);
            count_values(quantizer, values + piece.first, piece.count, &own);
        }
#pragma omp critical
        add_counts(&r->counts, &own);
    }
    r->values += count;
    return QD_OK;
}

enum qd_status qd_attribution_observe(qd_attribution *attribution, const float *images, int64_t n)
{
    return qd_qgraph_visit(attribution->qgraph, false, images, n, observe, attribution);
}

static int32_t code_of(const qd_quantizer *quantizer, float value)
{
    return qd_quantize_value(value, quantizer->params.scale, quantizer->params.range);
}

/* Which channels hold the ends, and what the others reach. */
static void find_ends(const record *r, qd_tensor_attribution *out)
{
    for (int64_t c = 1; c < r->channels; c++) {
        if (r->min[c] < r->min[out->low_channel])
            out->low_channel = c;
        if (r->max[c] > r->max[out->high_channel])
            out->high_channel = c;
    }
    out->low = (double)r->min[out->low_channel];
    out->high = (double)r->max[out->high_channel];
    out->others_min = out->others_max = NAN;
    for (int64_t c = 0; c < r->channels; c++) {
        if (c == out->low_channel || c == out->high_channel)
            continue;
        out->others_min = fmin(out->others_min, (double)r->min[c]); /* of a NaN and a number, the number */
        out->others_max = fmax(out->others_max, (double)r->max[c]);
    }
}

static int by_size(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* How many codes the channels' own ranges span; `spans` has room for one a channel. */
static void count_spans(const record *r, const qd_quantizer *quantizer, int32_t *spans, qd_tensor_attribution *out)
{
    const int64_t lower = (r->channels - 1) / 2, upper = r->channels / 2; /* the middle, or the two around it */
    double sum = 0.0;
    for (int64_t c = 0; c < r->channels; c++) {
        spans[c] = code_of(quantizer, r->max[c]) - code_of(quantizer, r->min[c]) + 1;
        sum += spans[c];
    }
    qsort(spans, (size_t)r->channels, sizeof *spans, by_size);
    out->channel_codes_min = spans[0];
    out->channel_codes_median = 0.5 * (spans[lower] + spans[upper]);
    out->channel_codes_mean = sum / (double)r->channels;
    out->channel_codes_max = spans[r->channels - 1];
}

static bool is_of_layer(const qd_qgraph *q, int index)
{
    for (int i = 0; i < q->step_count; i++)
        if (q->steps[i].kind == QD_QSTEP_CONV && q->values[q->steps[i].output].quantizer == index)
            return true;
    return false;
}

enum qd_status qd_attribution_get(const qd_attribution *attribution, int index, qd_tensor_attribution *out)
{
    const qd_quantizer *quantizer = &attribution->qgraph->quantizers[index];
    const qd_code_range *range = &quantizer->params.range;
    const record *r = &attribution->records[index];
    qd_context *ctx = attribution->qgraph->ctx;
    if (r->values == 0)
        return qd_fail(ctx, QD_ERR_USAGE, "attribution '%s': no image seen yet; give at least one", quantizer->name);
    int32_t *spans = qd_calloc((size_t)r->channels, sizeof *spans);
    if (spans == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "attribution '%s': no memory for %lld channels", quantizer->name,
                       (long long)r->channels);
    *out = (qd_tensor_attribution){
        .channels = r->channels,
        .values = r->values,
        .of_layer = is_of_layer(attribution->qgraph, index),
        .all_codes = range->high - range->low + 1,
        .low_count = r->counts.codes[0],
        .high_count = r->counts.codes[range->high - range->low],
        .zero_count = r->counts.codes[range->zero - range->low],
        .histogram = r->counts.histogram,
        .channel_min = r->min,
        .channel_max = r->max,
    };
    for (int i = 0; i < CODES; i++)
        out->used_codes += r->counts.codes[i] > 0;
    find_ends(r, out);
    if (out->others_min <= out->others_max) /* not NaN */
        out->others_codes =
            code_of(quantizer, (float)out->others_max) - code_of(quantizer, (float)out->others_min) + 1;
    count_spans(r, quantizer, spans, out);
    free(spans);
    return QD_OK;
}
