#include "quantize/layer_sensitivity.h"

#include "base/arena.h"
#include "base/error.h"
#include "quantize/layer_walk.h"
#include "quantize/qgraph.h"
#include "quantize/qgraph_build.h"
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[QD_QUANT_LAYER_KIND_COUNT] = {
    [QD_QUANT_LAYER_INPUT] = "input",           [QD_QUANT_LAYER_CONV] = "conv",
    [QD_QUANT_LAYER_LINEAR] = "linear",         [QD_QUANT_LAYER_SUM] = "sum",
    [QD_QUANT_LAYER_PRODUCT] = "product",       [QD_QUANT_LAYER_MEAN] = "mean",
    [QD_QUANT_LAYER_ACTIVATION] = "activation",
};

const char *qd_quant_layer_kind_name(enum qd_quant_layer_kind kind)
{
    return kind_names[kind];
}

/* ---- layers ---- */

static void add_tensor(const qd_qgraph *q, int value, qd_quant_layer *layer)
{
    if (value >= 0 && q->values[value].quantizer >= 0)
        layer->tensors[layer->tensor_count++] = q->values[value].quantizer;
}

/* The activation right behind a step that is its value's only reader; NULL when there is none. */
static const qd_qstep *activation_behind(const qd_qgraph *q, int step)
{
    const int value = q->steps[step].output;
    const qd_qstep *next = step + 1 < q->step_count ? &q->steps[step + 1] : NULL;
    if (next == NULL || (next->kind != QD_QSTEP_SILU && next->kind != QD_QSTEP_TABLE) || next->input[0] != value ||
        q->values[value].last_step != step + 1)
        return NULL;
    return next;
}

static enum qd_quant_layer_kind kind_of(const qd_qgraph *q, const qd_qstep *step)
{
    switch (step->kind) {
    case QD_QSTEP_CONV:
        return q->values[step->output].dims.rank == 2 ? QD_QUANT_LAYER_LINEAR : QD_QUANT_LAYER_CONV;
    case QD_QSTEP_ADD:
        return QD_QUANT_LAYER_SUM;
    case QD_QSTEP_GATE:
        return QD_QUANT_LAYER_PRODUCT;
    case QD_QSTEP_MEAN:
        return QD_QUANT_LAYER_MEAN;
    case QD_QSTEP_TABLE:
    case QD_QSTEP_SILU:
    case QD_QSTEP_MAXPOOL:
        break;
    }
    return QD_QUANT_LAYER_ACTIVATION;
}

enum qd_status qd_quant_layers_list(const qd_qgraph *qgraph, qd_quant_layer **layers, int *count)
{
    const qd_qgraph *q = qgraph;
    qd_quant_layer *list = qd_calloc((size_t)q->step_count + 1, sizeof *list);
    int used = 0;
    if (list == NULL)
        return qd_fail(q->ctx, QD_ERR_MEMORY, "sensitivity: no memory for the list of layers");
    list[used] = (qd_quant_layer){.kind = QD_QUANT_LAYER_INPUT, .step = -1, .weight = -1};
    add_tensor(q, q->input, &list[used]);
    list[used].name = q->quantizers[list[used].tensors[0]].name;
    used++;
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i], *behind = activation_behind(q, i);
        qd_quant_layer *layer = &list[used];
        if (step->kind == QD_QSTEP_MAXPOOL) /* its tensor is its input's */
            continue;
        *layer = (qd_quant_layer){.kind = kind_of(q, step), .step = i, .weight = step->conv};
        add_tensor(q, step->inner, layer);
        add_tensor(q, step->output, layer);
        if (behind != NULL && step->kind != QD_QSTEP_SILU && step->kind != QD_QSTEP_TABLE) {
            add_tensor(q, behind->inner, layer);
            add_tensor(q, behind->output, layer);
            i++;
        }
        layer->name = step->kind == QD_QSTEP_CONV ? step->name : q->quantizers[layer->tensors[0]].name;
        used++;
    }
    *layers = list;
    *count = used;
    return QD_OK;
}

void qd_quant_layer_mark(qd_qgraph *qgraph, const qd_quant_layer *layer, bool is_float)
{
    for (int i = 0; i < layer->tensor_count; i++)
        qgraph->quantizers[layer->tensors[i]].is_float = is_float;
    if (layer->weight >= 0)
        qgraph->convs[layer->weight].is_float = is_float;
}

/* ---- parts ---- */

static void mark_all(qd_qgraph *q, bool tensors, bool weights)
{
    for (int i = 0; i < q->quantizer_count; i++)
        q->quantizers[i].is_float = tensors;
    for (int i = 0; i < q->conv_count; i++)
        q->convs[i].is_float = weights;
}

bool qd_qgraph_mark_part(qd_qgraph *qgraph, enum qd_float_part part)
{
    qd_qgraph *q = qgraph;
    const bool silu = part == QD_FLOAT_SILU_INPUTS || part == QD_FLOAT_SILU_INPUTS_AND_SIGMOIDS;
    bool found = !silu;
    mark_all(q, part == QD_FLOAT_TENSORS, part == QD_FLOAT_WEIGHTS);
    for (int i = 0; silu && i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        if (step->kind != QD_QSTEP_SILU)
            continue;
        found = true;
        q->quantizers[q->values[step->input[0]].quantizer].is_float = true;
        if (part == QD_FLOAT_SILU_INPUTS_AND_SIGMOIDS && q->values[step->inner].quantizer >= 0)
            q->quantizers[q->values[step->inner].quantizer].is_float = true;
    }
    return found;
}

