#include "exchange/onnx_builder.h"
#include "base/arena.h"
#include "base/error.h"
#include <quantdrift/build_info.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One allocation of many, freed together. */
typedef struct chunk {
    struct chunk *next;
} chunk;

/* Growing list of pointers, as protobuf-c has them. */
typedef struct pointers {
    void **items;
    size_t count, room;
} pointers;

struct qd_onnx_builder {
    qd_context *ctx;
    const char *graph_name;
    bool failed;
    chunk *chunks;
    pointers nodes, initializers, inputs, outputs, metadata;
};

enum qd_status qd_onnx_builder_create(qd_context *ctx, const char *graph_name, qd_onnx_builder **out)
{
    qd_onnx_builder *b = qd_calloc(1, sizeof *b);
    if (!b)
        return qd_fail(ctx, QD_ERR_MEMORY, "exporting '%s': out of memory", graph_name);
    b->ctx = ctx;
    b->graph_name = graph_name;
    *out = b;
    return QD_OK;
}

void qd_onnx_builder_destroy(qd_onnx_builder *builder)
{
    if (!builder)
        return;
    for (chunk *c = builder->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    free(builder->nodes.items);
    free(builder->initializers.items);
    free(builder->inputs.items);
    free(builder->outputs.items);
    free(builder->metadata.items);
    free(builder);
}

/* ---- memory ---- */

/* Keeps the alignment of what follows the chunk's header. */
_Static_assert(sizeof(chunk) % sizeof(void *) == 0, "memory behind a chunk's header is aligned");

void *qd_onnx_memory(qd_onnx_builder *builder, size_t bytes)
{
    chunk *c = builder->failed ? NULL : qd_calloc(1, sizeof *c + bytes);
    if (!c) {
        builder->failed = true;
        return NULL;
    }
    c->next = builder->chunks;
    builder->chunks = c;
    return c + 1;
}

/* A struct of the schema in the builder's memory, initialised. */
#define TAKE_MESSAGE(b, type, init, name)                                                                            \
    type *name = qd_onnx_memory(b, sizeof(type));                                                                    \
    if (name)                                                                                                        \
    init(name)

static void append(qd_onnx_builder *b, pointers *list, void *item)
{
    if (b->failed || !item)
        return;
    if (list->count == list->room) {
        const size_t room = 2 * list->room + 16;
        void **items = realloc(list->items, room * sizeof *items);
        if (!items) {
            b->failed = true;
            return;
        }
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = item;
}

const char *qd_onnx_text(qd_onnx_builder *builder, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    char *text = qd_onnx_memory(builder, (size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

/* protobuf-c's structs want char * although nothing writes to it. */
static char *copy(qd_onnx_builder *b, const char *text)
{
    char *out = text ? qd_onnx_memory(b, strlen(text) + 1) : NULL;
    if (out)
        memcpy(out, text, strlen(text) + 1);
    return out;
}

/* ---- nodes ---- */

const char *qd_onnx_node(qd_onnx_builder *builder, const char *op, const char *name,
                         const char *const inputs[QD_ONNX_NODE_INPUTS], const char *output)
{
    TAKE_MESSAGE(builder, Onnx__NodeProto, onnx__node_proto__init, node);
    char **names = qd_onnx_memory(builder, (QD_ONNX_NODE_INPUTS + 1) * sizeof *names);
    if (!names)
        return NULL;
    for (int i = 0; i < QD_ONNX_NODE_INPUTS && inputs[i]; i++)
        names[node->n_input++] = copy(builder, inputs[i]);
    names[QD_ONNX_NODE_INPUTS] = copy(builder, output);
    node->input = names;
    node->output = names + QD_ONNX_NODE_INPUTS;
    node->n_output = 1;
    node->op_type = copy(builder, op);
    node->name = copy(builder, qd_onnx_text(builder, "%s/%s", name, op));
    append(builder, &builder->nodes, node);
    return names[QD_ONNX_NODE_INPUTS];
}

static Onnx__AttributeProto *add_attribute(qd_onnx_builder *b, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    if (b->failed)
        return NULL;
    Onnx__NodeProto *node = b->nodes.items[b->nodes.count - 1];
    TAKE_MESSAGE(b, Onnx__AttributeProto, onnx__attribute_proto__init, attribute);
    Onnx__AttributeProto **list = qd_onnx_memory(b, (node->n_attribute + 1) * sizeof(Onnx__AttributeProto *));
    if (!list)
        return NULL;
    attribute->name = copy(b, name);
    attribute->has_type = true;
    attribute->type = type;
    if (node->n_attribute > 0)
        memcpy(list, node->attribute, node->n_attribute * sizeof(Onnx__AttributeProto *));
    list[node->n_attribute++] = attribute;
    node->attribute = list;
    return attribute;
}

void qd_onnx_attribute_int(qd_onnx_builder *builder, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute = add_attribute(builder, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (!attribute)
        return;
    attribute->has_i = true;
    attribute->i = value;
}

void qd_onnx_attribute_float(qd_onnx_builder *builder, const char *name, float value)
{
    Onnx__AttributeProto *attribute = add_attribute(builder, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (!attribute)
        return;
    attribute->has_f = true;
    attribute->f = value;
}

void qd_onnx_attribute_ints(qd_onnx_builder *builder, const char *name, int64_t value, int count)
{
    Onnx__AttributeProto *attribute = add_attribute(builder, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    int64_t *values = qd_onnx_memory(builder, (size_t)count * sizeof *values);
    if (!attribute || !values)
        return;
    for (int i = 0; i < count; i++)
        values[i] = value;
    attribute->ints = values;
    attribute->n_ints = (size_t)count;
}

/* ---- tensors ---- */

static int32_t data_type(enum qd_dtype dtype, bool is_unsigned)
{
    switch (dtype) {
    case QD_F32:
        return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    case QD_F64:
        return ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    case QD_S8:
        return is_unsigned ? ONNX__TENSOR_PROTO__DATA_TYPE__UINT8 : ONNX__TENSOR_PROTO__DATA_TYPE__INT8;
    case QD_U8:
        return ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    case QD_S32:
        return ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    case QD_S64:
        return ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    }
    return ONNX__TENSOR_PROTO__DATA_TYPE__UNDEFINED;
}

const char *qd_onnx_initializer(qd_onnx_builder *builder, const char *name, const qd_tensor *tensor, bool is_unsigned)
{
    const size_t count = (size_t)qd_tensor_count(tensor), bytes = count * qd_dtype_size(tensor->dtype);
    TAKE_MESSAGE(builder, Onnx__TensorProto, onnx__tensor_proto__init, proto);
    int64_t *dims = qd_onnx_memory(builder, QD_MAX_RANK * sizeof *dims);
    uint8_t *data = qd_onnx_memory(builder, bytes);
    if (!data)
        return NULL;
    qd_tensor dense = qd_tensor_contiguous(tensor->dtype, tensor->rank, tensor->shape, data);
    if (qd_tensor_copy(builder->ctx, &dense, tensor) != QD_OK)
        builder->failed = true; /* cannot be: same shape and dtype */
    for (size_t i = 0; is_unsigned && i < bytes; i++)
        data[i] ^= 0x80;
    memcpy(dims, tensor->shape, (size_t)tensor->rank * sizeof *dims);
    proto->dims = dims;
    proto->n_dims = (size_t)tensor->rank;
    proto->has_data_type = true;
    proto->data_type = data_type(tensor->dtype, is_unsigned);
    proto->name = copy(builder, name);
    proto->has_raw_data = true;
    proto->raw_data = (ProtobufCBinaryData){.len = bytes, .data = data};
    append(builder, &builder->initializers, proto);
    return proto->name;
}

/* One dimension: a number, or a parameter where `value` is negative. */
static Onnx__TensorShapeProto__Dimension *make_dimension(qd_onnx_builder *b, int64_t value)
{
    TAKE_MESSAGE(b, Onnx__TensorShapeProto__Dimension, onnx__tensor_shape_proto__dimension__init, dimension);
    if (!dimension)
        return NULL;
    if (value < 0) {
        dimension->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        dimension->dim_param = copy(b, "batch");
    } else {
        dimension->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dimension->dim_value = value;
    }
    return dimension;
}

static void declare(qd_onnx_builder *b, pointers *list, const char *name, const qd_dims *dims)
{
    const int64_t sizes[QD_MAX_RANK] = {-1, dims->c, dims->h, dims->w};
    const size_t rank = dims->rank == 2 ? 2 : 4;
    TAKE_MESSAGE(b, Onnx__ValueInfoProto, onnx__value_info_proto__init, info);
    TAKE_MESSAGE(b, Onnx__TypeProto, onnx__type_proto__init, type);
    TAKE_MESSAGE(b, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init, tensor);
    TAKE_MESSAGE(b, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init, shape);
    Onnx__TensorShapeProto__Dimension **dimensions = qd_onnx_memory(b, QD_MAX_RANK * sizeof(void *));
    if (!dimensions)
        return;
    for (size_t i = 0; i < rank; i++)
        dimensions[i] = make_dimension(b, sizes[i]);
    shape->dim = dimensions;
    shape->n_dim = rank;
    tensor->has_elem_type = true;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    info->name = copy(b, name);
    info->type = type;
    append(b, list, info);
}

void qd_onnx_input(qd_onnx_builder *builder, const char *name, const qd_dims *dims)
{
    declare(builder, &builder->inputs, name, dims);
}

void qd_onnx_output(qd_onnx_builder *builder, const char *name, const qd_dims *dims)
{
    declare(builder, &builder->outputs, name, dims);
}

void qd_onnx_metadata(qd_onnx_builder *builder, const char *key, const char *value)
{
    TAKE_MESSAGE(builder, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init, entry);
    if (!entry)
        return;
    entry->key = copy(builder, key);
    entry->value = copy(builder, value);
    append(builder, &builder->metadata, entry);
}

/* ---- the model ---- */

enum qd_status qd_onnx_builder_write(qd_onnx_builder *builder, const char *path)
{
    Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
    Onnx__OperatorSetIdProto *opsets[] = {&opset};
    char *version = copy(builder, qd_build_info_get().version), *producer = copy(builder, "quantdrift");
    char *name = copy(builder, builder->graph_name), *domain = copy(builder, "");
    if (builder->failed)
        return qd_fail(builder->ctx, QD_ERR_MEMORY, "writing '%s': memory is short for the model", path);
    graph.name = name;
    graph.node = (Onnx__NodeProto **)builder->nodes.items;
    graph.n_node = builder->nodes.count;
    graph.initializer = (Onnx__TensorProto **)builder->initializers.items;
    graph.n_initializer = builder->initializers.count;
    graph.input = (Onnx__ValueInfoProto **)builder->inputs.items;
    graph.n_input = builder->inputs.count;
    graph.output = (Onnx__ValueInfoProto **)builder->outputs.items;
    graph.n_output = builder->outputs.count;
    opset.domain = domain;
    opset.has_version = true;
    opset.version = QD_ONNX_OPSET;
    model.has_ir_version = true;
    model.ir_version = QD_ONNX_IR_VERSION;
    model.opset_import = opsets;
    model.n_opset_import = 1;
    model.producer_name = producer;
    model.producer_version = version;
    model.graph = &graph;
    model.metadata_props = (Onnx__StringStringEntryProto **)builder->metadata.items;
    model.n_metadata_props = builder->metadata.count;
    return qd_onnx_write(builder->ctx, path, &model);
}
