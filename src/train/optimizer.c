/* One flat loop over the parameter block: weights, gradients and momentum lie at the same offsets. Where BatchNorm is
 * spared from weight decay the block is cut into runs of parameters that share it. */
#include "train/optimizer.h"
#include "base/arena.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>

/* Elements handled by one task: 256 KiB of float32 in each of three blocks, enough to outweigh the start of a task.
 * Its value fixes the order in which the gradient norm is summed. */
#define TASK_ELEMENTS 65536

/* Part of the block that one task updates. */
typedef struct task {
    int64_t first, count;
    bool decays;
} task;

struct qd_sgd {
    qd_context *ctx;
    qd_state *state;
    qd_kernels kernels;
    qd_sgd_config config;
    int64_t norm_task_count, step_task_count;
    double *partial;  /* [norm_task_count] */
    task *step_tasks; /* [step_task_count] */
};

double qd_schedule_cosine(double base_lr, int64_t epoch, int64_t epoch_count)
{
    if (epoch_count <= 0)
        return base_lr;
    const double pi = 3.14159265358979323846;
    return base_lr * (1.0 + cos(pi * (double)epoch / (double)epoch_count)) / 2.0;
}

/* Elements from parameter `param` to the next one's: its own and the padding behind, which is zero in all three
 * blocks and stays so. */
static int64_t elements_with_padding(const qd_graph *graph, int param)
{
    const int64_t end = param + 1 < graph->param_count ? graph->params[param + 1].offset : graph->param_elements;
    return end - graph->params[param].offset;
}

static bool decays(const qd_sgd_config *config, const qd_graph *graph, int param)
{
    return !config->spare_batchnorm || graph->nodes[graph->params[param].node].kind != QD_LAYER_batchnorm2d;
}

/* Cuts runs of equal decay into tasks; counts them where `tasks` is NULL. */
static int64_t cut_tasks(const qd_sgd_config *config, const qd_graph *graph, task *tasks)
{
    int64_t count = 0;
    for (int p = 0; p < graph->param_count;) {
        const bool run_decays = decays(config, graph, p);
        int64_t first = graph->params[p].offset, left = 0;
        for (; p < graph->param_count && decays(config, graph, p) == run_decays; p++)
            left += elements_with_padding(graph, p);
        while (left > 0) {
            const int64_t n = left < TASK_ELEMENTS ? left : TASK_ELEMENTS;
            if (tasks)
                tasks[count] = (task){first, n, run_decays};
            count++;
            first += n;
            left -= n;
        }
    }
    return count;
}

enum qd_status qd_sgd_create(qd_context *ctx, qd_state *state, const qd_sgd_config *config, qd_sgd **out)
{
    const qd_graph *graph = state->graph;
    if (!state->grads || !state->momentum)
        return qd_fail(ctx, QD_ERR_USAGE, "sgd: the state of '%s' was made without gradients; create it for training",
                       graph->model_name);
    qd_sgd *sgd = calloc(1, sizeof *sgd);
    if (sgd) {
        sgd->norm_task_count = (graph->param_elements + TASK_ELEMENTS - 1) / TASK_ELEMENTS;
        sgd->step_task_count = cut_tasks(config, graph, NULL);
        sgd->partial = qd_calloc((size_t)sgd->norm_task_count, sizeof *sgd->partial);
        sgd->step_tasks = qd_calloc((size_t)sgd->step_task_count, sizeof *sgd->step_tasks);
    }
    if (!sgd || !sgd->partial || !sgd->step_tasks) {
        qd_sgd_destroy(sgd);
        return qd_fail(ctx, QD_ERR_MEMORY, "sgd: out of memory");
    }
    cut_tasks(config, graph, sgd->step_tasks);
    sgd->ctx = ctx;
    sgd->state = state;
    sgd->config = *config;
    qd_kernels_fill(qd_context_isa(ctx), state->dtype, &sgd->kernels);
    *out = sgd;
    return QD_OK;
}

void qd_sgd_destroy(qd_sgd *sgd)
{
    if (!sgd)
        return;
    free(sgd->partial);
    free(sgd->step_tasks);
    free(sgd);
}

static int64_t norm_task_elements(const qd_sgd *sgd, int64_t index)
{
    int64_t left = sgd->state->graph->param_elements - index * TASK_ELEMENTS;
    return left < TASK_ELEMENTS ? left : TASK_ELEMENTS;
}

double qd_sgd_grad_norm(qd_sgd *sgd)
{
    size_t task_bytes = TASK_ELEMENTS * qd_dtype_size(sgd->state->dtype);
    const char *grads = sgd->state->grads;
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(sgd->ctx))
    for (int64_t t = 0; t < sgd->norm_task_count; t++) {
        double sum = 0.0;
        sgd->kernels.sum_squares(grads + (size_t)t * task_bytes, norm_task_elements(sgd, t), &sum);
        sgd->partial[t] = sum;
    }
    double total = 0.0;
    for (int64_t t = 0; t < sgd->norm_task_count; t++)
        total += sgd->partial[t];
    return sqrt(total);
}

void qd_sgd_apply_step(qd_sgd *sgd, double lr, bool first_step)
{
    qd_state *state = sgd->state;
    qd_levers_add_gradients(&sgd->config.levers, state);
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(sgd->ctx))
    for (int64_t t = 0; t < sgd->step_task_count; t++) {
        const task *piece = &sgd->step_tasks[t];
        const size_t at = (size_t)piece->first * qd_dtype_size(state->dtype);
        const qd_sgd_args args = {.lr = lr,
                                  .momentum = sgd->config.momentum,
                                  .weight_decay = piece->decays ? sgd->config.weight_decay : 0.0,
                                  .first_step = first_step};
        sgd->kernels.sgd_step(&args, (char *)state->params + at, (const char *)state->grads + at,
                              (char *)state->momentum + at, piece->count);
    }
    qd_levers_clamp(&sgd->config.levers, state);
}
