#include "cli/cli.h"
#include "cli/experiment_text.h"
#include "cli/launcher.h"
#include "cli/run_queue.h"
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { KEY_DATA = 0x100, KEY_OUT, KEY_RESUME, KEY_SET, KEY_STEP_LOG, KEY_DRY_RUN, KEY_RATE, KEY_ONLY, KEY_QUEUED };

typedef struct run_options {
    cli_common common;
    const char *data, *out, *step_log;
    const char **experiments, **assignments; /* files, and of --set; borrowed from argv */
    size_t experiment_count, assignment_count;
    int jobs;
    int only; /* number of the one run of the queue that is wanted; 0: all */
    qd_processes *processes;
    double rate; /* images a second; 0: measure */
    bool resume, dry_run;
    pid_t queued; /* the queue that started this run; 0: none */
} run_options;

static const struct argp_option option_list[] = {
    {"data", KEY_DATA, "DIR", 0, "Folder with train/ and val/ (default: data_dir of the experiment)", 0},
    {"out", KEY_OUT, "DIR", 0, "Folder for results and checkpoints (default: output_dir of the experiment)", 0},
    {"resume", KEY_RESUME, NULL, 0,
     "Continue what an interrupted run left in the output folder (default with several runs)", 0},
    {"set", KEY_SET, "KEY=VALUE", 0, "Override a key of the experiment; the value is JSON. May be repeated", 0},
    {"step-log", KEY_STEP_LOG, "FILE", 0,
     "Write one JSON line a training step: model, epoch, step, loss, lr, grad_norm", 0},
    {"dry-run", KEY_DRY_RUN, NULL, 0, "Print the queue with steps, time, memory and disk; start nothing", 0},
    {"rate", KEY_RATE, "IMAGES", 0, "Images a second in training, for --dry-run (default: measured here)", 0},
    {"only", KEY_ONLY, "N", 0, "The N-th run of the queue alone, from 1: for job arrays of a cluster", 0},
    {"jobs", 'j', "N", 0, "Runs side by side, each with its share of the threads (default 1)", 0},
    {"queued", KEY_QUEUED, "PID", OPTION_HIDDEN, "This run belongs to a queue and ends with it", 0},
    {0},
};

