/* Running a graph: create the planned memory once, then forward and backward as often as wanted. */
#include "graph/plan.h"

#include "base/arena.h"
#include "base/error.h"
#include "graph/schedule.h"

#include <stdlib.h>
#include <string.h>

struct qd_plan {
    qd_context *ctx;
    const qd_graph *graph;
    qd_state *state;
    qd_plan_config config;
    qd_kernels kernels;
    qd_schedule schedule;
    qd_arena arena;
    qd_plan_tracer *tracer;
    void *tracer_user;
    qd_plan_gradients_fn *on_gradients;
    void *gradients_user;
    bool forward_done; /* and no backward pass has used it up */
    const void *x;     /* of that pass */
    int64_t n;
    bool made_again; /* the schedule's value that is made again has been */
};

enum qd_status qd_plan_bytes(qd_context *ctx, const qd_graph *graph, enum qd_dtype dtype,
                             const qd_plan_config *config, size_t *bytes)
{
    qd_schedule schedule;
    QD_TRY(qd_schedule_make(ctx, graph, dtype, config, &schedule));
    *bytes = schedule.arena_bytes;
    qd_schedule_free(&schedule);
    return QD_OK;
}

enum qd_status qd_plan_create(qd_context *ctx, const qd_graph *graph, qd_state *state, const qd_plan_config *config,
                              qd_plan **out)
{
    if (config->backward && !state->grads)
        return qd_fail(ctx, QD_ERR_USAGE, "plan of '%s': a backward pass needs a state created for training",
                       graph->model_name);
    enum qd_status status = QD_OK;
    qd_plan *plan = qd_calloc(1, sizeof *plan);
    if (!plan)
        return qd_fail(ctx, QD_ERR_MEMORY, "plan of '%s': no memory", graph->model_name);
    plan->ctx = ctx;
    plan->graph = graph;
    plan->state = state;
    plan->config = *config;
    qd_kernels_fill(qd_context_isa(ctx), state->dtype, &plan->kernels);
    QD_TRY_GOTO(qd_schedule_make(ctx, graph, state->dtype, config, &plan->schedule));
    QD_TRY_GOTO(qd_arena_create(ctx, plan->schedule.arena_bytes, "the plan's activations", &plan->arena));
    *out = plan;
    return QD_OK;
fail:
    qd_plan_destroy(plan);
    return status;
}

void qd_plan_destroy(qd_plan *plan)
{
    if (!plan)
        return;
    qd_arena_destroy(&plan->arena);
    qd_schedule_free(&plan->schedule);
    free(plan);
}

void qd_plan_set_tracer(qd_plan *plan, qd_plan_tracer *tracer, void *user)
{
    plan->tracer = tracer;
    plan->tracer_user = user;
}

void qd_plan_on_gradients(qd_plan *plan, qd_plan_gradients_fn *on_gradients, void *user)
{
    plan->on_gradients = on_gradients;
    plan->gradients_user = user;
}

static void *block_data(const qd_plan *plan, int block)
{
    return block < 0 ? NULL : plan->arena.data + plan->schedule.blocks[block].offset;
}

static const void *value_data(const qd_plan *plan, const void *x, int value)
{
    const qd_again *again = &plan->schedule.again;
    if (value == plan->graph->input)
        return x;
    return block_data(plan,
                      plan->made_again && value == again->value ? again->block : plan->schedule.value_block[value]);
}

/* Address of element `offset` of a state's block; NULL in a NULL block. */
static void *element(void *block, int64_t offset, enum qd_dtype dtype)
{
    return block ? (char *)block + (size_t)offset * qd_dtype_size(dtype) : NULL;
}

