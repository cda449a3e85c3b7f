#include <quantdrift/inspect.h>

#include "base/arena.h"
#include "base/error.h"
#include "exchange/inspect_onnx.h"
#include "exchange/weights.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the texts of an inspection lie in. */
typedef struct inspected_file {
    qd_weights weights;
    Onnx__ModelProto *model;
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

/* ---- weights ---- */

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

static enum qd_status inspect_weights(qd_context *ctx, const char *path, inspected_file *file, qd_inspection *out)
{
    qd_weights *w = &file->weights;
    QD_TRY(qd_weights_open(ctx, path, w));
    out->format = w->pth ? "PyTorch" : "safetensors";
    if (w->safetensors)
        QD_TRY(list_metadata(ctx, path, w->safetensors, out));
    out->tensors = qd_calloc((size_t)w->count, sizeof *out->tensors);
    if (!out->tensors)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
    for (int i = 0; i < w->count; i++) {
        qd_inspected_tensor *to = &out->tensors[out->tensor_count++];
        *to = (qd_inspected_tensor){
            .name = w->tensors[i].name, .role = "tensor", .type = w->types[i], .rank = w->tensors[i].rank};
        memcpy(to->shape, w->tensors[i].shape, sizeof w->tensors[i].shape);
    }
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
        qd_onnx_free(file->model);
        free(file);
    }
    *inspection = (qd_inspection){0};
}
