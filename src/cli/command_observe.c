#include "cli/module_json.h"
#include "cli/module_table.h"
#include "cli/network_options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How many of the widest ranges are named at the end. */
enum { WORST_COUNT = 5 };

typedef struct observe_values {
    cli_common common;
    qd_network_config network;
    cli_list files; /* the checkpoint, then images */
    const char *json;
} observe_values;

static const char *check(void *values)
{
    observe_values *v = values;
    if (v->files.count == 0)
        return "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors";
    v->network.checkpoint = v->files.items[0];
    return v->files.count > 1 ? NULL : "name at least one image behind the checkpoint";
}

static enum qd_status read_images(qd_context *ctx, const char *const *paths, int64_t count, int64_t size,
                                  float *batch)
{
    for (int64_t i = 0; i < count; i++) {
        qd_image image = {0};
        QD_TRY(qd_image_read(ctx, paths[i], &image));
        enum qd_status status = qd_image_eval_transform(ctx, &image, (int32_t)size, batch + i * size * size * 3);
        qd_image_free(&image);
        QD_TRY(status);
    }
    return QD_OK;
}

static int by_falling_range(const void *a, const void *b)
{
    double x = cli_module_range(a), y = cli_module_range(b);
    return (x < y) - (x > y);
}

static enum qd_status print_worst(const qd_module_report *reports, int count, int path_width)
{
    qd_module_report *sorted = malloc((size_t)count * sizeof *sorted);
    if (!sorted)
        return QD_ERR_MEMORY;
    memcpy(sorted, reports, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_falling_range);
    printf("worst ranges:\n");
    for (int i = 0; i < count && i < WORST_COUNT; i++)
        printf("  %-*s  %10.4f  [%.4f, %.4f]\n", path_width, cli_module_path(&sorted[i]),
               cli_module_range(&sorted[i]), sorted[i].min, sorted[i].max);
    free(sorted);
    return QD_OK;
}

static enum qd_status write_json(qd_context *ctx, const char *path, const qd_module_report *reports, int count)
{
    cJSON *root = cJSON_CreateObject();
    enum qd_status status = root ? QD_OK : QD_ERR_MEMORY;
    for (int i = 0; status == QD_OK && i < count; i++)
        status = cli_module_add_json(root, &reports[i], true) ? QD_OK : QD_ERR_MEMORY;
    if (status == QD_OK)
        status = qd_json_write(ctx, path, root);
    cJSON_Delete(root);
    return status;
}

static enum qd_status observe(qd_context *ctx, void *values)
{
    observe_values *v = values;
    const int64_t image_count = v->files.count - 1;
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_module_report *reports = NULL;
    float *batch = NULL;
    v->network.max_batch = image_count;
    QD_TRY_GOTO(qd_network_load(ctx, &v->network, &network));
    int64_t size = qd_network_image_size(network);
    batch = calloc((size_t)(image_count * size * size * 3), sizeof *batch);
    if (!batch) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    int count = 0;
    QD_TRY_GOTO(read_images(ctx, v->files.items + 1, image_count, size, batch));
    QD_TRY_GOTO(qd_network_observe(network, batch, image_count, &reports, &count));
    int path_width = cli_module_table_print(reports, count);
    QD_TRY_GOTO(print_worst(reports, count, path_width));
    if (v->json)
        QD_TRY_GOTO(write_json(ctx, v->json, reports, count));
fail:
    free(reports);
    free(batch);
    qd_network_destroy(network);
    return status;
}

static const cli_option options[] = {
    {"json", 0, "FILE", "Write one object keyed by module path as well", CLI_TEXT(observe_values, json)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_NETWORK_GROUP(offsetof(observe_values, network))},
    .usage = "CHECKPOINT IMAGE...",
    .argument_at = offsetof(observe_values, files),
    .doc = "What every called module of a checkpoint puts out over the given images, in eval mode with the "
           "validation transform: shape, smallest and largest value, mean, standard deviation, range, share of "
           "zeros, and the largest value in standard deviations."
           "\vExample: quantdrift observe results/demo/checkpoints/resnet18_last.safetensors "
           "data/synth/val/*/*.jpg --json observed.json",
    .check = check,
    .run = observe,
};

int cli_command_observe(int argc, char **argv)
{
    observe_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
