#include "cli/network_options.h"
#include <errno.h>
#include <inttypes.h>
#include <quantdrift/sensitivity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Layers named on the terminal; the file has all. */
enum { SHOWN = 10 };

/* Columns of names: torchvision's longest path here has 29 characters. */
enum { NAME_WIDTH = 32 };

typedef struct sensitivity_values {
    cli_common common;
    qd_network_config network;
    cli_scales scales;
    int64_t images;
    const char *max_drop_text, *json, *encodings;
    double max_drop;
} sensitivity_values;

static const char *check(void *values)
{
    sensitivity_values *v = values;
    char *end = NULL;
    if (!v->network.checkpoint)
        return "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors";
    if (!v->scales.data)
        return "--data is missing: say which images";
    errno = 0;
    v->max_drop = strtod(v->max_drop_text, &end);
    if (end == v->max_drop_text || *end != '\0' || errno != 0 || !(v->max_drop >= 0.0 && v->max_drop <= 100.0))
        return "--max-drop: expected a number of points from 0 to 100, such as 1.0";
    return NULL;
}

static void print_score(const char *name, const qd_sensitivity_score *score)
{
    printf("  %-*s  %8.2f  %8.2f  %10.5f  %10.5f  %8.2f\n", NAME_WIDTH, name, score->accuracy, score->drop, score->kl,
           score->mse, score->agree_pct);
}

static void print_title(const char *title)
{
    printf("\n  %-*s  %8s  %8s  %10s  %10s  %8s\n", NAME_WIDTH, title, "acc %", "drop", "KL", "MSE", "agree %");
}

/* The layer at a place of the KL ranking. */
static const qd_sensitivity_layer *at_rank(const qd_sensitivity *s, int rank)
{
    for (int i = 0; i < s->layer_count; i++)
        if (s->layers[i].rank_kl == rank)
            return &s->layers[i];
    return NULL;
}

static void print_layers(const qd_sensitivity *s)
{
    print_title("this layer alone quantized");
    for (int rank = 1; rank <= s->layer_count && rank <= SHOWN; rank++)
        print_score(at_rank(s, rank)->name, &at_rank(s, rank)->only);
    print_title("all but this layer quantized");
    for (int rank = 1; rank <= s->layer_count && rank <= SHOWN; rank++)
        print_score(at_rank(s, rank)->name, &at_rank(s, rank)->without);
    if (s->layer_count > SHOWN)
        printf("  (the %d with the most KL of %d layers)\n", SHOWN, s->layer_count);
}

static void print_kept(const qd_sensitivity *s, double max_drop)
{
    if (!s->reached)
        printf(
            "\nno choice of layers keeps the drop within %g points on these images: even with all layers in float32 "
            "it is %.2f\n",
            max_drop, s->kept_score.drop);
    else if (s->kept_count == 0)
        printf("\nthe drop is within %g points with everything quantized\n", max_drop);
    else
        printf("\nfloat32 for %d of %d layers keeps the drop within %g points: %.2f (95 %% interval %.2f to %.2f) on "
               "these images\n",
               s->kept_count, s->layer_count, max_drop, s->kept_score.drop, s->kept_low, s->kept_high);
    for (int i = 0; s->reached && i < s->kept_count; i++)
        printf("  %s\n", s->layers[s->kept[i]].name);
}

static void print(const qd_network *network, const qd_sensitivity *s, double max_drop)
{
    cli_print_network(network);
    printf(": %" PRId64 " images, ranges from %" PRId64 "\n", s->images, s->calibration_images);
    const qd_sensitivity_score reference = {.accuracy = s->float_accuracy, .agree_pct = 100.0};
    print_title("network");
    print_score("float32", &reference);
    print_score("integers", &s->int8);
    for (int i = 0; i < s->form_count; i++)
        print_score(s->forms[i].name, &s->forms[i].score);
    printf("  (95 %% interval of the integers' drop: %.2f to %.2f points; below it simulated)\n", s->int8_low,
           s->int8_high);
    print_layers(s);
    print_kept(s, max_drop);
}

/* DIR/val, or DIR when it has no such folder. */
static enum qd_status open_evaluation(qd_context *ctx, const char *data, qd_dataset **out)
{
    char *folder = cli_subfolder(data, "val");
    const enum qd_status status = qd_dataset_open(ctx, folder ? folder : data, QD_BAD_IMAGE_ERROR, out);
    free(folder);
    return status;
}

static enum qd_status sensitivity(qd_context *ctx, void *values)
{
    sensitivity_values *v = values;
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_dataset *evaluation = NULL;
    qd_sensitivity *found = NULL;
    qd_sensitivity_options options = {.checkpoint = v->network.checkpoint,
                                      .data = v->scales.data,
                                      .quantization = &v->scales.quantize,
                                      .images = v->images,
                                      .max_drop = v->max_drop,
                                      .progress = cli_progress_show,
                                      .user = &v->common.progress};
    QD_TRY_GOTO(qd_network_load(ctx, &v->network, &network));
    QD_TRY_GOTO(cli_open_calibration(ctx, &v->scales));
    QD_TRY_GOTO(open_evaluation(ctx, v->scales.data, &evaluation));
    options.evaluation = evaluation;
    status = qd_network_sensitivity(network, &options, &found);
    cli_progress_close(&v->common.progress);
    QD_TRY_GOTO(status);
    print(network, found, v->max_drop);
    if (v->encodings)
        QD_TRY_GOTO(qd_sensitivity_write_encodings(found, network, v->encodings));
    if (v->json)
        QD_TRY_GOTO(qd_sensitivity_write(found, network, &options, v->encodings, v->json));
fail:
    qd_sensitivity_destroy(found);
    qd_dataset_destroy(evaluation);
    cli_close_calibration(&v->scales);
    qd_network_destroy(network);
    return status;
}

static const cli_option options[] = {
    {"max-drop", 0, "POINTS", "Accuracy that may be lost, in points of a percent (default 1.0)",
     CLI_TEXT(sensitivity_values, max_drop_text)},
    {"images", 0, "N", "Validation images, from the classes in turn (default 256)",
     CLI_INT(sensitivity_values, images, 1, CLI_MAX_COUNT)},
    {"json", 0, "FILE", "Write all of it", CLI_TEXT(sensitivity_values, json)},
    {"encodings", 0, "FILE", "Write encodings that leave the layers found in float32, for quantize --encodings",
     CLI_TEXT(sensitivity_values, encodings)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_SCHEME_GROUPS(sensitivity_values, scales),
               CLI_NETWORK_GROUP(offsetof(sensitivity_values, network))},
    .usage = "CHECKPOINT",
    .argument = "checkpoint",
    .argument_at = offsetof(sensitivity_values, network.checkpoint),
    .doc = "Which layers do not bear quantization: each alone quantized, each alone left in float32, weights or "
           "activations alone, SiLU's input; and from that the fewest layers to leave in float32 so that accuracy "
           "stays within the limit."
           "\vRanges come from DIR/train, accuracies from DIR/val. docs/results-format.md tells what the JSON file "
           "holds.\n\n"
           "Example: quantdrift sensitivity results/demo/checkpoints/efficientnet_b0_last.safetensors "
           "--data data/synth --max-drop 1.0 --json sensitivity.json --encodings kept.json",
    .check = check,
    .run = sensitivity,
};

int cli_command_sensitivity(int argc, char **argv)
{
    sensitivity_values values = {.network = {.max_batch = 1}, .max_drop_text = "1.0"};
    return cli_run(&command, argc, argv, &values);
}
