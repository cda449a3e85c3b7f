#include "cli/cli.h"
#include <inttypes.h>
#include <quantdrift/experiment.h>
#include <stdio.h>

enum { KEY_DATA = 0x100 };

typedef struct verify_options {
    cli_common common;
    const char *folder, *data;
} verify_options;

static const struct argp_option option_list[] = {
    {"data", KEY_DATA, "DIR", 0, "Folder with train/ and val/ (default: data_dir of the run's configuration)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    verify_options *options = state->input;
    switch (key) {
    case KEY_DATA:
        options->data = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->folder)
            argp_error(state, "one run at a time: '%s' is too much", arg);
        options->folder = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->folder)
            argp_error(state, "name a run's folder, such as results/demo");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void show_finding(void *user, enum qd_finding finding, const char *sentence)
{
    static const char *const words[QD_FINDING_COUNT] = {
        [QD_FINDING_EQUAL] = "equal", [QD_FINDING_DIFFERENT] = "DIFFERENT", [QD_FINDING_UNCHECKED] = "unchecked"};
    const verify_options *options = user;
    if (options->common.quiet && finding == QD_FINDING_EQUAL)
        return;
    printf("%-10s ", words[finding]);
    cli_print_padded(sentence, 0);
    putchar('\n');
}

int cli_command_verify(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "DIR",
        .doc =
            "Checks a run's folder against itself: the hashes of its files with those of its manifest, then, for "
            "every logged epoch whose checkpoint is there, validation, activation statistics and INT8 accuracy, all "
            "computed again, with the results file. Tells what could not be checked. Exit code 1 when something "
            "differs."
            "\vExample: quantdrift verify results/demo\n\n"
            "Numbers come out bit for bit for any number of threads, with the instruction set that the run used.",
        .children = cli_common_children,
    };
    verify_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    int64_t counts[QD_FINDING_COUNT];
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    const qd_verify_options verify = {.data_dir = options.data, .finding = show_finding, .user = &options};
    status = qd_run_verify(ctx, options.folder, &verify, counts);
    int code = cli_report(ctx, status);
    if (status == QD_OK) {
        printf("%" PRId64 " equal, %" PRId64 " different, %" PRId64 " unchecked\n", counts[QD_FINDING_EQUAL],
               counts[QD_FINDING_DIFFERENT], counts[QD_FINDING_UNCHECKED]);
        code = counts[QD_FINDING_DIFFERENT] > 0 ? CLI_FAILED : CLI_DONE;
    }
    qd_context_destroy(ctx);
    return code;
}
