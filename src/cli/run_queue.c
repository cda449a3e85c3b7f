#include "cli/run_queue.h"
#include "base/cpu.h"
#include "cli/cli.h"
#include "cli/run_lines.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Signals are looked for this often while the runs are silent. */
enum { POLL_MS = 200 };

/* Where a run finds its configuration: the first descriptor after the standard ones. */
enum { CONFIG_DESCRIPTOR = 3 };
#define CONFIG_PATH "/proc/self/fd/3"

/* Longer than any sentence of the program. */
enum { LINE_BYTES = 4096 };

enum outcome { WAITING, SKIPPED, OTHER_PROGRAM, RUNNING, COMPLETE, FAILED, INTERRUPTED, OUTCOME_COUNT };

static const char *const outcome_names[OUTCOME_COUNT] = {
    [WAITING] = "not begun",      [SKIPPED] = "complete before", [OTHER_PROGRAM] = "by another program",
    [RUNNING] = "running",        [COMPLETE] = "complete",       [FAILED] = "failed",
    [INTERRUPTED] = "interrupted"};

typedef struct fate {
    enum outcome outcome;
    char *reason; /* owned; NULL: none */
} fate;

/* A run at work. */
typedef struct slot {
    pid_t pid; /* 0: free */
    int run, output;
    int64_t threads;
    double memory_bytes;
    char line[LINE_BYTES]; /* what it is saying */
    size_t used;
} slot;

typedef struct work {
    const cli_queue_options *options;
    fate *fates;
    slot *slots;
    int next;               /* the first run that was not looked at */
    int running;            /* slots in use */
    int forwarded;          /* signals handed on */
    double available_bytes; /* before anything was started */
} work;

static const char *folder_of(const work *w, int run)
{
    return qd_experiment_folder(qd_queue_get(w->options->queue, run));
}

/* One line on standard error under the run's name, in one piece. */
static void say(const work *w, int run, const char *text)
{
    const char *folder = folder_of(w, run), *slash = strrchr(folder, '/');
    char name[CLI_TEXT_BYTES];
    cli_escape(slash && slash[1] ? slash + 1 : folder, name);
    fprintf(stderr, "[%d/%d %s] %s\n", run + 1, qd_queue_count(w->options->queue), name, text);
}

/* `format` NULL: nothing is known about it but what the run said itself, which a failure keeps. */
__attribute__((format(printf, 4, 5))) static void settle(work *w, int run, enum outcome outcome, const char *format,
                                                         ...)
{
    fate *f = &w->fates[run];
    f->outcome = outcome;
    if (!format && outcome == FAILED)
        return;
    free(f->reason);
    f->reason = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (format && vasprintf(&f->reason, format, arguments) < 0)
        f->reason = NULL;
    va_end(arguments);
}

/* ---- what the runs say ---- */

static void take_line(work *w, slot *s)
{
    static const char prefix[] = "quantdrift: ";
    s->line[s->used] = '\0';
    s->used = 0;
    say(w, s->run, s->line);
    if (strncmp(s->line, prefix, sizeof prefix - 1) == 0) {
        free(w->fates[s->run].reason);
        w->fates[s->run].reason = strdup(s->line + sizeof prefix - 1);
    }
}

/* Takes what is there; false at the end. */
static bool listen_to(work *w, slot *s)
{
    char block[LINE_BYTES];
    const ssize_t n = read(s->output, block, sizeof block);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++) {
        if (block[i] == '\n' || s->used == sizeof s->line - 1)
            take_line(w, s);
        if (block[i] != '\n')
            s->line[s->used++] = block[i];
    }
    return n > 0;
}

static void end_slot(work *w, slot *s)
{
    int status = 0;
    while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (s->used > 0)
        take_line(w, s);
    close(s->output);
    if (WIFSIGNALED(status))
        settle(w, s->run, w->forwarded > 1 ? INTERRUPTED : FAILED, "ended by signal %d (%s)", WTERMSIG(status),
               strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == CLI_DONE)
        settle(w, s->run, COMPLETE, NULL);
    else if (WEXITSTATUS(status) == CLI_INTERRUPTED)
        settle(w, s->run, INTERRUPTED, NULL);
    else
        settle(w, s->run, FAILED, NULL);
    say(w, s->run, outcome_names[w->fates[s->run].outcome]);
    s->pid = 0;
    w->running--;
}

