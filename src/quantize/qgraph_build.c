#include "quantize/qgraph_build.h"

#include "base/error.h"
#include "kernels/int8_pack.h"
#include "quantize/fold.h"
#include <stdio.h>
#include <stdlib.h>

/* |Σ (q_x − Z_x)·q_w| <= filter·255·127 stays below 2^30, and so does the bias. */
#define MAX_FILTER (1073741824 / (255 * 127))

/* Bits that the code a fused SiLU reads has more than its output's: rounded some ten times as finely (over 16 times
 * the codes, of a range that is wider by its negative end), it adds some hundredths to the noise, and its table of
 * 4096 entries fits a first-level cache. */
#define SILU_EXTRA_BITS 4

typedef struct build {
    qd_qgraph *q;
    const qd_graph *graph;
    int *value_of;  /* graph value -> value of q */
    bool *absorbed; /* graph node: belongs to an earlier step */
} build;

/* The only node that reads `value`; -1 when several do or the network returns it. */
static int sole_consumer(const qd_graph *graph, int value)
{
    int found = -1;

    if (value == graph->output)
        return -1;
    for (int i = 0; i < graph->node_count; i++)
        for (int k = 0; k < graph->nodes[i].ops->input_count; k++) {
            if (graph->nodes[i].input[k] != value)
                continue;
            if (found >= 0)
                return -1;
            found = i;
        }
    return found;
}

/* That node if it is a `kind`; -1 otherwise. */
static int follower(const qd_graph *graph, int value, enum qd_layer_kind kind)
{
    int node = sole_consumer(graph, value);

    return node >= 0 && graph->nodes[node].kind == kind ? node : -1;
}

static enum qd_activation activation_of(const qd_node *node)
{
    return ((const qd_activation_config *)node->config)->kind;
}

/*
 * The key under which the activation log holds this value: the leaf that computes it, or the innermost container that
 * returns it. The log keeps a module's last call, so earlier calls are numbered.
 */
static void value_name(const qd_graph *graph, int value, char name[QD_NAME_BYTES + 16])
{
    const qd_node *node = &graph->nodes[graph->values[value].producer];
    int call = 0, calls = 0;

    for (int i = 0; node->module < 0 && i < graph->call_count; i++) {
        if (graph->calls[i].value == value && graph->modules[graph->calls[i].module].path[0] != '\0') {
            snprintf(name, QD_NAME_BYTES + 16, "%s", graph->modules[graph->calls[i].module].path);
            return;
        }
    }
    for (int i = 0; node->module >= 0 && i < graph->call_count; i++) {
        calls += graph->calls[i].module == node->module;
        if (graph->calls[i].module == node->module && graph->calls[i].value == value)
            call = calls;
    }
    if (call < calls)
        snprintf(name, QD_NAME_BYTES + 16, "%s#%d", node->name, call);
    else
        snprintf(name, QD_NAME_BYTES + 16, "%s", node->name);
}

static int add_quantizer(build *b, const char *name, const char *suffix)
{
    qd_quantizer *quantizer = &b->q->quantizers[b->q->quantizer_count];

    *quantizer = (qd_quantizer){.bits = b->q->scheme.activation_bits,
                                .symmetric = b->q->scheme.activation_symmetric,
                                .min = 1.0,
                                .max = -1.0};
    snprintf(quantizer->name, sizeof quantizer->name, "%s%s", name, suffix);
    return b->q->quantizer_count++;
}

static int add_value(build *b, qd_dims dims, int quantizer, int source)
{
    b->q->values[b->q->value_count] =
        (qd_qvalue){.dims = dims, .quantizer = quantizer, .source = source, .last_step = -1};
    return b->q->value_count++;
}

static qd_qstep *add_step(build *b, enum qd_qstep_kind kind, const qd_node *node)
{
    qd_qstep *step = &b->q->steps[b->q->step_count++];

    *step = (qd_qstep){.kind = kind, .input = {-1, -1}, .output = -1, .inner = -1, .conv = -1};
    snprintf(step->name, sizeof step->name, "%s", node->name);
    for (int i = 0; i < node->ops->input_count; i++)
        step->input[i] = b->value_of[node->input[i]];
    return step;
}

/* Ends a step in graph value `value`, which gets a quantizer unless it is the logits. */
static void finish_step(build *b, qd_qstep *step, int value, bool quantized)
{
    char name[QD_NAME_BYTES + 16];

    value_name(b->graph, value, name);
    int quantizer = quantized ? add_quantizer(b, name, "") : -1;
    step->output = add_value(b, b->graph->values[value].dims, quantizer, value);
    b->value_of[value] = step->output;
}

