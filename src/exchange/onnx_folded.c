/*
 * The steps of a folded network, in float or between QuantizeLinear and DequantizeLinear.
 *
 * A runtime recognises integer kernels by this pattern: DequantizeLinear of every input, the operator, QuantizeLinear
 * of its output. So every quantized tensor of docs/quantization.md gets exactly one such pair, max-pool and flatten
 * one of their input's scale, and a ReLU stands between its convolution and the pair: its codes below the zero point
 * are those the pair cannot express, which is how a runtime removes it.
 */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/onnx_export.h"
#include "exchange/onnx_nodes.h"
#include "exchange/quantized_model.h"
#include "quantize/qgraph.h"
#include <stdlib.h>

typedef struct exporter {
    qd_context *ctx;
    const qd_graph *graph;
    const qd_qgraph *q;
    qd_onnx_builder *b;
    bool quantized;
    const char **names; /* of values: what a consumer reads, dequantized */
    struct parameter_names {
        const char *scale, *zero_point;
    } * parameters; /* of quantizers, once they are there */
} exporter;

/* ---- quantized tensors ---- */

static const char *add_scales(const exporter *e, const char *name, const float *scales, int64_t count)
{
    /* Views have no const data; this one is only read. */
    const qd_tensor tensor = qd_tensor_contiguous(QD_F32, count > 1 ? 1 : 0, &count, (void *)(uintptr_t)scales);
    return qd_onnx_initializer(e->b, name, &tensor, false);
}

/* Scale and zero point of an activation tensor, as initializers that several pairs may share. */
static const struct parameter_names *parameters_of(const exporter *e, int quantizer)
{
    const qd_quantizer *from = &e->q->quantizers[quantizer];
    struct parameter_names *to = &e->parameters[quantizer];
    if (to->scale)
        return to;
    float scale = from->params.scale;
    int8_t zero = (int8_t)from->params.range.zero;
    const qd_tensor zero_tensor = qd_tensor_contiguous(QD_S8, 0, NULL, &zero);
    to->scale = add_scales(e, qd_onnx_text(e->b, "%s_scale", from->name), &scale, 1);
    to->zero_point = qd_onnx_initializer(e->b, qd_onnx_text(e->b, "%s_zero_point", from->name), &zero_tensor,
                                         !e->q->scheme.activation_signed);
    return to;
}

/* The pair after `raw`; returns what consumers read. The value itself when it is not quantized. */
static const char *quantize(const exporter *e, int value, const char *name, const char *raw)
{
    const int quantizer = e->q->values[value].quantizer;
    if (!e->quantized || quantizer < 0)
        return raw;
    const struct parameter_names *p = parameters_of(e, quantizer);
    const char *codes = qd_onnx_node(e->b, "QuantizeLinear", name,
                                     (const char *const[QD_ONNX_NODE_INPUTS]){raw, p->scale, p->zero_point},
                                     qd_onnx_text(e->b, "%s_QuantizeLinear_Output", name));
    return qd_onnx_node(e->b, "DequantizeLinear", name,
                        (const char *const[QD_ONNX_NODE_INPUTS]){codes, p->scale, p->zero_point},
                        qd_onnx_text(e->b, "%s_DequantizeLinear_Output", name));
}

static const char *name_of(const exporter *e, int value)
{
    const int quantizer = e->q->values[value].quantizer;
    return quantizer >= 0 ? e->q->quantizers[quantizer].name : QD_ONNX_LOGITS;
}

/* ---- weights ---- */

/* Initializers "<name>_quantized", "_scale" and "_zero_point", dequantized: one scale, or one a channel along axis 0.
 */
