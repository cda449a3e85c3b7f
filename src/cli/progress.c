#include "cli/progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* Ten lines a second look alive and cost nothing; a log file wants a sign of life a minute. */
#define TERMINAL_PERIOD_S 0.1
#define PLAIN_PERIOD_S    60.0

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void cli_progress_init(cli_progress *progress, bool quiet)
{
    *progress = (cli_progress){.quiet = quiet, .terminal = isatty(STDERR_FILENO) == 1, .last_s = now_s()};
}

/* snprintf that appends; `used` never passes `size`. */
__attribute__((format(printf, 4, 5))) static void append(char *text, size_t size, size_t *used, const char *format,
                                                         ...)
{
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text + *used, size - *used, format, args);
    va_end(args);
    if (length > 0)
        *used = *used + (size_t)length < size ? *used + (size_t)length : size - 1;
}

static void format_state(const qd_progress *state, char *text, size_t size)
{
    size_t used = 0;
    append(text, size, &used, "%s", state->model);
    if (state->epoch_count > 0)
        append(text, size, &used, " epoch %" PRId64 "/%" PRId64, state->epoch, state->epoch_count);
    append(text, size, &used, " %s %" PRId64 "/%" PRId64, state->phase, state->step, state->step_count);
    if (isfinite(state->images_per_s) && state->images_per_s > 0)
        append(text, size, &used, "  %.1f images/s", state->images_per_s);
    if (isfinite(state->loss))
        append(text, size, &used, "  loss %.4f", state->loss);
    if (isfinite(state->accuracy_percent))
        append(text, size, &used, "  acc %.2f %%", state->accuracy_percent);
    if (isfinite(state->eta_s) && state->eta_s >= 0) {
        int64_t s = (int64_t)state->eta_s;
        append(text, size, &used, "  ETA %" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
    }
    if (isfinite(state->wait_share))
        append(text, size, &used, "  waiting %.0f %%", 100 * state->wait_share);
}

void cli_progress_show(void *user, const qd_progress *state)
{
    cli_progress *progress = user;
    if (progress->quiet)
        return;
    double now = now_s();
    double period = progress->terminal ? TERMINAL_PERIOD_S : PLAIN_PERIOD_S;
    if (!state->phase_end && now - progress->last_s < period)
        return;
    char text[256];
    format_state(state, text, sizeof text);
    flockfile(stderr);
    if (progress->terminal) {
        /* A line longer than the terminal would wrap and could not be rewritten. The text is ASCII. */
        struct winsize window;
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 && strlen(text) >= window.ws_col)
            text[window.ws_col - 1] = '\0';
        fprintf(stderr, "\r\033[K%s", text);
        /* What was reached at the end of a phase stays on the screen. */
        if (state->phase_end)
            fputc('\n', stderr);
        progress->line_open = !state->phase_end;
    } else {
        fprintf(stderr, "%s\n", text);
    }
    fflush(stderr);
    progress->last_s = now;
    funlockfile(stderr);
}

void cli_progress_log(void *user, enum qd_log_level level, const char *line)
{
    cli_progress *progress = user;
    if (level == QD_LOG_DEBUG || (progress->quiet && level != QD_LOG_WARNING))
        return;
    flockfile(stderr);
    if (progress->line_open)
        fputs("\r\033[K", stderr);
    progress->line_open = false;
    fprintf(stderr, "%s%s\n", level == QD_LOG_WARNING ? "warning: " : "", line);
    funlockfile(stderr);
}

void cli_progress_close(cli_progress *progress)
{
    if (progress->line_open)
        fputc('\n', stderr);
    progress->line_open = false;
}
