/*
 * A network as nodes and values, with PyTorch's module tree beside it. Built once by models/, immutable
 * afterwards: plans, folding and quantization read it. Sample shapes are fixed, the batch is not.
 */
#ifndef QD_GRAPH_GRAPH_H
#define QD_GRAPH_GRAPH_H

#include "nn/layer.h"

#define QD_NAME_BYTES 96

typedef struct qd_value {
    qd_dims dims;
    int producer; /* node, -1 for the graph's input */
    int consumer_count;
} qd_value;

typedef struct qd_node {
    enum qd_layer_kind kind;
    const qd_layer_ops *ops;
    void *config;             /* owned by the graph */
    char name[QD_NAME_BYTES]; /* module path; for functional ops ("add", "flatten") the parent's path + ".add" */
    int module;               /* -1: a functional operation, no module */
    int input[QD_MAX_INPUTS];
    int output;
    int param[QD_MAX_PARAMS];   /* indexes into params, -1: none */
    int buffer[QD_MAX_BUFFERS]; /* indexes into buffers */
    int batches_tracked;        /* index into the state's counters, -1: none */
} qd_node;

typedef struct qd_module {
    char path[QD_NAME_BYTES]; /* "layer1.0.conv1"; "" is the root */
    const char *class_name;   /* "Conv2d", static */
    int parent;               /* -1 for the root */
} qd_module;

/* One completed call of a module, in order of completion: what a forward hook sees. */
typedef struct qd_module_call {
    int module;
    int value;
    int after_node; /* the hook fires when this node has run */
} qd_module_call;

/* A parameter or buffer and its place in the state's blocks. */
typedef struct qd_param {
    char name[QD_NAME_BYTES + 24]; /* "layer1.0.conv1.weight" */
    int rank;
    int64_t shape[QD_MAX_RANK];
    enum qd_param_order order;
    int64_t count;
    int64_t offset; /* elements from the start of its block; blocks are padded to the alignment */
    int node;
    double initial; /* buffers */
} qd_param;

typedef struct qd_graph {
    char model_name[32];
    qd_dims input_dims;
    int input;  /* value */
    int output; /* value: logits */
    qd_value *values;
    int value_count;
    qd_node *nodes; /* in execution order */
    int node_count;
    qd_module *modules; /* in registration order */
    int module_count;
    qd_module_call *calls;
    int call_count;
    qd_param *params; /* in order of first call: state_dict order in every model here */
    int param_count;
    qd_param *buffers;
    int buffer_count;
    int batches_tracked_count;
    int64_t param_elements; /* of the parameter block, padding included */
    int64_t buffer_elements;
} qd_graph;

/* ---- building (models/ only) ---- */

typedef struct qd_builder qd_builder;

/* Starts a graph with one input; class_name (static) is the root module's. The builder keeps the first error; every
 * later call is then a no-op, and qd_builder_finish() reports it, so a model reads without error checks. Errors:
 * QD_ERR_MEMORY. */
enum qd_status qd_builder_create(qd_context *ctx, const char *model_name, const char *class_name, qd_dims input,
                                 qd_builder **out);
void qd_builder_destroy(qd_builder *builder);

/* The value that is the graph's input. */
int qd_builder_input(const qd_builder *builder);

/* Opens a container module below the current one; close it with its output value. */
void qd_builder_open(qd_builder *builder, const char *name, const char *class_name);
void qd_builder_close(qd_builder *builder, int output_value);

/* Calls a leaf module `name` of the current container: adds the node, registers the module at the first
 * call, records the hook. input1 is -1 for one-input layers. Returns the output value, -1 after an error. */
int qd_builder_call(qd_builder *builder, const char *name, const char *class_name, enum qd_layer_kind kind,
                    const void *config, int input0, int input1);

/* A functional operation (no module, no hook): residual sums, flatten, the squeeze-excite product. */
int qd_builder_apply(qd_builder *builder, const char *name, enum qd_layer_kind kind, const void *config, int input0,
                     int input1);

/* Registers a module at this place of PyTorch's tree, whether it is called later, in another order, or never
 * (counted, not hooked). */
void qd_builder_register(qd_builder *builder, const char *name, const char *class_name);

/* Closes the root with the output value and hands the graph over: the caller frees it with qd_graph_destroy(), and
 * the builder, good for nothing else now, with qd_builder_destroy(). Errors: the first of the building, such as
 * QD_ERR_SHAPE of a layer, QD_ERR_MEMORY, QD_ERR_INTERNAL (a container left open, a name too long). */
enum qd_status qd_builder_finish(qd_builder *builder, int output_value, qd_graph **out);

void qd_graph_destroy(qd_graph *graph);

/* Index of a module, parameter, buffer or node by name; -1 when there is none. */
int qd_graph_find_module(const qd_graph *graph, const char *path);
int qd_graph_find_param(const qd_graph *graph, const char *name);
int qd_graph_find_buffer(const qd_graph *graph, const char *name);
int qd_graph_find_node(const qd_graph *graph, const char *name);

/* ---- state: the numbers of a network ---- */

typedef struct qd_state {
    enum qd_dtype dtype;      /* QD_F32, or QD_F64 for verification */
    const qd_graph *graph;    /* borrowed */
    void *params;             /* one block each, graph->param_elements long, same offsets */
    void *grads;              /* NULL unless created for training */
    void *momentum;           /* likewise */
    void *buffers;            /* running statistics, graph->buffer_elements */
    int64_t *batches_tracked; /* graph->batches_tracked_count */
    struct qd_arena *arena;
} qd_state;

/* Allocates zeroed parameters and buffers at their declared initial values. Errors: QD_ERR_MEMORY. */
enum qd_status qd_state_create(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype, bool training,
                               qd_state **out);
void qd_state_destroy(qd_state *state);

enum qd_block { QD_BLOCK_PARAMS, QD_BLOCK_GRADS, QD_BLOCK_MOMENTUM };

/* View of one parameter in a block / of one buffer: PyTorch's shape, strides of the memory order. */
qd_tensor qd_state_param(const qd_state *state, enum qd_block block, int param);
qd_tensor qd_state_buffer(const qd_state *state, int buffer);
/* Same for any memory, such as another copy of the parameter block. */
qd_tensor qd_param_view(const qd_param *param, enum qd_dtype dtype, void *block);

#endif
