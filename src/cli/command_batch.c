#include "cli/experiment_text.h"
#include "cli/options.h"
#include <inttypes.h>
#include <quantdrift/batches.h>
#include <stdio.h>

typedef struct batch_values {
    cli_common common;
    qd_batches_request request;
    const char *experiment; /* NULL: the recipe, with this model alone */
    const char *data;
    int64_t seed, batch, size; /* -1: as the experiment says */
} batch_values;

static const char *check(void *values)
{
    const batch_values *v = values;
    if (!v->request.model)
        return "--model is missing: say whose training";
    if (!v->request.path)
        return "--out is missing: say which file to write";
    if (!v->data && !v->experiment)
        return "--data is missing: say which images, or name an experiment file";
    return NULL;
}

static enum qd_status configure(qd_experiment *experiment, const batch_values *v)
{
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"seed", v->seed}, {"batch_size", v->batch}, {"image_size", v->size}};
    char assignment[64];
    if (v->experiment)
        QD_TRY(qd_experiment_read(experiment, v->experiment));
    else
        QD_TRY(cli_experiment_set_text(experiment, "models", v->request.model));
    if (v->data)
        QD_TRY(cli_experiment_set_text(experiment, "data_dir", v->data));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].value < 0)
            continue;
        snprintf(assignment, sizeof assignment, "%s=%" PRId64, numbers[i].key, numbers[i].value);
        QD_TRY(qd_experiment_set(experiment, assignment));
    }
    return QD_OK;
}

static enum qd_status write_batches(qd_context *ctx, void *values)
{
    const batch_values *v = values;
    enum qd_status status = QD_OK;
    qd_experiment *experiment = NULL;
    qd_batches_summary summary;
    QD_TRY_GOTO(qd_experiment_create(ctx, &experiment));
    QD_TRY_GOTO(configure(experiment, v));
    QD_TRY_GOTO(qd_batches_write(experiment, &v->request, &summary));
    if (!v->common.quiet) {
        cli_print_padded(v->request.path, 0);
        printf(": %" PRId64 " images in batches %" PRId64 " to %" PRId64 " of epoch %" PRId64 "\n", summary.images,
               v->request.first_batch, v->request.first_batch + summary.batches - 1, v->request.epoch);
    }
fail:
    qd_experiment_destroy(experiment);
    return status;
}

static const cli_option options[] = {
    {"data", 0, "DIR", "Folder with train/ (default: as the experiment says)", CLI_TEXT(batch_values, data)},
    {"model", 0, "NAME", "resnet18, efficientnet_b0 or a variant: whose training (required)",
     CLI_TEXT(batch_values, request.model)},
    {"seed", 0, "N", "Seed of the run (default: as the experiment says, else 42)",
     CLI_INT(batch_values, seed, 0, INT64_MAX)},
    {"batch", 0, "N", "Images a batch (default: as the experiment says, else 64)",
     CLI_INT(batch_values, batch, 1, 65536)},
    {"size", 0, "PIXELS", "Side of the images (default: as the experiment says, else 224)",
     CLI_INT(batch_values, size, CLI_MIN_IMAGE_SIZE, CLI_MAX_IMAGE_SIZE)},
    {"count", 0, "K", "Batches to write (default 1)", CLI_INT(batch_values, request.count, 1, INT32_MAX)},
    {"first", 0, "B", "First of them, counted from 0 (default 0)",
     CLI_INT(batch_values, request.first_batch, 0, INT32_MAX)},
    {"epoch", 0, "E", "Training epoch, counted from 1 (default 1)",
     CLI_INT(batch_values, request.epoch, 1, INT32_MAX)},
    {"out", 'o', "FILE", "safetensors file to write (required)", CLI_TEXT(batch_values, request.path)},
    {"png", 0, "FILE", "Write a contact sheet of the images as well", CLI_TEXT(batch_values, request.png_path)},
    {0},
};

static const cli_command command = {
    .options = options,
    .usage = "[EXPERIMENT.json]",
    .argument = "experiment",
    .argument_at = offsetof(batch_values, experiment),
    .doc = "Writes training batches as the run would see them: float32 images, their bytes before normalisation, "
           "labels, indices and file names. Nothing is trained: all that is drawn before and between the batches "
           "is replayed. With an experiment file, the models listed before NAME are replayed as trained first; "
           "without one the run is that of NAME alone."
           "\vExample: quantdrift batch --data data/synth --model resnet18 --batch 16 --size 64 --count 2 "
           "-o batches.safetensors --png batches.png\n\n"
           "A batch takes 15 bytes of memory for each pixel of its images: 46 MiB for 64 images of 224 px.",
    .check = check,
    .run = write_batches,
};

int cli_command_batch(int argc, char **argv)
{
    batch_values values = {.request = {.epoch = 1, .count = 1}, .seed = -1, .batch = -1, .size = -1};
    return cli_run(&command, argc, argv, &values);
}