/* ---- starting ---- */

/* The effective configuration in memory, as a file that the run reads; -1 with errno. */
static int open_config(qd_experiment *experiment)
{
    char *text = qd_experiment_print(experiment);
    const size_t size = text ? strlen(text) : 0;
    int descriptor = text ? memfd_create("experiment.json", MFD_CLOEXEC) : -1;
    if (descriptor >= 0 && write(descriptor, text, size) != (ssize_t)size) {
        close(descriptor);
        descriptor = -1;
    }
    free(text);
    return descriptor;
}

/* Becomes a group of its own: what a terminal sends arrives once, through the queue. */
static int spawn(const work *w, int config, int output, pid_t *pid)
{
    char queued[48];
    const char *argv[10] = {"quantdrift", "run", CONFIG_PATH, "--resume", queued};
    int argc = 5;
    snprintf(queued, sizeof queued, "--queued=%lld", (long long)getpid());
    if (w->options->cpu) {
        argv[argc++] = "--cpu";
        argv[argc++] = w->options->cpu;
    }
    if (w->options->quiet)
        argv[argc++] = "--quiet";
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&files);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        posix_spawnattr_setpgroup(&attributes, 0);
        error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    }
    if (!error)
        error = posix_spawn_file_actions_adddup2(&files, output, STDERR_FILENO);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&files, config, CONFIG_DESCRIPTOR);
    if (!error)
        error = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error)
        error = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (!error)
        error = posix_spawn(pid, "/proc/self/exe", &files, &attributes, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return error;
}

/* The descriptors that are handed over lie above those they become. */
static void raise_descriptor(int *descriptor)
{
    const int raised = *descriptor >= 0 ? fcntl(*descriptor, F_DUPFD_CLOEXEC, CONFIG_DESCRIPTOR + 1) : -1;
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = raised;
}

static void start(work *w, slot *s, int run, double memory_bytes)
{
    qd_experiment *experiment = qd_queue_get(w->options->queue, run);
    char assignment[40];
    int output[2] = {-1, -1}, config = -1, error = 0;
    snprintf(assignment, sizeof assignment, "threads=%lld", (long long)s->threads);
    if (w->options->jobs > 1 && qd_experiment_set(experiment, assignment) != QD_OK) {
        settle(w, run, FAILED, "%s", qd_context_error(w->options->ctx));
        return;
    }
    errno = 0;
    config = open_config(experiment);
    raise_descriptor(&config);
    if (config < 0 || pipe2(output, O_CLOEXEC) != 0)
        error = errno ? errno : ENOMEM;
    raise_descriptor(&output[1]);
    if (!error && output[1] < 0)
        error = errno;
    if (!error)
        error = spawn(w, config, output[1], &s->pid);
    if (config >= 0)
        close(config);
    if (output[1] >= 0)
        close(output[1]);
    if (error) {
        s->pid = 0;
        if (output[0] >= 0)
            close(output[0]);
        settle(w, run, FAILED, "cannot start a process: %s", strerror(error));
        return;
    }
    s->run = run;
    s->output = output[0];
    s->memory_bytes = memory_bytes;
    w->running++;
    settle(w, run, RUNNING, NULL);
    say(w, run, "begins");
}

static double memory_in_use(const work *w)
{
    double bytes = 0.0;
    for (int i = 0; i < w->options->jobs; i++)
        bytes += w->slots[i].pid ? w->slots[i].memory_bytes : 0.0;
    return bytes;
}

/* Looks at the next run, starts it or settles that it needs none; false when it must wait for memory. */
static bool take_next(work *w, slot *s)
{
    const int run = w->next;
    enum qd_queue_state state;
    qd_run_estimate estimate = {0};
    if (qd_queue_inspect(w->options->queue, run, &state) != QD_OK)
        state = QD_QUEUE_BEGUN; /* the run will tell what is wrong */
    if (state == QD_QUEUE_DONE || state == QD_QUEUE_OTHER_PROGRAM || state == QD_QUEUE_CHANGED) {
        if (state == QD_QUEUE_DONE)
            settle(w, run, SKIPPED, NULL);
        else if (state == QD_QUEUE_CHANGED)
            settle(w, run, FAILED,
                   "its results were changed after it was complete, as `quantdrift verify` tells; restore them, or "
                   "remove the folder to run it again");
        else
            settle(w, run, OTHER_PROGRAM,
                   "complete, by another version or commit of this program, and left as it is; remove the folder to "
                   "run it again");
        w->next++;
        return true;
    }
    if (w->options->jobs > 1)
        (void)qd_queue_estimate(w->options->queue, run, QD_TIME_NONE, 0.0, &estimate);
    if (w->running > 0 && w->available_bytes > 0.0 && memory_in_use(w) + estimate.memory_bytes > w->available_bytes)
        return false;
    w->next++;
    start(w, s, run, estimate.memory_bytes);
    return true;
}

