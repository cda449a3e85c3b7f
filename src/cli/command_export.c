#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>

typedef struct export_values {
    cli_common common;
    qd_network_config network;
    cli_scales scales;
    qd_export_options export;
    const char *format, *out;
} export_values;

static const char *check(void *values)
{
    export_values *v = values;
    if (!v->network.checkpoint)
        return "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (!v->format)
        return "--format is missing: safetensors, pth, onnx, onnx-qdq or encodings";
    qd_export_format_parse(v->format, &v->export.format);
    if (!v->out)
        return "-o is missing: say where to write";
    if ((v->export.format == QD_EXPORT_ONNX_QDQ || v->export.format == QD_EXPORT_ENCODINGS) && !v->scales.data)
        return "--data is missing: the scales need images";
    return NULL;
}

static enum qd_status export(qd_context *ctx, void *values) {
    export_values *v = values; enum qd_status status = QD_OK; qd_network *network = NULL;
    QD_TRY_GOTO(cli_open_calibration(ctx, &v->scales));
    QD_TRY_GOTO(qd_network_load(ctx, &v->network, &network));
    v->export.quantization = v->scales.quantize;
    QD_TRY_GOTO(qd_network_export(network, &v->export, v->out));
    cli_print_network(network);
    printf(" as %s: ", qd_export_format_name(v->export.format));
    cli_print_padded(v->out, 0);
    putchar('\n');
    fail : cli_close_calibration(&v->scales);
    qd_network_destroy(network);
    return status;
}

static const cli_option options[] = {
    {"format", 0, "NAME", "safetensors, pth, onnx, onnx-qdq or encodings (required)",
     CLI_CHOICE(export_values, format, "safetensors|pth|onnx|onnx-qdq|encodings")},
    {"output", 'o', "FILE", "File to write (required)", CLI_TEXT(export_values, out)},
    {"torchvision-head", 0, NULL,
     "safetensors, pth: EfficientNet's classifier as classifier.1, as torchvision builds it",
     CLI_FLAG(export_values, export.torchvision_head)},
    {"keep-batchnorm", 0, NULL, "onnx: a node for every BatchNorm instead of folding it",
     CLI_FLAG(export_values, export.keep_batchnorm)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_SCALES_GROUPS(export_values, scales), CLI_NETWORK_GROUP(offsetof(export_values, network))},
    .usage = "CHECKPOINT",
    .argument = "checkpoint",
    .argument_at = offsetof(export_values, network.checkpoint),
    .doc = "Writes a checkpoint for other programs: PyTorch (load_state_dict takes it with strict=True), ONNX "
           "runtimes in float32 or INT8, or its scales and zero points as JSON."
           "\vonnx-qdq and encodings need --data. The defaults choose the scales that a run's results report: 1000 "
           "training images, MinMax, per tensor, int8. ONNX takes 8 bits with static ranges for every tensor.\n\n"
           "Example: quantdrift export results/demo/checkpoints/resnet18_last.safetensors "
           "--format onnx-qdq --data data/synth -o resnet18_qdq.onnx",
    .check = check,
    .run = export,
};

int cli_command_export(int argc, char **argv)
{
    export_values values = {.network = {.max_batch = 1}}; /* no float inference here */
    return cli_run(&command, argc, argv, &values);
}