enum qd_status qd_qgraph_take_ranges(qd_qgraph *to, const qd_qgraph *from)
{
    for (int i = 0; i < to->quantizer_count; i++)
        for (int k = 0; k < from->quantizer_count; k++)
            if (strcmp(to->quantizers[i].name, from->quantizers[k].name) == 0)
                QD_TRY(qd_qgraph_set_range(to, i, from->quantizers[k].min, from->quantizers[k].max));
    return QD_OK;
}

/* ---- runs ---- */

typedef struct walk {
    qd_qgraph *q;
    int64_t n;
    float *kept;   /* the live values of the step under way */
    float *logits; /* [n][classes] */
    qd_sensitivity_visitor *visitor;
    void *user;
} walk;

/* Weights and biases of the steps that `layer` changes: its own, and those that read its tensors. */
static void requantize_weights(qd_qgraph *q, const qd_quant_layer *layer)
{
    qd_qgraph_mark_float_steps(q);
    for (int i = 0; i < q->step_count; i++) {
        qd_qstep *step = &q->steps[i];
        if (step->kind != QD_QSTEP_CONV)
            continue;
        bool concerned = step->conv == layer->weight;
        for (int t = 0; t < layer->tensor_count; t++)
            concerned |= q->values[step->input[0]].quantizer == layer->tensors[t];
        if (concerned)
            qd_qgraph_finalize_step(q, step);
    }
}

static void set_layer(qd_qgraph *q, const qd_quant_layer *layer, bool is_float)
{
    qd_quant_layer_mark(q, layer, is_float);
    requantize_weights(q, layer);
}

/* Copies the values that step `step` and later ones read, and earlier ones wrote, out of the network or back. */
static void copy_live_values(const walk *w, int step, bool back)
{
    const qd_qgraph *q = w->q;
    float *kept = w->kept;
    for (int v = 0; v < q->value_count; v++) {
        const qd_qvalue *value = &q->values[v];
        if ((v != q->input && value->first_step >= step) || value->last_step < step)
            continue;
        const size_t count = (size_t)(w->n * qd_dims_count(&value->dims));
        float *own = qd_qgraph_value(q, QD_QMODE_SIMULATED, v);
        memcpy(back ? own : kept, back ? kept : own, count * sizeof *kept);
        kept += count;
    }
}

/* The rest of the network from step `first` on, and its logits. */
static enum qd_status finish_run(const walk *w, int first, int layer)
{
    for (int i = first; i < w->q->step_count; i++)
        QD_TRY(qd_qgraph_step(w->q, QD_QMODE_SIMULATED, &w->q->steps[i], w->n, false));
    qd_qgraph_result(w->q, QD_QMODE_SIMULATED, w->n, w->logits);
    return w->visitor(w->user, layer, w->logits, w->n);
}

/* `base`: what layers are when it is not their turn: in float32 or quantized. */
static enum qd_status run_layers(const walk *w, const qd_quant_layer *layers, int count, const float *images,
                                 bool base)
{
    int next = 0;
    for (; next < count && layers[next].step < 0; next++) {
        set_layer(w->q, &layers[next], !base);
        QD_TRY(qd_qgraph_load(w->q, QD_QMODE_SIMULATED, images, w->n));
        QD_TRY(finish_run(w, 0, next));
        set_layer(w->q, &layers[next], base);
    }
    QD_TRY(qd_qgraph_load(w->q, QD_QMODE_SIMULATED, images, w->n));
    for (int i = 0; i < w->q->step_count; i++) {
        if (next < count && layers[next].step == i) {
            copy_live_values(w, i, false);
            set_layer(w->q, &layers[next], !base);
            QD_TRY(finish_run(w, i, next));
            set_layer(w->q, &layers[next], base);
            copy_live_values(w, i, true);
            next++;
        }
        QD_TRY(qd_qgraph_step(w->q, QD_QMODE_SIMULATED, &w->q->steps[i], w->n, false));
    }
    return QD_OK;
}

enum qd_status qd_sensitivity_run(qd_qgraph *qgraph, enum qd_sensitivity_mode mode, const qd_quant_layer *layers,
                                  int count, const float *images, int64_t n, qd_sensitivity_visitor *visitor,
                                  void *user)
{
    qd_qgraph *q = qgraph;
    const bool base = mode == QD_SENSITIVITY_ONLY;
    const int64_t classes = qd_dims_count(&q->values[q->output].dims);
    walk w = {.q = q, .n = n, .visitor = visitor, .user = user};
    enum qd_status status = QD_OK;
    QD_TRY(qd_layer_walk_check(q, "sensitivity", n));
    if (q->scheme.activation_dynamic)
        return qd_fail(q->ctx, QD_ERR_USAGE, "sensitivity: expected static ranges, got dynamic ones");
    w.kept = qd_calloc((size_t)(q->sample_elements * n), sizeof *w.kept);
    w.logits = qd_calloc((size_t)(n * classes), sizeof *w.logits);
    if (w.kept == NULL || w.logits == NULL) {
        status = qd_fail(q->ctx, QD_ERR_MEMORY, "sensitivity: no memory for the values of %lld images", (long long)n);
        goto fail;
    }
    QD_TRY_GOTO(qd_qgraph_prepare(q, QD_QMODE_SIMULATED));
    mark_all(q, base, base);
    qd_qgraph_mark_float_steps(q);
    for (int i = 0; i < q->step_count; i++)
        if (q->steps[i].kind == QD_QSTEP_CONV)
            qd_qgraph_finalize_step(q, &q->steps[i]);
    status = run_layers(&w, layers, count, images, base);
    mark_all(q, false, false);
    if (status == QD_OK)
        status = qd_qgraph_finalize(q);
fail:
    free(w.kept);
    free(w.logits);
    return status;
}
