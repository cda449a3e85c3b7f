/* A queue of runs, each in a process of its own: a crash ends one of them, and OpenMP starts afresh. */
#ifndef QD_CLI_RUN_QUEUE_H
#define QD_CLI_RUN_QUEUE_H

#include "cli/progress.h"
#include <quantdrift/queue.h>

typedef struct cli_queue_options {
    qd_context *ctx;
    qd_queue *queue;
    int jobs;                       /* runs side by side */
    bool quiet;                     /* handed on */
    const char *cpu;                /* --cpu, handed on; NULL: none was given */
    const volatile int *interrupts; /* signals so far: the first is handed on to finish steps, the second to stop */
} cli_queue_options;

/* Runs what is to be done, prints at the end what became of every run. Returns the exit code: 0, 1 when a run failed,
 * 130 when interrupted. */
int cli_queue_run(const cli_queue_options *options);

/* Prints the queue: state, steps, time, memory and disk of each run; starts nothing. `train_images_per_s` 0: speeds
 * are measured. Returns the exit code: 3 when a run's data cannot be used. */
int cli_queue_show(const cli_queue_options *options, double train_images_per_s);

#endif
