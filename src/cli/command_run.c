#include "cli/cli.h"
#include "cli/experiment_text.h"
#include <inttypes.h>
#include <quantdrift/experiment.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEY_DATA = 0x100, KEY_OUT, KEY_RESUME, KEY_SET, KEY_STEP_LOG };

typedef struct run_options {
    cli_common common;
    const char *experiment, *data, *out, *step_log;
    const char **assignments; /* of --set, borrowed from argv */
    size_t assignment_count;
    bool resume;
} run_options;

static const struct argp_option option_list[] = {
    {"data", KEY_DATA, "DIR", 0, "Folder with train/ and val/ (default: data_dir of the experiment)", 0},
    {"out", KEY_OUT, "DIR", 0, "Folder for results and checkpoints (default: output_dir of the experiment)", 0},
    {"resume", KEY_RESUME, NULL, 0, "Continue what an interrupted run left in the output folder", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "Override a key of the experiment; the value is JSON. May be repeated", 0},
    {"step-log", KEY_STEP_LOG, "FILE", 0,
     "Write one JSON line a training step: model, epoch, step, loss, lr, grad_norm", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    run_options *options = state->input;
    switch (key) {
    case KEY_DATA:
        options->data = arg;
        return 0;
    case KEY_OUT:
        options->out = arg;
        return 0;
    case KEY_RESUME:
        options->resume = true;
        return 0;
    case KEY_SET:
        options->assignments[options->assignment_count++] = arg;
        return 0;
    case KEY_STEP_LOG:
        options->step_log = arg;
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
        if (!options->experiment)
            argp_error(state, "name an experiment file, such as experiments/demo.json");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The only variable of the program that a signal changes. */
static volatile int interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
    /* Who asks twice does not want to wait for the end of the step. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

static void catch_signals(void)
{
    /* SA_RESTART: reads and writes under way go on, the step is finished first. */
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* Hours of training must not end because nobody reads the progress lines any more. */
    signal(SIGPIPE, SIG_IGN);
}

/* File first, then --data, --out and --threads, then --set: what stands nearer to the user wins. */
static enum qd_status configure(qd_experiment *experiment, const run_options *options)
{
    QD_TRY(qd_experiment_read(experiment, options->experiment));
    if (options->data)
        QD_TRY(cli_experiment_set_text(experiment, "data_dir", options->data));
    if (options->out)
        QD_TRY(cli_experiment_set_text(experiment, "output_dir", options->out));
    if (options->common.threads > 0) {
        char assignment[32];
        snprintf(assignment, sizeof assignment, "threads=%d", options->common.threads);
        QD_TRY(qd_experiment_set(experiment, assignment));
    }
    for (size_t i = 0; i < options->assignment_count; i++)
        QD_TRY(qd_experiment_set(experiment, options->assignments[i]));
    return QD_OK;
}

static enum qd_status run_and_print(qd_experiment *experiment, run_options *options)
{
    const qd_run_options run = {
        .resume = options->resume,
        .step_log_path = options->step_log,
        .progress = cli_progress_show,
        .user = &options->common.progress,
        .interrupt = &interrupted,
    };
    catch_signals();
    enum qd_status status = qd_experiment_run(experiment, &run);
    cli_progress_close(&options->common.progress);
    if (status != QD_OK)
        return status;
    char *table = NULL;
    QD_TRY(qd_experiment_table(experiment, &table));
    fputs(table, stdout);
    free(table);
    return QD_OK;
}

int cli_command_run(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "EXPERIMENT.json",
        .doc = "Trains every model of the experiment, logs activations, quantizes each logged checkpoint to INT8, "
               "prints and writes the table of float against INT8 accuracy."
               "\vExample: quantdrift run experiments/imagewoof_divergence.json --data data/imagewoof2-320 "
               "--set num_epochs=10 --set models='[\"resnet18\"]'\n\n"
               "An interrupt (Ctrl-C) finishes the step under way and leaves a checkpoint; a second one stops at "
               "once. --resume continues to the same bits.",
        .children = cli_common_children,
    };
    run_options options = {.assignments = calloc((size_t)argc, sizeof(char *))};
    if (!options.assignments)
        return cli_error(QD_ERR_MEMORY, "out of memory");
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    qd_experiment *experiment = NULL;
    int code = CLI_FAILED;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK) {
        code = cli_exit_code(status);
        goto done;
    }
    status = qd_experiment_create(ctx, &experiment);
    if (status == QD_OK)
        status = configure(experiment, &options);
    if (status == QD_OK)
        status = run_and_print(experiment, &options);
    code = cli_report(ctx, status);
done:
    qd_experiment_destroy(experiment);
    qd_context_destroy(ctx);
    free(options.assignments);
    return code;
}
