#include "cli/cli.h"
#include "cli/experiment_text.h"
#include <inttypes.h>
#include <quantdrift/batches.h>
#include <stdio.h>

enum { KEY_DATA = 0x100, KEY_MODEL, KEY_SEED, KEY_BATCH, KEY_SIZE, KEY_COUNT, KEY_FIRST, KEY_EPOCH, KEY_PNG };

typedef struct batch_options {
    cli_common common;
    qd_batches_request request;
    const char *experiment; /* NULL: the recipe, with this model alone */
    const char *data;
    int64_t seed, batch, size; /* -1: as the experiment says */
} batch_options;

static const struct argp_option option_list[] = {
    {"data", KEY_DATA, "DIR", 0, "Folder with train/ (default: as the experiment says)", 0},
    {"model", KEY_MODEL, "NAME", 0, "resnet18, efficientnet_b0 or a variant: whose training (required)", 0},
    {"seed", KEY_SEED, "N", 0, "Seed of the run (default: as the experiment says, else 42)", 0},
    {"batch", KEY_BATCH, "N", 0, "Images a batch (default: as the experiment says, else 64)", 0},
    {"size", KEY_SIZE, "PIXELS", 0, "Side of the images (default: as the experiment says, else 224)", 0},
    {"count", KEY_COUNT, "K", 0, "Batches to write (default 1)", 0},
    {"first", KEY_FIRST, "B", 0, "First of them, counted from 0 (default 0)", 0},
    {"epoch", KEY_EPOCH, "E", 0, "Training epoch, counted from 1 (default 1)", 0},
    {"out", 'o', "FILE", 0, "safetensors file to write (required)", 0},
    {"png", KEY_PNG, "FILE", 0, "Write a contact sheet of the images as well", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    batch_options *options = state->input;
    switch (key) {
    case KEY_DATA:
        options->data = arg;
        return 0;
    case KEY_MODEL:
        options->request.model = arg;
        return 0;
    case KEY_SEED:
        options->seed = cli_parse_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case KEY_BATCH:
        options->batch = cli_parse_int(state, "--batch", arg, 1, 65536);
        return 0;
    case KEY_SIZE:
        options->size = cli_parse_int(state, "--size", arg, 32, 4096);
        return 0;
    case KEY_COUNT:
        options->request.count = cli_parse_int(state, "--count", arg, 1, INT32_MAX);
        return 0;
    case KEY_FIRST:
        options->request.first_batch = cli_parse_int(state, "--first", arg, 0, INT32_MAX);
        return 0;
    case KEY_EPOCH:
        options->request.epoch = cli_parse_int(state, "--epoch", arg, 1, INT32_MAX);
        return 0;
    case 'o':
        options->request.path = arg;
        return 0;
    case KEY_PNG:
        options->request.png_path = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->experiment)
            argp_error(state, "one experiment at a time: '%s' is too much", arg);
        options->experiment = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->request.model)
            argp_error(state, "--model is missing: say whose training");
        if (!options->request.path)
            argp_error(state, "--out is missing: say which file to write");
        if (!options->data && !options->experiment)
            argp_error(state, "--data is missing: say which images, or name an experiment file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status configure(qd_experiment *experiment, const batch_options *options)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"seed", options->seed}, {"batch_size", options->batch}, {"image_size", options->size}};
    char assignment[64];
    if (options->experiment)
        QD_TRY(qd_experiment_read(experiment, options->experiment));
    else
        QD_TRY(cli_experiment_set_text(experiment, "models", options->request.model));
    if (options->data)
        QD_TRY(cli_experiment_set_text(experiment, "data_dir", options->data));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].value < 0)
            continue;
        snprintf(assignment, sizeof assignment, "%s=%" PRId64, numbers[i].key, numbers[i].value);
        QD_TRY(qd_experiment_set(experiment, assignment));
    }
    return QD_OK;
}

static enum qd_status write_batches(qd_context *ctx, const batch_options *options)
{
    enum qd_status status = QD_OK;
    qd_experiment *experiment = NULL;
    qd_batches_summary summary;
    QD_TRY_GOTO(qd_experiment_create(ctx, &experiment));
    QD_TRY_GOTO(configure(experiment, options));
    QD_TRY_GOTO(qd_batches_write(experiment, &options->request, &summary));
    if (!options->common.quiet) {
        cli_print_padded(options->request.path, 0);
        printf(": %" PRId64 " images in batches %" PRId64 " to %" PRId64 " of epoch %" PRId64 "\n", summary.images,
               options->request.first_batch, options->request.first_batch + summary.batches - 1,
               options->request.epoch);
    }
fail:
    qd_experiment_destroy(experiment);
    return status;
}

int cli_command_batch(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "[EXPERIMENT.json]",
        .doc = "Writes training batches as the run would see them: float32 images, their bytes before normalisation, "
               "labels, indices and file names. Nothing is trained: all that is drawn before and between the batches "
               "is replayed. With an experiment file, the models listed before NAME are replayed as trained first; "
               "without one the run is that of NAME alone."
               "\vExample: quantdrift batch --data data/synth --model resnet18 --batch 16 --size 64 --count 2 "
               "-o batches.safetensors --png batches.png\n\n"
               "A batch takes 15 bytes of memory for each pixel of its images: 46 MiB for 64 images of 224 px.",
        .children = cli_common_children,
    };
    batch_options options = {.request = {.epoch = 1, .count = 1}, .seed = -1, .batch = -1, .size = -1};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    int code = cli_report(ctx, write_batches(ctx, &options));
    qd_context_destroy(ctx);
    return code;
}
