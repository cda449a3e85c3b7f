/*
 * BatchNorm re-estimation: in an evaluation pass over an unfused plan every BatchNorm's running statistics are
 * replaced, just before it runs, by those of the batch that it is about to normalise; averages over batches, weighted
 * by images, become the running statistics. What training's own passes give, without dropout and stochastic depth,
 * which evaluation does not have. Source: Nagel et al. 2021, section 5.2.1 (re-estimation); PyTorch's train mode for
 * the statistics: biased variance normalises, the unbiased one is kept.
 */
#include "base/arena.h"
#include "base/error.h"
#include "graph/plan.h"
#include "nn/layer_work.h"
#include "quantize/remedies/remedies.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct qd_bn_estimate {
    qd_context *ctx;
    const qd_graph *graph;
    qd_state *state;
    qd_kernels kernels;
    qd_plan *plan;
    int64_t max_batch, images; /* at a time; seen */
    int *batchnorm;            /* [value_count]: the BatchNorm node that reads it; -1 */
    double *sums;              /* [QD_MAX_PARTIALS][2][channels of the widest] */
    double *average;           /* [buffer_elements]: Σ of batches times their images */
};

enum qd_status qd_bn_estimate_create(qd_context *ctx, const qd_graph *graph, qd_state *state, int64_t max_batch,
                                     qd_bn_estimate **out)
{
    const qd_plan_config config = QD_PLAN_OBSERVING(max_batch);
    enum qd_status status = QD_OK;
    int64_t widest = 0;
    qd_bn_estimate *e = qd_calloc(1, sizeof *e);

    if (e == NULL)
        return qd_fail(ctx, QD_ERR_MEMORY, "re-estimate BatchNorm: no memory");
    *e = (qd_bn_estimate){.ctx = ctx, .graph = graph, .state = state, .max_batch = max_batch};
    qd_kernels_fill(qd_context_isa(ctx), state->dtype, &e->kernels);
    e->batchnorm = qd_calloc((size_t)graph->value_count, sizeof *e->batchnorm);
    e->average = qd_calloc((size_t)graph->buffer_elements, sizeof *e->average);
    if (e->batchnorm == NULL || e->average == NULL) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "re-estimate BatchNorm: no memory for '%s'", graph->model_name);
        goto fail;
    }
    memset(e->batchnorm, -1, (size_t)graph->value_count * sizeof *e->batchnorm);
    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        if (node->kind != QD_LAYER_batchnorm2d)
            continue;
        e->batchnorm[node->input[0]] = i;
        widest = graph->values[node->output].dims.c > widest ? graph->values[node->output].dims.c : widest;
    }
    if (widest == 0) {
        status = qd_fail(ctx, QD_ERR_USAGE, "re-estimate BatchNorm: '%s' has none", graph->model_name);
        goto fail;
    }
    e->sums = qd_calloc((size_t)widest * 2 * QD_MAX_PARTIALS, sizeof *e->sums);
    if (e->sums == NULL) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "re-estimate BatchNorm: no memory for sums");
        goto fail;
    }
    QD_TRY_GOTO(qd_plan_create(ctx, graph, state, &config, &e->plan));
    *out = e;
    return QD_OK;
fail:
    qd_bn_estimate_destroy(e);
    return status;
}

void qd_bn_estimate_destroy(qd_bn_estimate *estimate)
{
    if (estimate == NULL)
        return;
    qd_plan_destroy(estimate->plan);
    free(estimate->batchnorm);
    free(estimate->sums);
    free(estimate->average);
    free(estimate);
}

