/* Settings of an experiment whose values come from the command line as they are. */
#ifndef QD_CLI_EXPERIMENT_TEXT_H
#define QD_CLI_EXPERIMENT_TEXT_H

#include <quantdrift/experiment.h>

/* Sets `key` to a string, whatever characters it has. Errors: qd_experiment_set()'s. */
enum qd_status cli_experiment_set_text(qd_experiment *experiment, const char *key, const char *text);

#endif
