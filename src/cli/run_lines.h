/* What a run's folder tells, as lines of text. */
#ifndef QD_CLI_RUN_LINES_H
#define QD_CLI_RUN_LINES_H

#include <quantdrift/experiment.h>

/* "complete", "running (process 12)", "killed", ... and the folder, with the reason of a failure. */
void cli_print_run_state(const qd_run_report *report);

/* A line for each model: epochs, accuracies. */
void cli_print_run_models(const qd_run_report *report);

#endif