/* Σx and Σx² of every channel into sums[0 … 2·channels). */
static void channel_sums(const qd_bn_estimate *e, const void *x, int64_t rows, int64_t channels)
{
    int64_t partials = qd_partial_count(rows, channels);

#pragma omp parallel for schedule(static) num_threads(qd_context_threads(e->ctx))
    for (int64_t p = 0; p < partials; p++) {
        qd_piece piece = qd_partial_rows(rows, partials, p);
        double *sum = e->sums + p * 2 * channels;
        memset(sum, 0, 2 * (size_t)channels * sizeof *sum);
        e->kernels.channel_sums(qd_element(x, e->state->dtype, piece.first * channels), piece.count, channels, sum,
                                sum + channels);
    }
    for (int64_t p = 1; p < partials; p++)
        for (int64_t i = 0; i < 2 * channels; i++)
            e->sums[i] += e->sums[p * 2 * channels + i];
}

static enum qd_status on_value(void *user, int node, const qd_tensor *value)
{
    qd_bn_estimate *e = user;
    int reader = e->batchnorm[e->graph->nodes[node].output];

    if (reader < 0)
        return QD_OK;
    const qd_node *norm = &e->graph->nodes[reader];
    int64_t channels = e->graph->values[norm->output].dims.c, rows = qd_tensor_count(value) / channels;
    int64_t mean_at = e->graph->buffers[norm->buffer[0]].offset, var_at = e->graph->buffers[norm->buffer[1]].offset;
    double n = (double)value->shape[0], m = (double)rows;

    if (rows < 2)
        return qd_fail(e->ctx, QD_ERR_SHAPE,
                       "re-estimate BatchNorm '%s': expected more than 1 value per channel, got %lld; use larger "
                       "batches",
                       norm->name, (long long)rows);
    channel_sums(e, value->data, rows, channels);
    for (int64_t c = 0; c < channels; c++) {
        double mean = e->sums[c] / m, difference = e->sums[channels + c] / m - mean * mean;
        double variance = difference < 0.0 ? 0.0 : difference; /* rounding of a constant channel */
        if (!isfinite(mean) || !isfinite(variance))
            return qd_fail(e->ctx, QD_ERR_NUMERIC,
                           "re-estimate BatchNorm '%s': channel %lld of its input is not finite", norm->name,
                           (long long)c);
        qd_element_put(e->state->buffers, e->state->dtype, mean_at + c, mean);
        qd_element_put(e->state->buffers, e->state->dtype, var_at + c, variance);
        e->average[mean_at + c] += mean * n;
        e->average[var_at + c] += variance * m / (m - 1.0) * n;
    }
    return QD_OK;
}

enum qd_status qd_bn_estimate_observe(qd_bn_estimate *estimate, const float *images, int64_t n)
{
    int64_t pixels = qd_dims_count(&estimate->graph->input_dims);

    if (estimate->state->dtype != QD_F32)
        return qd_fail(estimate->ctx, QD_ERR_USAGE, "re-estimate BatchNorm: expected a float32 state");
    for (int64_t first = 0; first < n; first += estimate->max_batch) {
        int64_t count = n - first < estimate->max_batch ? n - first : estimate->max_batch;
        QD_TRY(qd_plan_forward(estimate->plan, images + first * pixels, count, NULL, on_value, estimate, NULL));
        estimate->images += count;
    }
    return QD_OK;
}

enum qd_status qd_bn_estimate_finish(qd_bn_estimate *estimate)
{
    const qd_graph *graph = estimate->graph;

    if (estimate->images == 0)
        return qd_fail(estimate->ctx, QD_ERR_USAGE, "re-estimate BatchNorm: no image seen; give at least one");
    for (int value = 0; value < graph->value_count; value++) {
        int reader = estimate->batchnorm[value];
        for (int k = 0; reader >= 0 && k < 2; k++) {
            const qd_param *buffer = &graph->buffers[graph->nodes[reader].buffer[k]];
            for (int64_t c = buffer->offset; c < buffer->offset + buffer->count; c++)
                qd_element_put(estimate->state->buffers, estimate->state->dtype, c,
                               estimate->average[c] / (double)estimate->images);
        }
    }
    return QD_OK;
}