static void fill_slots(work *w)
{
    const int count = qd_queue_count(w->options->queue);
    for (int i = 0; i < w->options->jobs && w->next < count && !*w->options->interrupts; i++)
        while (!w->slots[i].pid && w->next < count && !*w->options->interrupts)
            if (!take_next(w, &w->slots[i]))
                return;
}

/* ---- the loop ---- */

static void forward_signals(work *w)
{
    while (w->forwarded < *w->options->interrupts && w->forwarded < 2) {
        w->forwarded++;
        for (int i = 0; i < w->options->jobs; i++)
            if (w->slots[i].pid)
                kill(w->slots[i].pid, SIGTERM);
    }
}

static void wait_for_runs(work *w, struct pollfd *polled)
{
    for (int i = 0; i < w->options->jobs; i++)
        polled[i] = (struct pollfd){.fd = w->slots[i].pid ? w->slots[i].output : -1, .events = POLLIN};
    if (poll(polled, (nfds_t)w->options->jobs, POLL_MS) <= 0)
        return;
    for (int i = 0; i < w->options->jobs; i++)
        if (polled[i].revents && !listen_to(w, &w->slots[i]))
            end_slot(w, &w->slots[i]);
}

static int sum_up(work *w)
{
    const int count = qd_queue_count(w->options->queue);
    int counts[OUTCOME_COUNT] = {0};
    for (int run = 0; run < count; run++) {
        const fate *f = &w->fates[run];
        qd_run_report report = {0};
        counts[f->outcome]++;
        cli_print_padded(outcome_names[f->outcome], 20);
        cli_print_padded(folder_of(w, run), 0);
        if (f->reason) {
            fputs(": ", stdout);
            cli_print_padded(f->reason, 0);
        }
        putchar('\n');
        if (f->outcome != WAITING && qd_run_report_read(w->options->ctx, folder_of(w, run), &report) == QD_OK)
            cli_print_run_models(&report);
        qd_run_report_free(&report);
    }
    printf("%d runs:", count);
    const char *separator = " ";
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        if (counts[i] == 0)
            continue;
        printf("%s%d %s", separator, counts[i], outcome_names[i]);
        separator = ", ";
    }
    putchar('\n');
    if (w->forwarded > 0)
        return CLI_INTERRUPTED;
    return counts[FAILED] + counts[INTERRUPTED] > 0 ? CLI_FAILED : CLI_DONE;
}

int cli_queue_run(const cli_queue_options *options)
{
    const int count = qd_queue_count(options->queue), threads = qd_context_threads(options->ctx);
    const size_t jobs = (size_t)options->jobs;
    work w = {.options = options,
              .fates = calloc((size_t)count, sizeof(fate)),
              .slots = calloc(jobs, sizeof(slot)),
              .available_bytes = qd_available_bytes()};
    struct pollfd *polled = calloc(jobs, sizeof *polled);
    int code = CLI_FAILED;
    if (!w.fates || !w.slots || !polled) {
        code = cli_error(QD_ERR_MEMORY, "queue: out of memory");
        goto done;
    }
    for (int i = 0; i < options->jobs; i++) {
        const int share = threads / options->jobs + (i < threads % options->jobs);
        w.slots[i].threads = share > 0 ? share : 1;
    }
    for (;;) {
        forward_signals(&w);
        fill_slots(&w);
        if (w.running == 0)
            break;
        wait_for_runs(&w, polled);
    }
    code = sum_up(&w);
done:
    for (int run = 0; w.fates && run < count; run++)
        free(w.fates[run].reason);
    free(w.fates);
    free(w.slots);
    free(polled);
    return code;
}

