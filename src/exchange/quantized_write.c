/* A quantized network into its file. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "exchange/quantized_model.h"
#include "quantize/qgraph_build.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

qd_tensor qd_qconv_weight_view(const qd_graph *graph, const qd_qconv *conv, enum qd_dtype dtype, void *data)
{
    qd_param param = graph->params[graph->nodes[conv->node].param[0]];
    param.offset = 0; /* of an array of its own */
    return qd_param_view(&param, dtype, data);
}

void qd_quantized_scale_name(const qd_qconv *conv, char name[QD_QUANTIZED_NAME_BYTES])
{
    snprintf(name, QD_QUANTIZED_NAME_BYTES, "%s.scale", conv->name);
}

void qd_quantized_bias_name(const qd_qconv *conv, char name[QD_QUANTIZED_NAME_BYTES])
{
    const char *dot = strrchr(conv->name, '.'); /* before "weight" */
    snprintf(name, QD_QUANTIZED_NAME_BYTES, "%.*s.bias", (int)(dot - conv->name), conv->name);
}

void qd_quantized_table_name(const qd_quantizer *quantizer, char name[QD_QUANTIZED_NAME_BYTES])
{
    snprintf(name, QD_QUANTIZED_NAME_BYTES, "%s.table", quantizer->name);
}

/* The tensors of a file, and their names. */
typedef struct list {
    qd_tensor *tensors;
    char (*names)[QD_QUANTIZED_NAME_BYTES];
    int count;
} list;

static char *next_name(const list *l)
{
    return l->names[l->count];
}

static void add(list *l, qd_tensor tensor)
{
    tensor.name = l->names[l->count];
    l->tensors[l->count++] = tensor;
}

static void add_conv(list *l, const qd_graph *graph, const qd_qgraph *q, const qd_qstep *step)
{
    const qd_qconv *conv = &q->convs[step->conv];
    const int64_t channels = conv->config.out_channels;
    snprintf(next_name(l), QD_QUANTIZED_NAME_BYTES, "%s", conv->name);
    add(l, conv->is_float ? qd_qconv_weight_view(graph, conv, QD_F32, conv->weight_simulated)
                          : qd_qconv_weight_view(graph, conv, QD_S8, conv->codes));
    if (!conv->is_float) {
        qd_quantized_scale_name(conv, next_name(l));
        add(l, qd_tensor_contiguous(QD_F32, conv->per_channel ? 1 : 0, &channels, conv->scale));
    }
    qd_quantized_bias_name(conv, next_name(l));
    add(l, qd_qgraph_has_integer_bias(q, step) ? qd_tensor_contiguous(QD_S32, 1, &channels, conv->bias_codes)
                                               : qd_tensor_contiguous(QD_F32, 1, &channels, conv->bias_simulated));
}

static enum qd_status list_tensors(qd_context *ctx, const char *path, const qd_graph *graph, const qd_qgraph *q,
                                   list *l)
{
    static const int64_t table_size = 256;
    const size_t most = 3 * (size_t)q->conv_count + (size_t)q->step_count;
    l->tensors = qd_calloc(most, sizeof *l->tensors);
    l->names = qd_calloc(most, sizeof *l->names);
    if (!l->tensors || !l->names)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    for (int i = 0; i < q->step_count; i++) {
        int quantizer = -1;
        uint8_t *table = qd_qgraph_function_table(q, &q->steps[i], &quantizer);
        if (q->steps[i].conv >= 0)
            add_conv(l, graph, q, &q->steps[i]);
        if (!table)
            continue;
        qd_quantized_table_name(&q->quantizers[quantizer], next_name(l));
        add(l, qd_tensor_contiguous(QD_U8, 1, &table_size, table));
    }
    return QD_OK;
}

enum qd_status qd_quantized_write(qd_context *ctx, const char *path, const qd_graph *graph,
                                  const qd_model_config *config, const char *calibrator, const qd_qgraph *qgraph)
{
    const qd_quant_scheme *scheme = &qgraph->scheme;
    enum qd_status status = QD_OK;
    list l = {0};
    qd_quantized_header header = {
        .num_classes = config->num_classes,
        .image_size = config->image_size,
        .weight_bits = scheme->weight_bits,
        .activation_bits = scheme->activation_bits,
        .weight_per_channel = scheme->weight_per_channel,
        .activation_signed = scheme->activation_signed,
        .activation_symmetric = scheme->activation_symmetric,
    };
    if (!qd_qgraph_has_integer_form(qgraph))
        return qd_fail(
            ctx, QD_ERR_USAGE,
            "writing '%s': a quantized model file holds codes of at most 8 bits, static ranges and no fused "
            "SiLU, this network has %d bits for weights and %d for activations%s%s",
            path, scheme->weight_bits, scheme->activation_bits, scheme->activation_dynamic ? ", dynamic ranges" : "",
            scheme->fused_silu ? ", a fused SiLU" : "");
    snprintf(header.model, sizeof header.model, "%s", graph->model_name);
    snprintf(header.head, sizeof header.head, "%s", qd_head_names[config->head]);
    QD_TRY_GOTO(qd_qgraph_describe(ctx, graph->model_name, calibrator, qgraph, false, &header.encodings));
    QD_TRY_GOTO(list_tensors(ctx, path, graph, qgraph, &l));
    QD_TRY_GOTO(qd_quantized_file_write(ctx, path, &header, l.tensors, l.count));
fail:
    free(l.tensors);
    free(l.names);
    qd_quantized_header_free(&header);
    return status;
}
