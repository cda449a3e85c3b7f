#include "exchange/encodings_export.h"
#include "base/error.h"
#include "quantize/qgraph.h"
#include <math.h>
#include <stdio.h>

static void fill_calibrator(const char *own, const char *calibrator, qd_encoding *out)
{
    snprintf(out->calibrator, sizeof out->calibrator, "%s", own[0] != '\0' ? own : calibrator);
}

static enum qd_status fill_activation(qd_context *ctx, const qd_qgraph *q, int index, const char *calibrator,
                                      qd_encoding *out)
{
    const qd_quantizer *quantizer = &q->quantizers[index];
    const qd_quant_tensor tensor = qd_qgraph_tensor(q, index);
    snprintf(out->name, sizeof out->name, "%s", tensor.name);
    out->is_float = tensor.is_float;
    if (out->is_float)
        return QD_OK;
    QD_TRY(qd_encoding_allocate(ctx, 1, out));
    fill_calibrator(quantizer->calibrator, calibrator, out);
    out->bits = quantizer->bits;
    out->symmetric = quantizer->symmetric;
    out->is_signed = q->scheme.activation_signed;
    out->has_range = out->has_scale = true;
    out->ranges[0] = (qd_encoding_range){tensor.min, tensor.max, tensor.scale, tensor.zero_point};
    return QD_OK;
}

/* Widens a range to the folded weights of one output channel. */
static void widen(const qd_qconv *conv, int64_t channel, qd_encoding_range *range)
{
    const int64_t channels = conv->config.out_channels;
    for (int64_t k = 0; k < conv->filter; k++) {
        const int64_t at = conv->depthwise ? k * channels + channel : channel * conv->filter + k;
        const double w = (double)conv->weight[at];
        /* No fmin(): gcc 12 for aarch64 fails to compile loops that reduce with it at -O3. */
        range->min = w < range->min ? w : range->min;
        range->max = w > range->max ? w : range->max;
    }
}

/* Where a scale was given that clips the weights, the ends of the codes: range and scale then belong together. */
static void clip_to_codes(int bits, qd_encoding_range *range)
{
    const double end = range->scale * ((1 << (bits - 1)) - 1);
    const double rounded = end * (1.0 + 0x1p-22); /* a scale that reaches them may be rounded down */
    if (range->min < -rounded)
        range->min = -end;
    if (range->max > rounded)
        range->max = end;
}

static enum qd_status fill_weight(qd_context *ctx, const qd_qconv *conv, const char *calibrator, bool ranges,
                                  qd_encoding *out)
{
    const int64_t channels = conv->config.out_channels;
    snprintf(out->name, sizeof out->name, "%s", conv->name);
    out->is_float = conv->is_float;
    if (out->is_float)
        return QD_OK;
    fill_calibrator(conv->calibrator, calibrator, out);
    out->bits = conv->bits;
    out->symmetric = out->is_signed = true;
    out->per_channel = conv->per_channel;
    if (!ranges)
        return QD_OK;
    out->has_range = out->has_scale = true;
    QD_TRY(qd_encoding_allocate(ctx, out->per_channel ? channels : 1, out));
    for (int64_t c = 0; c < channels; c++) {
        qd_encoding_range *range = &out->ranges[out->per_channel ? c : 0];
        if (out->per_channel || c == 0)
            *range = (qd_encoding_range){.min = INFINITY, .max = -INFINITY, .scale = (double)conv->scale[c]};
        widen(conv, c, range);
    }
    for (int64_t i = 0; conv->scale_given && i < out->range_count; i++)
        clip_to_codes(out->bits, &out->ranges[i]);
    return QD_OK;
}

enum qd_status qd_qgraph_describe(qd_context *ctx, const char *model, const char *calibrator, const qd_qgraph *qgraph,
                                  bool weight_ranges, qd_encodings *out)
{
    enum qd_status status = QD_OK;
    qd_encodings encodings = {0};
    if (!qgraph->finalized)
        return qd_fail(ctx, QD_ERR_USAGE, "exporting '%s': no scales chosen yet; calibrate first", model);
    if (qgraph->restored)
        return qd_fail(ctx, QD_ERR_USAGE,
                       "exporting '%s': a quantized model file has no float weights; quantize its checkpoint", model);
    if (qgraph->scheme.activation_dynamic || qgraph->scheme.fused_silu)
        return qd_fail(ctx, QD_ERR_USAGE,
                       "exporting '%s': encodings tell static ranges of every tensor, and this network has %s", model,
                       qgraph->scheme.activation_dynamic ? "dynamic ones" : "a fused SiLU");
    snprintf(encodings.model, sizeof encodings.model, "%s", model);
    QD_TRY_GOTO(qd_encodings_allocate(ctx, qgraph->quantizer_count, &encodings.activations));
    QD_TRY_GOTO(qd_encodings_allocate(ctx, qgraph->conv_count, &encodings.weights));
    for (int i = 0; i < qgraph->quantizer_count; i++)
        QD_TRY_GOTO(fill_activation(ctx, qgraph, i, calibrator, &encodings.activations.items[i]));
    for (int i = 0; i < qgraph->conv_count; i++)
        QD_TRY_GOTO(fill_weight(ctx, &qgraph->convs[i], calibrator, weight_ranges, &encodings.weights.items[i]));
    *out = encodings;
    return QD_OK;
fail:
    qd_encodings_free(&encodings);
    return status;
}

enum qd_status qd_qgraph_write_encodings(qd_context *ctx, const char *path, const char *model, const char *calibrator,
                                         const qd_qgraph *qgraph)
{
    qd_encodings encodings;
    QD_TRY(qd_qgraph_describe(ctx, model, calibrator, qgraph, true, &encodings));
    const enum qd_status status = qd_encodings_write(ctx, path, &encodings);
    qd_encodings_free(&encodings);
    return status;
}
