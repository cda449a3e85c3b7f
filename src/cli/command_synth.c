#include "cli/cli.h"
#include <inttypes.h>
#include <limits.h>
#include <quantdrift/dataset.h>
#include <stdio.h>

enum { KEY_TRAIN = 0x100, KEY_VAL, KEY_SIZE, KEY_SEED };

typedef struct synth_options {
    cli_common common;
    const char *folder;
    qd_synth_config config;
} synth_options;

static const struct argp_option option_list[] = {
    {"out", 'o', "DIR", 0, "Folder to write train/ and val/ into (required)", 0},
    {"train", KEY_TRAIN, "N", 0, "Training images a class (default 100)", 0},
    {"val", KEY_VAL, "N", 0, "Validation images a class (default 25)", 0},
    {"size", KEY_SIZE, "PIXELS", 0, "Shorter side of the images (default 88)", 0},
    {"seed", KEY_SEED, "N", 0, "Draws another set of the same kind (default 1)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    synth_options *options = state->input;
    switch (key) {
    case 'o':
        options->folder = arg;
        return 0;
    case KEY_TRAIN:
        options->config.train_per_class = cli_parse_int(state, "--train", arg, 1, 100000);
        return 0;
    case KEY_VAL:
        options->config.val_per_class = cli_parse_int(state, "--val", arg, 1, 100000);
        return 0;
    case KEY_SIZE:
        options->config.size = (int32_t)cli_parse_int(state, "--size", arg, 16, 1024);
        return 0;
    case KEY_SEED:
        options->config.seed = (uint64_t)cli_parse_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return 0;
    case ARGP_KEY_END:
        if (!options->folder)
            argp_error(state, "--out is missing: say where the images go");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_command_synth(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .doc = "Writes the embedded data set: ten procedurally drawn classes told apart by shape and texture; JPEG "
               "mostly, some PNG, some grey. The same options give the same bytes."
               "\vExample: quantdrift synth --out data/synth",
        .children = cli_common_children,
    };
    synth_options options = {.config = qd_synth_defaults()};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    status = qd_synth_write(ctx, options.folder, &options.config);
    int code = cli_report(ctx, status);
    qd_context_destroy(ctx);
    if (code == CLI_DONE && !options.common.quiet) {
        cli_print_padded(options.folder, 0);
        printf(": %" PRId64 " training and %" PRId64 " validation images a class\n", options.config.train_per_class,
               options.config.val_per_class);
    }
    return code;
}
