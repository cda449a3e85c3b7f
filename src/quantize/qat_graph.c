#include "quantize/qat_graph.h"

#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>

#define SUFFIX ".fake_quant"

typedef struct rebuild {
    qd_builder *b;
    const qd_graph *graph;
    const qd_qgraph *q;
    double averaging;
    int *value_of; /* value of the graph -> value of the new one */
} rebuild;

/* The tensor that a value of the graph is rounded to; -1: none. A max-pool's output is rounded already. */
static int quantizer_of(const qd_qgraph *q, int value, const qd_qstep **writer)
{
    for (int v = 0; v < q->value_count; v++) {
        if (q->values[v].source != value)
            continue;
        const qd_qstep *step = NULL;
        for (int s = 0; s < q->step_count && step == NULL; s++)
            step = q->steps[s].output == v ? &q->steps[s] : NULL;
        *writer = step;
        return step != NULL && step->kind == QD_QSTEP_MAXPOOL ? -1 : q->values[v].quantizer;
    }
    *writer = NULL;
    return -1;
}

/* What becomes of value `x` of the new graph when it is rounded to a tensor of q. */
static int quantize(const rebuild *r, int quantizer, int x)
{
    if (quantizer < 0 || r->q->quantizers[quantizer].is_float)
        return x;
    const qd_quantizer *tensor = &r->q->quantizers[quantizer];
    const qd_fake_quant_config config = {
        .bits = tensor->bits, .symmetric = tensor->symmetric, .averaging = r->averaging};
    char name[QD_QUANT_NAME_BYTES + sizeof SUFFIX];
    snprintf(name, sizeof name, "%s" SUFFIX, tensor->name);
    return qd_builder_apply(r->b, name, QD_LAYER_fake_quant, &config, x, -1);
}

/* x·round(sigmoid(x)) */
static int add_silu(const rebuild *r, const qd_node *node, int inner, int x)
{
    const qd_activation_config sigmoid = {.kind = QD_ACTIVATION_SIGMOID};
    char name[QD_QUANT_NAME_BYTES];
    snprintf(name, sizeof name, "%s.sigmoid", node->name);
    int s = qd_builder_apply(r->b, name, QD_LAYER_activation, &sigmoid, x, -1);
    return qd_builder_apply(r->b, node->name, QD_LAYER_multiply, NULL, x, quantize(r, inner, s));
}

static void add_node(const rebuild *r, const qd_node *node)
{
    const qd_qstep *step;
    const int quantizer = quantizer_of(r->q, node->output, &step);
    const int x = r->value_of[node->input[0]];
    qd_batchnorm2d_config frozen;
    const void *config = node->config;
    int y;
    if (node->kind == QD_LAYER_batchnorm2d) {
        frozen = *(const qd_batchnorm2d_config *)node->config;
        frozen.frozen = true;
        config = &frozen;
    }
    if (step != NULL && step->kind == QD_QSTEP_SILU && r->q->values[step->inner].quantizer >= 0)
        y = add_silu(r, node, r->q->values[step->inner].quantizer, x);
    else
        y = qd_builder_apply(r->b, node->name, node->kind, config, x,
                             node->input[1] >= 0 ? r->value_of[node->input[1]] : -1);
    r->value_of[node->output] = quantize(r, quantizer, y);
}

static void find_nodes(const qd_graph *graph, const qd_qgraph *q, int *fake_quant)
{
    char name[QD_QUANT_NAME_BYTES + sizeof SUFFIX];
    for (int i = 0; i < q->quantizer_count; i++) {
        snprintf(name, sizeof name, "%s" SUFFIX, q->quantizers[i].name);
        fake_quant[i] = q->quantizers[i].is_float ? -1 : qd_graph_find_node(graph, name);
    }
}

enum qd_status qd_qat_graph_build(qd_context *ctx, const qd_graph *graph, const qd_qgraph *q, double averaging,
                                  int *fake_quant, qd_graph **out)
{
    enum qd_status status = QD_OK;
    const qd_qstep *none;
    rebuild r = {.graph = graph, .q = q, .averaging = averaging};
    r.value_of = qd_calloc((size_t)graph->value_count, sizeof *r.value_of);
    if (r.value_of == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "training '%s' quantized: out of memory", graph->model_name);
    QD_TRY_GOTO(qd_builder_create(ctx, graph->model_name, graph->modules[0].class_name, graph->input_dims, &r.b));
    r.value_of[graph->input] = quantize(&r, quantizer_of(q, graph->input, &none), qd_builder_input(r.b));
    for (int i = 0; i < graph->node_count; i++)
        add_node(&r, &graph->nodes[i]);
    QD_TRY_GOTO(qd_builder_finish(r.b, r.value_of[graph->output], out));
    find_nodes(*out, q, fake_quant);
fail:
    qd_builder_destroy(r.b);
    free(r.value_of);
    return status;
}
