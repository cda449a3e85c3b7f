#include "graph/schedule.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdlib.h>

/* Batches beyond a million images are a mistake; below it no product of sizes overflows 64 bits. */
#define MAX_BATCH (1 << 20)

/* Blocks a step can ask for: value, gradients of its inputs, saved, two workspaces. */
#define BLOCKS_PER_STEP (4 + QD_MAX_INPUTS)

/* And those of a value made again. */
#define BLOCKS_AGAIN 2

/* A value is made again where it is this part of all values or more. ResNet18's first is a fifth of them and costs 2
 * % of a step's operations; EfficientNet-B0's is a twentieth, for 1 %. */
#define AGAIN_SHARE 8

/* The activation node that may run inside this BatchNorm node, -1 when there is none. */
static int fusible_activation(const qd_graph *graph, int node)
{
    const qd_node *bn = &graph->nodes[node];
    if (bn->kind != QD_LAYER_batchnorm2d || bn->output == graph->output ||
        graph->values[bn->output].consumer_count != 1)
        return -1;
    for (int i = node + 1; i < graph->node_count; i++)
        if (graph->nodes[i].input[0] == bn->output || graph->nodes[i].input[1] == bn->output)
            return graph->nodes[i].kind == QD_LAYER_activation ? i : -1;
    return -1;
}

/* One step a node, except that a fused activation runs inside its BatchNorm's step. */
static void make_steps(const qd_graph *graph, bool fuse, qd_schedule *s)
{
    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        /* Its producer's step makes its output already. */
        int producer = graph->values[node->input[0]].producer;
        if (fuse && producer >= 0 && fusible_activation(graph, producer) == i)
            continue;
        qd_step *step = &s->steps[s->step_count++];
        *step = (qd_step){.node = i,
                          .reported_node = i,
                          .output = node->output,
                          .deferred_by = -1,
                          .saved = -1,
                          .forward_workspace = -1,
                          .backward_workspace = -1};
        int activation = fuse ? fusible_activation(graph, i) : -1;
        if (activation >= 0) {
            const qd_activation_config *config = graph->nodes[activation].config;
            step->fused = config->kind;
            step->reported_node = activation;
            step->output = graph->nodes[activation].output;
        }
    }
}

/* The layer call of a step, without addresses. */
static qd_layer_call sketch_call(qd_context *ctx, const qd_graph *graph, const qd_kernels *kernels,
                                 enum qd_dtype dtype, const qd_plan_config *config, const qd_step *step)
{
    const qd_node *node = &graph->nodes[step->node];
    qd_layer_call call = {.ctx = ctx,
                          .k = kernels,
                          .dtype = dtype,
                          .threads = qd_context_threads(ctx),
                          .training = config->training,
                          .exact = !config->fuse,
                          .name = node->name,
                          .config = node->config,
                          .fused = step->fused,
                          .n = config->max_batch,
                          .out = graph->values[step->output].dims};
    for (int i = 0; i < node->ops->input_count; i++)
        call.in[i] = graph->values[node->input[i]].dims;
    call.deferred.present = step->deferred_by >= 0;
    return call;
}

/*
 * A step whose layer can leave its output to its readers does so when every reader can make it: the value is then
 * neither written nor kept, and recomputed from the layer's input, which the backward pass needs anyway.
 */
static void defer_outputs(qd_context *ctx, const qd_graph *graph, const qd_kernels *kernels, enum qd_dtype dtype,
                          const qd_plan_config *config, qd_schedule *s)
{
    for (int i = 0; i < s->step_count; i++) {
        qd_step *step = &s->steps[i];
        bool all = graph->nodes[step->node].ops->defer && step->output != graph->output && step->deferred_by < 0;
        for (int r = i + 1; all && r < s->step_count; r++) {
            const qd_node *reader = &graph->nodes[s->steps[r].node];
            const qd_layer_call call = sketch_call(ctx, graph, kernels, dtype, config, &s->steps[r]);
            if (reader->input[1] == step->output)
                all = false;
            else if (reader->input[0] == step->output)
                all = reader->ops->takes_deferred && reader->ops->takes_deferred(&call);
        }
        step->deferred = all;
        for (int r = i + 1; all && r < s->step_count; r++)
            if (graph->nodes[s->steps[r].node].input[0] == step->output)
                s->steps[r].deferred_by = i;
    }
}

