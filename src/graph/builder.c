/* Building a graph: nodes and values in execution order, PyTorch's module tree beside them. */
#include "graph/graph.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nesting of containers: "features.1.0.block.0" is the deepest of the models with five; twice that is room enough. */
#define MAX_DEPTH 12

/* Parameters start at a multiple of so many elements: 64 bytes of float32, the arena's alignment. */
#define PARAM_ALIGNMENT 16

struct qd_builder {
    qd_context *ctx;
    enum qd_status status; /* the first failure; everything after it is a no-op */
    qd_graph *graph;
    int open[MAX_DEPTH]; /* modules from the root to the current container */
    int depth;
    int value_room, node_room, module_room, call_room, param_room, buffer_room;
};

static bool usable(const qd_builder *b)
{
    return b != NULL && b->status == QD_OK && b->graph != NULL;
}

/* Makes room for one more element of `size` bytes behind `count`; false (and the builder failed) without memory. */
static bool reserve(qd_builder *b, void **array, int count, int *room, size_t size)
{
    if (count < *room)
        return true;
    int wanted = *room ? 2 * *room : 64;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (!grown) {
        b->status =
            qd_fail(b->ctx, QD_ERR_MEMORY, "graph '%s': no memory for %d entries", b->graph->model_name, wanted);
        return false;
    }
    *array = grown;
    *room = wanted;
    return true;
}

/* "parent.name", or "name" below the root. False (and the builder failed) when it does not fit. */
static bool make_path(qd_builder *b, const char *name, char path[QD_NAME_BYTES])
{
    const char *parent = b->graph->modules[b->open[b->depth - 1]].path;
    int written = snprintf(path, QD_NAME_BYTES, "%s%s%s", parent, parent[0] ? "." : "", name);
    if (written >= 0 && written < QD_NAME_BYTES)
        return true;
    b->status = qd_fail(b->ctx, QD_ERR_INTERNAL, "graph '%s': the module path '%s.%s' is longer than %d bytes",
                        b->graph->model_name, parent, name, QD_NAME_BYTES - 1);
    return false;
}

static int add_value(qd_builder *b, qd_dims dims, int producer)
{
    qd_graph *g = b->graph;
    if (!reserve(b, (void **)&g->values, g->value_count, &b->value_room, sizeof *g->values))
        return -1;
    g->values[g->value_count] = (qd_value){.dims = dims, .producer = producer};
    return g->value_count++;
}

/* The module of that path, registered now if it is new. */
static int find_or_add_module(qd_builder *b, const char *path, const char *class_name, int parent)
{
    qd_graph *g = b->graph;
    int found = qd_graph_find_module(g, path);
    if (found >= 0)
        return found;
    if (!reserve(b, (void **)&g->modules, g->module_count, &b->module_room, sizeof *g->modules))
        return -1;
    qd_module *module = &g->modules[g->module_count];
    *module = (qd_module){.class_name = class_name, .parent = parent};
    snprintf(module->path, sizeof module->path, "%s", path);
    return g->module_count++;
}

static void add_module_call(qd_builder *b, int module, int value)
{
    qd_graph *g = b->graph;
    if (!reserve(b, (void **)&g->calls, g->call_count, &b->call_room, sizeof *g->calls))
        return;
    g->calls[g->call_count++] = (qd_module_call){.module = module, .value = value, .after_node = g->node_count - 1};
}

/* Appends a parameter or buffer of the last node to `list` and gives it the next place in its block. */
static int add_param(qd_builder *b, qd_param **list, int *count, int *room, int64_t *block_elements,
                     const qd_param_decl *decl)
{
    qd_graph *g = b->graph;
    int node = g->node_count - 1;
    if (!reserve(b, (void **)list, *count, room, sizeof **list))
        return -1;
    qd_param *param = &(*list)[*count];
    *param = (qd_param){
        .rank = decl->rank,
        .order = decl->order,
        .count = 1,
        .offset = *block_elements,
        .node = node,
        .initial = decl->initial,
    };
    snprintf(param->name, sizeof param->name, "%s.%s", g->nodes[node].name, decl->suffix);
    for (int i = 0; i < decl->rank; i++) {
        param->shape[i] = decl->shape[i];
        param->count *= decl->shape[i];
    }
    *block_elements += (param->count + PARAM_ALIGNMENT - 1) / PARAM_ALIGNMENT * PARAM_ALIGNMENT;
    return (*count)++;
}