static double parse_rate(const struct argp_state *state, const char *text)
{
    char *end = NULL;
    const double rate = strtod(text, &end);
    if (end == text || *end || !isfinite(rate) || rate <= 0.0)
        argp_error(state, "--rate: expected a number above 0, got '%s'", text);
    return rate;
}

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
    case KEY_DRY_RUN:
        options->dry_run = true;
        return 0;
    case KEY_RATE:
        options->rate = parse_rate(state, arg);
        return 0;
    case 'j':
        options->jobs = (int)cli_parse_int(state, "--jobs", arg, 1, 1024);
        return 0;
    case KEY_ONLY:
        options->only = (int)cli_parse_int(state, "--only", arg, 1, INT_MAX);
        return 0;
    case KEY_QUEUED:
        options->queued = (pid_t)cli_parse_int(state, "--queued", arg, 1, INT_MAX);
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        options->experiments[options->experiment_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (options->experiment_count == 0)
            argp_error(state, "name an experiment file, such as experiments/demo.json");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The only variable of the program that a signal changes. */
static volatile int interrupts;

/* Who asks twice does not want to wait for the end of the step. */
static void on_signal(int number)
{
    (void)number;
    interrupts++;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

/* A queue hands the second one on to its runs, and ends when they have. */
static void on_queue_signal(int number)
{
    if (++interrupts > 2)
        signal(number, SIG_DFL);
}

static void catch_signals(void (*handler)(int number))
{
    /* SA_RESTART: reads and writes under way go on, the step is finished first. */
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    /* Hours of training must not end because nobody reads the progress lines any more. */
    signal(SIGPIPE, SIG_IGN);
}

/* The file was first; then --data, --out and --threads, then --set: what stands nearer to the user wins. */
static enum qd_status configure(void *user, qd_experiment *experiment)
{
    const run_options *options = user;
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

static void on_queue_gone(int number)
{
    (void)number;
    if (interrupts == 0)
        interrupts = 1;
}

/* The run of a queue finishes its step and leaves a checkpoint when the queue is gone, as if interrupted. The signal
 * may come once for each thread the queue had, OpenBLAS's too, so it must not be one whose second means "at once". */
static void follow_queue(const run_options *options)
{
    struct sigaction action = {.sa_handler = on_queue_gone, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGHUP, &action, NULL);
    prctl(PR_SET_PDEATHSIG, SIGHUP);
    if (getppid() != options->queued) /* it went before this was asked for */
        interrupts = 1;
}

static enum qd_status run_and_print(qd_experiment *experiment, run_options *options)
{
    const qd_run_options run = {
        .resume = options->resume,
        .step_log_path = options->step_log,
        .progress = cli_progress_show,
        .user = &options->common.progress,
        .interrupt = &interrupts,
        .processes = options->processes,
    };
    catch_signals(on_signal);
    if (options->queued)
        follow_queue(options);
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

/* The exit code. */
static int run_queue(qd_context *ctx, qd_queue *queue, const run_options *options)
{
    const int count = qd_queue_count(queue);
    const cli_queue_options queue_options = {
        .ctx = ctx,
        .queue = queue,
        .jobs = options->jobs < count ? options->jobs : count, /* no thread is kept for a run that is not there */
        .quiet = options->common.quiet,
        .cpu = options->common.limit_isa ? qd_isa_name(options->common.max_isa) : NULL,
        .interrupts = &interrupts,
    };
    catch_signals(on_queue_signal);
    if (options->dry_run)
        return cli_queue_show(&queue_options, options->rate);
    if (options->step_log)
        return cli_error(QD_ERR_USAGE, "--step-log takes the steps of one run, and these are %d", count);
    return cli_queue_run(&queue_options);
}

/* Everything that was named, in one queue; of several processes all must have been able to. */
static enum qd_status make_queue(qd_context *ctx, run_options *options, qd_queue **queue)
{
    enum qd_status status = qd_queue_create(ctx, queue);
    for (size_t i = 0; i < options->experiment_count && status == QD_OK; i++)
        status = qd_queue_add(*queue, options->experiments[i], configure, options);
    return qd_processes_agree(ctx, options->processes, status);
}

/* The one run that this process, or these processes, are for; NULL: none, or a queue. */
static qd_experiment *single_run(qd_queue *queue, const run_options *options)
{
    const int count = qd_queue_count(queue), wanted = count == 1 && options->only == 0 ? 1 : options->only;
    return wanted > 0 && wanted <= count ? qd_queue_get(queue, wanted - 1) : NULL;
}

static int run_all(qd_context *ctx, run_options *options)
{
    qd_queue *queue = NULL;
    int code;
    const enum qd_status status = make_queue(ctx, options, &queue);
    qd_experiment *single = status == QD_OK ? single_run(queue, options) : NULL;
    if (status != QD_OK)
        code = cli_report(ctx, status);
    else if (!single && options->only > 0)
        code = cli_error(QD_ERR_USAGE, "--only %d: there are %d runs", options->only, qd_queue_count(queue));
    else if (!single && options->processes)
        code = cli_error(QD_ERR_USAGE,
                         "%d processes train one run together, and these are %d runs; choose one with --only N, or "
                         "start one process for the queue",
                         qd_processes_count(options->processes), qd_queue_count(queue));
    else if (options->dry_run || !single)
        code = run_queue(ctx, queue, options);
    else
        code = cli_report(ctx, run_and_print(single, options));
    qd_queue_destroy(queue);
    return code;
}

/* A process that does not lead tells nothing: the leader does. */
static void follow(qd_context *ctx, run_options *options)
{
    qd_queue *queue = NULL;
    options->common.silent = true;
    qd_experiment *single = make_queue(ctx, options, &queue) == QD_OK ? single_run(queue, options) : NULL;
    if (single && !options->dry_run) {
        catch_signals(on_signal);
        (void)qd_experiment_run(single, &(qd_run_options){.processes = options->processes});
    }
    qd_queue_destroy(queue);
}

static int run_together(qd_context *ctx, run_options *options)
{
    int code = CLI_DONE;
    const enum qd_status status = qd_processes_join(ctx, &interrupts, &options->processes);
    if (status != QD_OK)
        return cli_report(ctx, status);
    if (qd_processes_rank(options->processes) == 0)
        code = run_all(ctx, options);
    else
        follow(ctx, options);
    qd_processes_leave(options->processes);
    return code;
}

int cli_command_run(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "EXPERIMENT.json...",
        .doc = "Trains every model of the experiment, logs activations, quantizes each logged checkpoint to INT8, "
               "prints and writes the table of float against INT8 accuracy. Several files, or one with a grid, are a "
               "queue of runs, each in a process and a folder of its own: what is complete and unchanged is skipped, "
               "what was interrupted goes on, a failed run does not stop the others and is told of at the end (exit "
               "code 1)."
               "\vExample: quantdrift run experiments/imagewoof_divergence.json --data data/imagewoof2-320 "
               "--set num_epochs=10 --set models='[\"resnet18\"]'\n\n"
               "quantdrift run experiments/causes.json --dry-run\n\n"
               "An interrupt (Ctrl-C) finishes the step under way and leaves a checkpoint; a second one stops at "
               "once. --resume continues to the same bits.\n\n"
               "Started by mpirun (a build with MPI=1), the processes train together, each with its part of every "
               "batch: mpirun -np 4 quantdrift run EXPERIMENT.json",
        .children = cli_common_children,
    };
    run_options options = {.jobs = 1,
                           .experiments = calloc((size_t)argc, sizeof(char *)),
                           .assignments = calloc((size_t)argc, sizeof(char *))};
    qd_context *ctx = NULL;
    int code = CLI_FAILED;
    if (!options.experiments || !options.assignments) {
        code = cli_error(QD_ERR_MEMORY, "out of memory");
        goto done;
    }
    argp_parse(&argp, argc, argv, 0, NULL, &options);
    const enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        code = cli_exit_code(status);
    else
        code = cli_launched_processes() > 1 ? run_together(ctx, &options) : run_all(ctx, &options);
done:
    qd_context_destroy(ctx);
    free(options.experiments);
    free(options.assignments);
    return code;
}
