#include "support/onnx_run.h"
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Every tensor is padded to four dimensions of size 1 behind its own. */
typedef struct value {
    const char *name;
    int64_t dims[4];
    int rank;
    int32_t type; /* of an initializer's elements */
    double *data;
} value;

typedef struct machine {
    value *values;
    int count, room;
} machine;

static int64_t value_count(const value *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2] * v->dims[3];
}

static value *add(machine *m, const char *name, int rank, const int64_t *dims)
{
    cr_assert_lt(m->count, m->room);
    for (int i = 0; i < m->count; i++)
        cr_assert_str_neq(m->values[i].name, name, "two values are called '%s'", name);
    value *v = &m->values[m->count++];
    *v = (value){.name = name, .rank = rank, .dims = {1, 1, 1, 1}};
    if (rank > 0)
        memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
    v->data = calloc((size_t)value_count(v) + 1, sizeof *v->data);
    cr_assert_not_null(v->data);
    return v;
}

static const value *find(const machine *m, const char *name)
{
    for (int i = 0; i < m->count; i++)
        if (strcmp(m->values[i].name, name) == 0)
            return &m->values[i];
    cr_assert_fail("no value '%s' yet: nodes must come after what they read", name);
    return NULL;
}

static const value *input(const machine *m, const Onnx__NodeProto *node, size_t index)
{
    return index < node->n_input ? find(m, node->input[index]) : NULL;
}

static void add_initializer(machine *m, const Onnx__TensorProto *t)
{
    value *v = add(m, t->name, (int)t->n_dims, t->dims);
    const uint8_t *raw = t->raw_data.data;
    v->type = t->data_type;
    for (int64_t i = 0; i < value_count(v); i++) {
        float f;
        int32_t s;
        switch (t->data_type) {
        case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
            memcpy(&f, raw + 4 * i, 4);
            v->data[i] = (double)f;
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT32:
            memcpy(&s, raw + 4 * i, 4);
            v->data[i] = s;
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__INT8:
            v->data[i] = (int8_t)raw[i];
            break;
        case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
            v->data[i] = raw[i];
            break;
        default:
            cr_assert_fail("initializer '%s' has type %d", t->name, t->data_type);
        }
    }
}

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *node, const char *name)
{
    for (size_t i = 0; i < node->n_attribute; i++)
        if (strcmp(node->attribute[i]->name, name) == 0)
            return node->attribute[i];
    return NULL;
}

static int64_t attribute_int(const Onnx__NodeProto *node, const char *name, int64_t otherwise)
{
    const Onnx__AttributeProto *a = attribute(node, name);
    return !a ? otherwise : a->n_ints > 0 ? a->ints[0] : a->i;
}

/* A window of kernel x kernel: convolution with `weight`, maximum without. */
static void run_window(machine *m, const Onnx__NodeProto *node, bool pool)
{
    const value *x = input(m, node, 0), *w = pool ? NULL : input(m, node, 1), *b = pool ? NULL : input(m, node, 2);
    const int64_t kernel = attribute_int(node, "kernel_shape", 1), stride = attribute_int(node, "strides", 1);
    const int64_t pad = attribute_int(node, "pads", 0), group = attribute_int(node, "group", 1);
    const int64_t channels = pool ? x->dims[1] : w->dims[0];
    const int64_t depth = pool ? 1 : w->dims[1], per_group = channels / group;
    const int64_t h = (x->dims[2] + 2 * pad - kernel) / stride + 1,
                  wide = (x->dims[3] + 2 * pad - kernel) / stride + 1;
    const int64_t dims[4] = {1, channels, h, wide};
    value *y = add(m, node->output[0], 4, dims);
    cr_assert(pool || depth * group == x->dims[1], "'%s': channels do not fit", node->name);
    for (int64_t o = 0; o < channels; o++)
        for (int64_t at = 0; at < h * wide; at++) {
            double sum = pool ? -INFINITY : b ? b->data[o] : 0.0;
            for (int64_t c = 0; c < depth; c++)
                for (int64_t k = 0; k < kernel * kernel; k++) {
                    const int64_t row = at / wide * stride + k / kernel - pad,
                                  col = at % wide * stride + k % kernel - pad;
                    if (row < 0 || row >= x->dims[2] || col < 0 || col >= x->dims[3])
                        continue;
                    const int64_t from = pool ? o : o / per_group * depth + c;
                    const double v = x->data[(from * x->dims[2] + row) * x->dims[3] + col];
                    sum = pool ? fmax(sum, v) : sum + v * w->data[(o * depth + c) * kernel * kernel + k];
                }
            y->data[o * h * wide + at] = sum;
        }
}