static int add_block(qd_schedule *s, size_t bytes, int first, int last)
{
    if (bytes == 0)
        return -1;
    s->blocks[s->block_count] = (qd_block_life){.bytes = bytes, .first = first, .last = last};
    return s->block_count++;
}

static void live_until(qd_schedule *s, int block, int time)
{
    if (block >= 0 && time > s->blocks[block].last)
        s->blocks[block].last = time;
}

static size_t value_bytes(const qd_value *value, int64_t n, enum qd_dtype dtype)
{
    return (size_t)(n * qd_dims_count(&value->dims)) * qd_dtype_size(dtype);
}

/* The first convolution's output is made again from the images, which the caller keeps, where that frees much. */
static void choose_again(const qd_graph *graph, enum qd_dtype dtype, const qd_plan_config *config, qd_schedule *s)
{
    size_t all = 0;
    s->again = (qd_again){.step = -1, .before = -1, .value = -1, .block = -1, .workspace = -1};
    if (!config->backward || !config->fuse)
        return;
    for (int i = 0; i < s->step_count; i++)
        if (!s->steps[i].deferred)
            all += value_bytes(&graph->values[s->steps[i].output], config->max_batch, dtype);
    for (int i = 0; i < s->step_count && s->again.step < 0; i++) {
        const qd_node *node = &graph->nodes[s->steps[i].node];
        const size_t bytes = value_bytes(&graph->values[s->steps[i].output], config->max_batch, dtype);
        if (node->kind == QD_LAYER_conv2d && node->input[0] == graph->input && s->steps[i].output != graph->output &&
            AGAIN_SHARE * bytes >= all) {
            s->again.step = i;
            s->again.value = s->steps[i].output;
        }
    }
}

/* A value is read at `time`. */
static void value_live_until(qd_schedule *s, int value, int time)
{
    qd_again *again = &s->again;
    if (value != again->value || time < s->step_count) {
        live_until(s, s->value_block[value], time);
        return;
    }
    const int step = 2 * s->step_count - 1 - time;
    qd_block_life *block = &s->blocks[again->block];
    again->before = step > again->before ? step : again->before;
    block->first = time < block->first ? time : block->first;
    block->last = time > block->last ? time : block->last;
}

/* Saved block and workspaces of a step, which runs forward at `time` and, unless backward_time is -1, backward. */
static void add_step_memory(const qd_layer_ops *ops, const qd_layer_call *call, int time, int backward_time,
                            qd_schedule *s)
{
    qd_step *step = &s->steps[time];
    if (ops->saved_bytes)
        step->saved = add_block(s, ops->saved_bytes(call), time, backward_time >= 0 ? backward_time : time);
    if (!ops->workspace_bytes)
        return;
    step->forward_workspace = add_block(s, ops->workspace_bytes(call, false), time, time);
    if (backward_time >= 0)
        step->backward_workspace = add_block(s, ops->workspace_bytes(call, true), backward_time, backward_time);
}

/* Input `i` of a step, or what it is made from, is needed at `time`. */
static void input_live_until(const qd_graph *graph, qd_schedule *s, const qd_step *step, int i, int time)
{
    const qd_node *node = &graph->nodes[step->node];
    if (i == 0 && step->deferred_by >= 0) {
        const qd_step *producer = &s->steps[step->deferred_by];
        live_until(s, producer->saved, time);
        node = &graph->nodes[producer->node];
    }
    value_live_until(s, node->input[i], time);
}

/* Memory of the value made again; its life follows from who reads it. */
static void add_again_blocks(const qd_graph *graph, enum qd_dtype dtype, const qd_plan_config *config, qd_schedule *s)
{
    if (s->again.step >= 0)
        s->again.block =
            add_block(s, value_bytes(&graph->values[s->again.value], config->max_batch, dtype), 2 * s->step_count, 0);
}

/* The workspace of making it. */
static void add_again_workspace(qd_context *ctx, const qd_graph *graph, const qd_kernels *kernels,
                                enum qd_dtype dtype, const qd_plan_config *config, qd_schedule *s)
{
    if (s->again.step < 0)
        return;
    const qd_step *step = &s->steps[s->again.step];
    const qd_layer_call call = sketch_call(ctx, graph, kernels, dtype, config, step);
    const int time = 2 * s->step_count - 1 - s->again.before;
    s->again.workspace = add_block(s, graph->nodes[step->node].ops->workspace_bytes(&call, false), time, time);
}

