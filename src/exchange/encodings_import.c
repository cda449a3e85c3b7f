#include "exchange/encodings_import.h"
#include "base/error.h"
#include "quantize/qgraph.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a scale may lose by being typed with six digits. */
#define SCALE_TOLERANCE 1e-5

/* Codes are kept in eight bits. */
#define MAX_BITS 8

typedef struct source {
    qd_context *ctx;
    const char *path;
} source;

static enum qd_status refuse(const source *s, const qd_encoding *encoding, const char *problem)
{
    return qd_fail(s->ctx, QD_ERR_INPUT, "encodings '%s': tensor '%.160s': %s", s->path, encoding->name, problem);
}

static enum qd_status refuse_size(const source *s, const qd_encoding *encoding)
{
    return refuse(s, encoding, "its scale is more than float32 can hold");
}

static enum qd_status refuse_scale(const source *s, const qd_encoding *encoding, int64_t index, double expected,
                                   int64_t expected_zero)
{
    const qd_encoding_range *range = &encoding->ranges[index];
    return qd_fail(s->ctx, QD_ERR_INPUT,
                   "encodings '%s': tensor '%.160s': scale %.9g and zero point %lld do not belong to the range %g to "
                   "%g, whose are %.9g and %lld; change all four, or leave out one of the two pairs",
                   s->path, encoding->name, range->scale, (long long)range->zero_point, range->min, range->max,
                   expected, (long long)expected_zero);
}

static int find_tensor(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < q->quantizer_count; i++)
        if (strcmp(q->quantizers[i].name, name) == 0)
            return i;
    return -1;
}

static int find_weight(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < q->conv_count; i++)
        if (strcmp(q->convs[i].name, name) == 0)
            return i;
    return -1;
}

enum qd_status qd_encodings_match(qd_context *ctx, const char *path, const qd_encodings *encodings,
                                  const qd_qgraph *qgraph, bool *complete)
{
    for (int i = 0; i < encodings->activations.count; i++)
        if (find_tensor(qgraph, encodings->activations.items[i].name) < 0)
            return qd_fail(ctx, QD_ERR_INPUT,
                           "encodings '%s': the network has no tensor '%.160s'; are they of another model (they say "
                           "'%s')?",
                           path, encodings->activations.items[i].name, encodings->model);
    for (int i = 0; i < encodings->weights.count; i++)
        if (find_weight(qgraph, encodings->weights.items[i].name) < 0)
            return qd_fail(ctx, QD_ERR_INPUT,
                           "encodings '%s': the network has no weight '%.160s'; are they of another model (they say "
                           "'%s')?",
                           path, encodings->weights.items[i].name, encodings->model);
    *complete = encodings->activations.count == qgraph->quantizer_count; /* names are there once */
    return QD_OK;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= SCALE_TOLERANCE * fabs(b);
}

/* ---- activations ---- */

/* The ends of the codes: a range that gives back exactly this scale and zero point. */
static void range_of_codes(const qd_encoding *encoding, double scale, int32_t zero, double *min, double *max)
{
    const int32_t half = 1 << (encoding->bits - 1);
    *min = scale * (encoding->symmetric ? 1 - half : -half - zero);
    *max = scale * (half - 1 - zero);
}