static const char *add_dequantized(const exporter *e, const char *name, const qd_tensor *codes, const float *scales,
                                   int64_t scale_count)
{
    int32_t zero = 0; /* of int8, too: the machine is little-endian */
    qd_tensor zeros = qd_tensor_contiguous(codes->dtype, scale_count > 1 ? 1 : 0, &scale_count, &zero);
    zeros.stride[0] = 0; /* the same one for every channel */
    const char *quantized = qd_onnx_initializer(e->b, qd_onnx_text(e->b, "%s_quantized", name), codes, false);
    const char *scale = add_scales(e, qd_onnx_text(e->b, "%s_scale", name), scales, scale_count);
    const char *zero_point = qd_onnx_initializer(e->b, qd_onnx_text(e->b, "%s_zero_point", name), &zeros, false);
    const char *output = qd_onnx_node(e->b, "DequantizeLinear", name,
                                      (const char *const[QD_ONNX_NODE_INPUTS]){quantized, scale, zero_point},
                                      qd_onnx_text(e->b, "%s_DequantizeLinear_Output", name));
    if (scale_count > 1)
        qd_onnx_attribute_int(e->b, "axis", 0);
    return output;
}

static const char *add_weight(const exporter *e, const qd_qconv *conv)
{
    if (!e->quantized) {
        const qd_tensor view = qd_qconv_weight_view(e->graph, conv, QD_F32, conv->weight);
        return qd_onnx_initializer(e->b, conv->name, &view, false);
    }
    const qd_tensor codes = qd_qconv_weight_view(e->graph, conv, QD_S8, conv->codes);
    return add_dequantized(e, conv->name, &codes, conv->scale, conv->per_channel ? conv->config.out_channels : 1);
}

/* The bias, whose scale is that of the products: S_x·S_w. */
static const char *add_bias(const exporter *e, const qd_qconv *conv, const char *node_name, int input)
{
    const int64_t channels = conv->config.out_channels;
    const char *name = qd_onnx_text(e->b, "%s.bias", node_name);
    if (!e->quantized) {
        const qd_tensor view = qd_tensor_contiguous(QD_F32, 1, &channels, conv->bias);
        return qd_onnx_initializer(e->b, name, &view, false);
    }
    const float input_scale = e->q->quantizers[e->q->values[input].quantizer].params.scale;
    float *scales = qd_onnx_memory(e->b, (size_t)channels * sizeof *scales);
    if (!scales)
        return NULL;
    for (int64_t c = 0; c < channels; c++)
        scales[c] = input_scale * conv->scale[c];
    const qd_tensor codes = qd_tensor_contiguous(QD_S32, 1, &channels, conv->bias_codes);
    return add_dequantized(e, name, &codes, scales, conv->per_channel ? channels : 1);
}

/* ---- steps ---- */

/* A convolution's input as it is, a linear layer's with rank 2. */
static const char *flattened(const exporter *e, const qd_qstep *step)
{
    const int input = step->input[0];
    const char *name = qd_onnx_text(e->b, "%s.flatten", step->name);
    if (e->q->values[input].dims.rank == 2)
        return e->names[input];
    return quantize(e, input, name, qd_onnx_plain(e->b, "Flatten", name, e->names[input], NULL, name));
}

/* Output of the operator itself, when a clamp or nothing follows. */
static const char *before_clamp(const exporter *e, const qd_qstep *step)
{
    if (step->activation == QD_ACTIVATION_NONE)
        return name_of(e, step->output);
    return qd_onnx_text(e->b, "%s.unclamped", name_of(e, step->output));
}

static const char *clamp(const exporter *e, const qd_qstep *step, const char *x)
{
    const char *name = name_of(e, step->output);
    return qd_onnx_activation(e->b, name, step->activation, x, name);
}

static const char *add_conv(const exporter *e, const qd_qstep *step)
{
    const qd_qconv *conv = &e->q->convs[step->conv];
    const bool is_linear = e->graph->nodes[conv->node].kind == QD_LAYER_linear;
    const char *weight = add_weight(e, conv), *bias = add_bias(e, conv, step->name, step->input[0]);
    const char *output = before_clamp(e, step);
    const char *x =
        is_linear ? qd_onnx_linear(e->b, step->name, flattened(e, step), weight, bias, output)
                  : qd_onnx_conv(e->b, step->name, &conv->config, e->names[step->input[0]], weight, bias, output);
    return clamp(e, step, x);
}

static const char *add_silu(const exporter *e, const qd_qstep *step)
{
    const char *inner_name = e->q->quantizers[e->q->values[step->inner].quantizer].name;
    const char *x = e->names[step->input[0]];
    const char *inner =
        quantize(e, step->inner, inner_name, qd_onnx_plain(e->b, "Sigmoid", step->name, x, NULL, inner_name));
    return qd_onnx_plain(e->b, "Mul", step->name, x, inner, name_of(e, step->output));
}

