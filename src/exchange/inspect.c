#include <quantdrift/inspect.h>

#include "base/arena.h"
#include "base/error.h"
#include "exchange/inspect_onnx.h"
#include "exchange/weights.h"
#include "formats/quantized_file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the texts of an inspection lie in. */
typedef struct inspected_file {
    qd_weights weights;
    Onnx__ModelProto *model;
    qd_quantized_file quantized;
    char numbers[3][24]; /* IR version, operator set, nodes */
} inspected_file;

static enum qd_status reserve_facts(qd_context *ctx, const char *path, size_t count, qd_inspection *out)
{
    out->facts = qd_calloc(count, sizeof *out->facts);
    return out->facts ? QD_OK : qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
}

static void add_fact(qd_inspection *out, const char *key, const char *value)
{
    if (key && value && value[0] != '\0')
        out->facts[out->fact_count++] = (qd_inspected_fact){key, value};
}

/* ---- ONNX ---- */

static const char *print_number(char text[24], int64_t value)
{
    snprintf(text, 24, "%lld", (long long)value);
    return text;
}

static int64_t operator_set(const Onnx__ModelProto *model)
{
    for (size_t i = 0; i < model->n_opset_import; i++)
        if (!model->opset_import[i]->domain || model->opset_import[i]->domain[0] == '\0')
            return model->opset_import[i]->version;
    return 0;
}

static enum qd_status inspect_model(qd_context *ctx, const char *path, inspected_file *file, qd_inspection *out)
{
    QD_TRY(qd_onnx_read(ctx, path, &file->model));
    const Onnx__ModelProto *model = file->model;
    out->format = "ONNX";
    QD_TRY(reserve_facts(ctx, path, 6 + model->n_metadata_props, out));
    add_fact(out, "producer", model->producer_name);
    add_fact(out, "producer version", model->producer_version);
    add_fact(out, "IR version", print_number(file->numbers[0], model->ir_version));
    add_fact(out, "operator set", print_number(file->numbers[1], operator_set(model)));
    add_fact(out, "graph", model->graph->name);
    add_fact(out, "nodes", print_number(file->numbers[2], (int64_t)model->graph->n_node));
    for (size_t i = 0; i < model->n_metadata_props; i++)
        add_fact(out, model->metadata_props[i]->key, model->metadata_props[i]->value);
    return qd_inspect_onnx(ctx, path, model, out);
}

/* ---- safetensors and .pth ---- */

static enum qd_status list_metadata(qd_context *ctx, const char *path, const qd_safetensors *file, qd_inspection *out)
{
    const size_t count = (size_t)qd_safetensors_metadata_count(file);
    qd_metadata_entry *entries = qd_calloc(count, sizeof *entries);
    if (!entries)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
    enum qd_status status = reserve_facts(ctx, path, count, out);
    if (status == QD_OK) {
        qd_safetensors_metadata_entries(file, entries);
        for (size_t i = 0; i < count; i++)
            add_fact(out, entries[i].key, entries[i].value);
    }
    free(entries);
    return status;
}

static enum qd_status reserve_tensors(qd_context *ctx, const char *path, int count, qd_inspection *out)
{
    out->tensors = qd_calloc((size_t)count, sizeof *out->tensors);
    return out->tensors ? QD_OK : qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
}

static void add_tensor(qd_inspection *out, const qd_tensor *tensor, const char *type)
{
    qd_inspected_tensor *to = &out->tensors[out->tensor_count++];
    *to = (qd_inspected_tensor){.name = tensor->name, .role = "tensor", .type = type, .rank = tensor->rank};
    memcpy(to->shape, tensor->shape, sizeof tensor->shape);
}

/* ---- quantized models ---- */

static enum qd_status add_quantizer(qd_context *ctx, const char *path, const char *tensor, const char *type,
                                    int64_t count, bool per_channel, qd_inspection *out)
{
    qd_inspected_quantizer *to = &out->quantizers[out->quantizer_count++];
    *to = (qd_inspected_quantizer){.tensor = tensor, .type = type, .axis = per_channel ? 0 : -1, .count = count};
    to->scale = qd_calloc((size_t)count, sizeof *to->scale);
    to->zero_point = qd_calloc((size_t)count, sizeof *to->zero_point);
    return to->scale && to->zero_point ? QD_OK : qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
}