/* ---- the dry run ---- */

enum { TEXT_BYTES = 32 };

static void print_seconds(double seconds, char text[TEXT_BYTES])
{
    const long long s = (long long)(seconds + 0.5);
    snprintf(text, TEXT_BYTES, "%lld:%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
}

static void print_bytes(double bytes, char text[TEXT_BYTES])
{
    const double mib = bytes / (1024.0 * 1024.0);
    if (mib < 1024.0)
        snprintf(text, TEXT_BYTES, "%.0f MiB", mib);
    else
        snprintf(text, TEXT_BYTES, "%.1f GiB", mib / 1024.0);
}

static void print_row(const char *state, const char *steps, const char *time, const char *memory, const char *disk,
                      const char *folder)
{
    printf("%-18s %10s %10s %10s %10s  ", state, steps, time, memory, disk);
    cli_print_padded(folder, 0);
    putchar('\n');
}

/* Adds what is to be done to *total. */
static enum qd_status show_one(const cli_queue_options *options, int run, double rate, qd_run_estimate *total)
{
    static const char *const states[] = {
        [QD_QUEUE_NEW] = "new",         [QD_QUEUE_BEGUN] = "begun",
        [QD_QUEUE_DONE] = "complete",   [QD_QUEUE_OTHER_PROGRAM] = "by another program",
        [QD_QUEUE_CHANGED] = "changed", [QD_QUEUE_LOCKED] = "locked"};
    const char *folder = qd_experiment_folder(qd_queue_get(options->queue, run));
    char steps[TEXT_BYTES], time[TEXT_BYTES], memory[TEXT_BYTES], disk[TEXT_BYTES];
    enum qd_queue_state state;
    qd_run_estimate e;
    QD_TRY(qd_queue_inspect(options->queue, run, &state));
    if (state == QD_QUEUE_DONE || state == QD_QUEUE_OTHER_PROGRAM || state == QD_QUEUE_CHANGED) {
        print_row(states[state], "-", "-", "-", "-", folder);
        return QD_OK;
    }
    const enum qd_status status =
        qd_queue_estimate(options->queue, run, rate > 0.0 ? QD_TIME_GIVEN : QD_TIME_MEASURED, rate, &e);
    if (status != QD_OK) {
        print_row(states[state], "?", "?", "?", "?", folder);
        return status;
    }
    snprintf(steps, sizeof steps, "%lld", (long long)e.steps);
    print_seconds(e.seconds, time);
    print_bytes(e.memory_bytes, memory);
    print_bytes(e.disk_bytes, disk);
    print_row(states[state], steps, time, memory, disk, folder);
    total->steps += e.steps;
    total->seconds += e.seconds;
    total->disk_bytes += e.disk_bytes;
    if (e.memory_bytes > total->memory_bytes)
        total->memory_bytes = e.memory_bytes;
    return QD_OK;
}

int cli_queue_show(const cli_queue_options *options, double train_images_per_s)
{
    qd_run_estimate total = {0};
    int code = CLI_DONE;
    char steps[TEXT_BYTES], time[TEXT_BYTES], memory[TEXT_BYTES], disk[TEXT_BYTES];
    print_row("state", "steps", "time", "memory", "disk", "folder");
    for (int run = 0; run < qd_queue_count(options->queue) && !*options->interrupts; run++) {
        const enum qd_status status = show_one(options, run, train_images_per_s, &total);
        fflush(stdout);
        if (status != QD_OK)
            code = cli_report(options->ctx, status);
    }
    snprintf(steps, sizeof steps, "%lld", (long long)total.steps);
    print_seconds(total.seconds, time);
    print_bytes(total.memory_bytes, memory);
    print_bytes(total.disk_bytes, disk);
    print_row("to do, at most", steps, time, memory, disk, "");
    if (train_images_per_s > 0.0)
        printf("time: at %g images a second in training, a forward pass or INT8 pass three times as fast\n",
               train_images_per_s);
    else
        printf("time: one training step, forward pass and INT8 pass of each model and size, measured here on random "
               "images with %d threads; reading images is not counted\n",
               qd_context_threads(options->ctx));
    printf("memory: the largest run's; disk: checkpoints\n");
    return *options->interrupts ? CLI_INTERRUPTED : code;
}
