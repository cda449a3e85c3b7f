/* One pass over a split with a float or quantized network. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/network_impl.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>

/* Batches decoded ahead of the network. */
#define PREFETCH_BATCHES 2

/* The loss of a batch is no number: who says so first? */
static enum qd_status refuse_loss(const qd_network *network, const qd_batch *batch, double loss)
{
    int node = -1;
    if (network->plan)
        QD_TRY(qd_find_nonfinite_node(network->plan, batch->images, batch->n, NULL, &node));
    return qd_fail(
        network->ctx, QD_ERR_NUMERIC,
        "evaluating %s: the loss of batch %lld is %g; the first module that returned a non-finite value is "
        "'%s'",
        network->model->display_name, (long long)batch->ordinal + 1,
        isnan(loss) ? (double)NAN : loss, /* without its sign */
        node >= 0 ? network->graph->nodes[node].name : "the loss itself");
}

static enum qd_status evaluate_batches(qd_network *network, qd_loader *loader, float *values, int64_t *predicted,
                                       qd_totals *totals)
{
    const int64_t width = qd_dims_count(&network->graph->values[network->graph->output].dims);
    for (;;) {
        const qd_batch *batch;
        double loss_sum;
        int64_t correct;
        QD_TRY(qd_loader_next(loader, &batch));
        if (!batch)
            return QD_OK;
        const int64_t shape[2] = {batch->n, width};
        const qd_tensor logits = qd_tensor_contiguous(QD_F32, 2, shape, values);
        QD_TRY(qd_network_predict(network, batch->images, batch->n, values));
        qd_head_loss(network->config.head, &logits, batch->labels, &loss_sum, &correct, NULL);
        if (!isfinite(loss_sum))
            return refuse_loss(network, batch, loss_sum);
        if (predicted)
            qd_head_classes(network->config.head, &logits, predicted + totals->count);
        totals->count += batch->n;
        totals->correct += correct;
        totals->loss_sum += loss_sum;
    }
}

enum qd_status qd_network_evaluate(qd_network *network, const qd_dataset *dataset, int64_t *predicted,
                                   qd_evaluation *out)
{
    qd_context *ctx = network->ctx;
    if (qd_dataset_class_count(dataset) != network->config.num_classes)
        return qd_fail(ctx, QD_ERR_INPUT, "evaluating %s: the network tells %lld classes apart, '%s' has %lld",
                       network->model->display_name, (long long)network->config.num_classes,
                       qd_dataset_folder(dataset), (long long)qd_dataset_class_count(dataset));
    const qd_loader_config config = {.dataset = dataset,
                                     .batch_size = network->max_batch,
                                     .image_size = (int32_t)network->config.image_size,
                                     .loader_threads = qd_context_threads(ctx),
                                     .prefetch_batches = PREFETCH_BATCHES};
    const size_t width = (size_t)qd_dims_count(&network->graph->values[network->graph->output].dims);
    enum qd_status status = QD_OK;
    qd_loader *loader = NULL;
    qd_totals totals = {0};
    qd_rng rng;
    float *values = qd_calloc((size_t)network->max_batch * width, sizeof *values);
    if (!values) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "evaluating %s: out of memory", network->model->display_name);
        goto fail;
    }
    QD_TRY_GOTO(qd_loader_create(ctx, &config, &loader));
    qd_rng_seed(&rng, 0); /* drawn from, as an iterator does, and without effect */
    QD_TRY_GOTO(qd_loader_start_epoch(loader, &rng, 0));
    QD_TRY_GOTO(evaluate_batches(network, loader, values, predicted, &totals));
    *out = (qd_evaluation){.count = totals.count,
                           .correct = totals.correct,
                           .loss = qd_totals_loss(&totals),
                           .accuracy_percent = qd_totals_accuracy_percent(&totals)};
fail:
    qd_loader_destroy(loader);
    free(values);
    return status;
}