/* What forward and backward of a step have in common. */
static qd_layer_call make_call(const qd_plan *plan, const qd_step *step, const void *x, int64_t n)
{
    const qd_graph *graph = plan->graph;
    const qd_node *node = &graph->nodes[step->node];
    qd_state *state = plan->state;
    qd_layer_call call = {
        .ctx = plan->ctx,
        .k = &plan->kernels,
        .dtype = state->dtype,
        .threads = qd_context_threads(plan->ctx),
        .training = plan->config.training,
        .exact = !plan->config.fuse,
        .name = node->name,
        .config = node->config,
        .fused = step->fused,
        .n = n,
        .out = graph->values[step->output].dims,
        .y = block_data(plan, plan->schedule.value_block[step->output]),
        .saved = block_data(plan, step->saved),
        .statistics_over = plan->config.training ? plan->config.statistics_over : NULL,
    };
    for (int i = 0; i < node->ops->input_count; i++) {
        call.in[i] = graph->values[node->input[i]].dims;
        call.x[i] = value_data(plan, x, node->input[i]);
    }
    for (int i = 0; i < QD_MAX_PARAMS && node->param[i] >= 0; i++) {
        int64_t offset = graph->params[node->param[i]].offset;
        call.param[i] = element(state->params, offset, state->dtype);
        call.grad[i] = element(state->grads, offset, state->dtype);
    }
    for (int i = 0; i < QD_MAX_BUFFERS && node->buffer[i] >= 0; i++)
        call.buffer[i] = element(state->buffers, graph->buffers[node->buffer[i]].offset, state->dtype);
    if (node->batches_tracked >= 0)
        call.batches_tracked = &state->batches_tracked[node->batches_tracked];
    if (step->deferred_by >= 0) {
        const qd_step *producer = &plan->schedule.steps[step->deferred_by];
        const qd_layer_call made = make_call(plan, producer, x, n);
        graph->nodes[producer->node].ops->defer(&made, &call.deferred);
        call.x[0] = made.x[0];
    }
    return call;
}

static qd_tensor value_view(const qd_plan *plan, int value, int64_t n)
{
    const qd_value *v = &plan->graph->values[value];
    void *data = block_data(plan, plan->schedule.value_block[value]);
    qd_tensor view = v->dims.rank == 2
                         ? qd_tensor_contiguous(plan->state->dtype, 2, (const int64_t[]){n, v->dims.c}, data)
                         : qd_tensor_nhwc(plan->state->dtype, n, v->dims.c, v->dims.h, v->dims.w, data);
    view.name = plan->graph->nodes[v->producer].name;
    return view;
}

static enum qd_status run_layer(const qd_plan *plan, const qd_step *step, enum qd_plan_pass pass,
                                const qd_layer_call *call)
{
    const qd_layer_ops *ops = plan->graph->nodes[step->node].ops;
    if (plan->tracer)
        plan->tracer(plan->tracer_user, step->reported_node, pass, call, true);
    const enum qd_status status = pass == QD_PLAN_PASS_FORWARD ? ops->forward(call) : ops->backward(call);
    if (plan->tracer)
        plan->tracer(plan->tracer_user, step->reported_node, pass, call, false);
    return status;
}

/* A traced plan asks for the gradients of weights and of data one after the other where the layer computes them so.
 */
static enum qd_status run_backward(const qd_plan *plan, const qd_step *step, const qd_layer_call *call)
{
    const enum qd_layer_kind kind = plan->graph->nodes[step->node].kind;
    if (!plan->tracer || (kind != QD_LAYER_conv2d && kind != QD_LAYER_linear))
        return run_layer(plan, step, QD_PLAN_PASS_BACKWARD, call);
    qd_layer_call weights = *call, data = *call;
    weights.dx[0] = NULL;
    data.grad[0] = data.grad[1] = NULL;
    QD_TRY(run_layer(plan, step, QD_PLAN_PASS_BACKWARD_WEIGHTS, &weights));
    return data.dx[0] ? run_layer(plan, step, QD_PLAN_PASS_BACKWARD_DATA, &data) : QD_OK;
}

/* Whether a layer has something to do in a pass over n samples: without any, what processes do together. */
static bool has_part(const qd_plan *plan, const qd_node *node, int64_t n)
{
    return n > 0 || (node->ops->takes_statistics && plan->config.statistics_over);
}