static void run_gemm(machine *m, const Onnx__NodeProto *node)
{
    const value *x = input(m, node, 0), *w = input(m, node, 1), *b = input(m, node, 2);
    cr_assert_eq(attribute_int(node, "transB", 0), 1);
    cr_assert_eq(w->dims[1], x->dims[1]);
    value *y = add(m, node->output[0], 2, (const int64_t[]){1, w->dims[0]});
    for (int64_t o = 0; o < w->dims[0]; o++) {
        y->data[o] = b->data[o];
        for (int64_t i = 0; i < w->dims[1]; i++)
            y->data[o] += x->data[i] * w->data[o * w->dims[1] + i];
    }
}

/* Sums and products; the second operand may be one value a channel. */
static void run_binary(machine *m, const Onnx__NodeProto *node, bool product)
{
    const value *a = input(m, node, 0), *b = input(m, node, 1);
    value *y = add(m, node->output[0], a->rank, a->dims);
    const int64_t count = value_count(a), part = count / value_count(b);
    cr_assert(part == 1 || (b->dims[1] == a->dims[1] && value_count(b) == a->dims[1]), "'%s': shapes", node->name);
    for (int64_t i = 0; i < count; i++)
        y->data[i] = product ? a->data[i] * b->data[i / part] : a->data[i] + b->data[i / part];
}

static void run_mean(machine *m, const Onnx__NodeProto *node)
{
    const value *x = input(m, node, 0);
    const int64_t dims[4] = {1, x->dims[1], 1, 1}, part = x->dims[2] * x->dims[3];
    value *y = add(m, node->output[0], 4, dims);
    for (int64_t i = 0; i < value_count(x); i++)
        y->data[i / part] += x->data[i] / (double)part;
}

static void run_batchnorm(machine *m, const Onnx__NodeProto *node)
{
    const value *x = input(m, node, 0), *scale = input(m, node, 1), *shift = input(m, node, 2),
                *mean = input(m, node, 3), *variance = input(m, node, 4);
    const double eps = (double)attribute(node, "epsilon")->f;
    value *y = add(m, node->output[0], 4, x->dims);
    for (int64_t i = 0; i < value_count(x); i++) {
        const int64_t c = i / (x->dims[2] * x->dims[3]);
        y->data[i] = (x->data[i] - mean->data[c]) / sqrt(variance->data[c] + eps) * scale->data[c] + shift->data[c];
    }
}

/* Index of a channel's scale for element i of x. */
static int64_t scale_index(const Onnx__NodeProto *node, const value *x, const value *scale, int64_t i)
{
    if (value_count(scale) == 1)
        return 0;
    cr_assert_eq(attribute_int(node, "axis", 1), 0, "'%s': axis", node->name);
    cr_assert_eq(value_count(scale), x->dims[0], "'%s': scales", node->name);
    return i / (value_count(x) / x->dims[0]);
}

static void run_quantizer(machine *m, const Onnx__NodeProto *node, bool quantize)
{
    const value *x = input(m, node, 0), *scale = input(m, node, 1), *zero = input(m, node, 2);
    value *y = add(m, node->output[0], x->rank, x->dims);
    const bool is_unsigned = zero->type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    cr_assert_eq(value_count(scale), value_count(zero), "'%s': zero points", node->name);
    for (int64_t i = 0; i < value_count(x); i++) {
        const int64_t s = scale_index(node, x, scale, i);
        if (quantize)
            y->data[i] = fmin(fmax(rint(x->data[i] / scale->data[s]) + zero->data[s], is_unsigned ? 0 : -128),
                              is_unsigned ? 255 : 127);
        else
            y->data[i] = scale->data[s] * (x->data[i] - zero->data[s]);
    }
}