/* ReLU and ReLU6 are clamps of codes: they cost nothing after a convolution or sum that nobody else reads. */
static int absorb_clamp(build *b, qd_qstep *step, int value)
{
    int node = follower(b->graph, value, QD_LAYER_activation);

    if (node < 0)
        return value;
    enum qd_activation kind = activation_of(&b->graph->nodes[node]);
    if (kind != QD_ACTIVATION_RELU && kind != QD_ACTIVATION_RELU6)
        return value;
    b->absorbed[node] = true;
    step->activation = kind;
    return b->graph->nodes[node].output;
}

/* A SiLU that alone reads `value` is fused with the convolution that wrote it, where the scheme says so. */
static bool feeds_fused_silu(const build *b, int value)
{
    int node = follower(b->graph, value, QD_LAYER_activation);

    return b->q->scheme.fused_silu && node >= 0 && activation_of(&b->graph->nodes[node]) == QD_ACTIVATION_SILU;
}

/* The tensor between the two: wide enough that its rounding hides behind the output's. */
static void widen_silu_input(build *b, qd_quantizer *quantizer)
{
    int bits = b->q->scheme.activation_bits + SILU_EXTRA_BITS;

    quantizer->feeds_silu = true;
    quantizer->bits = bits < 16 ? bits : 16;
    quantizer->symmetric = false;
}

static enum qd_status add_conv(build *b, int index)
{
    const qd_node *node = &b->graph->nodes[index];
    qd_qstep *step = add_step(b, QD_QSTEP_CONV, node);
    int value = node->output;
    int batchnorm = node->kind == QD_LAYER_conv2d ? follower(b->graph, value, QD_LAYER_batchnorm2d) : -1;

    if (batchnorm >= 0) {
        b->absorbed[batchnorm] = true;
        value = b->graph->nodes[batchnorm].output;
    }
    value = absorb_clamp(b, step, value);
    finish_step(b, step, value, value != b->graph->output || step->activation != QD_ACTIVATION_NONE);
    if (feeds_fused_silu(b, value))
        widen_silu_input(b, &b->q->quantizers[b->q->values[step->output].quantizer]);

    step->conv = b->q->conv_count++;
    qd_qconv *conv = &b->q->convs[step->conv];
    conv->node = index;
    conv->batchnorm = batchnorm;
    conv->bits = b->q->scheme.weight_bits;
    conv->per_channel = b->q->scheme.weight_per_channel;
    snprintf(conv->name, sizeof conv->name, "%s", b->graph->params[node->param[0]].name);
    if (node->kind == QD_LAYER_linear) {
        const qd_linear_config *linear = node->config;
        conv->config = (qd_conv2d_config){.in_channels = linear->in_features,
                                          .out_channels = linear->out_features,
                                          .kernel = 1,
                                          .stride = 1,
                                          .groups = 1};
    } else {
        conv->config = *(const qd_conv2d_config *)node->config;
    }
    conv->config.bias = true; /* folding always makes one */
    conv->depthwise = b->graph->params[node->param[0]].order == QD_ORDER_HWO;
    conv->filter = b->graph->params[node->param[0]].count / conv->config.out_channels;
    if (conv->filter > MAX_FILTER)
        return qd_fail(
            b->q->ctx, QD_ERR_USAGE,
            "quantize '%s': expected at most %d weights per output channel so that int32 holds their sum, got "
            "%lld",
            node->name, MAX_FILTER, (long long)conv->filter);
    if (conv->depthwise && conv->config.kernel > QD_U8_MOST_LINES)
        return qd_fail(b->q->ctx, QD_ERR_USAGE,
                       "quantize '%s': expected a depthwise kernel of at most %d lines, got %lld", node->name,
                       QD_U8_MOST_LINES, (long long)conv->config.kernel);
    return QD_OK;
}

static void add_silu(build *b, const qd_node *node)
{
    qd_qstep *step = add_step(b, QD_QSTEP_SILU, node);
    char name[QD_NAME_BYTES + 16];
    int input = b->q->values[step->input[0]].quantizer;
    bool fused = input >= 0 && b->q->quantizers[input].feeds_silu;

    value_name(b->graph, node->output, name);
    step->activation = QD_ACTIVATION_SILU;
    step->inner =
        add_value(b, b->graph->values[node->output].dims, fused ? -1 : add_quantizer(b, name, ".sigmoid"), -1);
    finish_step(b, step, node->output, true);
}

static enum qd_status add_node(build *b, int index)
{
    const qd_node *node = &b->graph->nodes[index];
    qd_qstep *step;