static enum qd_status apply_activation(const source *s, const qd_encoding *encoding, qd_qgraph *q, int index)
{
    qd_quantizer *quantizer = &q->quantizers[index];
    if (encoding->is_float)
        return qd_qgraph_keep_float(q, index);
    if (encoding->per_channel || encoding->bits > MAX_BITS)
        return refuse(s, encoding, "activations have one range for the whole tensor, and at most 8 bits");
    qd_encoding_range range = encoding->ranges[0];
    const int32_t offset = encoding->is_signed ? 0 : 1 << (encoding->bits - 1);
    const int32_t zero = (int32_t)range.zero_point - offset;
    if (encoding->has_scale && ((encoding->symmetric && zero != 0) || (float)range.scale < 0x1p-126f))
        return refuse(s, encoding,
                      "a symmetric tensor's zero point is the middle of its codes, and no scale is denormal");
    if (encoding->has_scale && range.scale > (double)FLT_MAX)
        return refuse_size(s, encoding);
    quantizer->bits = encoding->bits;
    quantizer->symmetric = encoding->symmetric;
    snprintf(quantizer->calibrator, sizeof quantizer->calibrator, "%s", encoding->calibrator);
    if (!encoding->has_range)
        range_of_codes(encoding, (double)(float)range.scale, zero, &range.min, &range.max);
    else if (range.min >= 0.0 && range.max <= 0.0)
        return refuse(s, encoding, "its range holds nothing but 0; give a wider one or mark it \"float\"");
    const qd_quant_params params = qd_quantizer_params(quantizer, range.min, range.max);
    if (!isfinite(params.scale))
        return refuse_size(s, encoding);
    if (encoding->has_scale && (!near(range.scale, (double)params.scale) || zero != params.range.zero))
        return refuse_scale(s, encoding, 0, (double)params.scale, params.range.zero + offset);
    return qd_qgraph_set_range(q, index, range.min, range.max);
}

/* ---- weights ---- */

static double peak_of(const qd_encoding_range *range)
{
    return fmax(fabs(range->min), fabs(range->max));
}

static enum qd_status apply_weight(const source *s, const qd_encoding *encoding, qd_qgraph *q, int index)
{
    qd_qconv *conv = &q->convs[index];
    const int64_t channels = conv->config.out_channels;
    if (encoding->is_float)
        return qd_qgraph_keep_weight_float(q, index);
    if (!encoding->symmetric || !encoding->is_signed || encoding->bits > MAX_BITS)
        return refuse(s, encoding, "weights are symmetric and signed, and have at most 8 bits");
    if (encoding->per_channel && encoding->range_count != channels)
        return qd_fail(s->ctx, QD_ERR_INPUT,
                       "encodings '%s': tensor '%.160s': expected one scale or %lld, one an output channel, got %lld",
                       s->path, encoding->name, (long long)channels, (long long)encoding->range_count);
    conv->bits = encoding->bits;
    conv->per_channel = encoding->per_channel;
    conv->scale_given = true;
    snprintf(conv->calibrator, sizeof conv->calibrator, "%s", encoding->calibrator);
    for (int64_t o = 0; o < channels; o++) {
        const qd_encoding_range *range = &encoding->ranges[encoding->per_channel ? o : 0];
        if (encoding->has_scale && (range->zero_point != 0 || (float)range->scale < 0x1p-126f))
            return refuse(s, encoding, "the zero point of weights is 0, and no scale is denormal");
        if (encoding->has_scale && range->scale > (double)FLT_MAX)
            return refuse_size(s, encoding);
        const float of_range = qd_quant_weight_scale(conv->bits, peak_of(range), 0.0, 1.0f);
        if (encoding->has_scale && encoding->has_range && range->scale < (double)of_range * (1.0 - SCALE_TOLERANCE) &&
            peak_of(range) > 0.0)
            return refuse_scale(s, encoding, encoding->per_channel ? o : 0, (double)of_range, 0);
        conv->scale[o] = encoding->has_scale ? (float)range->scale : of_range;
        if (!isfinite(conv->scale[o]))
            return refuse_size(s, encoding);
    }
    return QD_OK;
}

enum qd_status qd_encodings_apply(qd_context *ctx, const char *path, const qd_encodings *encodings, qd_qgraph *qgraph)
{
    const source s = {.ctx = ctx, .path = path};
    for (int i = 0; i < encodings->activations.count; i++) {
        const qd_encoding *encoding = &encodings->activations.items[i];
        QD_TRY(apply_activation(&s, encoding, qgraph, find_tensor(qgraph, encoding->name)));
    }
    for (int i = 0; i < encodings->weights.count; i++) {
        const qd_encoding *encoding = &encodings->weights.items[i];
        QD_TRY(apply_weight(&s, encoding, qgraph, find_weight(qgraph, encoding->name)));
    }
    return QD_OK;
}
