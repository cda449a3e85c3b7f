#include "base/arena.h"
#include "base/error.h"
#include "exchange/inspect_onnx.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A constant that scales may come from: an initializer, or the output of a Constant node. */
typedef struct constant {
    const char *name;
    const Onnx__TensorProto *tensor;
} constant;

typedef struct inspector {
    qd_context *ctx;
    const char *path;
    const Onnx__GraphProto *graph;
    constant *constants; /* sorted by name */
    size_t constant_count;
    const char **quantized; /* outputs of QuantizeLinear, sorted */
    size_t quantized_count;
    qd_inspection *out;
} inspector;

static enum qd_status refuse(const inspector *in, const char *name, const char *problem)
{
    return qd_fail(in->ctx, QD_ERR_INPUT, "reading '%s': '%.200s': %s", in->path, name, problem);
}

static enum qd_status fail_memory(const inspector *in)
{
    return qd_fail(in->ctx, QD_ERR_MEMORY, "reading '%s': memory is short", in->path);
}

/* Texts of the schema are optional. */
static const char *text_of(const char *text)
{
    return text ? text : "";
}

/* ---- types and data ---- */

static const struct {
    const char *name;
    size_t bytes; /* 0: no numbers */
} types[] = {
    [ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED] = {"undefined", 0},
    [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT] = {"float32", 4},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT8] = {"uint8", 1},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT8] = {"int8", 1},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT16] = {"uint16", 2},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT16] = {"int16", 2},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT32] = {"int32", 4},
    [ONNX__TENSOR_PROTO__DATA_TYPE__INT64] = {"int64", 8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__STRING] = {"string", 0},
    [ONNX__TENSOR_PROTO__DATA_TYPE__BOOL] = {"bool", 1},
    [ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16] = {"float16", 2},
    [ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE] = {"float64", 8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT32] = {"uint32", 4},
    [ONNX__TENSOR_PROTO__DATA_TYPE__UINT64] = {"uint64", 8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX64] = {"complex64", 8},
    [ONNX__TENSOR_PROTO__DATA_TYPE__COMPLEX128] = {"complex128", 16},
    [ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16] = {"bfloat16", 2},
};
#define TYPE_COUNT ((int32_t)(sizeof types / sizeof types[0]))

static const char *type_name(int32_t type)
{
    return type >= 0 && type < TYPE_COUNT ? types[type].name : "unknown";
}

/* Number of elements; false when sizes are negative or their product overflows. */
static bool element_count(const Onnx__TensorProto *tensor, int64_t *out)
{
    int64_t count = 1;
    for (size_t d = 0; d < tensor->n_dims; d++)
        if (tensor->dims[d] < 0 || __builtin_mul_overflow(count, tensor->dims[d], &count))
            return false;
    *out = count;
    return true;
}

/* Element `index` of a small tensor, wherever the schema lets it stand; false when it is not there. */
static bool element(const Onnx__TensorProto *t, int64_t index, double *out)
{
    const size_t i = (size_t)index;
    const uint8_t *raw = t->raw_data.data;
    const bool has_raw = t->has_raw_data && t->data_type >= 0 && t->data_type < TYPE_COUNT &&
                         (i + 1) * types[t->data_type].bytes <= t->raw_data.len;
    union {
        float f32;
        double f64;
        int16_t s16;
        uint16_t u16;
        int32_t s32;
        int64_t s64;
    } v;
    switch (t->data_type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
        if (has_raw)
            memcpy(&v.f32, raw + 4 * i, 4);
        else if (i < t->n_float_data)
            v.f32 = t->float_data[i];
        else
            return false;
        *out = (double)v.f32;
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
        if (has_raw)
            memcpy(&v.f64, raw + 8 * i, 8);
        else if (i < t->n_double_data)
            v.f64 = t->double_data[i];
        else
            return false;
        *out = v.f64;
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT64:
        if (has_raw)
            memcpy(&v.s64, raw + 8 * i, 8);
        else if (i < t->n_int64_data)
            v.s64 = t->int64_data[i];
        else
            return false;
        *out = (double)v.s64;
        return true;
    default:
        break;
    }
    if (!has_raw) { /* all narrower integers stand in one list */
        if (i >= t->n_int32_data)
            return false;
        *out = t->int32_data[i];
        return true;
    }
    switch (t->data_type) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
        *out = (int8_t)raw[i];
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
    case ONNX__TENSOR_PROTO__DATA_TYPE__BOOL:
        *out = raw[i];
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT16:
        memcpy(&v.s16, raw + 2 * i, 2);
        *out = v.s16;
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT16:
        memcpy(&v.u16, raw + 2 * i, 2);
        *out = v.u16;
        return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
        memcpy(&v.s32, raw + 4 * i, 4);
        *out = v.s32;
        return true;
    default:
        return false;
    }
}

/* ---- finding ---- */

static int compare_constants(const void *left, const void *right)
{
    return strcmp(((const constant *)left)->name, ((const constant *)right)->name);
}

