#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const cli_option cli_network_options[] = {
    {"model", 0, "NAME", "resnet18, efficientnet_b0 or a variant (default: as the file says)",
     CLI_TEXT(qd_network_config, model)},
    {"image-size", 0, "PIXELS", "Side of the images (default: as the file says, else 224)",
     CLI_INT(qd_network_config, image_size, CLI_MIN_IMAGE_SIZE, CLI_MAX_IMAGE_SIZE)},
    {"num-classes", 0, "N", "Classes (default: as the file says, or its head's shape)",
     CLI_INT(qd_network_config, num_classes, 1, 100000)},
    {0},
};

const cli_option cli_scale_options[] = {
    {"data", 0, "DIR", "Folder with train/, or with one folder a class", CLI_TEXT(cli_scales, data)},
    {"calibration-images", 0, "N", "Images that choose the scales (default 1000)",
     CLI_INT(cli_scales, images, 1, CLI_MAX_COUNT)},
    {"calibration-seed", 0, "N", "Which ones (default 0, as in an experiment)",
     CLI_INT(cli_scales, seed, 0, INT64_MAX)},
    {0},
};

const char *const cli_scheme_keys[] = {"per_channel", "unsigned", NULL};

/* The option that stands for a key, "--per-channel", as a sentence begins. */
static void name_option(const char *key, char *text, size_t size)
{
    snprintf(text, size, "--%s", key);
    for (char *c = strchr(text, '_'); c; c = strchr(c, '_'))
        *c = '-';
}

static enum qd_status read_recipe(qd_context *ctx, cli_scales *scales)
{
    QD_TRY(qd_recipe_settings_create(ctx, &scales->settings));
    for (int i = 0; i < scales->recipe.count; i++) {
        char option[64];
        name_option(scales->recipe.names[i], option, sizeof option);
        QD_TRY(qd_recipe_settings_set(scales->settings, option, scales->recipe.names[i], scales->recipe.texts[i]));
    }
    scales->quantize.recipe = qd_recipe_settings_get(scales->settings);
    return QD_OK;
}

enum qd_status cli_open_calibration(qd_context *ctx, cli_scales *scales)
{
    QD_TRY(read_recipe(ctx, scales));
    scales->quantize.calibration_images = scales->images;
    scales->quantize.calibration_seed = (uint64_t)scales->seed;
    if (!scales->data)
        return QD_OK;
    char *train_folder = cli_subfolder(scales->data, "train");
    const enum qd_status status =
        qd_dataset_open(ctx, train_folder ? train_folder : scales->data, QD_BAD_IMAGE_ERROR, &scales->dataset);
    scales->quantize.calibration = scales->dataset;
    free(train_folder);
    return status;
}

void cli_close_calibration(cli_scales *scales)
{
    qd_dataset_destroy(scales->dataset);
    qd_recipe_settings_destroy(scales->settings);
}

void cli_print_network(const qd_network *network)
{
    printf("%s%s for %" PRId64 " classes at %" PRId64 " px", qd_network_model_name(network),
           qd_network_is_quantized(network) ? " INT8" : "", qd_network_class_count(network),
           qd_network_image_size(network));
}
