/*
 * Runs Criterion's tests where Criterion itself cannot: it starts each test as a traced process, and qemu-user has no
 * ptrace. This file stands in for libcriterion in cross builds only: it defines what the assertion macros call and a
 * main() that forks once a test. Criterion's headers, hence the tests, stay as they are.
 * Options: --tap=FILE and -jN (tests side by side) as Criterion's; --verbose tells what each test took.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* A test's default time limit, seconds: emulation is ten times slower than the machine, more on a busy one. */
#define DEFAULT_TIMEOUT_S 2400

/* At most this many tests side by side, whatever -j says. */
#define MAX_JOBS 64

/* How a test's process ends when it asks for it. */
enum { EXIT_ASSERTION = 101, EXIT_SKIPPED = 102 };

extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak)), *__stop_cr_sts[] __attribute__((weak));

/* Global because Criterion's headers declare it so; the macros read full_stats. */
struct criterion_options criterion_options;

static const struct criterion_test *current_test;
static const struct criterion_suite *current_suite;
static void *current_parameter;
static int skip_pipe[2];
static int failures;

/* A test that runs. */
typedef struct child {
    pid_t pid;
    int reason; /* reading end of the pipe that tells why it skipped */
    const struct criterion_test *test;
    time_t began;
} child;

typedef struct runner {
    child children[MAX_JOBS];
    int running, jobs;
    int total, failed;
    bool verbose;
    FILE *tap;
} runner;

void criterion_internal_test_setup(void)
{
    if (current_suite && current_suite->data->init)
        current_suite->data->init();
    if (current_test->data->init)
        current_test->data->init();
}

void criterion_internal_test_main(void (*fn)(void))
{
    if (current_test->data->kind_ == CR_TEST_PARAMETERIZED)
        ((void (*)(void *))fn)(current_parameter);
    else
        fn();
}

void criterion_internal_test_teardown(void)
{
    if (current_test->data->fini)
        current_test->data->fini();
    if (current_suite && current_suite->data->fini)
        current_suite->data->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
    if (!stats->passed)
        fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line, stats->message);
}

void criterion_abort_test(void)
{
    fflush(NULL);
    _exit(EXIT_ASSERTION);
}

void criterion_continue_test(void)
{
    failures++;
}

void criterion_skip_test(const char *format, ...)
{
    char reason[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    /* A lost reason is not worth a failure: the test still counts as skipped. */
    if (length > 0 && write(skip_pipe[1], reason, strlen(reason)) < 0)
        perror("skip");
    _exit(EXIT_SKIPPED);
}

void cr_log(enum criterion_severity severity, const char *format, ...)
{
    /* As Criterion does unless it is told to be verbose. */
    if (severity == CR_LOG_INFO)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void cri_asserts_passed_incr(void)
{
}

char *cr_translate_assert_msg(int msg_index, ...)
{
    va_list args;
    va_start(args, msg_index);
    const char *expression = msg_index == CRITERION_ASSERT_MSG_FAIL ? "" : va_arg(args, const char *);
    va_end(args);
    char *text = NULL;
    return asprintf(&text, "The expression %s is false.", expression) < 0 ? NULL : text;
}

int cr_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vasprintf(out, format, args);
    va_end(args);
    return length;
}

void cr_asprintf_free(char *text)
{
    free(text);
}

static const struct criterion_suite *find_suite(const char *name)
{
    for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
        if (*suite && strcmp((*suite)->name, name) == 0)
            return *suite;
    return NULL;
}

/* Judges a test that ended and writes one line of TAP. Returns whether it passed or was skipped. */
static bool judge_test(const runner *r, const child *c, int status)
{
    char reason[512];
    ssize_t length = read(c->reason, reason, sizeof reason - 1);
    reason[length > 0 ? length : 0] = '\0';
    const struct criterion_test_extra_data *data = c->test->data;
    const char *category = c->test->category, *name = c->test->name;
    if (r->verbose)
        fprintf(stderr, "%5ld s  %s::%s\n", (long)(time(NULL) - c->began), category, name);
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED) {
        fprintf(r->tap, "ok - %s::%s  # SKIP %s\n", category, name, reason);
        return true;
    }
    bool passed = data->signal ? WIFSIGNALED(status) && WTERMSIG(status) == data->signal
                               : WIFEXITED(status) && WEXITSTATUS(status) == data->exit_code;
    fprintf(r->tap, "%s - %s::%s\n", passed ? "ok" : "not ok", category, name);
    if (!passed)
        fprintf(stderr, "[FAIL] %s::%s (%s %d)\n", category, name, WIFSIGNALED(status) ? "signal" : "exit code",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return passed;
}

static void wait_for_one(runner *r)
{
    int status = 0;
    const pid_t pid = waitpid(-1, &status, 0);
    for (int i = 0; i < r->running; i++) {
        child *c = &r->children[i];
        if (c->pid != pid)
            continue;
        r->failed += !judge_test(r, c, status);
        close(c->reason);
        *c = r->children[--r->running];
        return;
    }
}

static void start_test(runner *r, void *parameter)
{
    if (r->running == r->jobs)
        wait_for_one(r);
    current_parameter = parameter;
    r->total++;
    fflush(NULL);
    if (pipe(skip_pipe) != 0) {
        r->failed++;
        return;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(skip_pipe[0]);
        double limit = current_test->data->timeout;
        alarm(limit > 0 ? (unsigned)(limit * 10) + 1 : DEFAULT_TIMEOUT_S);
        current_test->test();
        exit(failures > 0 ? EXIT_ASSERTION : 0);
    }
    close(skip_pipe[1]);
    if (pid < 0) {
        close(skip_pipe[0]);
        r->failed++;
        return;
    }
    r->children[r->running++] = (child){pid, skip_pipe[0], current_test, time(NULL)};
}

static void start_tests_of(runner *r)
{
    const struct criterion_test_extra_data *data = current_test->data;
    if (data->disabled) {
        fprintf(r->tap, "ok - %s::%s  # SKIP disabled\n", current_test->category, current_test->name);
        r->total++;
        return;
    }
    struct criterion_test_params params = {.length = 1};
    if (data->kind_ == CR_TEST_PARAMETERIZED)
        params = data->param_();
    for (size_t i = 0; i < params.length; i++)
        start_test(r, params.params ? (char *)params.params + i * params.size : NULL);
    if (params.cleanup)
        params.cleanup(&params);
}

static bool read_options(runner *r, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--tap=", 6) == 0)
            r->tap = fopen(argv[i] + 6, "w");
        else if (strncmp(argv[i], "-j", 2) == 0)
            r->jobs = atoi(argv[i] + 2);
        else if (strcmp(argv[i], "--verbose") == 0)
            r->verbose = true;
    }
    if (r->jobs < 1 || r->jobs > MAX_JOBS)
        r->jobs = 1;
    return r->tap != NULL;
}

int main(int argc, char **argv)
{
    static runner r = {.jobs = 1};
    r.tap = stderr;
    if (!read_options(&r, argc, argv)) {
        perror("tap file");
        return 1;
    }
    for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
        current_test = *test;
        current_suite = find_suite(current_test->category);
        start_tests_of(&r);
    }
    while (r.running > 0)
        wait_for_one(&r);
    fprintf(r.tap, "1..%d\n", r.total);
    fprintf(stderr, "[====] Tested: %d | Failing: %d\n", r.total, r.failed);
    return fclose(r.tap) != 0 || r.failed > 0;
}
