#include "quantize/qat.h"

#include "base/error.h"
#include "graph/plan.h"
#include "quantize/fold.h"
#include "quantize/qat_graph.h"
#include "quantize/qgraph_build.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Where a convolution of the quantized network is in the graph that trains. */
typedef struct layer {
    int node, batchnorm; /* -1: none */
} layer;

struct qd_qat {
    qd_context *ctx;
    const qd_graph *original; /* borrowed */
    qd_graph *graph;
    qd_qgraph *q;    /* laid out from the original; quantizes weights, never runs */
    int *fake_quant; /* [quantizer_count] node of the graph; -1: the tensor stays float */
    layer *layers;   /* [conv_count] */
    float *kept;     /* [param_elements] the trained parameters while others are lent */
};

static enum qd_status find_layers(qd_qat *qat)
{
    for (int i = 0; i < qat->q->conv_count; i++) {
        const qd_qconv *conv = &qat->q->convs[i];
        layer *l = &qat->layers[i];
        l->node = qd_graph_find_node(qat->graph, qat->original->nodes[conv->node].name);
        l->batchnorm =
            conv->batchnorm < 0 ? -1 : qd_graph_find_node(qat->graph, qat->original->nodes[conv->batchnorm].name);
    }
    /* Same layers in the same order: what qd_qat_load() copies as a block. */
    bool equal = qat->graph->param_count == qat->original->param_count &&
                 qat->graph->param_elements == qat->original->param_elements;
    for (int p = 0; equal && p < qat->graph->param_count; p++)
        equal = qat->graph->params[p].offset == qat->original->params[p].offset;
    return equal ? QD_OK
                 : qd_fail(qat->ctx, QD_ERR_INTERNAL, "training '%s' quantized: its parameters changed their places",
                           qat->original->model_name);
}

/* The graph that trains, without memory for weights. */
static enum qd_status lay_out(qd_context *ctx, const qd_graph *graph, const qd_quant_recipe *recipe, double averaging,
                              qd_qat **out)
{
    enum qd_status status = QD_OK;
    qd_qat *qat = NULL;
    if (recipe->scheme.activation_dynamic)
        return qd_fail(
            ctx, QD_ERR_USAGE,
            "training '%s' quantized: dynamic ranges belong to an image, and nothing learns them; choose a "
            "static scheme",
            graph->model_name);
    qat = qd_calloc(1, sizeof *qat);
    if (qat == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "training '%s' quantized: out of memory", graph->model_name);
    *qat = (qd_qat){.ctx = ctx, .original = graph};
    QD_TRY_GOTO(qd_qgraph_create_empty(ctx, graph, &recipe->scheme, 1, &qat->q));
    QD_TRY_GOTO(qd_recipe_apply_differences(recipe, qat->q));
    qat->fake_quant = qd_calloc((size_t)qat->q->quantizer_count, sizeof *qat->fake_quant);
    qat->layers = qd_calloc((size_t)qat->q->conv_count, sizeof *qat->layers);
    if (qat->fake_quant == NULL || qat->layers == NULL) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "training '%s' quantized: out of memory", graph->model_name);
        goto fail;
    }
    QD_TRY_GOTO(qd_qat_graph_build(ctx, graph, qat->q, averaging, qat->fake_quant, &qat->graph));
    QD_TRY_GOTO(find_layers(qat));
    *out = qat;
    return QD_OK;
fail:
    qd_qat_destroy(qat);
    return status;
}

enum qd_status qd_qat_create(qd_context *ctx, const qd_graph *graph, const qd_quant_recipe *recipe, double averaging,
                             qd_qat **out)
{
    enum qd_status status = QD_OK;
    qd_qat *qat = NULL;
    QD_TRY(lay_out(ctx, graph, recipe, averaging, &qat));
    QD_TRY_GOTO(qd_qgraph_allocate_weights(qat->q));
    qat->kept = qd_calloc((size_t)graph->param_elements, sizeof *qat->kept);
    if (qat->kept == NULL) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "training '%s' quantized: out of memory", graph->model_name);
        goto fail;
    }
    *out = qat;
    return QD_OK;
fail:
    qd_qat_destroy(qat);
    return status;
}

enum qd_status qd_qat_bytes(qd_context *ctx, const qd_graph *graph, const qd_quant_recipe *recipe, int64_t max_batch,
                            size_t *bytes)
{
    enum qd_status status = QD_OK;
    qd_qat *qat = NULL;
    size_t training, inference;
    QD_TRY(lay_out(ctx, graph, recipe, 1.0, &qat));
    QD_TRY_GOTO(qd_plan_bytes(ctx, qat->graph, QD_F32, &QD_PLAN_TRAINING(max_batch), &training));
    QD_TRY_GOTO(qd_plan_bytes(ctx, qat->graph, QD_F32, &QD_PLAN_INFERENCE(max_batch), &inference));
    *bytes = training + inference + qd_qgraph_weight_bytes(qat->q) +
             (4 * (size_t)graph->param_elements + (size_t)qat->graph->buffer_elements) * sizeof(float);
fail:
    qd_qat_destroy(qat);
    return status;
}

void qd_qat_destroy(qd_qat *qat)
{
    if (qat == NULL)
        return;
    qd_graph_destroy(qat->graph);
    qd_qgraph_destroy(qat->q);
    free(qat->fake_quant);
    free(qat->layers);
    free(qat->kept);
    free(qat);
}

const qd_graph *qd_qat_graph(const qd_qat *qat)
{
    return qat->graph;
}

/* ---- between the two graphs' states ---- */

static size_t param_bytes(const qd_qat *qat)
{
    return (size_t)qat->graph->param_elements * sizeof(float);
}

