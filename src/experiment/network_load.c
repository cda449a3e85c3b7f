/* A network from a checkpoint, from the weights of another program, or freshly initialised; and into a checkpoint. */
#include "base/error.h"
#include "exchange/quantized_model.h"
#include "exchange/weights.h"
#include "experiment/network_impl.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_IMAGE_SIZE 224
#define DEFAULT_MAX_BATCH  64

/* Beyond any data set; keeps a hostile file from asking for a head of terabytes. */
#define MAX_CLASSES 100000

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
    char names[1024];
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

static enum qd_status create_state(qd_network *network)
{
    QD_TRY(qd_model_build(network->ctx, network->model, &network->config, &network->graph));
    return qd_state_create(network->ctx, network->graph, QD_F32, false, &network->state);
}

/* A checkpoint of this program says what it is. */
static enum qd_status load_checkpoint(qd_network *network, const qd_network_config *config)
{
    const qd_model_config *told = &network->info.config;
    network->config = (qd_model_config){
        .image_size = config->image_size ? config->image_size : told->image_size,
        .num_classes = config->num_classes ? config->num_classes : told->num_classes,
        .head = told->head,
    };
    QD_TRY(create_state(network));
    return qd_checkpoint_read(network->ctx, config->checkpoint, network->state);
}

/* Other files show by names and shapes what they hold. */
static enum qd_status load_weights(qd_network *network, const qd_network_config *config)
{
    qd_weights weights = {0};
    enum qd_status status = QD_OK;
    network->config = (qd_model_config){
        .image_size = config->image_size ? config->image_size : DEFAULT_IMAGE_SIZE,
        .num_classes = config->num_classes,
    };
    QD_TRY(qd_weights_open(network->ctx, config->checkpoint, &weights));
    QD_TRY_GOTO(qd_weights_recognise(network->ctx, &weights, network->model, &network->config));
    QD_TRY_GOTO(create_state(network));
    QD_TRY_GOTO(qd_weights_fill(network->ctx, &weights, network->state));
fail:
    qd_weights_close(&weights);
    return status;
}

static enum qd_status refuse_config(const qd_network *network, const char *path, const char *expected)
{
    return qd_fail(
        network->ctx, QD_ERR_INPUT,
        "quantized model '%s': its scales belong to %s at %lld px with %lld classes; it cannot be loaded with "
        "another %s",
        path, network->model->display_name, (long long)network->config.image_size,
        (long long)network->config.num_classes, expected);
}

/* A quantized model file says what it is; it cannot be made to be anything else. */
static enum qd_status load_quantized(qd_network *network, const qd_network_config *config)
{
    enum qd_status status = QD_OK;
    qd_quantized_file file = {0};
    const char *path = config->checkpoint;
    QD_TRY(qd_quantized_file_open(network->ctx, path, &file));
    network->model = qd_model_find(file.header.model);
    network->config.num_classes = file.header.num_classes;
    network->config.image_size = file.header.image_size;
    if (!network->model || !qd_head_parse(file.header.head, &network->config.head) ||
        network->config.image_size < QD_MODEL_IMAGE_SIZE_MIN ||
        network->config.image_size > QD_MODEL_IMAGE_SIZE_MAX || network->config.num_classes > MAX_CLASSES) {
        status = qd_fail(network->ctx, QD_ERR_INPUT, "quantized model '%s': unknown network '%s' with head '%s'",
                         path, file.header.model, file.header.head);
        goto fail;
    }
    if (config->model && strcmp(config->model, file.header.model) != 0)
        QD_TRY_GOTO(refuse_config(network, path, "model"));
    if (config->image_size && config->image_size != network->config.image_size)
        QD_TRY_GOTO(refuse_config(network, path, "image size"));
    if (config->num_classes && config->num_classes != network->config.num_classes)
        QD_TRY_GOTO(refuse_config(network, path, "number of classes"));
    QD_TRY_GOTO(qd_model_build(network->ctx, network->model, &network->config, &network->graph));
    QD_TRY_GOTO(qd_quantized_restore(network->ctx, &file, network->graph, network->max_batch, &network->qgraph));
fail:
    qd_quantized_file_close(&file);
    return status;
}

static enum qd_status initialise(qd_network *network, const qd_network_config *config)
{
    qd_rng rng;
    network->config = (qd_model_config){
        .image_size = config->image_size ? config->image_size : DEFAULT_IMAGE_SIZE,
        .num_classes = config->num_classes,
    };
    if (network->config.num_classes == 0)
        return qd_fail(network->ctx, QD_ERR_USAGE, "network: num_classes is needed without a checkpoint");
    QD_TRY(create_state(network));
    qd_rng_seed(&rng, config->seed);
    network->model->initialise(&network->config, network->state, &rng);
    return QD_OK;
}

enum qd_status qd_network_load(qd_context *ctx, const qd_network_config *config, qd_network **out)
{
    enum qd_status status = QD_OK;
    qd_network *network = calloc(1, sizeof *network);
    if (!network)
        return qd_fail(ctx, QD_ERR_MEMORY, "network: out of memory");
    network->ctx = ctx;
    network->max_batch = config->max_batch > 0 ? config->max_batch : DEFAULT_MAX_BATCH;
    if (config->checkpoint && !qd_weights_is_pth(config->checkpoint))
        QD_TRY_GOTO(qd_checkpoint_read_info(ctx, config->checkpoint, &network->info));
    if (network->info.quantized) {
        QD_TRY_GOTO(load_quantized(network, config));
        *out = network;
        return QD_OK;
    }
    QD_TRY_GOTO(choose_model(ctx, config, &network->info, &network->model));
    if (network->info.model[0])
        QD_TRY_GOTO(load_checkpoint(network, config));
    else if (config->checkpoint)
        QD_TRY_GOTO(load_weights(network, config));
    else
        QD_TRY_GOTO(initialise(network, config));
    QD_TRY_GOTO(
        qd_plan_create(ctx, network->graph, network->state, &QD_PLAN_INFERENCE(network->max_batch), &network->plan));
    *out = network;
    return QD_OK;
fail:
    qd_network_destroy(network);
    return status;
}

void qd_network_destroy(qd_network *network)
{
    if (!network)
        return;
    qd_plan_destroy(network->plan);
    qd_qgraph_destroy(network->qgraph);
    qd_state_destroy(network->state);
    qd_graph_destroy(network->graph);
    qd_checkpoint_info_free(&network->info);
    free(network);
}

enum qd_status qd_network_save(const qd_network *network, const char *path)
{
    if (network->qgraph)
        return qd_quantized_write(network->ctx, path, network->graph, &network->config, network->calibrator,
                                  network->qgraph);
    qd_checkpoint_info info = network->info;
    if (!info.model[0])
        qd_rng_seed(&info.rng, 0); /* a network that was not trained here has consumed no numbers */
    snprintf(info.model, sizeof info.model, "%s", network->model->name);
    info.config = network->config;
    return qd_checkpoint_write(network->ctx, path, network->state, &info);
}