/* Scales of weights are tensors "<weight>.scale", one value or one a channel. */
static enum qd_status add_weight_scale(qd_context *ctx, const char *path, const qd_quantized_file *file,
                                       const qd_encoding *encoding, qd_inspection *out)
{
    char name[QD_ENCODING_NAME_BYTES + 8];
    snprintf(name, sizeof name, "%s.scale", encoding->name);
    const qd_tensor *scale = qd_safetensors_find(file->bytes, name);
    if (!scale || scale->dtype != QD_F32 || scale->rank > 1)
        return qd_fail(ctx, QD_ERR_INPUT, "quantized model '%s': '%s': expected float32 scales", path, name);
    const int64_t count = qd_tensor_count(scale);
    QD_TRY(add_quantizer(ctx, path, encoding->name, "int8", count, scale->rank > 0, out));
    for (int64_t c = 0; c < count; c++)
        out->quantizers[out->quantizer_count - 1].scale[c] = (double)((const float *)scale->data)[c];
    return QD_OK;
}

static enum qd_status list_quantizers(qd_context *ctx, const char *path, const qd_quantized_file *file,
                                      qd_inspection *out)
{
    const qd_encoding_list *activations = &file->header.encodings.activations,
                           *weights = &file->header.encodings.weights;
    out->quantizers = qd_calloc((size_t)activations->count + (size_t)weights->count, sizeof *out->quantizers);
    if (!out->quantizers)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
    for (int i = 0; i < activations->count; i++) {
        const qd_encoding *encoding = &activations->items[i];
        if (encoding->is_float)
            continue;
        QD_TRY(add_quantizer(ctx, path, encoding->name, encoding->is_signed ? "int8" : "uint8", 1, false, out));
        out->quantizers[out->quantizer_count - 1].scale[0] = encoding->ranges[0].scale;
        out->quantizers[out->quantizer_count - 1].zero_point[0] = encoding->ranges[0].zero_point;
    }
    for (int i = 0; i < weights->count; i++)
        if (!weights->items[i].is_float)
            QD_TRY(add_weight_scale(ctx, path, file, &weights->items[i], out));
    return QD_OK;
}

static enum qd_status inspect_quantized(qd_context *ctx, const char *path, inspected_file *file, qd_inspection *out)
{
    const int count = file->weights.count;
    qd_weights_close(&file->weights); /* to be read again, with every check */
    QD_TRY(qd_quantized_file_open(ctx, path, &file->quantized));
    const qd_safetensors *bytes = file->quantized.bytes;
    out->format = "quantized model";
    QD_TRY(list_metadata(ctx, path, bytes, out));
    QD_TRY(reserve_tensors(ctx, path, count, out));
    for (int i = 0; i < count; i++)
        add_tensor(out, qd_safetensors_get(bytes, i), qd_safetensors_stored_type(bytes, i));
    return list_quantizers(ctx, path, &file->quantized, out);
}

/* ---- weights ---- */

static enum qd_status inspect_weights(qd_context *ctx, const char *path, inspected_file *file, qd_inspection *out)
{
    qd_weights *w = &file->weights;
    QD_TRY(qd_weights_open(ctx, path, w));
    if (w->safetensors && qd_quantized_file_recognise(w->safetensors))
        return inspect_quantized(ctx, path, file, out);
    out->format = w->pth ? "PyTorch" : "safetensors";
    if (w->safetensors)
        QD_TRY(list_metadata(ctx, path, w->safetensors, out));
    QD_TRY(reserve_tensors(ctx, path, w->count, out));
    for (int i = 0; i < w->count; i++)
        add_tensor(out, &w->tensors[i], w->types[i]);
    return QD_OK;
}

enum qd_status qd_inspect(qd_context *ctx, const char *path, qd_inspection *out)
{
    static const char suffix[] = ".onnx";
    const size_t length = strlen(path), end = strlen(suffix);
    const bool is_onnx = length >= end && strcmp(path + length - end, suffix) == 0;
    enum qd_status status = QD_OK;
    qd_inspection inspection = {0};
    inspected_file *file = qd_calloc(1, sizeof *file);
    if (!file)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
    inspection.file = file;
    if (is_onnx)
        QD_TRY_GOTO(inspect_model(ctx, path, file, &inspection));
    else
        QD_TRY_GOTO(inspect_weights(ctx, path, file, &inspection));
    *out = inspection;
    return QD_OK;
fail:
    qd_inspection_free(&inspection);
    return status;
}

void qd_inspection_free(qd_inspection *inspection)
{
    inspected_file *file = inspection->file;
    qd_inspection_free_lists(inspection);
    if (file) {
        qd_weights_close(&file->weights);
        qd_quantized_file_close(&file->quantized);
        qd_onnx_free(file->model);
        free(file);
    }
    *inspection = (qd_inspection){0};
}
