/* A graph's layers one by one, BatchNorm kept. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/onnx_export.h"
#include "exchange/onnx_nodes.h"
#include <stdlib.h>
#include <string.h>

typedef struct exporter {
    qd_context *ctx;
    const qd_graph *graph;
    const qd_state *state;
    qd_onnx_builder *b;
    const char **names; /* of graph values */
} exporter;

static const char *param(const exporter *e, int index)
{
    const qd_tensor view = qd_state_param(e->state, QD_BLOCK_PARAMS, index);
    return qd_onnx_initializer(e->b, view.name, &view, false);
}

static const char *buffer(const exporter *e, int index)
{
    const qd_tensor view = qd_state_buffer(e->state, index);
    return qd_onnx_initializer(e->b, view.name, &view, false);
}

/* A node's name, numbered where the module is called again later: as the activation log keeps the last call. */
static const char *call_name(const exporter *e, int index)
{
    const qd_node *node = &e->graph->nodes[index];
    int call = 1, calls = 0;
    for (int i = 0; i < e->graph->node_count; i++) {
        if (strcmp(e->graph->nodes[i].name, node->name) != 0)
            continue;
        calls++;
        if (i < index)
            call++;
    }
    return call < calls ? qd_onnx_text(e->b, "%s#%d", node->name, call) : node->name;
}

static const char *add_batchnorm(const exporter *e, const qd_node *node, const char *name, const char *x,
                                 const char *output)
{
    const qd_batchnorm2d_config *config = node->config;
    const char *scale = param(e, node->param[0]), *shift = param(e, node->param[1]);
    const char *mean = buffer(e, node->buffer[0]), *variance = buffer(e, node->buffer[1]);
    output = qd_onnx_node(e->b, "BatchNormalization", name,
                          (const char *const[QD_ONNX_NODE_INPUTS]){x, scale, shift, mean, variance}, output);
    qd_onnx_attribute_float(e->b, "epsilon", (float)config->eps);
    return output;
}

static const char *add_activation(const exporter *e, const qd_node *node, const char *name, const char *x,
                                  const char *output)
{
    const enum qd_activation kind = ((const qd_activation_config *)node->config)->kind;
    if (kind != QD_ACTIVATION_SILU)
        return qd_onnx_activation(e->b, name, kind, x, output);
    const char *inner = qd_onnx_plain(e->b, "Sigmoid", name, x, NULL, qd_onnx_text(e->b, "%s.sigmoid", name));
    return qd_onnx_plain(e->b, "Mul", name, x, inner, output);
}

static enum qd_status add_node(const exporter *e, int index)
{
    const qd_node *node = &e->graph->nodes[index];
    const char *name = call_name(e, index), *x = e->names[node->input[0]];
    const char *output = node->output == e->graph->output ? QD_ONNX_LOGITS : name;
    const char **result = &e->names[node->output];
    switch (node->kind) {
    case QD_LAYER_conv2d:
        *result = qd_onnx_conv(e->b, name, node->config, x, param(e, node->param[0]),
                               node->param[1] >= 0 ? param(e, node->param[1]) : NULL, output);
        return QD_OK;
    case QD_LAYER_linear:
        *result = qd_onnx_linear(e->b, name, x, param(e, node->param[0]), param(e, node->param[1]), output);
        return QD_OK;
    case QD_LAYER_batchnorm2d:
        *result = add_batchnorm(e, node, name, x, output);
        return QD_OK;
    case QD_LAYER_activation:
        *result = add_activation(e, node, name, x, output);
        return QD_OK;
    case QD_LAYER_maxpool2d:
        *result = qd_onnx_maxpool(e->b, name, node->config, x, output);
        return QD_OK;
    case QD_LAYER_add:
        *result = qd_onnx_plain(e->b, "Add", name, x, e->names[node->input[1]], output);
        return QD_OK;
    case QD_LAYER_channel_multiply:
        *result = qd_onnx_plain(e->b, "Mul", name, x, e->names[node->input[1]], output);
        return QD_OK;
    case QD_LAYER_global_avgpool:
        *result = qd_onnx_plain(e->b, "GlobalAveragePool", name, x, NULL, output);
        return QD_OK;
    case QD_LAYER_flatten:
        *result = qd_onnx_plain(e->b, "Flatten", name, x, NULL, output);
        return QD_OK;
    case QD_LAYER_dropout:
    case QD_LAYER_stochastic_depth: /* identities in evaluation mode */
        *result = x;
        return QD_OK;
    case QD_LAYER_multiply: /* of networks in training only */
    case QD_LAYER_fake_quant:
    case QD_LAYER_COUNT:
        break;
    }
    return qd_fail(e->ctx, QD_ERR_INTERNAL, "exporting '%s': the layer %s has no ONNX form", node->name,
                   node->ops->name);
}

enum qd_status qd_onnx_write_layers(qd_context *ctx, const char *path, const qd_graph *graph, const qd_state *state)
{
    enum qd_status status = QD_OK;
    exporter e = {.ctx = ctx, .graph = graph, .state = state};
    QD_TRY(qd_onnx_builder_create(ctx, graph->model_name, &e.b));
    e.names = qd_calloc((size_t)graph->value_count, sizeof *e.names);
    if (!e.names) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "exporting '%s': out of memory", graph->model_name);
        goto fail;
    }
    e.names[graph->input] = QD_ONNX_INPUT;
    qd_onnx_input(e.b, QD_ONNX_INPUT, &graph->input_dims);
    for (int i = 0; i < graph->node_count; i++)
        QD_TRY_GOTO(add_node(&e, i));
    qd_onnx_output(e.b, e.names[graph->output], &graph->values[graph->output].dims);
    QD_TRY_GOTO(qd_onnx_builder_write(e.b, path));
fail:
    free((void *)e.names);
    qd_onnx_builder_destroy(e.b);
    return status;
}
