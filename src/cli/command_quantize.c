#include "base/error.h"
#include "base/file.h"
#include "cli/network_options.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct quantize_values {
    cli_common common;
    qd_network_config network;
    cli_scales scales;
    const char *out;
} quantize_values;

static const char *check(void *values)
{
    const quantize_values *v = values;
    if (!v->network.checkpoint)
        return "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (!v->out)
        return "-o is missing: say where to write the quantized model";
    if (!v->scales.data && !v->scales.quantize.encodings)
        return "--data is missing: the scales need images, or --encodings that name every tensor";
    return NULL;
}

/* "a.safetensors" has its encodings in "a_encodings.json"; NULL when memory is short. */
static char *encodings_path(const char *out)
{
    static const char suffix[] = ".safetensors";
    const size_t length = strlen(out), end = strlen(suffix);
    const bool known = length > end && strcmp(out + length - end, suffix) == 0;
    return qd_format("%.*s_encodings.json", (int)(known ? length - end : length), out);
}

static double mebibytes(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (double)info.st_size / 0x1p20 : 0.0;
}

/* Both files or none: the encodings get their name when the model is there. */
static enum qd_status write_files(qd_context *ctx, const qd_network *quantized, const char *out)
{
    enum qd_status status = QD_OK;
    char *encodings = encodings_path(out), *staged = encodings ? qd_format("%s.new", encodings) : NULL;
    if (!staged) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    QD_TRY_GOTO(qd_network_write_encodings(quantized, staged));
    QD_TRY_GOTO(qd_network_save(quantized, out));
    if (rename(staged, encodings) != 0) {
        status = qd_fail(ctx, QD_ERR_IO, "writing '%s': %s", encodings, strerror(errno));
        goto fail;
    }
    cli_print_network(quantized);
    printf(", %.2f MiB: ", mebibytes(out));
    cli_print_padded(out, 0);
    printf("; its encodings: ");
    cli_print_padded(encodings, 0);
    putchar('\n');
fail:
    if (status != QD_OK && staged)
        unlink(staged);
    free(staged);
    free(encodings);
    return status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

static enum qd_status quantize(qd_context *ctx, void *values)
{
    quantize_values *v = values;
    enum qd_status status = QD_OK;
    qd_network *network = NULL, *quantized = NULL;
    if (is_same_file(v->network.checkpoint, v->out))
        return qd_fail(
            ctx, QD_ERR_USAGE,
            "quantize: '%s' is the checkpoint itself, which the quantized model would replace; choose another "
            "-o",
            v->out);
    QD_TRY_GOTO(cli_open_calibration(ctx, &v->scales));
    QD_TRY_GOTO(qd_recipe_require_file(ctx, v->scales.quantize.recipe));
    QD_TRY_GOTO(qd_network_load(ctx, &v->network, &network));
    QD_TRY_GOTO(qd_network_quantize(network, &v->scales.quantize, &quantized));
    QD_TRY_GOTO(write_files(ctx, quantized, v->out));
fail:
    cli_close_calibration(&v->scales);
    qd_network_destroy(quantized);
    qd_network_destroy(network);
    return status;
}

static const cli_option options[] = {
    {"output", 'o', "FILE", "Quantized model to write (required); FILE_encodings.json is written beside it",
     CLI_TEXT(quantize_values, out)},
    {"encodings", 0, "FILE", "Edited encodings: bits, ranges, scales, and what stays float",
     CLI_TEXT(quantize_values, scales.quantize.encodings)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_SCALES_GROUPS(quantize_values, scales), CLI_NETWORK_GROUP(offsetof(quantize_values, network))},
    .usage = "CHECKPOINT",
    .argument = "checkpoint",
    .argument_at = offsetof(quantize_values, network.checkpoint),
    .doc =
        "Writes the quantized form of a checkpoint: a safetensors file of int8 weights, int32 biases and scales that "
        "eval runs without the checkpoint, and the encodings of every tensor as JSON."
        "\vThe defaults choose the scales that a run's results report: 1000 training images, MinMax, per tensor, "
        "int8. Encodings can be edited and given back with --encodings: a tensor's numbers replace what calibration "
        "finds, and the text \"float\" in place of a tensor's or weight's object leaves it in float32. --data is "
        "needed for tensors that they do not name. Dynamic ranges, fused SiLUs and more than 8 bits exist in "
        "simulation "
        "only and have no file: quantdrift grid evaluates them.\n\n"
        "Example: quantdrift quantize results/demo/checkpoints/resnet18_last.safetensors --data data/synth "
        "-o resnet18_int8.safetensors",
    .check = check,
    .run = quantize,
};

int cli_command_quantize(int argc, char **argv)
{
    quantize_values values = {.network = {.max_batch = 1}}; /* no float inference here */
    return cli_run(&command, argc, argv, &values);
}