static int compare_texts(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static const Onnx__TensorProto *find_constant(const inspector *in, const char *name)
{
    const constant key = {.name = name};
    const constant *found =
        bsearch(&key, in->constants, in->constant_count, sizeof *in->constants, compare_constants);
    return found ? found->tensor : NULL;
}

static bool is_quantized(const inspector *in, const char *name)
{
    return bsearch(&name, (const void *)in->quantized, in->quantized_count, sizeof *in->quantized, compare_texts);
}

static bool is_op(const Onnx__NodeProto *node, const char *op)
{
    return strcmp(text_of(node->op_type), op) == 0;
}

static const Onnx__TensorProto *constant_value(const Onnx__NodeProto *node)
{
    if (!is_op(node, "Constant") || node->n_output != 1)
        return NULL;
    for (size_t a = 0; a < node->n_attribute; a++)
        if (strcmp(text_of(node->attribute[a]->name), "value") == 0)
            return node->attribute[a]->t;
    return NULL;
}

static enum qd_status index_graph(inspector *in)
{
    const Onnx__GraphProto *graph = in->graph;
    in->constants = qd_calloc(graph->n_initializer + graph->n_node, sizeof *in->constants);
    in->quantized = qd_calloc(graph->n_node, sizeof *in->quantized);
    if (!in->constants || !in->quantized)
        return fail_memory(in);
    for (size_t i = 0; i < graph->n_initializer; i++)
        in->constants[in->constant_count++] = (constant){text_of(graph->initializer[i]->name), graph->initializer[i]};
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        const Onnx__TensorProto *value = constant_value(node);
        if (value)
            in->constants[in->constant_count++] = (constant){node->output[0], value};
        if (is_op(node, "QuantizeLinear") && node->n_output == 1)
            in->quantized[in->quantized_count++] = node->output[0];
    }
    qsort(in->constants, in->constant_count, sizeof *in->constants, compare_constants);
    qsort((void *)in->quantized, in->quantized_count, sizeof *in->quantized, compare_texts);
    for (size_t i = 1; i < in->constant_count; i++)
        if (strcmp(in->constants[i - 1].name, in->constants[i].name) == 0)
            return refuse(in, in->constants[i].name, "two constants have this name; the file is damaged");
    return QD_OK;
}

/* ---- tensors ---- */

static enum qd_status add_value(const inspector *in, const Onnx__ValueInfoProto *info, const char *role)
{
    qd_inspected_tensor *to = &in->out->tensors[in->out->tensor_count++];
    const Onnx__TypeProto *type = info->type;
    *to = (qd_inspected_tensor){.name = text_of(info->name), .role = role, .type = "unknown"};
    if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !type->tensor_type)
        return QD_OK;
    const Onnx__TensorShapeProto *shape = type->tensor_type->shape;
    to->type = type_name(type->tensor_type->elem_type);
    if (!shape)
        return QD_OK;
    if (shape->n_dim > QD_INSPECT_MAX_RANK)
        return refuse(in, to->name, "it has more than 8 dimensions");
    to->rank = (int)shape->n_dim;
    for (int d = 0; d < to->rank; d++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[d];
        const bool known = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        to->shape[d] = known && dim->dim_value >= 0 ? dim->dim_value : -1;
    }
    return QD_OK;
}

static enum qd_status add_initializer(const inspector *in, const Onnx__TensorProto *tensor)
{
    qd_inspected_tensor *to = &in->out->tensors[in->out->tensor_count++];
    int64_t count;
    *to = (qd_inspected_tensor){.name = text_of(tensor->name), .role = "initializer"};
    to->type = type_name(tensor->data_type);
    if (tensor->n_dims > QD_INSPECT_MAX_RANK)
        return refuse(in, to->name, "it has more than 8 dimensions");
    if (!element_count(tensor, &count))
        return refuse(in, to->name, "its shape is impossible; the file is damaged");
    to->rank = (int)tensor->n_dims;
    for (int d = 0; d < to->rank; d++)
        to->shape[d] = tensor->dims[d];
    const size_t bytes =
        tensor->data_type >= 0 && tensor->data_type < TYPE_COUNT ? types[tensor->data_type].bytes : 0;
    size_t expected;
    if (tensor->has_raw_data && bytes > 0 &&
        (__builtin_mul_overflow((size_t)count, bytes, &expected) || expected != tensor->raw_data.len))
        return refuse(in, to->name, "its data and its shape disagree; the file is damaged");
    return QD_OK;
}

static enum qd_status list_tensors(const inspector *in)
{
    const Onnx__GraphProto *graph = in->graph;
    const size_t count = graph->n_input + graph->n_output + graph->n_initializer;
    if (count > INT32_MAX)
        return refuse(in, text_of(graph->name), "it has too many tensors");
    in->out->tensors = qd_calloc(count, sizeof *in->out->tensors);
    if (!in->out->tensors)
        return fail_memory(in);
    for (size_t i = 0; i < graph->n_input; i++)
        QD_TRY(add_value(in, graph->input[i], "input"));
    for (size_t i = 0; i < graph->n_initializer; i++)
        QD_TRY(add_initializer(in, graph->initializer[i]));
    for (size_t i = 0; i < graph->n_output; i++)
        QD_TRY(add_value(in, graph->output[i], "output"));
    return QD_OK;
}

