/* What a trained network tells: predictions, activation statistics. */
#include "base/arena.h"
#include "base/cpu.h"
#include "base/error.h"
#include "experiment/module_reports.h"
#include "experiment/network_impl.h"
#include "experiment/run.h"
#include "observe/observe.h"
#include <stdlib.h>
#include <string.h>

#define GIB (1024.0 * 1024.0 * 1024.0)

const char *qd_network_model_name(const qd_network *network)
{
    return network->model->display_name;
}

int64_t qd_network_image_size(const qd_network *network)
{
    return network->config.image_size;
}

int64_t qd_network_class_count(const qd_network *network)
{
    return network->config.num_classes;
}

int64_t qd_network_parameter_count(const qd_network *network)
{
    int64_t count = 0;
    for (int p = 0; p < network->graph->param_count; p++)
        count += network->graph->params[p].count;
    return count;
}

enum qd_status qd_network_predict(qd_network *network, const float *images, int64_t n, float *logits)
{
    if (network->qgraph)
        return qd_qgraph_run(network->qgraph, images, n, logits);
    int64_t pixels = qd_dims_count(&network->graph->input_dims);
    int64_t values = qd_dims_count(&network->graph->values[network->graph->output].dims);
    for (int64_t first = 0; first < n; first += network->max_batch) {
        int64_t count = n - first < network->max_batch ? n - first : network->max_batch;
        qd_tensor part;
        QD_TRY(qd_plan_forward(network->plan, images + first * pixels, count, NULL, NULL, NULL, &part));
        memcpy(logits + first * values, part.data, (size_t)(count * values) * sizeof(float));
    }
    return QD_OK;
}

bool qd_network_is_quantized(const qd_network *network)
{
    return network->qgraph != NULL;
}

enum qd_status qd_network_require_float(const qd_network *network, const char *purpose)
{
    if (!network->qgraph)
        return QD_OK;
    return qd_fail(network->ctx, QD_ERR_INPUT,
                   "%s %s: this is a quantized model, which has no float weights; give the checkpoint it was made of",
                   purpose, network->model->display_name);
}

/* All images are observed as one batch: a whole folder of them can need more memory than there is. */
static enum qd_status check_observing_memory(const qd_network *network, int64_t n)
{
    size_t bytes;
    QD_TRY(qd_plan_bytes(network->ctx, network->graph, QD_F32, &QD_PLAN_OBSERVING(n), &bytes));
    double available = qd_available_bytes();
    if (available > 0.0 && (double)bytes > available)
        return qd_fail(network->ctx, QD_ERR_MEMORY,
                       "observing %s on %lld images needs %.2f GiB, and %.2f GiB are available; give fewer images",
                       network->model->display_name, (long long)n, (double)bytes / GIB, available / GIB);
    return QD_OK;
}

enum qd_status qd_network_observe(qd_network *network, const float *images, int64_t n, qd_module_report **reports,
                                  int *count)
{
    qd_context *ctx = network->ctx;
    qd_plan *plan = NULL;
    qd_observation observation = {0};
    enum qd_status status = QD_OK;
    QD_TRY_GOTO(qd_network_require_float(network, "observing"));
    QD_TRY_GOTO(check_observing_memory(network, n));
    QD_TRY_GOTO(qd_plan_create(ctx, network->graph, network->state, &QD_PLAN_OBSERVING(n), &plan));
    QD_TRY_GOTO(qd_observe(ctx, network->graph, plan, images, n, NULL, &observation));
    QD_TRY_GOTO(qd_module_reports_create(ctx, network->graph, &observation, reports));
    *count = observation.count;
fail:
    qd_plan_destroy(plan);
    qd_observation_free(&observation);
    return status;
}
