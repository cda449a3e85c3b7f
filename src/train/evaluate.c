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

enum qd_status qd_find_nonfinite_node(qd_plan *plan, const void *x, int64_t n, const qd_rng *rng, int *node)
{
    nonfinite_search search = {.threads = 1, .node = -1};
    qd_rng copy = {0};
    if (rng)
        copy = *rng;
    qd_draws draws = qd_draws_from_rng(&copy);
    qd_tensor logits;
    QD_TRY(qd_plan_forward(plan, x, n, rng ? &draws : NULL, search_value, &search, &logits));
    *node = search.node;
    return QD_OK;
}

/* The iterator over a validation loader draws its base seed, random_() on int64, and nothing else. */
#define BASE_SEED_WORDS 2

enum qd_status qd_evaluate(qd_context *ctx, const qd_graph *graph, qd_plan *plan, qd_loader *loader, qd_rng *rng,
                           const qd_evaluate_options *options, qd_totals *totals)
{
    qd_totals sums = {0};
    qd_step_report report = {.epoch = options->epoch, .batch_count = qd_loader_batch_count(loader), .totals = &sums};
    QD_TRY(qd_loader_start_epoch(loader, rng, 0));
    for (;;) {
        const qd_batch *batch;
        QD_TRY(qd_loader_next(loader, &batch));
        if (!batch)
            break;
        qd_tensor logits;
        QD_TRY(qd_plan_forward(plan, batch->images, batch->n, NULL, NULL, NULL, &logits));
        double loss_sum;
        int64_t correct;
        qd_head_loss(options->head, &logits, batch->labels, &loss_sum, &correct, NULL);
        if (!isfinite(loss_sum)) {
            int node = -1;
            QD_TRY(qd_find_nonfinite_node(plan, batch->images, batch->n, NULL, &node));
            return qd_fail(
                ctx, QD_ERR_NUMERIC,
                "validating %s after epoch %lld: the loss of batch %lld is %g; the first module that returned "
                "a non-finite value is '%s'; the last checkpoint is intact, try a smaller lr",
                graph->model_name, (long long)options->epoch, (long long)batch->ordinal + 1,
                isnan(loss_sum) ? (double)NAN : loss_sum, /* without its sign */
                node >= 0 ? graph->nodes[node].name : "the loss itself");
        }
        sums.count += batch->n;
        sums.correct += correct;
        sums.loss_sum += loss_sum;
        report.batch = batch->ordinal + 1;
        report.n = batch->n;
        report.loss = loss_sum / (double)batch->n;
        if (options->on_step)
            QD_TRY(options->on_step(options->user, &report));
    }
    qd_rng_skip(rng, BASE_SEED_WORDS);
    *totals = sums;
    return QD_OK;
}