    switch (node->kind) {
    case QD_LAYER_conv2d:
    case QD_LAYER_linear:
        return add_conv(b, index);
    case QD_LAYER_activation:
        if (activation_of(node) == QD_ACTIVATION_SILU) {
            add_silu(b, node);
            return QD_OK;
        }
        step = add_step(b, QD_QSTEP_TABLE, node);
        step->activation = activation_of(node);
        finish_step(b, step, node->output, true);
        return QD_OK;
    case QD_LAYER_add:
        step = add_step(b, QD_QSTEP_ADD, node);
        finish_step(b, step, absorb_clamp(b, step, node->output), true);
        return QD_OK;
    case QD_LAYER_channel_multiply:
        finish_step(b, add_step(b, QD_QSTEP_GATE, node), node->output, true);
        return QD_OK;
    case QD_LAYER_global_avgpool:
        finish_step(b, add_step(b, QD_QSTEP_MEAN, node), node->output, true);
        return QD_OK;
    case QD_LAYER_maxpool2d:
        step = add_step(b, QD_QSTEP_MAXPOOL, node);
        step->pool = *(const qd_maxpool2d_config *)node->config;
        step->output =
            add_value(b, b->graph->values[node->output].dims, b->q->values[step->input[0]].quantizer, node->output);
        b->value_of[node->output] = step->output;
        return QD_OK;
    case QD_LAYER_flatten:
    case QD_LAYER_dropout:
    case QD_LAYER_stochastic_depth:
        b->value_of[node->output] = b->value_of[node->input[0]];
        return QD_OK;
    default:
        return qd_fail(
            b->q->ctx, QD_ERR_USAGE,
            "quantize %s '%s': expected a layer with a quantized form; a BatchNorm must follow a convolution "
            "whose output nobody else reads",
            node->ops->name, node->name);
    }
}

/* Whether two values are ever needed at the same time. */
static bool live_together(const qd_qvalue *a, const qd_qvalue *b)
{
    return a->first_step <= b->last_step && b->first_step <= a->last_step;
}

/*
 * Elements of one sample. Integers and floats share the plan: the logits, float32 among int8 values, take four times
 * the room.
 */
static int64_t value_room(const qd_qvalue *value)
{
    int64_t count = qd_dims_count(&value->dims) * (value->quantizer < 0 ? (int64_t)sizeof(float) : 1);

    return (int64_t)qd_align_bytes((size_t)count);
}

/* Gives every value a place in the activation memory: the lowest offset where nothing alive at the same time lies. */
static void place_values(qd_qgraph *q)
{
    for (int v = 0; v < q->value_count; v++) {
        qd_qvalue *value = &q->values[v];
        bool moved = true;
        value->offset = 0;
        while (moved) {
            moved = false;
            for (int u = 0; u < v; u++) {
                const qd_qvalue *other = &q->values[u];
                if (!live_together(value, other) || value->offset >= other->offset + value_room(other) ||
                    other->offset >= value->offset + value_room(value))
                    continue;
                value->offset = other->offset + value_room(other);
                moved = true;
            }
        }
        if (value->offset + value_room(value) > q->sample_elements)
            q->sample_elements = value->offset + value_room(value);
    }
}

static int reader_count(const qd_qgraph *q, int value)
{
    int count = value == q->output;

    for (int i = 0; i < q->step_count; i++)
        for (int k = 0; k < 2; k++)
            count += q->steps[i].input[k] == value;
    return count;
}

/* Tables and sums right behind the convolution that alone feeds them. */
static void find_merges(qd_qgraph *q)
{
    for (int i = 0; i + 1 < q->step_count; i++) {
        qd_qstep *step = &q->steps[i];
        const qd_qstep *next = &q->steps[i + 1];
        const bool follows = next->input[0] == step->output || next->input[1] == step->output;
        const bool table = next->kind == QD_QSTEP_TABLE || next->kind == QD_QSTEP_SILU;
        /* a depthwise convolution is followed by no sum in any network known; its kernels have none */
        step->merges = step->kind == QD_QSTEP_CONV && follows && reader_count(q, step->output) == 1 &&
                       (table || (next->kind == QD_QSTEP_ADD && !q->convs[step->conv].depthwise));
    }
}

static void find_lifetimes(qd_qgraph *q)
{
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        /* what a merged step writes exists while its convolution still reads */
        q->values[step->output].first_step = i > 0 && q->steps[i - 1].merges ? i - 1 : i;
        q->values[step->output].last_step = i;
        if (step->inner >= 0) {
            q->values[step->inner].first_step = i;
            q->values[step->inner].last_step = i;
        }
        for (int k = 0; k < 2; k++)
            if (step->input[k] >= 0)
                q->values[step->input[k]].last_step = i;
    }
    q->values[q->output].last_step = q->step_count; /* read after the last step */
}

static void *take(qd_qgraph *q, int64_t count, size_t size)
{
    return qd_arena_take(&q->weights, (size_t)count * size);
}

/* Folded float32 weights, which scales are chosen from; weights and biases after quantization, in float32. */
static bool has_source(const qd_qgraph *q)
{
    return !q->restored;
}

static bool has_simulated(const qd_qgraph *q, const qd_qconv *conv)
{
    return !q->restored || conv->in_float;
}

