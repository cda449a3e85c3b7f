#include "cli/cli.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_FORMAT = 0x100, KEY_DATA, KEY_IMAGES, KEY_SEED, KEY_PER_CHANNEL, KEY_UNSIGNED, KEY_KEEP, KEY_HEAD };

typedef struct export_options {
    cli_common common;
    qd_network_config network;
    qd_export_options export;
    bool has_format;
    const char *data, *out;
} export_options;

static const struct argp_option option_list[] = {
    {"format", KEY_FORMAT, "NAME", 0, "safetensors, pth, onnx, onnx-qdq or encodings (required)", 0},
    {"output", 'o', "FILE", 0, "File to write (required)", 0},
    {"torchvision-head", KEY_HEAD, NULL, 0,
     "safetensors, pth: EfficientNet's classifier as classifier.1, as torchvision builds it", 0},
    {"keep-batchnorm", KEY_KEEP, NULL, 0, "onnx: a node for every BatchNorm instead of folding it", 0},
    {"data", KEY_DATA, "DIR", 0, "onnx-qdq, encodings: folder with train/, or with one folder a class", 0},
    {"calibration-images", KEY_IMAGES, "N", 0, "Images that choose the scales (default 1000)", 0},
    {"calibration-seed", KEY_SEED, "N", 0, "Which ones (default 0, as in an experiment)", 0},
    {"per-channel", KEY_PER_CHANNEL, NULL, 0, "A scale for every output channel's weights", 0},
    {"unsigned", KEY_UNSIGNED, NULL, 0, "Activations as uint8 instead of int8", 0},
    {0},
};

static void parse_format(export_options *options, const char *name, const struct argp_state *state)
{
    if (!qd_export_format_parse(name, &options->export.format))
        argp_error(state, "--format: unknown format '%s'; there are safetensors, pth, onnx, onnx-qdq and encodings",
                   name);
    options->has_format = true;
}

static void check_options(const export_options *options, const struct argp_state *state)
{
    const bool quantized =
        options->export.format == QD_EXPORT_ONNX_QDQ || options->export.format == QD_EXPORT_ENCODINGS;
    if (!options->network.checkpoint)
        argp_error(state, "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors");
    if (!options->has_format)
        argp_error(state, "--format is missing: safetensors, pth, onnx, onnx-qdq or encodings");
    if (!options->out)
        argp_error(state, "-o is missing: say where to write");
    if (quantized && !options->data)
        argp_error(state, "--data is missing: the scales need images");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    export_options *options = state->input;
    switch (key) {
    case KEY_FORMAT:
        parse_format(options, arg, state);
        return 0;
    case 'o':
        options->out = arg;
        return 0;
    case KEY_HEAD:
        options->export.torchvision_head = true;
        return 0;
    case KEY_KEEP:
        options->export.keep_batchnorm = true;
        return 0;
    case KEY_DATA:
        options->data = arg;
        return 0;
    case KEY_IMAGES:
        options->export.calibration_images = cli_parse_int(state, "--calibration-images", arg, 1, 1000000000);
        return 0;
    case KEY_SEED:
        options->export.calibration_seed = (uint64_t)cli_parse_int(state, "--calibration-seed", arg, 0, INT64_MAX);
        return 0;
    case KEY_PER_CHANNEL:
        options->export.per_channel = true;
        return 0;
    case KEY_UNSIGNED:
        options->export.unsigned_activations = true;
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
        check_options(options, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status export(qd_context *ctx, export_options *options) {
    enum qd_status status = QD_OK; qd_network *network = NULL; qd_dataset *dataset = NULL;
    char *train_folder = options->data ? cli_subfolder(options->data, "train") : NULL;
    QD_TRY_GOTO(qd_network_load(ctx, &options->network, &network));
    if (options->data)
        QD_TRY_GOTO(qd_dataset_open(ctx, train_folder ? train_folder : options->data, QD_BAD_IMAGE_ERROR, &dataset));
    options->export.calibration = dataset;
    QD_TRY_GOTO(qd_network_export(network, &options->export, options->out));
    printf("%s for %" PRId64 " classes at %" PRId64 " px as %s: ", qd_network_model_name(network),
           qd_network_class_count(network), qd_network_image_size(network),
           qd_export_format_name(options->export.format));
    cli_print_padded(options->out, 0);
    putchar('\n');
    fail : qd_dataset_destroy(dataset);
    qd_network_destroy(network);
    free(train_folder);
    return status;
}

int cli_command_export(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_network_argp, 0, CLI_NETWORK_HEADING, 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "CHECKPOINT",
        .doc = "Writes a checkpoint for other programs: PyTorch (load_state_dict takes it with strict=True), ONNX "
               "runtimes in float32 or INT8, or its scales and zero points as JSON."
               "\vThe defaults choose the scales that a run's results report: 1000 training images, MinMax, per "
               "tensor, int8.\n\nExample: quantdrift export results/demo/checkpoints/resnet18_last.safetensors "
               "--format onnx-qdq --data data/synth -o resnet18_qdq.onnx",
        .children = children,
    };
    export_options options = {.network = {.max_batch = 1}}; /* no float inference here */
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    int code = cli_report(ctx, export(ctx, &options));
    qd_context_destroy(ctx);
    return code;
}