static void add_step(const exporter *e, const qd_qstep *step)
{
    const char *x0 = e->names[step->input[0]], *x1 = step->input[1] >= 0 ? e->names[step->input[1]] : NULL;
    const char *name = name_of(e, step->output), *raw = NULL;
    switch (step->kind) {
    case QD_QSTEP_CONV:
        raw = add_conv(e, step);
        break;
    case QD_QSTEP_TABLE:
        raw = qd_onnx_activation(e->b, step->name, step->activation, x0, name);
        break;
    case QD_QSTEP_SILU:
        raw = add_silu(e, step);
        break;
    case QD_QSTEP_ADD:
        raw = clamp(e, step, qd_onnx_plain(e->b, "Add", step->name, x0, x1, before_clamp(e, step)));
        break;
    case QD_QSTEP_GATE:
        raw = qd_onnx_plain(e->b, "Mul", step->name, x0, x1, name);
        break;
    case QD_QSTEP_MAXPOOL:
        name = step->name; /* its quantizer, and so name_of(), is its input's */
        raw = qd_onnx_maxpool(e->b, step->name, &step->pool, x0, name);
        break;
    case QD_QSTEP_MEAN:
        raw = qd_onnx_plain(e->b, "GlobalAveragePool", step->name, x0, NULL, name);
        break;
    }
    e->names[step->output] = quantize(e, step->output, name, raw);
}

static enum qd_status check_scheme(const exporter *e)
{
    const qd_qgraph *q = e->q;
    bool other = false;
    if (!e->quantized)
        return QD_OK;
    if (!q->finalized)
        return qd_fail(e->ctx, QD_ERR_USAGE, "exporting '%s': no scales chosen yet; calibrate first",
                       e->graph->model_name);
    /* QuantizeLinear clamps to all of int8: narrower codes would reach beyond their range. */
    for (int i = 0; i < q->quantizer_count; i++)
        other = other || q->quantizers[i].is_float || q->quantizers[i].bits < 8;
    for (int i = 0; i < q->conv_count; i++)
        other = other || q->convs[i].is_float;
    if (other || !qd_qgraph_has_integer_form(q))
        return qd_fail(
            e->ctx, QD_ERR_USAGE,
            "exporting '%s': ONNX has codes of 8 bits with static ranges for every tensor, got %d bits for "
            "activations and %d for weights, or a recipe that treats tensors differently",
            e->graph->model_name, q->scheme.activation_bits, q->scheme.weight_bits);
    return QD_OK;
}

enum qd_status qd_onnx_write_folded(qd_context *ctx, const char *path, const qd_graph *graph, const qd_qgraph *qgraph,
                                    bool quantized)
{
    enum qd_status status = QD_OK;
    exporter e = {.ctx = ctx, .graph = graph, .q = qgraph, .quantized = quantized};
    QD_TRY(check_scheme(&e));
    QD_TRY(qd_onnx_builder_create(ctx, graph->model_name, &e.b));
    e.names = qd_calloc((size_t)qgraph->value_count, sizeof *e.names);
    e.parameters = qd_calloc((size_t)qgraph->quantizer_count, sizeof *e.parameters);
    if (!e.names || !e.parameters) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "exporting '%s': out of memory", graph->model_name);
        goto fail;
    }
    qd_onnx_input(e.b, QD_ONNX_INPUT, &graph->input_dims);
    e.names[qgraph->input] = quantize(&e, qgraph->input, QD_ONNX_INPUT, QD_ONNX_INPUT);
    for (int i = 0; i < qgraph->step_count; i++)
        add_step(&e, &qgraph->steps[i]);
    qd_onnx_output(e.b, e.names[qgraph->output], &qgraph->values[qgraph->output].dims);
    QD_TRY_GOTO(qd_onnx_builder_write(e.b, path));
fail:
    free((void *)e.names);
    free(e.parameters);
    qd_onnx_builder_destroy(e.b);
    return status;
}