size_t qd_qgraph_weight_bytes(const qd_qgraph *q)
{
    size_t bytes = 0;

    for (int i = 0; i < q->conv_count; i++) {
        const qd_qconv *conv = &q->convs[i];
        size_t out = (size_t)conv->config.out_channels, weights = out * (size_t)conv->filter;
        size_t width = (size_t)qd_qconv_packed_width(conv, q->int8.layout);
        size_t copies = (size_t)has_source(q) + (size_t)has_simulated(q, conv);
        bytes += (size_t)has_source(q) * qd_align_bytes(out * sizeof(float)) +
                 copies * (qd_align_bytes(weights * sizeof(float)) + qd_align_bytes(out * sizeof(float))) +
                 2 * qd_align_bytes(out * sizeof(float)) + qd_align_bytes(weights) +
                 qd_align_bytes(out * sizeof(int32_t)) + qd_align_bytes(qd_qconv_packed_bytes(conv, q->int8.layout)) +
                 qd_align_bytes(width * sizeof(int32_t)) + qd_align_bytes(width * sizeof(float)) +
                 qd_align_bytes((size_t)conv->config.in_channels);
    }
    return bytes;
}

enum qd_status qd_qgraph_allocate_weights(qd_qgraph *q)
{
    QD_TRY(qd_arena_create(q->ctx, qd_qgraph_weight_bytes(q), "the quantized network's weights", &q->weights));
    for (int i = 0; i < q->conv_count; i++) {
        qd_qconv *conv = &q->convs[i];
        int64_t out = conv->config.out_channels, weights = out * conv->filter;
        if (has_source(q)) {
            conv->weight = take(q, weights, sizeof(float));
            conv->bias = take(q, out, sizeof(float));
            conv->bias_correction = take(q, out, sizeof(float));
        }
        if (has_simulated(q, conv)) {
            conv->weight_simulated = take(q, weights, sizeof(float));
            conv->bias_simulated = take(q, out, sizeof(float));
        }
        conv->scale = take(q, out, sizeof(float));
        conv->multiplier = take(q, out, sizeof(float));
        conv->codes = take(q, weights, sizeof(int8_t));
        conv->bias_codes = take(q, out, sizeof(int32_t));
        conv->packed = take(q, (int64_t)qd_qconv_packed_bytes(conv, q->int8.layout), 1);
        conv->packed_bias = take(q, qd_qconv_packed_width(conv, q->int8.layout), sizeof(int32_t));
        conv->packed_multiplier = take(q, qd_qconv_packed_width(conv, q->int8.layout), sizeof(float));
        conv->padding = take(q, conv->config.in_channels, 1);
    }
    return QD_OK;
}

enum qd_status qd_qgraph_fold(qd_qgraph *q, const qd_graph *graph, const qd_state *state)
{
    QD_TRY(qd_qgraph_allocate_weights(q));
    for (int i = 0; i < q->conv_count; i++) {
        qd_qconv *conv = &q->convs[i];
        QD_TRY(qd_fold_batchnorm(q->ctx, graph, state, conv->node, conv->batchnorm, conv->weight, conv->bias));
    }
    return QD_OK;
}

enum qd_status qd_qgraph_lay_out(qd_qgraph *q, const qd_graph *graph)
{
    size_t nodes = (size_t)graph->node_count;
    enum qd_status status = QD_OK;
    build b = {.q = q, .graph = graph};

    b.value_of = qd_calloc((size_t)graph->value_count, sizeof *b.value_of);
    b.absorbed = qd_calloc(nodes, sizeof *b.absorbed);
    q->steps = qd_calloc(nodes, sizeof *q->steps);
    q->values = qd_calloc(2 * nodes + 1, sizeof *q->values); /* the input, and two at most for a SiLU */
    q->quantizers = qd_calloc(2 * nodes + 1, sizeof *q->quantizers);
    q->convs = qd_calloc(nodes, sizeof *q->convs);
    if (b.value_of == NULL || b.absorbed == NULL || q->steps == NULL || q->values == NULL || q->quantizers == NULL ||
        q->convs == NULL) {
        status = qd_fail(q->ctx, QD_ERR_MEMORY, "quantize '%s': no memory for the list of its %d nodes",
                         graph->model_name, graph->node_count);
        goto fail;
    }
    q->input = add_value(&b, graph->input_dims, add_quantizer(&b, "input", ""), graph->input);
    b.value_of[graph->input] = q->input;
    for (int i = 0; i < graph->node_count; i++)
        if (!b.absorbed[i])
            QD_TRY_GOTO(add_node(&b, i));
    q->output = b.value_of[graph->output];
    find_merges(q);
    find_lifetimes(q);
    place_values(q);
fail:
    free(b.value_of);
    free(b.absorbed);
    return status;
}
