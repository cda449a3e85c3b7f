/* The numbers of a network: parameters, gradients and momentum as flat blocks, running statistics, counters. */
#include "graph/graph.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdlib.h>

/* The public struct with the memory it points into. */
struct state_with_arena {
    qd_state state;
    qd_arena arena;
};

/* Every element of a block that belongs to a parameter becomes its declared initial value; padding stays zero. */
static void set_initial(enum qd_dtype dtype, const qd_param *params, int count, void *block)
{
    for (int p = 0; p < count; p++)
        for (int64_t i = 0; i < params[p].count; i++) {
            if (dtype == QD_F64)
                ((double *)block)[params[p].offset + i] = params[p].initial;
            else
                ((float *)block)[params[p].offset + i] = (float)params[p].initial;
        }
}

enum qd_status qd_state_create(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype, bool training,
                               qd_state **out)
{
    if (dtype != QD_F32 && dtype != QD_F64)
        return qd_fail(ctx, QD_ERR_USAGE, "state of '%s': expected float32 or float64, got %s", graph->model_name,
                       qd_dtype_name(dtype));
    struct state_with_arena *owner = qd_calloc(1, sizeof *owner);
    if (!owner)
        return qd_fail(ctx, QD_ERR_MEMORY, "state of '%s': no memory", graph->model_name);

    size_t block_bytes = qd_align_bytes((size_t)graph->param_elements * qd_dtype_size(dtype));
    size_t buffer_bytes = qd_align_bytes((size_t)graph->buffer_elements * qd_dtype_size(dtype));
    size_t counter_bytes = qd_align_bytes((size_t)graph->batches_tracked_count * sizeof(int64_t));
    size_t blocks = training ? 3 : 1;
    enum qd_status status =
        qd_arena_create(ctx, blocks * block_bytes + buffer_bytes + counter_bytes, "the parameters", &owner->arena);
    if (status != QD_OK) {
        free(owner);
        return status;
    }

    qd_state *state = &owner->state;
    *state = (qd_state){.dtype = dtype, .graph = graph, .arena = &owner->arena};
    state->params = qd_arena_take(&owner->arena, block_bytes);
    if (training) {
        state->grads = qd_arena_take(&owner->arena, block_bytes);
        state->momentum = qd_arena_take(&owner->arena, block_bytes);
    }
    state->buffers = qd_arena_take(&owner->arena, buffer_bytes);
    state->batches_tracked = qd_arena_take(&owner->arena, counter_bytes);
    set_initial(dtype, graph->params, graph->param_count, state->params);
    set_initial(dtype, graph->buffers, graph->buffer_count, state->buffers);
    *out = state;
    return QD_OK;
}

void qd_state_destroy(qd_state *state)
{
    if (!state)
        return;
    struct state_with_arena *owner = (struct state_with_arena *)state; /* its first member */
    qd_arena_destroy(&owner->arena);
    free(owner);
}

qd_tensor qd_param_view(const qd_param *param, enum qd_dtype dtype, void *block)
{
    void *data = (char *)block + (size_t)param->offset * qd_dtype_size(dtype);
    qd_tensor view = qd_tensor_contiguous(dtype, param->rank, param->shape, data);
    view.name = param->name;
    int64_t o = param->shape[0], i = param->shape[1], w = param->shape[3];
    switch (param->order) {
    case QD_ORDER_CONTIGUOUS:
        break;
    case QD_ORDER_OHWI:
        view.stride[0] = param->shape[2] * w * i;
        view.stride[1] = 1;
        view.stride[2] = w * i;
        view.stride[3] = i;
        break;
    case QD_ORDER_HWO:
        view.stride[0] = 1;
        view.stride[1] = 1; /* one value long: never stepped over */
        view.stride[2] = w * o;
        view.stride[3] = o;
        break;
    }
    return view;
}

qd_tensor qd_state_param(const qd_state *state, enum qd_block block, int param)
{
    void *memory = block == QD_BLOCK_PARAMS  ? state->params
                   : block == QD_BLOCK_GRADS ? state->grads
                                             : state->momentum;
    return qd_param_view(&state->graph->params[param], state->dtype, memory);
}

qd_tensor qd_state_buffer(const qd_state *state, int buffer)
{
    return qd_param_view(&state->graph->buffers[buffer], state->dtype, state->buffers);
}
