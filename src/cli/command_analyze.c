#include "cli/analysis_report.h"
#include "cli/network_options.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The post's. */
static const char default_values[] = "7,7.5";

typedef struct analyze_values {
    cli_common common;
    qd_network_config network;
    cli_scales scales;
    const char *image, *json, *compare, *layers_text, *values_text;
    bool modules;
    double values[QD_ANALYSIS_MAX_VALUES];
    int value_count;
} analyze_values;

/* "7,7.5" into numbers; false when it is no such list. */
static bool parse_values(analyze_values *v)
{
    const char *text = v->values_text;
    for (;;) {
        char *end = NULL;
        errno = 0;
        const double value = strtod(text, &end);
        if (end == text || errno != 0 || !isfinite(value) || (*end != ',' && *end != '\0') ||
            v->value_count == QD_ANALYSIS_MAX_VALUES)
            return false;
        v->values[v->value_count++] = value;
        if (*end == '\0')
            return true;
        text = end + 1;
    }
}

static const char *check(void *values)
{
    analyze_values *v = values;
    if (!v->network.checkpoint)
        return "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (!v->scales.data && !v->image)
        return "--data or --image is missing: say which images";
    if (!parse_values(v))
        return "--values: expected at most 16 numbers with commas between them, such as 7,7.5";
    return NULL;
}

/* The first image of val/, or of the folder itself; freed with free(). */
static enum qd_status first_image(qd_context *ctx, const char *data, char **out)
{
    qd_dataset *dataset = NULL;
    char *folder = cli_subfolder(data, "val");
    enum qd_status status = qd_dataset_open(ctx, folder ? folder : data, QD_BAD_IMAGE_ERROR, &dataset);
    if (status == QD_OK) {
        *out = strdup(qd_dataset_get(dataset, 0)->path);
        status = *out ? QD_OK : QD_ERR_MEMORY;
    }
    qd_dataset_destroy(dataset);
    free(folder);
    return status;
}

/* "a,b" into names; `text` is written over, *names freed with free(). */
static enum qd_status split_names(char *text, const char ***names, int *count)
{
    size_t commas = 0;
    for (const char *c = text; c && *c; c++)
        commas += *c == ',';
    *names = calloc(commas + 1, sizeof **names);
    if (!*names)
        return QD_ERR_MEMORY;
    char *rest = NULL;
    for (char *name = text ? strtok_r(text, ",", &rest) : NULL; name; name = strtok_r(NULL, ",", &rest))
        (*names)[(*count)++] = name;
    return QD_OK;
}

static enum qd_status report(qd_context *ctx, const analyze_values *v, const qd_analyzed *analyzed,
                             const qd_analyzed *compared)
{
    cli_analysis_print(analyzed, compared, v->modules);
    return v->json ? qd_analysis_write(ctx, v->json, analyzed, compared) : QD_OK;
}

/* The other network over the same image, and both beside each other. */
static enum qd_status compare(qd_context *ctx, const analyze_values *v, const qd_analyzed *first)
{
    qd_network_config config = {.checkpoint = v->compare, .image_size = v->network.image_size, .max_batch = 1};
    qd_analysis_options options = *first->options;
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_analysis *analysis = NULL;
    options.checkpoint = v->compare;
    options.layers = NULL;
    options.layer_count = 0;
    options.modules_only = true;
    QD_TRY_GOTO(qd_network_load(ctx, &config, &network));
    QD_TRY_GOTO(qd_network_analyze(network, &options, &analysis));
    const qd_analyzed second = {network, &options, analysis};
    status = report(ctx, v, first, &second);
fail:
    qd_analysis_destroy(analysis);
    qd_network_destroy(network);
    return status;
}

static enum qd_status analyze(qd_context *ctx, void *values)
{
    analyze_values *v = values;
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_analysis *analysis = NULL;
    const char **layers = NULL;
    char *image = NULL, *text = v->layers_text ? strdup(v->layers_text) : NULL;
    qd_analysis_options options = {.checkpoint = v->network.checkpoint,
                                   .data = v->scales.data,
                                   .image = v->image,
                                   .quantization = &v->scales.quantize,
                                   .value_count = v->value_count};
    memcpy(options.values, v->values, sizeof options.values);
    if (v->layers_text && !text) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    QD_TRY_GOTO(split_names(text, &layers, &options.layer_count));
    options.layers = layers;
    QD_TRY_GOTO(qd_network_load(ctx, &v->network, &network));
    QD_TRY_GOTO(cli_open_calibration(ctx, &v->scales));
    if (!v->image) {
        QD_TRY_GOTO(first_image(ctx, v->scales.data, &image));
        options.image = image;
    }
    QD_TRY_GOTO(qd_network_analyze(network, &options, &analysis));
    const qd_analyzed analyzed = {network, &options, analysis};
    if (v->compare)
        status = compare(ctx, v, &analyzed);
    else
        status = report(ctx, v, &analyzed, NULL);
fail:
    qd_analysis_destroy(analysis);
    cli_close_calibration(&v->scales);
    qd_network_destroy(network);
    free((void *)layers);
    free(text);
    free(image);
    return status;
}

static const cli_option options[] = {
    {"image", 0, "FILE", "Image whose values are told (default: the first of DIR/val)",
     CLI_TEXT(analyze_values, image)},
    {"json", 0, "FILE", "Write all of it, with channels and histograms", CLI_TEXT(analyze_values, json)},
    {"layer", 0, "NAMES", "Modules or tensors to show besides, with commas between them",
     CLI_TEXT(analyze_values, layers_text)},
    {"values", 0, "NUMBERS", "Values whose codes are told (default 7,7.5)", CLI_TEXT(analyze_values, values_text)},
    {"compare", 0, "CHECKPOINT", "Another network over the same image, side by side",
     CLI_TEXT(analyze_values, compare)},
    {"modules", 0, NULL, "Print the statistics of every module too", CLI_FLAG(analyze_values, modules)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_SCHEME_GROUPS(analyze_values, scales), CLI_NETWORK_GROUP(offsetof(analyze_values, network))},
    .usage = "CHECKPOINT",
    .argument = "checkpoint",
    .argument_at = offsetof(analyze_values, network.checkpoint),
    .doc =
        "Why a checkpoint's ranges are wide: its worst layers over one image, what BatchNorm makes of each "
        "convolution's range, its gammas, the channels that set a tensor's range and the codes the others are left "
        "with, and where given values fall."
        "\vWith --image alone that image chooses the scales too. docs/results-format.md tells what the JSON file "
        "holds.\n\n"
        "Example: quantdrift analyze results/demo/checkpoints/efficientnet_b0_last.safetensors --data data/synth "
        "--compare results/demo/checkpoints/resnet18_last.safetensors --json analysis.json",
    .check = check,
    .run = analyze,
};

int cli_command_analyze(int argc, char **argv)
{
    analyze_values values = {.network = {.max_batch = 1}, .values_text = default_values};
    return cli_run(&command, argc, argv, &values);
}