/* Copies running statistics and batch counters of `from` to the nodes of the same names in `to`. */
static void copy_buffers(const qd_state *from, qd_state *to)
{
    for (int i = 0; i < from->graph->node_count; i++) {
        const qd_node *node = &from->graph->nodes[i];
        if (node->buffer[0] < 0)
            continue;
        const int found = qd_graph_find_node(to->graph, node->name);
        if (found < 0)
            continue;
        const qd_node *same = &to->graph->nodes[found];
        for (int b = 0; b < QD_MAX_BUFFERS && node->buffer[b] >= 0; b++) {
            const qd_param *source = &from->graph->buffers[node->buffer[b]];
            memcpy((float *)to->buffers + to->graph->buffers[same->buffer[b]].offset,
                   (const float *)from->buffers + source->offset, (size_t)source->count * sizeof(float));
        }
        if (node->batches_tracked >= 0)
            to->batches_tracked[same->batches_tracked] = from->batches_tracked[node->batches_tracked];
    }
}

void qd_qat_load(const qd_qat *qat, const qd_state *original, qd_state *state)
{
    memcpy(state->params, original->params, param_bytes(qat));
    copy_buffers(original, state);
}

void qd_qat_store(const qd_qat *qat, const qd_state *state, qd_state *original)
{
    memcpy(original->params, state->params, param_bytes(qat));
    copy_buffers(state, original);
}

/* ---- weights ---- */

/* Shows the layout the ranges as they are: int32 biases may raise a weight's scale, depending on its input's. */
static void show_ranges(const qd_qat *qat, const qd_state *state)
{
    const float *buffers = state->buffers;
    for (int i = 0; i < qat->q->quantizer_count; i++) {
        if (qat->fake_quant[i] < 0)
            continue;
        const qd_node *node = &qat->graph->nodes[qat->fake_quant[i]];
        qat->q->quantizers[i].min = (double)buffers[qat->graph->buffers[node->buffer[0]].offset];
        qat->q->quantizers[i].max = (double)buffers[qat->graph->buffers[node->buffer[1]].offset];
    }
}

static float *param_of(const qd_qat *qat, qd_state *state, int param)
{
    return (float *)state->params + qat->graph->params[param].offset;
}

/*
 * The rounded, folded weights of one layer divided by what BatchNorm multiplies them with again; a channel that it
 * multiplies with 0 keeps its weights, which nobody sees. What rounding adds to the folded bias is added to
 * BatchNorm's, or to the layer's own.
 */
static void put_weights(const qd_qat *qat, int index, qd_state *state)
{
    const qd_qconv *conv = &qat->q->convs[index];
    const layer *l = &qat->layers[index];
    const qd_node *node = &qat->graph->nodes[l->node];
    const int bias_param = l->batchnorm < 0 ? node->param[1] : qat->graph->nodes[l->batchnorm].param[1];
    float *weight = param_of(qat, state, node->param[0]);
    float *bias = bias_param < 0 ? NULL : param_of(qat, state, bias_param);
    const int64_t channels = conv->config.out_channels;
    for (int64_t o = 0; o < channels; o++) {
        const double gain = l->batchnorm < 0 ? 1.0 : qd_fold_gain(qat->graph, state, l->batchnorm, o);
        for (int64_t k = 0; k < conv->filter; k++) {
            const int64_t at = conv->depthwise ? k * channels + o : o * conv->filter + k;
            const float value = (float)((double)conv->weight_simulated[at] / gain);
            weight[at] = isfinite(value) ? value : weight[at];
        }
        if (bias != NULL)
            bias[o] += conv->bias_simulated[o] - conv->bias[o];
    }
}

enum qd_status qd_qat_lend(qd_qat *qat, qd_state *state)
{
    for (int i = 0; i < qat->q->conv_count; i++) {
        qd_qconv *conv = &qat->q->convs[i];
        QD_TRY(qd_fold_batchnorm(qat->ctx, qat->graph, state, qat->layers[i].node, qat->layers[i].batchnorm,
                                 conv->weight, conv->bias));
    }
    show_ranges(qat, state);
    qd_qgraph_simulate_weights(qat->q);
    memcpy(qat->kept, state->params, param_bytes(qat));
    for (int i = 0; i < qat->q->conv_count; i++)
        put_weights(qat, i, state);
    return QD_OK;
}

void qd_qat_take_back(qd_qat *qat, qd_state *state)
{
    memcpy(state->params, qat->kept, param_bytes(qat));
}

/* ---- the end ---- */

enum qd_status qd_qat_set_ranges(const qd_qat *qat, const qd_state *state, qd_qgraph *qgraph)
{
    if (qd_qgraph_tensor_count(qgraph) != qat->q->quantizer_count)
        return qd_fail(qat->ctx, QD_ERR_USAGE,
                       "ranges of '%s': learnt of %d tensors, and the quantized network has %d",
                       qat->original->model_name, qat->q->quantizer_count, qd_qgraph_tensor_count(qgraph));
    show_ranges(qat, state);
    for (int i = 0; i < qat->q->quantizer_count; i++) {
        if (qat->fake_quant[i] < 0)
            continue;
        if (state->batches_tracked[qat->graph->nodes[qat->fake_quant[i]].batches_tracked] == 0)
            return qd_fail(qat->ctx, QD_ERR_USAGE, "ranges of '%s': tensor '%s' has seen no batch yet",
                           qat->original->model_name, qat->q->quantizers[i].name);
        QD_TRY(qd_qgraph_set_range(qgraph, i, qat->q->quantizers[i].min, qat->q->quantizers[i].max));
    }
    return QD_OK;
}