static void add_params(qd_builder *b, const qd_layer_decl *decl)
{
    qd_graph *g = b->graph;
    qd_node *node = &g->nodes[g->node_count - 1];
    for (int i = 0; i < QD_MAX_PARAMS; i++)
        node->param[i] = -1;
    for (int i = 0; i < QD_MAX_BUFFERS; i++)
        node->buffer[i] = -1;
    for (int i = 0; i < decl->param_count && usable(b); i++)
        node->param[i] =
            add_param(b, &g->params, &g->param_count, &b->param_room, &g->param_elements, &decl->params[i]);
    for (int i = 0; i < decl->buffer_count && usable(b); i++)
        node->buffer[i] =
            add_param(b, &g->buffers, &g->buffer_count, &b->buffer_room, &g->buffer_elements, &decl->buffers[i]);
    node->batches_tracked = decl->counts_batches ? g->batches_tracked_count++ : -1;
}

/* Adds the node and its output value; a module's second call may have no parameters of its own. */
static int add_node(qd_builder *b, const char *path, int module, enum qd_layer_kind kind, const void *config,
                    const int input[QD_MAX_INPUTS])
{
    qd_graph *g = b->graph;
    const qd_layer_ops *ops = qd_layer_ops_of(kind);
    qd_dims in[QD_MAX_INPUTS] = {{0}};
    for (int i = 0; i < QD_MAX_INPUTS; i++) {
        bool expected = i < ops->input_count;
        if (expected != (input[i] >= 0) || input[i] >= g->value_count) {
            b->status = qd_fail(b->ctx, QD_ERR_INTERNAL, "%s '%s': expected %d inputs, input %d is value %d of %d",
                                ops->name, path, ops->input_count, i, input[i], g->value_count);
            return -1;
        }
        if (expected)
            in[i] = g->values[input[i]].dims;
    }
    qd_layer_decl decl = {0};
    b->status = ops->infer(b->ctx, path, config, in, &decl);
    if (b->status != QD_OK)
        return -1;
    bool repeated = module >= 0 && qd_graph_find_node(g, path) >= 0;
    if (repeated && (decl.param_count > 0 || decl.buffer_count > 0)) {
        b->status =
            qd_fail(b->ctx, QD_ERR_INTERNAL,
                    "%s '%s': called twice, but modules with parameters can be called only once", ops->name, path);
        return -1;
    }

    void *copy = qd_calloc(ops->config_size, 1);
    if (!copy) {
        b->status = qd_fail(b->ctx, QD_ERR_MEMORY, "%s '%s': no memory for its configuration", ops->name, path);
        return -1;
    }
    if (ops->config_size > 0)
        memcpy(copy, config, ops->config_size);
    if (!reserve(b, (void **)&g->nodes, g->node_count, &b->node_room, sizeof *g->nodes)) {
        free(copy);
        return -1;
    }
    int index = g->node_count++;
    qd_node *node = &g->nodes[index];
    *node = (qd_node){.kind = kind, .ops = ops, .config = copy, .module = module};
    snprintf(node->name, sizeof node->name, "%s", path);
    for (int i = 0; i < QD_MAX_INPUTS; i++) {
        node->input[i] = input[i];
        if (input[i] >= 0)
            g->values[input[i]].consumer_count++;
    }
    add_params(b, &decl);
    if (!usable(b))
        return -1;
    node->output = add_value(b, decl.out, index);
    return node->output;
}

enum qd_status qd_builder_create(qd_context *ctx, const char *model_name, const char *class_name, qd_dims input,
                                 qd_builder **out)
{
    qd_builder *b = qd_calloc(1, sizeof *b);
    if (!b)
        return qd_fail(ctx, QD_ERR_MEMORY, "graph '%s': no memory to build it", model_name);
    b->ctx = ctx;
    b->graph = qd_calloc(1, sizeof *b->graph);
    if (!b->graph) {
        qd_builder_destroy(b);
        return qd_fail(ctx, QD_ERR_MEMORY, "graph '%s': no memory to build it", model_name);
    }
    snprintf(b->graph->model_name, sizeof b->graph->model_name, "%s", model_name);
    b->graph->input_dims = input;
    b->graph->input = add_value(b, input, -1);
    b->open[0] = usable(b) ? find_or_add_module(b, "", class_name, -1) : -1;
    b->depth = 1;
    if (!usable(b)) {
        enum qd_status status = b->status;
        qd_builder_destroy(b);
        return status;
    }
    *out = b;
    return QD_OK;
}