/* Values live from their producer to their last reader, be it a later layer or a backward pass. */
static void add_values(qd_context *ctx, const qd_graph *graph, const qd_kernels *kernels, enum qd_dtype dtype,
                       const qd_plan_config *config, qd_schedule *s)
{
    int last_time = (config->backward ? 2 : 1) * s->step_count - 1;
    for (int time = 0; time < s->step_count; time++) {
        const qd_step *step = &s->steps[time];
        const qd_node *node = &graph->nodes[step->node];
        const qd_layer_call call = sketch_call(ctx, graph, kernels, dtype, config, step);
        int backward_time = config->backward ? last_time - time : -1;
        unsigned needs = config->backward ? node->ops->backward_needs(node->config, step->fused) : QD_NEEDS_NOTHING;
        for (int i = 0; i < node->ops->input_count; i++) {
            input_live_until(graph, s, step, i, time);
            if (needs & (i == 0 ? QD_NEEDS_INPUT0 : QD_NEEDS_INPUT1))
                input_live_until(graph, s, step, i, backward_time);
        }
        if (!step->deferred) {
            int block = add_block(s, value_bytes(&graph->values[step->output], config->max_batch, dtype), time, time);
            s->value_block[step->output] = block;
            if (needs & QD_NEEDS_OUTPUT)
                live_until(s, block, backward_time);
            if (step->output == graph->output)
                live_until(s, block, last_time); /* the caller reads the logits when all is done */
        }
        add_step_memory(node->ops, &call, time, backward_time, s);
    }
}

/* A gradient lives from the first consumer to write it (the last in forward order) to its value's producer. */
static void add_gradients(const qd_graph *graph, enum qd_dtype dtype, int64_t n, qd_schedule *s)
{
    int last_time = 2 * s->step_count - 1;
    for (int time = s->step_count; time <= last_time; time++) {
        qd_step *step = &s->steps[last_time - time];
        const qd_node *node = &graph->nodes[step->node];
        live_until(s, s->grad_block[step->output], time);
        for (int i = 0; i < node->ops->input_count; i++) {
            int value = node->input[i];
            if (value == graph->input)
                continue;
            step->accumulate[i] = s->grad_block[value] >= 0;
            if (!step->accumulate[i])
                s->grad_block[value] = add_block(s, value_bytes(&graph->values[value], n, dtype), time, time);
        }
    }
}

enum qd_status qd_schedule_make(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype,
                                const qd_plan_config *config, qd_schedule *out)
{
    if (config->max_batch < 1 || config->max_batch > MAX_BATCH)
        return qd_fail(ctx, QD_ERR_USAGE, "plan of '%s': expected a batch of 1 to %d, got %lld", graph->model_name,
                       MAX_BATCH, (long long)config->max_batch);
    enum qd_status status = QD_OK;
    size_t nodes = (size_t)graph->node_count, values = (size_t)graph->value_count;
    qd_schedule s = {0};
    qd_kernels kernels;
    qd_kernels_fill(qd_context_isa(ctx), dtype, &kernels);
    s.steps = qd_calloc(nodes, sizeof *s.steps);
    s.blocks = qd_calloc(BLOCKS_PER_STEP * nodes + BLOCKS_AGAIN, sizeof *s.blocks);
    s.value_block = qd_calloc(values, sizeof *s.value_block);
    s.grad_block = qd_calloc(values, sizeof *s.grad_block);
    if (!s.steps || !s.blocks || !s.value_block || !s.grad_block) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "plan of '%s': no memory for its schedule", graph->model_name);
        goto fail;
    }
    for (size_t i = 0; i < values; i++)
        s.value_block[i] = s.grad_block[i] = -1;

    make_steps(graph, config->fuse, &s);
    if (config->fuse)
        defer_outputs(ctx, graph, &kernels, dtype, config, &s);
    choose_again(graph, dtype, config, &s);
    add_again_blocks(graph, dtype, config, &s);
    add_values(ctx, graph, &kernels, dtype, config, &s);
    add_again_workspace(ctx, graph, &kernels, dtype, config, &s);
    if (config->backward)
        add_gradients(graph, dtype, config->max_batch, &s);
    QD_TRY_GOTO(qd_plan_memory_place(ctx, s.blocks, s.block_count, &s.arena_bytes));
    *out = s;
    return QD_OK;
fail:
    qd_schedule_free(&s);
    return status;
}

void qd_schedule_free(qd_schedule *schedule)
{
    free(schedule->steps);
    free(schedule->blocks);
    free(schedule->value_block);
    free(schedule->grad_block);
    *schedule = (qd_schedule){0};
}
