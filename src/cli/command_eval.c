#include "cli/cli.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_DATA = 0x100, KEY_BATCH };

typedef struct eval_options {
    cli_common common;
    qd_network_config network;
    const char *data;
} eval_options;

static const struct argp_option option_list[] = {
    {"data", KEY_DATA, "DIR", 0, "Folder with val/, or with one folder a class (required)", 0},
    {"batch", KEY_BATCH, "N", 0, "Images at a time (default 64)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    eval_options *options = state->input;
    switch (key) {
    case KEY_DATA:
        options->data = arg;
        return 0;
    case KEY_BATCH:
        options->network.max_batch = cli_parse_int(state, "--batch", arg, 1, 4096);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->network;
        state->child_inputs[1] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->network.checkpoint)
            argp_error(state, "one checkpoint at a time: '%s' is too much", arg);
        options->network.checkpoint = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->network.checkpoint)
            argp_error(state, "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors");
        if (!options->data)
            argp_error(state, "--data is missing: say which images");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status evaluate(qd_context *ctx, const eval_options *options)
{
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_dataset *dataset = NULL;
    char *val_folder = cli_subfolder(options->data, "val");
    const char *folder = val_folder ? val_folder : options->data;
    qd_evaluation result;
    QD_TRY_GOTO(qd_network_load(ctx, &options->network, &network));
    QD_TRY_GOTO(qd_dataset_open(ctx, folder, QD_BAD_IMAGE_ERROR, &dataset));
    QD_TRY_GOTO(qd_network_evaluate(network, dataset, &result));
    printf("%s at %" PRId64 " px on ", qd_network_model_name(network), qd_network_image_size(network));
    cli_print_padded(folder, 0);
    printf(": %" PRId64 " images, loss %.4f, accuracy %.2f %% (%" PRId64 " correct)\n", result.count, result.loss,
           result.accuracy_percent, result.correct);
fail:
    qd_dataset_destroy(dataset);
    qd_network_destroy(network);
    free(val_folder);
    return status;
}

int cli_command_eval(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_network_argp, 0, CLI_NETWORK_HEADING, 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "CHECKPOINT",
        .doc = "Loss and accuracy of a checkpoint over DIR/val (or DIR) with the validation transform."
               "\vExample: quantdrift eval results/demo/checkpoints/resnet18_last.safetensors --data data/synth",
        .children = children,
    };
    eval_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    int code = cli_report(ctx, evaluate(ctx, &options));
    qd_context_destroy(ctx);
    return code;
}