void qd_builder_destroy(qd_builder *builder)
{
    if (!builder)
        return;
    qd_graph_destroy(builder->graph);
    free(builder);
}

int qd_builder_input(const qd_builder *builder)
{
    return usable(builder) ? builder->graph->input : -1;
}

void qd_builder_open(qd_builder *builder, const char *name, const char *class_name)
{
    char path[QD_NAME_BYTES];
    if (!usable(builder) || !make_path(builder, name, path))
        return;
    if (builder->depth == MAX_DEPTH) {
        builder->status = qd_fail(builder->ctx, QD_ERR_INTERNAL, "graph '%s': '%s' lies deeper than %d containers",
                                  builder->graph->model_name, path, MAX_DEPTH);
        return;
    }
    int module = find_or_add_module(builder, path, class_name, builder->open[builder->depth - 1]);
    if (module >= 0)
        builder->open[builder->depth++] = module;
}

void qd_builder_close(qd_builder *builder, int output_value)
{
    if (!usable(builder))
        return;
    if (builder->depth < 2) {
        builder->status = qd_fail(builder->ctx, QD_ERR_INTERNAL, "graph '%s': more containers closed than opened",
                                  builder->graph->model_name);
        return;
    }
    add_module_call(builder, builder->open[--builder->depth], output_value);
}

int qd_builder_call(qd_builder *builder, const char *name, const char *class_name, enum qd_layer_kind kind,
                    const void *config, int input0, int input1)
{
    char path[QD_NAME_BYTES];
    if (!usable(builder) || !make_path(builder, name, path))
        return -1;
    int module = find_or_add_module(builder, path, class_name, builder->open[builder->depth - 1]);
    if (module < 0)
        return -1;
    int value = add_node(builder, path, module, kind, config, (const int[QD_MAX_INPUTS]){input0, input1});
    if (value >= 0)
        add_module_call(builder, module, value);
    return usable(builder) ? value : -1;
}

int qd_builder_apply(qd_builder *builder, const char *name, enum qd_layer_kind kind, const void *config, int input0,
                     int input1)
{
    char path[QD_NAME_BYTES];
    if (!usable(builder) || !make_path(builder, name, path))
        return -1;
    return add_node(builder, path, -1, kind, config, (const int[QD_MAX_INPUTS]){input0, input1});
}

void qd_builder_register(qd_builder *builder, const char *name, const char *class_name)
{
    char path[QD_NAME_BYTES];
    if (usable(builder) && make_path(builder, name, path))
        find_or_add_module(builder, path, class_name, builder->open[builder->depth - 1]);
}

enum qd_status qd_builder_finish(qd_builder *builder, int output_value, qd_graph **out)
{
    if (builder->status != QD_OK)
        return builder->status;
    if (builder->depth != 1)
        return qd_fail(builder->ctx, QD_ERR_INTERNAL, "graph '%s': container '%s' was never closed",
                       builder->graph->model_name, builder->graph->modules[builder->open[builder->depth - 1]].path);
    /* The backward pass takes the output's gradient from its caller and every other one from the value's consumers.
     */
    for (int i = 0; i < builder->graph->value_count; i++)
        if ((builder->graph->values[i].consumer_count == 0) != (i == output_value))
            return qd_fail(builder->ctx, QD_ERR_INTERNAL,
                           "graph '%s': value %d of %d has %d consumers, but the output is value %d",
                           builder->graph->model_name, i, builder->graph->value_count,
                           builder->graph->values[i].consumer_count, output_value);
    add_module_call(builder, builder->open[0], output_value);
    if (builder->status != QD_OK)
        return builder->status;
    builder->graph->output = output_value;
    *out = builder->graph;
    builder->graph = NULL;
    return QD_OK;
}
