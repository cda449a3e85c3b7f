/* One training epoch: batch, forward, loss, backward, norm, step. */
#include "train/trainer.h"
#include "base/arena.h"
#include "base/error.h"
#include "train/gradient_exchange.h"
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
    qd_gradient_exchange *exchange; /* NULL: this process is alone */
    void *dlogits;                  /* [batch_size][logits of a sample] */
    double *wide_images;            /* [batch_size][size][size][3] of a network in double; else NULL */
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
    if (state->dtype == QD_F64) {
        const size_t values = (size_t)qd_dims_count(&graph->values[graph->input].dims);
        trainer->wide_images = qd_calloc((size_t)config->batch_size * values, sizeof *trainer->wide_images);
        if (!trainer->wide_images) {
            status = qd_fail(ctx, QD_ERR_MEMORY, "trainer: out of memory");
            goto fail;
        }
    }
    QD_TRY_GOTO(qd_sgd_create(ctx, state, &config->sgd, &trainer->sgd));
    qd_plan_config plan = QD_PLAN_TRAINING(config->batch_size);
    plan.statistics_over = config->sync_batchnorm ? config->processes : NULL;
    QD_TRY_GOTO(qd_plan_create(ctx, graph, state, &plan, &trainer->plan));
    if (config->processes) {
        QD_TRY_GOTO(qd_gradient_exchange_create(ctx, state, config->processes, &trainer->exchange));
        qd_plan_on_gradients(trainer->plan, qd_gradient_exchange_add, trainer->exchange);
    }
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
    qd_gradient_exchange_destroy(trainer->exchange);
    free(trainer->dlogits);
    free(trainer->wide_images);
    free(trainer);
}

/* The batch in the network's number format. */
static const void *images_of(qd_trainer *trainer, const qd_batch *batch)
{
    if (!trainer->wide_images)
        return batch->images;
    const int64_t count = batch->n * qd_dims_count(&trainer->graph->values[trainer->graph->input].dims);
    for (int64_t i = 0; i < count; i++)
        trainer->wide_images[i] = (double)batch->images[i];
    return trainer->wide_images;
}

static void scale_gradient(qd_trainer *trainer, int64_t count, double factor)
{
    for (int64_t i = 0; i < count; i++)
        if (trainer->state->dtype == QD_F64)
            ((double *)trainer->dlogits)[i] *= factor;
        else
            ((float *)trainer->dlogits)[i] *= (float)factor;
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

/* The samples of a batch that this process computes, for its pass: draws from *rng. */
static qd_draws_share share_of_batch(const qd_batch *batch, qd_rng *rng)
{
    return (qd_draws_share){.rng = rng, .first = batch->first, .n = batch->n, .whole_n = batch->whole_n};
}

/* The first node in any process's part of the batch that returned a non-finite value; -1: none. Reruns the step's
 * forward pass from the same generator state. */
static enum qd_status find_culprit(qd_trainer *trainer, const qd_batch *batch, int *node)
{
    const qd_communicator *processes = trainer->config.processes;
    qd_rng rng = batch->rng;
    qd_draws_share share = share_of_batch(batch, &rng);
    const qd_draws draws = qd_draws_from_share(&share);
    *node = -1;
    QD_TRY(qd_agree(trainer->ctx, processes,
                    qd_find_nonfinite_node(trainer->plan, images_of(trainer, batch), batch->n, &draws, node)));
    if (processes) {
        int64_t first = *node >= 0 ? *node : trainer->graph->node_count;
        QD_TRY(processes->smallest(processes->user, &first));
        *node = first < trainer->graph->node_count ? (int)first : -1;
    }
    return QD_OK;
}

/* No parameter has changed since the pass. */
static enum qd_status fail_nonfinite(qd_trainer *trainer, const qd_batch *batch, int64_t epoch, int64_t step,
                                     const char *what, double value)
{
    const char *gradient = find_nonfinite_gradient(trainer->state);
    int node;
    QD_TRY(find_culprit(trainer, batch, &node));
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

/* What the two passes of a step find, in the whole batch. */
typedef struct step_result {
    double loss_sum, grad_norm;
    int64_t correct;
} step_result;

/* Forward and loss of this process's part of the batch; dlogits are the gradient of the mean over the whole batch. */
static enum qd_status compute_loss(qd_trainer *trainer, const qd_batch *batch, qd_rng *rng, step_result *out)
{
    qd_draws_share share = share_of_batch(batch, rng);
    const qd_draws draws = qd_draws_from_share(&share);
    qd_tensor logits;
    out->loss_sum = 0.0;
    out->correct = 0;
    QD_TRY(qd_plan_forward(trainer->plan, images_of(trainer, batch), batch->n, &draws, NULL, NULL, &logits));
    if (batch->n == 0)
        return QD_OK;
    qd_head_loss(trainer->config.head, &logits, batch->labels, &out->loss_sum, &out->correct, trainer->dlogits);
    if (batch->n < batch->whole_n)
        scale_gradient(trainer, logits.shape[0] * logits.shape[1], (double)batch->n / (double)batch->whole_n);
    return QD_OK;
}

/* Backward, and the sum of the gradients over the processes. */
static enum qd_status compute_backward(qd_trainer *trainer)
{
    if (!trainer->exchange)
        return qd_plan_backward(trainer->plan, trainer->dlogits);
    qd_gradient_exchange_start(trainer->exchange);
    QD_TRY(qd_plan_backward(trainer->plan, trainer->dlogits));
    return qd_gradient_exchange_finish(trainer->exchange);
}

/* Forward, loss and backward, with finite results. */
static enum qd_status compute_gradients(qd_trainer *trainer, const qd_batch *batch, qd_rng *rng, int64_t step,
                                        const qd_epoch_options *options, step_result *out)
{
    *rng = batch->rng;
    const enum qd_status status = compute_loss(trainer, batch, rng, out);
    QD_TRY(qd_share_batch_result(trainer->ctx, trainer->config.processes, status, &out->loss_sum, &out->correct));
    if (batch->n == 0) /* the generator is where the others' passes leave it */
        qd_rng_skip(rng, (uint64_t)(batch->whole_n * qd_graph_draw_words_per_sample(trainer->graph)));
    if (!isfinite(out->loss_sum)) {
        /* Nothing has been written to the gradients yet: what they hold is the step before. */
        memset(trainer->state->grads, 0,
               (size_t)trainer->graph->param_elements * qd_dtype_size(trainer->state->dtype));
        return fail_nonfinite(trainer, batch, options->epoch, step, "loss", out->loss_sum);
    }
    QD_TRY(compute_backward(trainer));
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

    totals->count += batch->whole_n;
    totals->correct += result.correct;
    totals->loss_sum += result.loss_sum;
    report->step = step;
    report->batch = batch->ordinal + 1;
    report->n = batch->whole_n;
    report->loss = result.loss_sum / (double)batch->whole_n;
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
    enum qd_status status = qd_loader_start_epoch(loader, &state->start, state->batches);
    for (;;) {
        const qd_batch *batch = NULL;
        if (status == QD_OK && (options->max_steps < 0 || *steps < options->max_steps))
            status = qd_loader_next(loader, &batch);
        QD_TRY(qd_agree(trainer->ctx, trainer->config.processes, status));
        if (!batch)
            return QD_OK;
        QD_TRY(run_step(trainer, batch, &state->consumed, *steps + 1, options, &state->totals, &report));
        state->batches++;
        (*steps)++;
        if (options->on_step)
            status = options->on_step(options->user, &report);
    }
}
