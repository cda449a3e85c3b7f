#include "cli/network_options.h"
#include <inttypes.h>
#include <quantdrift/grid.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct grid_values {
    cli_common common;
    cli_list files;            /* the grid's, then checkpoints */
    qd_network_config network; /* its checkpoint is each file in turn */
    const char *data, *out;
    int64_t calibration_images, eval_images;
} grid_values;

static const char *check(void *values)
{
    const grid_values *v = values;
    if (v->files.count == 0)
        return "name a grid of recipes, such as experiments/calibrators.json";
    if (v->files.count == 1)
        return "name a checkpoint behind the grid, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (!v->data)
        return "--data is missing: say which images";
    if (!v->out)
        return "-o is missing: say which folder grid.json and grid.md belong in";
    return NULL;
}

static void print_row(void *user, const qd_grid_row *row)
{
    cli_common *common = user;
    if (common->quiet)
        return;
    cli_progress_close(&common->progress);
    printf("%*" PRId64 "/%" PRId64 "  ", row->count > 99 ? 3 : 2, row->index, row->count);
    cli_print_padded(row->checkpoint, 0);
    if (row->there_before)
        printf(", %s: there before\n", row->recipe);
    else
        printf(", %s: %.2f -> %.2f %%, drop %.2f (%.2f to %.2f), %.1f s\n", row->recipe, row->float_accuracy,
               row->accuracy, row->drop, row->low, row->high, row->seconds);
    (void)fflush(stdout); /* a row may take a minute */
}

static void show_training(void *user, const qd_progress *progress)
{
    cli_common *common = user;
    cli_progress_show(&common->progress, progress);
}

static enum qd_status open_split(qd_context *ctx, const char *data, const char *split, qd_dataset **out)
{
    char *folder = cli_subfolder(data, split);
    const enum qd_status status = qd_dataset_open(ctx, folder ? folder : data, QD_BAD_IMAGE_ERROR, out);
    free(folder);
    return status;
}

static enum qd_status grid(qd_context *ctx, void *values)
{
    grid_values *v = values;
    enum qd_status status = QD_OK;
    qd_dataset *training = NULL, *validation = NULL;
    const int64_t count = v->files.count - 1;
    qd_network_config *networks = calloc((size_t)count, sizeof *networks);
    if (!networks)
        return QD_ERR_MEMORY;
    for (int64_t i = 0; i < count; i++) {
        networks[i] = v->network;
        networks[i].checkpoint = v->files.items[i + 1];
    }
    QD_TRY_GOTO(open_split(ctx, v->data, "train", &training));
    QD_TRY_GOTO(open_split(ctx, v->data, "val", &validation));
    const qd_grid_config config = {.file = v->files.items[0],
                                   .networks = networks,
                                   .network_count = count,
                                   .training = training,
                                   .validation = validation,
                                   .data_dir = v->data,
                                   .folder = v->out,
                                   .calibration_images = v->calibration_images,
                                   .eval_images = v->eval_images,
                                   .progress = print_row,
                                   .training_progress = show_training,
                                   .user = &v->common};
    QD_TRY_GOTO(qd_grid_run(ctx, &config));
    cli_print_padded(v->out, 0);
    printf("/grid.md has the table, grid.json all figures\n");
fail:
    qd_dataset_destroy(training);
    qd_dataset_destroy(validation);
    free(networks);
    return status;
}

static const cli_option options[] = {
    {"data", 0, "DIR", "Folder with train/ and val/ (required)", CLI_TEXT(grid_values, data)},
    {"output", 'o', "DIR", "Folder for grid.json and grid.md; rows that are there are not made again (required)",
     CLI_TEXT(grid_values, out)},
    {"calibration-images", 0, "N", "Images that choose the scales (default: as the grid says, else 1000)",
     CLI_INT(grid_values, calibration_images, 1, CLI_MAX_COUNT)},
    {"eval-images", 0, "N", "Validation images, class by class in turn (default: as the grid says, else all)",
     CLI_INT(grid_values, eval_images, 1, CLI_MAX_COUNT)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_NETWORK_GROUP(offsetof(grid_values, network))},
    .usage = "GRID CHECKPOINT...",
    .argument_at = offsetof(grid_values, files),
    .doc = "Quantizes checkpoints by every recipe of a grid and writes one table: accuracy beside the float "
           "network's, the "
           "drop with its 95 % interval (as eval has it), and the points recovered against the post's recipe. What "
           "has no "
           "integer form is simulated."
           "\vThe grid's keys are those of an experiment's \"quantization\": experiments/README.md documents them. "
           "Images "
           "are decoded once and kept in memory as bytes. An interrupted grid goes on where it was: rows of a "
           "checkpoint "
           "with the same hash by the same recipe are not made again.\n\n"
           "Example: quantdrift grid experiments/calibrators.json results/demo/checkpoints/resnet18_last.safetensors "
           "results/demo/checkpoints/efficientnet_b0_last.safetensors --data data/synth -o results/calibrators",
    .check = check,
    .run = grid,
};

int cli_command_grid(int argc, char **argv)
{
    grid_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
