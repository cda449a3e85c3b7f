/* The main job: train, observe and quantize the models of one experiment file, and write its results. */
#ifndef QUANTDRIFT_EXPERIMENT_H
#define QUANTDRIFT_EXPERIMENT_H

#include <quantdrift/context.h>
#include <stdio.h>

typedef struct qd_experiment qd_experiment; /* an effective configuration */

/* The defaults: the recipe of experiments/imagewoof_divergence.json. Errors: QD_ERR_MEMORY. */
enum qd_status qd_experiment_create(qd_context *ctx, qd_experiment **out);
void qd_experiment_destroy(qd_experiment *experiment);

/* Reads an experiment file over the defaults. Errors: QD_ERR_IO, QD_ERR_USAGE (no such file, an unknown or mistyped
 * key with the nearest known one, a value out of range). */
enum qd_status qd_experiment_read(qd_experiment *experiment, const char *path);

/* "key=value" with a JSON value; nested keys with a dot ("quantization.eval_images=500"). A value that is no JSON is
 * taken as a string. Errors: QD_ERR_USAGE. */
enum qd_status qd_experiment_set(qd_experiment *experiment, const char *assignment);

/* The effective configuration as JSON text (freed with free()); NULL when memory is short. */
char *qd_experiment_print(const qd_experiment *experiment);

/* One state of a run, for progress lines. */
typedef struct qd_progress {
    const char *model; /* "ResNet18" */
    const char *phase; /* "train", "validate", "observe", "calibrate", "sqnr", "int8" */
    int64_t epoch, epoch_count;
    int64_t step, step_count; /* within the phase */
    double images_per_s;
    double loss, accuracy_percent; /* running; NaN when unknown */
    double eta_s;                  /* of the model's whole run */
    double wait_share;             /* of time spent waiting for data, 0 to 1; NaN where data is not loaded ahead */
    bool phase_end;                /* the last report of a phase */
} qd_progress;

typedef struct qd_run_options {
    bool resume;                                               /* continue what is in the output folder */
    const char *step_log_path;                                 /* NULL: none */
    void (*progress)(void *user, const qd_progress *progress); /* NULL: none; called from the calling thread */
    void *user;
    const volatile int *interrupt; /* non-zero asks to stop after the step under way; NULL: never */
} qd_run_options;

/*
 * Runs all models in order; each writes <out>/<model>_results.json, <out>/checkpoints/<model>_epoch_<k>.safetensors
 * and <out>/checkpoints/<model>_last.safetensors. A complete model is not trained again. Errors: QD_ERR_INPUT (data,
 * checkpoint), QD_ERR_USAGE (resume with another configuration or data), QD_ERR_NUMERIC (non-finite loss: epoch, step
 * and module named), QD_ERR_MEMORY (the plan does not fit, with advice), QD_ERR_IO, QD_ERR_INTERRUPTED.
 */
enum qd_status qd_experiment_run(qd_experiment *experiment, const qd_run_options *options);

/* The final table (model × epoch) of an output folder, from its results files, as plain text and as Markdown into
 * <out>/table.md. *text is freed with free(). Errors: QD_ERR_INPUT, QD_ERR_IO. */
enum qd_status qd_experiment_table(qd_experiment *experiment, char **text);

#endif
