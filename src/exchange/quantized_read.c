/*
 * A quantized network from its file. The layout comes from the network's graph, so that a file cannot describe a
 * network that does not exist; every tensor must be there, of the right type and shape, with values a quantizer can
 * have written.
 */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/quantized_model.h"
#include "quantize/qgraph_build.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    qd_context *ctx;
    const qd_quantized_file *file;
    const qd_graph *graph;
    qd_qgraph *q;
    int used; /* tensors of the file */
} reader;

static enum qd_status refuse(const reader *r, const char *name, const char *problem)
{
    return qd_fail(r->ctx, QD_ERR_INPUT,
                   "quantized model '%s': '%s': %s; make the file again with quantdrift quantize", r->file->path,
                   name, problem);
}

/* ---- encodings ---- */

static const qd_encoding *find_encoding(const qd_encoding_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

static enum qd_status fill_quantizer(const reader *r, qd_quantizer *quantizer)
{
    const qd_encoding *encoding = find_encoding(&r->file->header.encodings.activations, quantizer->name);
    if (!encoding)
        return refuse(r, quantizer->name, "the file has no scale for this tensor");
    quantizer->is_float = encoding->is_float;
    quantizer->params = (qd_quant_params){.scale = 1.0f};
    if (encoding->is_float)
        return QD_OK;
    if (encoding->bits > 8 || encoding->per_channel || !encoding->has_range || !encoding->has_scale ||
        encoding->is_signed != r->q->scheme.activation_signed)
        return refuse(r, quantizer->name, "expected range, scale and zero point of one tensor of at most 8 bits");
    const qd_encoding_range *range = &encoding->ranges[0];
    const int32_t half = 1 << (encoding->bits - 1);
    quantizer->bits = encoding->bits;
    quantizer->symmetric = encoding->symmetric;
    snprintf(quantizer->calibrator, sizeof quantizer->calibrator, "%s", encoding->calibrator);
    quantizer->min = range->min;
    quantizer->max = range->max;
    quantizer->params.scale = (float)range->scale;
    quantizer->params.range = (qd_code_range){
        .zero = (int32_t)range->zero_point - (encoding->is_signed ? 0 : half), .low = -half, .high = half - 1};
    if ((double)quantizer->params.scale != range->scale || !isnormal(quantizer->params.scale))
        return refuse(r, quantizer->name, "its scale is no float32");
    return QD_OK;
}

static enum qd_status fill_form(const reader *r, qd_qconv *conv)
{
    const qd_encoding *encoding = find_encoding(&r->file->header.encodings.weights, conv->name);
    if (!encoding)
        return refuse(r, conv->name, "the file does not tell the form of this weight");
    conv->is_float = encoding->is_float;
    if (encoding->is_float)
        return QD_OK;
    if (encoding->bits > 8 || !encoding->symmetric || !encoding->is_signed)
        return refuse(r, conv->name, "expected symmetric signed weights of at most 8 bits");
    conv->bits = encoding->bits;
    snprintf(conv->calibrator, sizeof conv->calibrator, "%s", encoding->calibrator);
    return QD_OK;
}

/* ---- tensors ---- */

/* A tensor of the file that must be of a type and of the shape of `like`. */
static enum qd_status find_tensor(reader *r, const char *name, const qd_tensor *like, const qd_tensor **out)
{
    const qd_tensor *tensor = qd_safetensors_find(r->file->bytes, name);
    if (!tensor)
        return refuse(r, name, "this tensor is missing");
    bool fits = tensor->dtype == like->dtype && tensor->rank == like->rank;
    for (int d = 0; fits && d < like->rank; d++)
        fits = tensor->shape[d] == like->shape[d];
    if (!fits)
        return refuse(r, name, "expected a tensor of another type or shape");
    r->used++;
    *out = tensor;
    return QD_OK;
}

/* Copies it into the memory that `view` shows. */
static enum qd_status fill_tensor(reader *r, const char *name, qd_tensor view)
{
    const qd_tensor *tensor = NULL;
    QD_TRY(find_tensor(r, name, &view, &tensor));
    return qd_tensor_copy(r->ctx, &view, tensor);
}

static bool all_finite(const float *values, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return false;
    return true;
}

static bool all_within(const int8_t *codes, int64_t count, int32_t low, int32_t high)
{
    for (int64_t i = 0; i < count; i++)
        if (codes[i] < low || codes[i] > high)
            return false;
    return true;
}

static enum qd_status fill_scale(reader *r, qd_qconv *conv)
{
    char name[QD_QUANTIZED_NAME_BYTES];
    const int64_t channels = conv->config.out_channels;
    qd_quantized_scale_name(conv, name);
    const qd_tensor *stored = qd_safetensors_find(r->file->bytes, name);
    conv->per_channel = stored && stored->rank > 0;
    QD_TRY(fill_tensor(r, name, qd_tensor_contiguous(QD_F32, conv->per_channel ? 1 : 0, &channels, conv->scale)));
    for (int64_t o = 0; o < channels; o++) {
        if (!conv->per_channel)
            conv->scale[o] = conv->scale[0];
        if (!(conv->scale[o] > 0.0f) || !isnormal(conv->scale[o]))
            return refuse(r, name, "expected positive scales");
    }
    return QD_OK;
}

static enum qd_status fill_weight(reader *r, qd_qconv *conv)
{
    const int64_t count = conv->config.out_channels * conv->filter;
    const int32_t limit = (1 << (conv->bits - 1)) - 1;
    if (conv->is_float) {
        QD_TRY(fill_tensor(r, conv->name, qd_qconv_weight_view(r->graph, conv, QD_F32, conv->weight_simulated)));
        return all_finite(conv->weight_simulated, count) ? QD_OK : refuse(r, conv->name, "a weight is not finite");
    }
    QD_TRY(fill_tensor(r, conv->name, qd_qconv_weight_view(r->graph, conv, QD_S8, conv->codes)));
    /* Kernels rely on it: no product of -128 by -128 fits their sums. */
    if (!all_within(conv->codes, count, -limit, limit))
        return refuse(r, conv->name, "a weight's code is outside of its bits");
    return fill_scale(r, conv);
}

static enum qd_status fill_bias(reader *r, const qd_qstep *step)
{
    const qd_qconv *conv = &r->q->convs[step->conv];
    const int64_t channels = conv->config.out_channels;
    char name[QD_QUANTIZED_NAME_BYTES];
    qd_quantized_bias_name(conv, name);
    if (!qd_qgraph_has_integer_bias(r->q, step)) {
        QD_TRY(fill_tensor(r, name, qd_tensor_contiguous(QD_F32, 1, &channels, conv->bias_simulated)));
        return all_finite(conv->bias_simulated, channels) ? QD_OK : refuse(r, name, "a bias is not finite");
    }
    QD_TRY(fill_tensor(r, name, qd_tensor_contiguous(QD_S32, 1, &channels, conv->bias_codes)));
    for (int64_t o = 0; o < channels; o++)
        if (fabs((double)conv->bias_codes[o]) > QD_BIAS_LIMIT)
            return refuse(r, name, "a bias is larger than 2^30");
    return QD_OK;
}

static enum qd_status fill_table(reader *r, qd_qstep *step)
{
    static const int64_t size = 256;
    char name[QD_QUANTIZED_NAME_BYTES];
    int quantizer = -1;
    uint8_t *table = qd_qgraph_function_table(r->q, step, &quantizer);
    if (!table)
        return QD_OK;
    const qd_quantizer *of = &r->q->quantizers[quantizer];
    const int32_t low = of->params.range.low + QD_STORED_OFFSET, high = of->params.range.high + QD_STORED_OFFSET;
    qd_quantized_table_name(of, name);
    QD_TRY(fill_tensor(r, name, qd_tensor_contiguous(QD_U8, 1, &size, table)));
    for (int64_t i = 0; i < size; i++)
        if (table[i] < low || table[i] > high)
            return refuse(r, name, "a code is outside of its tensor's bits");
    return QD_OK;
}

static enum qd_status fill_network(reader *r)
{
    qd_qgraph *q = r->q;
    for (int i = 0; i < q->quantizer_count; i++)
        QD_TRY(fill_quantizer(r, &q->quantizers[i]));
    for (int i = 0; i < q->conv_count; i++)
        QD_TRY(fill_form(r, &q->convs[i]));
    qd_qgraph_mark_float_steps(q);
    QD_TRY(qd_qgraph_allocate_weights(q));
    for (int i = 0; i < q->step_count; i++) {
        if (q->steps[i].conv >= 0) {
            QD_TRY(fill_weight(r, &q->convs[q->steps[i].conv]));
            QD_TRY(fill_bias(r, &q->steps[i]));
        }
        QD_TRY(fill_table(r, &q->steps[i]));
    }
    /* Each name was asked for once. */
    if (r->used != qd_safetensors_count(r->file->bytes) ||
        r->file->header.encodings.activations.count != q->quantizer_count ||
        r->file->header.encodings.weights.count != q->conv_count)
        return refuse(r, q->convs[0].name,
                      "beside this one there are tensors or scales that the network does not have");
    qd_qgraph_derive(q);
    return QD_OK;
}

enum qd_status qd_quantized_restore(qd_context *ctx, const qd_quantized_file *file, const qd_graph *graph,
                                    int64_t max_batch, qd_qgraph **out)
{
    const qd_quantized_header *header = &file->header;
    const qd_quant_scheme scheme = {
        .weight_bits = header->weight_bits,
        .weight_per_channel = header->weight_per_channel,
        .activation_bits = header->activation_bits,
        .activation_signed = header->activation_signed,
        .activation_symmetric = header->activation_symmetric,
    };
    enum qd_status status = QD_OK;
    reader r = {.ctx = ctx, .file = file, .graph = graph};
    QD_TRY(qd_qgraph_create_empty(ctx, graph, &scheme, max_batch, &r.q));
    r.q->restored = true;
    QD_TRY_GOTO(fill_network(&r));
    *out = r.q;
    return QD_OK;
fail:
    qd_qgraph_destroy(r.q);
    return status;
}
