#include "cli/options.h"
#include <inttypes.h>
#include <quantdrift/dataset.h>
#include <stdio.h>

typedef struct synth_values {
    cli_common common;
    const char *folder;
    qd_synth_config config; /* its size and seed are those below */
    int size;
    int64_t seed;
} synth_values;

static const char *check(void *values)
{
    synth_values *v = values;
    v->config.size = (int32_t)v->size;
    v->config.seed = (uint64_t)v->seed;
    return v->folder ? NULL : "--out is missing: say where the images go";
}

static enum qd_status synth(qd_context *ctx, void *values)
{
    const synth_values *v = values;
    QD_TRY(qd_synth_write(ctx, v->folder, &v->config));
    if (!v->common.quiet) {
        cli_print_padded(v->folder, 0);
        printf(": %" PRId64 " training and %" PRId64 " validation images a class\n", v->config.train_per_class,
               v->config.val_per_class);
    }
    return QD_OK;
}

static const cli_option options[] = {
    {"out", 'o', "DIR", "Folder to write train/ and val/ into (required)", CLI_TEXT(synth_values, folder)},
    {"train", 0, "N", "Training images a class (default 100)",
     CLI_INT(synth_values, config.train_per_class, 1, 100000)},
    {"val", 0, "N", "Validation images a class (default 25)", CLI_INT(synth_values, config.val_per_class, 1, 100000)},
    {"size", 0, "PIXELS", "Shorter side of the images (default 88)", CLI_WORD(synth_values, size, 16, 1024)},
    {"seed", 0, "N", "Draws another set of the same kind (default 1)", CLI_INT(synth_values, seed, 0, INT64_MAX)},
    {0},
};

static const cli_command command = {
    .options = options,
    .doc = "Writes the embedded data set: ten procedurally drawn classes told apart by shape and texture; JPEG "
           "mostly, some PNG, some grey. The same options give the same bytes."
           "\vExample: quantdrift synth --out data/synth",
    .check = check,
    .run = synth,
};

int cli_command_synth(int argc, char **argv)
{
    synth_values values = {.config = qd_synth_defaults()};
    values.size = values.config.size;
    values.seed = (int64_t)values.config.seed;
    return cli_run(&command, argc, argv, &values);
}
