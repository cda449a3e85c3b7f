#include "cli/cli.h"
#include "cli/run_lines.h"
#include <stdio.h>

typedef struct status_options {
    cli_common common;
    const char *folder;
    qd_context *ctx;
    int runs;
} status_options;

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    status_options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->folder)
            argp_error(state, "one folder at a time: '%s' is too much", arg);
        options->folder = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->folder)
            argp_error(state, "name a folder, such as results");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A damaged run does not hide the others. */
static enum qd_status show_run(void *user, const char *folder)
{
    status_options *options = user;
    qd_run_report report = {0};
    options->runs++;
    if (qd_run_report_read(options->ctx, folder, &report) != QD_OK) {
        fputs("unreadable               ", stdout);
        cli_print_padded(folder, 0);
        fputs(": ", stdout);
        cli_print_padded(qd_context_error(options->ctx), 0);
        putchar('\n');
        return QD_OK;
    }
    cli_print_run_state(&report);
    cli_print_run_models(&report);
    qd_run_report_free(&report);
    return QD_OK;
}

int cli_command_status(int argc, char **argv)
{
    const struct argp argp = {
        .parser = parse_option,
        .args_doc = "DIR",
        .doc = "Tells of every run at or below DIR, from its files alone: its state (running, complete, failed with "
               "the reason, interrupted, killed), the process that is at work in it, and for each model the last "
               "epoch with its validation accuracy and the last INT8 accuracy. Nothing is locked or written, by "
               "default or otherwise."
               "\vExample: quantdrift status results",
        .children = cli_common_children,
    };
    status_options options = {0};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    enum qd_status status = cli_create_context(&options.common, &options.ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    status = qd_run_folders_visit(options.ctx, options.folder, show_run, &options);
    int code = cli_report(options.ctx, status);
    if (status == QD_OK && options.runs == 0) {
        char escaped[CLI_TEXT_BYTES];
        cli_escape(options.folder, escaped);
        code = cli_error(QD_ERR_INPUT, "'%s': no run's folder here or below; they have a " QD_MANIFEST_NAME, escaped);
    }
    qd_context_destroy(options.ctx);
    return code;
}
