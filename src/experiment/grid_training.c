#include "experiment/grid_training.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "experiment/experiment_file.h"
#include "experiment/grid_file.h"
#include "experiment/network_impl.h"
#include "experiment/qat_run.h"
#include <stdlib.h>
#include <string.h>

/* Of a hash in a folder's name: more than a grid has rows. */
#define HASH_DIGITS 12

static enum qd_status fail_memory(qd_context *ctx)
{
    return qd_fail(ctx, QD_ERR_MEMORY, "grid: out of memory");
}

/* "<folder>/qat_resnet18_0123456789ab": of the checkpoint's bytes and the recipe. NULL when memory is short. */
static char *folder_of(const qd_grid_training *t)
{
    char hash[65];
    qd_sha256 sha256;
    char *line = qd_grid_recipe_line(t->recipe);
    if (!line)
        return NULL;
    qd_sha256_init(&sha256);
    qd_sha256_update(&sha256, t->checkpoint_sha256, strlen(t->checkpoint_sha256));
    qd_sha256_update(&sha256, line, strlen(line));
    qd_sha256_finish(&sha256, hash);
    free(line);
    return qd_format("%s/qat_%s_%.*s", t->grid->folder, t->network->model->name, HASH_DIGITS, hash);
}

/* Adds an item, which may be NULL; false when memory is short. */
static bool put(cJSON *object, const char *key, cJSON *item)
{
    if (object && item && cJSON_AddItemToObject(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

/* What the run's experiment has beside the recipe: no epochs of its own, whose random network is not worth
 * quantizing; this network's shape, the grid's images. */
static cJSON *experiment_json(const qd_grid_training *t, const char *folder)
{
    const qd_model_config *shape = &t->network->config;
    const qd_quantization_config *images = &t->settings->quantization;
    const char *const model = t->network->model->name;
    cJSON *root = cJSON_CreateObject(), *section = cJSON_CreateObject(), *training = cJSON_CreateObject();
    const bool filled =
        put(section, "enabled", cJSON_CreateFalse()) &&
        put(section, "calibration_images", qd_json_int(images->calibration_images)) &&
        put(section, "calibration_seed", qd_json_int(images->calibration_seed)) &&
        put(section, "batch_size", qd_json_int(images->batch_size)) &&
        put(section, "eval_images",
            images->eval_images == QD_CONFIG_NULL ? cJSON_CreateNull() : qd_json_int(images->eval_images)) &&
        put(training, "from", cJSON_CreateString(t->checkpoint));
    /* Each call takes its item over, even when it fails. */
    const bool has_section = put(root, "quantization", section), has_training = put(root, "qat", training);
    if (filled && has_section && has_training && put(root, "models", cJSON_CreateStringArray(&model, 1)) &&
        put(root, "num_epochs", qd_json_int(0)) && put(root, "image_size", qd_json_int(shape->image_size)) &&
        put(root, "head", cJSON_CreateString(qd_head_names[shape->head])) &&
        put(root, "data_dir", cJSON_CreateString(t->grid->data_dir)) &&
        put(root, "output_dir", cJSON_CreateString(folder)))
        return root;
    cJSON_Delete(root);
    return NULL;
}

static enum qd_status configure(qd_context *ctx, const qd_grid_training *t, const char *folder, qd_config *config)
{
    cJSON *recipe = qd_grid_recipe_json(t->recipe), *rest = experiment_json(t, folder);
    enum qd_status status = recipe && rest ? QD_OK : fail_memory(ctx);
    if (status == QD_OK)
        status = qd_grid_recipe_apply(ctx, config, "the grid's recipe", recipe);
    if (status == QD_OK)
        status = qd_config_apply(ctx, config, "the grid's training", rest);
    cJSON_Delete(recipe);
    cJSON_Delete(rest);
    return status;
}

static enum qd_status train(qd_context *ctx, const qd_grid_training *t, const char *folder)
{
    enum qd_status status = QD_OK;
    qd_experiment *experiment = NULL;
    const qd_run_options options = {.resume = true, .progress = t->grid->training_progress, .user = t->grid->user};
    QD_TRY(qd_experiment_create(ctx, &experiment));
    QD_TRY_GOTO(configure(ctx, t, folder, &experiment->config));
    QD_TRY_GOTO(qd_experiment_run(experiment, &options));
fail:
    qd_experiment_destroy(experiment);
    return status;
}

static enum qd_status quantize(qd_context *ctx, const qd_grid_training *t, const char *checkpoint,
                               const char *encodings, qd_qgraph **out)
{
    qd_network *network = NULL;
    const qd_network_config config = {.checkpoint = checkpoint, .max_batch = t->max_batch};
    const qd_quantize_options options = {.recipe = &t->recipe->quantization.recipe, .encodings = encodings};
    QD_TRY(qd_network_load(ctx, &config, &network));
    const enum qd_status status = qd_network_calibrate(network, &options, out);
    qd_network_destroy(network);
    return status;
}

enum qd_status qd_grid_train(qd_context *ctx, const qd_grid_training *t, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    const char *const model = t->network->model->name;
    char *folder = folder_of(t);
    char *checkpoint = folder ? qd_format("%s/checkpoints/%s_qat.safetensors", folder, model) : NULL;
    char *encodings = folder ? qd_format("%s/%s" QD_QAT_ENCODINGS_SUFFIX, folder, model) : NULL;
    if (!checkpoint || !encodings) {
        status = fail_memory(ctx);
        goto fail;
    }
    QD_TRY_GOTO(train(ctx, t, folder));
    QD_TRY_GOTO(quantize(ctx, t, checkpoint, encodings, out));
fail:
    free(folder);
    free(checkpoint);
    free(encodings);
    return status;
}