static double function_of(const machine *m, const Onnx__NodeProto *node, double x)
{
    if (strcmp(node->op_type, "Relu") == 0)
        return fmax(x, 0.0);
    if (strcmp(node->op_type, "Sigmoid") == 0)
        return 1.0 / (1.0 + exp(-x));
    if (strcmp(node->op_type, "HardSwish") == 0)
        return x * fmin(fmax(x / 6.0 + 0.5, 0.0), 1.0);
    if (strcmp(node->op_type, "Clip") == 0)
        return fmin(fmax(x, input(m, node, 1)->data[0]), input(m, node, 2)->data[0]);
    cr_assert_str_eq(node->op_type, "Flatten", "operator %s", node->op_type);
    return x;
}

static void run_function(machine *m, const Onnx__NodeProto *node)
{
    const value *x = input(m, node, 0);
    const bool flatten = strcmp(node->op_type, "Flatten") == 0;
    const int64_t flat[2] = {1, value_count(x)};
    value *y = add(m, node->output[0], flatten ? 2 : x->rank, flatten ? flat : x->dims);
    for (int64_t i = 0; i < value_count(x); i++)
        y->data[i] = function_of(m, node, x->data[i]);
}

static void run_node(machine *m, const Onnx__NodeProto *node)
{
    const char *op = node->op_type;
    if (strcmp(op, "Conv") == 0 || strcmp(op, "MaxPool") == 0)
        run_window(m, node, op[0] == 'M');
    else if (strcmp(op, "Gemm") == 0)
        run_gemm(m, node);
    else if (strcmp(op, "Add") == 0 || strcmp(op, "Mul") == 0)
        run_binary(m, node, op[0] == 'M');
    else if (strcmp(op, "GlobalAveragePool") == 0)
        run_mean(m, node);
    else if (strcmp(op, "BatchNormalization") == 0)
        run_batchnorm(m, node);
    else if (strcmp(op, "QuantizeLinear") == 0 || strcmp(op, "DequantizeLinear") == 0)
        run_quantizer(m, node, op[0] == 'Q');
    else
        run_function(m, node);
}

double *onnx_run(const Onnx__ModelProto *model, const double *x, int64_t *count)
{
    const Onnx__GraphProto *graph = model->graph;
    machine m = {.room = (int)(graph->n_initializer + graph->n_node + 1)};
    cr_assert_eq(graph->n_input, 1);
    cr_assert_eq(graph->n_output, 1);
    m.values = calloc((size_t)m.room, sizeof *m.values);
    cr_assert_not_null(m.values);
    const Onnx__TensorShapeProto *shape = graph->input[0]->type->tensor_type->shape;
    cr_assert_eq(shape->n_dim, 4);
    cr_assert_str_eq(shape->dim[0]->dim_param, "batch");
    const int64_t dims[4] = {1, shape->dim[1]->dim_value, shape->dim[2]->dim_value, shape->dim[3]->dim_value};
    value *first = add(&m, graph->input[0]->name, 4, dims);
    memcpy(first->data, x, (size_t)value_count(first) * sizeof *x);
    for (size_t i = 0; i < graph->n_initializer; i++)
        add_initializer(&m, graph->initializer[i]);
    for (size_t i = 0; i < graph->n_node; i++)
        run_node(&m, graph->node[i]);
    const value *last = find(&m, graph->output[0]->name);
    *count = value_count(last);
    double *result = calloc((size_t)*count, sizeof *result);
    cr_assert_not_null(result);
    memcpy(result, last->data, (size_t)*count * sizeof *result);
    for (int i = 0; i < m.count; i++)
        free(m.values[i].data);
    free(m.values);
    return result;
}
