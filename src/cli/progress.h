/* The progress line of a terminal, plain lines elsewhere; log lines that do not tear it apart. */
#ifndef QD_CLI_PROGRESS_H
#define QD_CLI_PROGRESS_H

#include <quantdrift/experiment.h>

typedef struct cli_progress {
    bool quiet;     /* warnings only */
    bool terminal;  /* standard error is one: the line is rewritten in place */
    bool line_open; /* the cursor stands behind a progress line */
    double last_s;  /* when something was printed last, monotonic seconds */
} cli_progress;

void cli_progress_init(cli_progress *progress, bool quiet);

/* Callback of qd_run_options; `user` is a cli_progress. */
void cli_progress_show(void *user, const qd_progress *state);

/* Callback of qd_context_config; `user` is a cli_progress. */
void cli_progress_log(void *user, enum qd_log_level level, const char *line);

/* Ends an open progress line, so that what follows starts on a line of its own. */
void cli_progress_close(cli_progress *progress);

#endif
