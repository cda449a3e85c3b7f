/* A trained network by itself: from a checkpoint, or from plain weights under torchvision's names. */
#include <quantdrift/network.h>

#include "base/arena.h"
#include "base/error.h"
#include "experiment/module_reports.h"
#include "experiment/run.h"
#include "formats/safetensors.h"
#include "observe/observe.h"
#include "train/checkpoint.h"
#include "train/trainer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GIB                (1024.0 * 1024.0 * 1024.0)
#define DEFAULT_IMAGE_SIZE 224
#define DEFAULT_MAX_BATCH  64

struct qd_network {
    qd_context *ctx;
    const qd_model_info *model;
    qd_model_config config;
    qd_graph *graph;
    qd_state *state;
    qd_plan *plan;
    int64_t max_batch;
};

/* "'resnet18', 'efficientnet_b0'" */
static void list_models(char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (const qd_model_info *const *model = qd_model_list(); *model && used < size; model++)
        used += (size_t)snprintf(text + used, size - used, "%s'%s'", used ? ", " : "", (*model)->name);
}

static enum qd_status choose_model(qd_context *ctx, const qd_network_config *config, const qd_checkpoint_info *info,
                                   const qd_model_info **out)
{
    char names[256];
    list_models(names, sizeof names);
    const char *name = config->model ? config->model : info->model;
    if (name[0] == '\0')
        return qd_fail(ctx, QD_ERR_USAGE, "network: %s%s%s; name the model: %s",
                       config->checkpoint ? "'" : "no checkpoint and no model",
                       config->checkpoint ? config->checkpoint : "",
                       config->checkpoint ? "' does not say which model it holds" : "", names);
    if (config->model && info->model[0] && strcmp(config->model, info->model) != 0)
        return qd_fail(ctx, QD_ERR_INPUT, "checkpoint '%s' is of the model '%s', not '%s'", config->checkpoint,
                       info->model, config->model);
    *out = qd_model_find(name);
    return *out ? QD_OK : qd_fail(ctx, QD_ERR_USAGE, "network: unknown model '%s'; there are %s", name, names);
}

/* Classes of plain weights: the rows of the last parameter matrix, wherever this model keeps it. */
static enum qd_status count_head_rows(qd_context *ctx, const char *path, const qd_graph *graph, int64_t *classes)
{
    const char *name = NULL;
    for (int p = 0; p < graph->param_count; p++)
        if (graph->params[p].rank == 2)
            name = graph->params[p].name;
    qd_safetensors *file = NULL;
    QD_TRY(qd_safetensors_open(ctx, path, &file));
    const qd_tensor *weight = name ? qd_safetensors_find(file, name) : NULL;
    enum qd_status status = QD_OK;
    if (weight && weight->rank == 2)
        *classes = weight->shape[0];
    else
        status = qd_fail(ctx, QD_ERR_INPUT, "'%s' does not fit the network '%s': it has no matrix '%s'", path,
                         graph->model_name, name ? name : "of a head");
    qd_safetensors_close(file);
    return status;
}

/* Fills network->config from the call, the file, or the head's shape, in this order. */
static enum qd_status choose_config(qd_network *network, const qd_network_config *config,
                                    const qd_checkpoint_info *info)
{
    qd_context *ctx = network->ctx;
    bool told = info->model[0] != '\0';
    network->config = (qd_model_config){
        .image_size = config->image_size ? config->image_size
                      : told             ? info->config.image_size
                                         : DEFAULT_IMAGE_SIZE,
        .num_classes = config->num_classes ? config->num_classes
                       : told              ? info->config.num_classes
                                           : 0,
        .head = told ? info->config.head : QD_HEAD_LINEAR,
    };
    if (network->config.num_classes > 0)
        return QD_OK;
    if (!config->checkpoint)
        return qd_fail(ctx, QD_ERR_USAGE, "network: num_classes is needed without a checkpoint");
    const qd_model_config any = {.image_size = network->config.image_size, .num_classes = 2};
    qd_graph *graph = NULL;
    QD_TRY(network->model->build(ctx, &any, &graph));
    enum qd_status status = count_head_rows(ctx, config->checkpoint, graph, &network->config.num_classes);
    qd_graph_destroy(graph);
    return status;
}

enum qd_status qd_network_load(qd_context *ctx, const qd_network_config *config, qd_network **out)
{
    qd_checkpoint_info info = {0};
    enum qd_status status = QD_OK;
    qd_network *network = calloc(1, sizeof *network);
    if (!network)
        return qd_fail(ctx, QD_ERR_MEMORY, "network: out of memory");
    network->ctx = ctx;
    network->max_batch = config->max_batch > 0 ? config->max_batch : DEFAULT_MAX_BATCH;
    if (config->checkpoint)
        QD_TRY_GOTO(qd_checkpoint_read_info(ctx, config->checkpoint, &info));
    QD_TRY_GOTO(choose_model(ctx, config, &info, &network->model));
    QD_TRY_GOTO(choose_config(network, config, &info));
    QD_TRY_GOTO(network->model->build(ctx, &network->config, &network->graph));
    QD_TRY_GOTO(qd_state_create(ctx, network->graph, QD_F32, false, &network->state));
    if (config->checkpoint) {
        QD_TRY_GOTO(qd_checkpoint_read(ctx, config->checkpoint, network->state));
    } else {
        qd_rng rng;
        qd_rng_seed(&rng, config->seed);
        network->model->initialise(&network->config, network->state, &rng);
    }
    QD_TRY_GOTO(
        qd_plan_create(ctx, network->graph, network->state, &QD_PLAN_INFERENCE(network->max_batch), &network->plan));
    qd_checkpoint_info_free(&info);
    *out = network;
    return QD_OK;
fail:
    qd_checkpoint_info_free(&info);
    qd_network_destroy(network);
    return status;
}

void qd_network_destroy(qd_network *network)
{
    if (!network)
        return;
    qd_plan_destroy(network->plan);
    qd_state_destroy(network->state);
    qd_graph_destroy(network->graph);
    free(network);
}

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

/* Batches decoded ahead of the network. */
#define PREFETCH_BATCHES 2

enum qd_status qd_network_evaluate(qd_network *network, const qd_dataset *dataset, qd_evaluation *out)
{
    qd_context *ctx = network->ctx;
    if (qd_dataset_class_count(dataset) != network->config.num_classes)
        return qd_fail(ctx, QD_ERR_INPUT, "evaluating %s: the network tells %lld classes apart, '%s' has %lld",
                       network->model->display_name, (long long)network->config.num_classes,
                       qd_dataset_folder(dataset), (long long)qd_dataset_class_count(dataset));
    const qd_loader_config loader_config = {.dataset = dataset,
                                            .batch_size = network->max_batch,
                                            .image_size = (int32_t)network->config.image_size,
                                            .loader_threads = qd_context_threads(ctx),
                                            .prefetch_batches = PREFETCH_BATCHES};
    const qd_evaluate_options options = {.head = network->config.head};
    qd_loader *loader = NULL;
    QD_TRY(qd_loader_create(ctx, &loader_config, &loader));
    qd_totals totals;
    qd_rng rng;
    qd_rng_seed(&rng, 0); /* drawn from, as an iterator does, and without effect */
    enum qd_status status = qd_evaluate(ctx, network->graph, network->plan, loader, &rng, &options, &totals);
    qd_loader_destroy(loader);
    if (status == QD_OK)
        *out = (qd_evaluation){.count = totals.count,
                               .correct = totals.correct,
                               .loss = qd_totals_loss(&totals),
                               .accuracy_percent = qd_totals_accuracy_percent(&totals)};
    return status;
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
