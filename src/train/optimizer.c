/* One flat loop over the parameter block: weights, gradients and momentum lie at the same offsets. */
#include "train/optimizer.h"
#include "base/arena.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>

/* Elements handled by one task: 256 KiB of float32 in each of three blocks, enough to outweigh the start of a task.
 * Its value fixes the order in which the gradient norm is summed. */
#define TASK_ELEMENTS 65536

struct qd_sgd {
    qd_context *ctx;
    qd_state *state;
    qd_kernels kernels;
    double momentum, weight_decay;
    int64_t task_count;
    double *partial; /* [task_count] */
};

double qd_schedule_cosine(double base_lr, int64_t epoch, int64_t epoch_count)
{
    if (epoch_count <= 0)
        return base_lr;
    const double pi = 3.14159265358979323846;
    return base_lr * (1.0 + cos(pi * (double)epoch / (double)epoch_count)) / 2.0;
}

enum qd_status qd_sgd_create(qd_context *ctx, qd_state *state, double momentum, double weight_decay, qd_sgd **out)
{
    if (!state->grads || !state->momentum)
        return qd_fail(ctx, QD_ERR_USAGE, "sgd: the state of '%s' was made without gradients; create it for training",
                       state->graph->model_name);
    qd_sgd *sgd = calloc(1, sizeof *sgd);
    if (sgd) {
        sgd->task_count = (state->graph->param_elements + TASK_ELEMENTS - 1) / TASK_ELEMENTS;
        sgd->partial = qd_calloc((size_t)sgd->task_count, sizeof(double));
    }
    if (!sgd || !sgd->partial) {
        qd_sgd_destroy(sgd);
        return qd_fail(ctx, QD_ERR_MEMORY, "sgd: out of memory");
    }
    sgd->ctx = ctx;
    sgd->state = state;
    sgd->momentum = momentum;
    sgd->weight_decay = weight_decay;
    qd_kernels_fill(qd_context_isa(ctx), state->dtype, &sgd->kernels);
    *out = sgd;
    return QD_OK;
}

void qd_sgd_destroy(qd_sgd *sgd)
{
    if (!sgd)
        return;
    free(sgd->partial);
    free(sgd);
}

/* Elements of task `task`; the padding between parameters is zero in all three blocks and stays so. */
static int64_t task_elements(const qd_sgd *sgd, int64_t task)
{
    int64_t left = sgd->state->graph->param_elements - task * TASK_ELEMENTS;
    return left < TASK_ELEMENTS ? left : TASK_ELEMENTS;
}

double qd_sgd_grad_norm(qd_sgd *sgd)
{
    size_t task_bytes = TASK_ELEMENTS * qd_dtype_size(sgd->state->dtype);
    const char *grads = sgd->state->grads;
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(sgd->ctx))
    for (int64_t t = 0; t < sgd->task_count; t++) {
        double sum = 0.0;
        sgd->kernels.sum_squares(grads + (size_t)t * task_bytes, task_elements(sgd, t), &sum);
        sgd->partial[t] = sum;
    }
    double total = 0.0;
    for (int64_t t = 0; t < sgd->task_count; t++)
        total += sgd->partial[t];
    return sqrt(total);
}

void qd_sgd_apply_step(qd_sgd *sgd, double lr, bool first_step)
{
    const qd_sgd_args args = {
        .lr = lr, .momentum = sgd->momentum, .weight_decay = sgd->weight_decay, .first_step = first_step};
    size_t task_bytes = TASK_ELEMENTS * qd_dtype_size(sgd->state->dtype);
    char *params = sgd->state->params, *momentum = sgd->state->momentum;
    const char *grads = sgd->state->grads;
#pragma omp parallel for schedule(static) num_threads(qd_context_threads(sgd->ctx))
    for (int64_t t = 0; t < sgd->task_count; t++) {
        size_t at = (size_t)t * task_bytes;
        sgd->kernels.sgd_step(&args, params + at, grads + at, momentum + at, task_elements(sgd, t));
    }
}
