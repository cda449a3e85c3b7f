/* One training epoch: batch, forward, loss, backward, norm, step. */
#include "train/trainer.h"
#include "base/arena.h"
#include "base/error.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qd_trainer {
    qd_context *ctx;
    const qd_graph *graph;
    qd_state *state;
    qd_trainer_config config;
    qd_plan *plan;
    qd_sgd *sgd;
    void *dlogits; /* [batch_size][logits of a sample] */
};

enum qd_status qd_trainer_create(qd_context *ctx, const qd_graph *graph, qd_state *state,
                                 const qd_trainer_config *config, qd_trainer **out)
{
    enum qd_status status = QD_OK;
    qd_trainer *trainer = calloc(1, sizeof *trainer);
    if (!trainer)
        return qd_fail(ctx, QD_ERR_MEMORY, "trainer: out of memory");
    trainer->ctx = ctx;
    trainer->graph = graph;
    trainer->state = state;
    trainer->config = *config;
    size_t logits = (size_t)qd_dims_count(&graph->values[graph->output].dims);
    trainer->dlogits = qd_calloc((size_t)config->batch_size * logits, qd_dtype_size(state->dtype));
    if (!trainer->dlogits) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "trainer: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(qd_sgd_create(ctx, state, &config->sgd, &trainer->sgd));
    QD_TRY_GOTO(qd_plan_create(ctx, graph, state, &QD_PLAN_TRAINING(config->batch_size), &trainer->plan));
    *out = trainer;
    return QD_OK;
fail:
    qd_trainer_destroy(trainer);
    return status;
}

void qd_trainer_destroy(qd_trainer *trainer)
{
    if (!trainer)
        return;
    qd_plan_destroy(trainer->plan);
    qd_sgd_destroy(trainer->sgd);
    free(trainer->dlogits);
    free(trainer);
}

/* Name of the last parameter (the first that backward reaches) whose gradient is not finite; NULL when all are. */
static const char *find_nonfinite_gradient(const qd_state *state)
{
    for (int p = state->graph->param_count - 1; p >= 0; p--) {
        qd_tensor grad = qd_state_param(state, QD_BLOCK_GRADS, p);
        for (int64_t i = 0; i < state->graph->params[p].count; i++) {
            double value =
                grad.dtype == QD_F64 ? ((const double *)grad.data)[i] : (double)((const float *)grad.data)[i];
            if (!isfinite(value))
                return state->graph->params[p].name;
        }
    }
    return NULL;
}

/* Reruns the step's forward pass from the same generator state to name the culprit. No parameter has changed since.
 */
static enum qd_status fail_nonfinite(qd_trainer *trainer, const qd_batch *batch, int64_t epoch, int64_t step,
                                     const char *what, double value)
{
    const char *gradient = find_nonfinite_gradient(trainer->state);
    int node = -1;
    QD_TRY(qd_find_nonfinite_node(trainer->plan, batch->images, batch->n, &batch->rng, &node));
    char place[QD_NAME_BYTES + 128];
    if (node >= 0)
        snprintf(place, sizeof place, "the first module that returned a non-finite value is '%s'",
                 trainer->graph->nodes[node].name);
    else if (gradient)
        snprintf(place, sizeof place, "every module's output is finite, the gradient of '%s' is not", gradient);
    else
        snprintf(place, sizeof place, "every module's output is finite, the sum over them is not");
    return qd_fail(
        trainer->ctx, QD_ERR_NUMERIC,
        "training %s, epoch %lld, step %lld: the %s is %g; %s; the last checkpoint is intact, try a smaller lr",
        trainer->graph->model_name, (long long)epoch, (long long)step, what, isnan(value) ? (double)NAN : value,
        place); /* a NaN has a sign, which nobody wants to know */
}

/* What the two passes of a step find. */
typedef struct step_result {
    double loss_sum, grad_norm;
    int64_t correct;
} step_result;

/* Forward, loss and backward, with finite results. */
static enum qd_status compute_gradients(qd_trainer *trainer, const qd_batch *batch, qd_rng *rng, int64_t step,
                                        const qd_epoch_options *options, step_result *out)
{
    *rng = batch->rng;
    qd_draws draws = qd_draws_from_rng(rng);
    qd_tensor logits;
    QD_TRY(qd_plan_forward(trainer->plan, batch->images, batch->n, &draws, NULL, NULL, &logits));
    qd_head_loss(trainer->config.head, &logits, batch->labels, &out->loss_sum, &out->correct, trainer->dlogits);
    if (!isfinite(out->loss_sum)) {
        /* Nothing has been written to the gradients yet: what they hold is the step before. */
        memset(trainer->state->grads, 0,
               (size_t)trainer->graph->param_elements * qd_dtype_size(trainer->state->dtype));
        return fail_nonfinite(trainer, batch, options->epoch, step, "loss", out->loss_sum);
    }
    QD_TRY(qd_plan_backward(trainer->plan, trainer->dlogits));
    out->grad_norm = qd_sgd_grad_norm(trainer->sgd);
    if (!isfinite(out->grad_norm))
        return fail_nonfinite(trainer, batch, options->epoch, step, "gradient norm", out->grad_norm);
    return QD_OK;
}

static enum qd_status run_step(qd_trainer *trainer, const qd_batch *batch, qd_rng *rng, int64_t step,
                               const qd_epoch_options *options, qd_totals *totals, qd_step_report *report)
{
    const qd_weight_loan *loan = &trainer->config.loan;
    step_result result;
    if (loan->lend)
        QD_TRY(loan->lend(loan->user));
    const enum qd_status status = compute_gradients(trainer, batch, rng, step, options, &result);
    if (loan->lend)
        loan->take_back(loan->user);
    QD_TRY(status);
    qd_sgd_apply_step(trainer->sgd, options->lr, step == 1);

    totals->count += batch->n;
    totals->correct += result.correct;
    totals->loss_sum += result.loss_sum;
    report->step = step;
    report->batch = batch->ordinal + 1;
    report->n = batch->n;
    report->loss = result.loss_sum / (double)batch->n;
    report->grad_norm = result.grad_norm;
    return QD_OK;
}

enum qd_status qd_trainer_run_epoch(qd_trainer *trainer, qd_loader *loader, qd_epoch_state *state, int64_t *steps,
                                    const qd_epoch_options *options)
{
    qd_step_report report = {.epoch = options->epoch,
                             .batch_count = qd_loader_batch_count(loader),
                             .lr = options->lr,
                             .totals = &state->totals};
    QD_TRY(qd_loader_start_epoch(loader, &state->start, state->batches));
    while (options->max_steps < 0 || *steps < options->max_steps) {
        const qd_batch *batch;
        QD_TRY(qd_loader_next(loader, &batch));
        if (!batch)
            break;
        QD_TRY(run_step(trainer, batch, &state->consumed, *steps + 1, options, &state->totals, &report));
        state->batches++;
        (*steps)++;
        if (options->on_step)
            QD_TRY(options->on_step(options->user, &report));
    }
    return QD_OK;
}