/* ---- quantizers ---- */

static int64_t axis_of(const Onnx__NodeProto *node)
{
    for (size_t a = 0; a < node->n_attribute; a++)
        if (strcmp(text_of(node->attribute[a]->name), "axis") == 0)
            return node->attribute[a]->i;
    return 1; /* the operator's default */
}

static enum qd_status read_constant(const inspector *in, const char *tensor, const char *name,
                                    const Onnx__TensorProto **out, int64_t *count)
{
    *out = find_constant(in, name);
    if (!*out)
        return refuse(in, tensor, "its scale or zero point is no constant of the model");
    if ((*out)->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
        return refuse(in, tensor, "its scale or zero point is stored outside the file");
    return element_count(*out, count) ? QD_OK : refuse(in, tensor, "its scale has an impossible shape");
}

static enum qd_status read_parameters(const inspector *in, const Onnx__NodeProto *node, qd_inspected_quantizer *to)
{
    const Onnx__TensorProto *scale = NULL, *zero = NULL;
    int64_t count = 0, zero_count = 0;
    double value = 0.0;
    const bool has_zero = node->n_input > 2 && node->input[2][0] != '\0';
    QD_TRY(read_constant(in, to->tensor, node->input[1], &scale, &count));
    if (has_zero)
        QD_TRY(read_constant(in, to->tensor, node->input[2], &zero, &zero_count));
    const bool known_types = (scale->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT ||
                              scale->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE) &&
                             (!has_zero || (zero->data_type >= ONNX__TENSOR_PROTO__DATA_TYPE__UINT8 &&
                                            zero->data_type <= ONNX__TENSOR_PROTO__DATA_TYPE__INT32));
    if (!known_types)
        return refuse(in, to->tensor, "expected a scale of float32 or float64 and a zero point of up to 32 bits");
    /* Counts come from a shape: they are believed once the last element is there. */
    if (count < 1 || !element(scale, count - 1, &value) ||
        (has_zero && (zero_count != count || !element(zero, count - 1, &value))))
        return refuse(in, to->tensor, "expected as many zero points as scales, and all of them in the file");
    to->scale = qd_calloc((size_t)count, sizeof *to->scale);
    to->zero_point = qd_calloc((size_t)count, sizeof *to->zero_point);
    if (!to->scale || !to->zero_point)
        return fail_memory(in);
    to->count = count;
    to->axis = scale->n_dims > 0 && count > 1 ? axis_of(node) : -1;
    to->type = has_zero ? type_name(zero->data_type) : "uint8"; /* what the operator takes without one */
    for (int64_t i = 0; i < count; i++) {
        if (!element(scale, i, &to->scale[i]) || !isfinite(to->scale[i]))
            return refuse(in, to->tensor, "a scale is not finite");
        value = 0.0;
        if (has_zero && !element(zero, i, &value))
            return refuse(in, to->tensor, "a zero point cannot be read");
        to->zero_point[i] = (int64_t)value;
    }
    return QD_OK;
}

/* A tensor is quantized by a QuantizeLinear, or as a constant behind a DequantizeLinear. */
static bool names_tensor(const inspector *in, const Onnx__NodeProto *node)
{
    if (node->n_input < 2)
        return false;
    if (is_op(node, "QuantizeLinear"))
        return true;
    return is_op(node, "DequantizeLinear") && !is_quantized(in, node->input[0]) && find_constant(in, node->input[0]);
}

static enum qd_status list_quantizers(const inspector *in)
{
    qd_inspection *out = in->out;
    if (in->graph->n_node > INT32_MAX)
        return refuse(in, text_of(in->graph->name), "it has too many nodes");
    out->quantizers = qd_calloc(in->graph->n_node, sizeof *out->quantizers);
    if (!out->quantizers)
        return fail_memory(in);
    for (size_t i = 0; i < in->graph->n_node; i++) {
        const Onnx__NodeProto *node = in->graph->node[i];
        if (!names_tensor(in, node))
            continue;
        qd_inspected_quantizer *to = &out->quantizers[out->quantizer_count++];
        to->tensor = node->input[0];
        QD_TRY(read_parameters(in, node, to));
    }
    return QD_OK;
}

enum qd_status qd_inspect_onnx(qd_context *ctx, const char *path, const Onnx__ModelProto *model, qd_inspection *out)
{
    inspector in = {.ctx = ctx, .path = path, .graph = model->graph, .out = out};
    enum qd_status status = QD_OK;
    QD_TRY_GOTO(index_graph(&in));
    QD_TRY_GOTO(list_tensors(&in));
    QD_TRY_GOTO(list_quantizers(&in));
fail:
    free(in.constants);
    free((void *)in.quantized);
    return status;
}

void qd_inspection_free_lists(qd_inspection *inspection)
{
    for (int i = 0; i < inspection->quantizer_count; i++) {
        free(inspection->quantizers[i].scale);
        free(inspection->quantizers[i].zero_point);
    }
    free(inspection->facts);
    free(inspection->tensors);
    free(inspection->quantizers);
}
