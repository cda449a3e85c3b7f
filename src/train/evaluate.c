/* Losses, sums over images, a validation pass, and the search for the first non-finite value. */
#include "base/error.h"
#include "nn/loss.h"
#include "observe/observe.h"
#include "train/trainer.h"
#include <math.h>

double qd_totals_loss(const qd_totals *totals)
{
    return totals->count > 0 ? totals->loss_sum / (double)totals->count : NAN;
}

double qd_totals_accuracy_percent(const qd_totals *totals)
{
    return totals->count > 0 ? 100.0 * (double)totals->correct / (double)totals->count : NAN;
}

void qd_head_loss(enum qd_head head, const qd_tensor *logits, const int64_t *labels, double *loss_sum,
                  int64_t *correct, void *dlogits)
{
    if (head == QD_HEAD_BINARY)
        qd_loss_bce_logits(logits->dtype, logits->data, labels, logits->shape[0], loss_sum, correct, dlogits);
    else
        qd_loss_cross_entropy(logits->dtype, logits->data, labels, logits->shape[0], logits->shape[1], loss_sum,
                              correct, dlogits);
}

void qd_head_classes(enum qd_head head, const qd_tensor *logits, int64_t *classes)
{
    const int64_t width = logits->shape[1];
    for (int64_t i = 0; i < logits->shape[0]; i++) {
        const float *z = (const float *)logits->data + i * width;
        int64_t best = 0;
        for (int64_t c = 1; c < width; c++)
            if (z[c] > z[best] || (isnan(z[c]) && !isnan(z[best])))
                best = c;
        classes[i] = head == QD_HEAD_BINARY ? z[0] > 0.0f : best;
    }
}

typedef struct nonfinite_search {
    int threads;
    int node; /* -1: none yet */
} nonfinite_search;

static enum qd_status search_value(void *user, int node, const qd_tensor *value)
{
    nonfinite_search *search = user;
    if (search->node >= 0)
        return QD_OK;
    qd_stats stats;
    qd_stats_compute(value, search->threads, &stats);
    if (stats.nonfinite_count > 0)
        search->node = node;
    return QD_OK;
}

enum qd_status qd_find_nonfinite_node(qd_plan *plan, const void *x, int64_t n, const qd_draws *draws, int *node)
{
    nonfinite_search search = {.threads = 1, .node = -1};
    qd_tensor logits;
    QD_TRY(qd_plan_forward(plan, x, n, draws, search_value, &search, &logits));
    *node = search.node;
    return QD_OK;
}

enum qd_status qd_share_batch_result(qd_context *ctx, const qd_communicator *processes, enum qd_status status,
                                     double *loss_sum, int64_t *correct)
{
    if (!processes)
        return status;
    /* A sum of counts below 2^53 is exact. */
    double sums[] = {*loss_sum, (double)*correct, status != QD_OK};
    QD_TRY(processes->sum(processes->user, sums, 3));
    if (sums[2] > 0.0)
        return qd_agree(ctx, processes, status);
    *loss_sum = sums[0];
    *correct = (int64_t)sums[1];
    return QD_OK;
}

static enum qd_status fail_nonfinite_loss(qd_context *ctx, const qd_graph *graph, qd_plan *plan,
                                          const qd_batch *batch, int64_t epoch, double loss_sum)
{
    int node = -1;
    QD_TRY(qd_find_nonfinite_node(plan, batch->images, batch->n, NULL, &node));
    return qd_fail(ctx, QD_ERR_NUMERIC,
                   "validating %s after epoch %lld: the loss of batch %lld is %g; the first module that returned "
                   "a non-finite value is '%s'; the last checkpoint is intact, try a smaller lr",
                   graph->model_name, (long long)epoch, (long long)batch->ordinal + 1,
                   isnan(loss_sum) ? (double)NAN : loss_sum, /* without its sign */
                   node >= 0 ? graph->nodes[node].name : "the loss itself");
}

/* Loss and hits of this process's part of a batch, which may be none. */
static enum qd_status evaluate_part(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const qd_batch *batch,
                                    const qd_evaluate_options *options, double *loss_sum, int64_t *correct)
{
    qd_tensor logits;
    *loss_sum = 0.0;
    *correct = 0;
    if (batch->n == 0)
        return QD_OK;
    QD_TRY(qd_plan_forward(plan, batch->images, batch->n, NULL, NULL, NULL, &logits));
    qd_head_loss(options->head, &logits, batch->labels, loss_sum, correct, NULL);
    return isfinite(*loss_sum) ? QD_OK : fail_nonfinite_loss(ctx, graph, plan, batch, options->epoch, *loss_sum);
}

/* The iterator over a validation loader draws its base seed, random_() on int64, and nothing else. */
#define BASE_SEED_WORDS 2

enum qd_status qd_evaluate(qd_context *ctx, const qd_graph *graph, qd_plan *plan, qd_loader *loader, qd_rng *rng,
                           const qd_evaluate_options *options, qd_totals *totals)
{
    qd_totals sums = {0};
    qd_step_report report = {.epoch = options->epoch, .batch_count = qd_loader_batch_count(loader), .totals = &sums};
    enum qd_status status = qd_loader_start_epoch(loader, rng, 0);
    for (;;) {
        const qd_batch *batch = NULL;
        double loss_sum;
        int64_t correct;
        if (status == QD_OK)
            status = qd_loader_next(loader, &batch);
        QD_TRY(qd_agree(ctx, options->processes, status));
        if (!batch)
            break;
        status = evaluate_part(ctx, graph, plan, batch, options, &loss_sum, &correct);
        QD_TRY(qd_share_batch_result(ctx, options->processes, status, &loss_sum, &correct));
        sums.count += batch->whole_n;
        sums.correct += correct;
        sums.loss_sum += loss_sum;
        report.batch = batch->ordinal + 1;
        report.n = batch->whole_n;
        report.loss = loss_sum / (double)batch->whole_n;
        status = options->on_step ? options->on_step(options->user, &report) : QD_OK;
    }
    qd_rng_skip(rng, BASE_SEED_WORDS);
    *totals = sums;
    return QD_OK;
}