enum qd_status qd_plan_forward(qd_plan *plan, const void *x, int64_t n, const qd_draws *draws,
                               qd_plan_observer *observer, void *user, qd_tensor *logits)
{
    plan->forward_done = false;
    plan->made_again = false;
    if (n < (plan->on_gradients ? 0 : 1) || n > plan->config.max_batch)
        return qd_fail(plan->ctx, QD_ERR_USAGE, "plan of '%s': expected a batch of 1 to %lld, got %lld",
                       plan->graph->model_name, (long long)plan->config.max_batch, (long long)n);
    for (int s = 0; s < plan->schedule.step_count; s++) {
        const qd_step *step = &plan->schedule.steps[s];
        const qd_node *node = &plan->graph->nodes[step->node];
        if (!has_part(plan, node, n))
            continue;
        qd_layer_call call = make_call(plan, step, x, n);
        call.workspace = block_data(plan, step->forward_workspace);
        call.draws = draws;
        if (plan->config.training && !draws && node->ops->draws_per_sample &&
            node->ops->draws_per_sample(node->config, &call.in[0]) > 0)
            return qd_fail(plan->ctx, QD_ERR_USAGE, "%s '%s': a training pass needs a source of random draws",
                           node->ops->name, node->name);
        QD_TRY(run_layer(plan, step, QD_PLAN_PASS_FORWARD, &call));
        if (observer && !step->deferred && n > 0) {
            qd_tensor view = value_view(plan, step->output, n);
            QD_TRY(observer(user, step->reported_node, &view));
        }
    }
    plan->forward_done = true;
    plan->x = x;
    plan->n = n;
    if (logits)
        *logits = value_view(plan, plan->graph->output, n);
    return QD_OK;
}

static enum qd_status make_again(qd_plan *plan)
{
    const qd_again *again = &plan->schedule.again;
    const qd_step *step = &plan->schedule.steps[again->step];
    qd_layer_call call = make_call(plan, step, plan->x, plan->n);
    call.y = block_data(plan, again->block);
    call.workspace = block_data(plan, again->workspace);
    plan->made_again = true;
    return run_layer(plan, step, QD_PLAN_PASS_FORWARD, &call);
}

static enum qd_status run_backward_step(qd_plan *plan, int s, const void *dlogits)
{
    const qd_step *step = &plan->schedule.steps[s];
    const qd_node *node = &plan->graph->nodes[step->node];
    if (s == plan->schedule.again.before && plan->n > 0)
        QD_TRY(make_again(plan));
    if (has_part(plan, node, plan->n)) {
        qd_layer_call call = make_call(plan, step, plan->x, plan->n);
        call.workspace = block_data(plan, step->backward_workspace);
        call.dy =
            step->output == plan->graph->output ? dlogits : block_data(plan, plan->schedule.grad_block[step->output]);
        for (int i = 0; i < node->ops->input_count; i++) {
            call.dx[i] = block_data(plan, plan->schedule.grad_block[node->input[i]]);
            call.accumulate[i] = step->accumulate[i];
        }
        QD_TRY(run_backward(plan, step, &call));
    }
    return plan->on_gradients ? plan->on_gradients(plan->gradients_user, step->node) : QD_OK;
}

enum qd_status qd_plan_backward(qd_plan *plan, const void *dlogits)
{
    if (!plan->config.backward || !plan->forward_done)
        return qd_fail(plan->ctx, QD_ERR_USAGE,
                       "plan of '%s': a backward pass needs a plan made for it and a completed forward pass",
                       plan->graph->model_name);
    if (plan->n == 0)
        memset(plan->state->grads, 0, (size_t)plan->graph->param_elements * qd_dtype_size(plan->state->dtype));
    for (int s = plan->schedule.step_count - 1; s >= 0; s--)
        QD_TRY(run_backward_step(plan, s, dlogits));
    plan->forward_done = false; /* gradients have taken the place of values */
    return QD_OK;
}
