#include "cli/eval_report.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct eval_values {
    cli_common common;
    qd_network_config network; /* its checkpoint is each file in turn */
    cli_list files;
    const char *data, *group_by, *json;
} eval_values;

static const char *check(void *values)
{
    const eval_values *v = values;
    if (v->files.count == 0)
        return "name a checkpoint or quantized model, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (v->files.count > CLI_EVAL_MAX_FILES)
        return "name at most 26 files: letters stand for them";
    if (!v->data)
        return "--data is missing: say which images";
    return NULL;
}

/* Runs one file over the images and keeps what it predicted. */
static enum qd_status evaluate(qd_context *ctx, const eval_values *v, const char *path, const qd_dataset *dataset,
                               cli_evaluated *out)
{
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_network_config config = v->network;
    config.checkpoint = path;
    out->path = path;
    out->predicted = calloc((size_t)qd_dataset_count(dataset), sizeof *out->predicted);
    if (!out->predicted)
        return QD_ERR_MEMORY;
    QD_TRY_GOTO(qd_network_load(ctx, &config, &network));
    QD_TRY_GOTO(qd_network_evaluate(network, dataset, out->predicted, &out->result));
    out->model = qd_network_model_name(network);
    out->image_size = qd_network_image_size(network);
    out->quantized = qd_network_is_quantized(network);
fail:
    qd_network_destroy(network);
    return status;
}

static enum qd_status report(qd_context *ctx, const eval_values *v, const qd_dataset *dataset,
                             const cli_evaluated *networks)
{
    enum qd_status status = QD_OK;
    qd_grouping grouping = {0};
    cli_eval_report report = {.dataset = dataset, .networks = networks, .count = (int)v->files.count};
    if (v->group_by) {
        QD_TRY_GOTO(qd_grouping_by_folder(ctx, dataset, &grouping));
        report.grouping = &grouping;
    }
    QD_TRY_GOTO(cli_eval_print(ctx, &report));
    if (v->json)
        QD_TRY_GOTO(cli_eval_write_json(ctx, &report, v->json));
fail:
    qd_grouping_free(&grouping);
    return status;
}

static enum qd_status eval(qd_context *ctx, void *values)
{
    const eval_values *v = values;
    enum qd_status status = QD_OK;
    qd_dataset *dataset = NULL;
    char *val_folder = cli_subfolder(v->data, "val");
    cli_evaluated *networks = calloc((size_t)v->files.count, sizeof *networks);
    if (!networks) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    QD_TRY_GOTO(qd_dataset_open(ctx, val_folder ? val_folder : v->data, QD_BAD_IMAGE_ERROR, &dataset));
    for (int64_t i = 0; i < v->files.count; i++)
        QD_TRY_GOTO(evaluate(ctx, v, v->files.items[i], dataset, &networks[i]));
    QD_TRY_GOTO(report(ctx, v, dataset, networks));
fail:
    for (int64_t i = 0; networks && i < v->files.count; i++)
        free(networks[i].predicted);
    free(networks);
    qd_dataset_destroy(dataset);
    free(val_folder);
    return status;
}

static const cli_option options[] = {
    {"data", 0, "DIR", "Folder with val/, or with one folder a class (required)", CLI_TEXT(eval_values, data)},
    {"batch", 0, "N", "Images at a time (default 64)", CLI_INT(eval_values, network.max_batch, 1, 4096)},
    {"group-by", 0, "folder", "Scores of each folder below the classes as well: val/<class>/<folder>/…",
     CLI_CHOICE(eval_values, group_by, "folder")},
    {"json", 0, "FILE", "Write all figures and the confusion matrices as JSON as well", CLI_TEXT(eval_values, json)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_NETWORK_GROUP(offsetof(eval_values, network))},
    .usage = "FILE...",
    .argument_at = offsetof(eval_values, files),
    .doc =
        "Loss, accuracy, precision, recall, F1 and confusion matrix of checkpoints and quantized models over DIR/val "
        "(or DIR) with the validation transform. Of several files each is compared with the first: how often they "
        "agree, and the drop of accuracy with a 95 % interval for paired proportions (Newcombe 1998, method 10)."
        "\vA quotient of 0 by 0, such as the precision of a class that was never predicted, counts as 0.\n\n"
        "Example: quantdrift eval results/demo/checkpoints/resnet18_last.safetensors resnet18_int8.safetensors "
        "--data data/synth",
    .check = check,
    .run = eval,
};

int cli_command_eval(int argc, char **argv)
{
    eval_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
