/* The main job: train, observe and quantize the models of one experiment file, and write its results. */
#ifndef QUANTDRIFT_EXPERIMENT_H
#define QUANTDRIFT_EXPERIMENT_H

#include <quantdrift/processes.h>
#include <stdio.h>

typedef struct qd_experiment qd_experiment; /* an effective configuration */

/* The defaults: the recipe of experiments/imagewoof_divergence.json. Errors: QD_ERR_MEMORY. */
enum qd_status qd_experiment_create(qd_context *ctx, qd_experiment **out);
void qd_experiment_destroy(qd_experiment *experiment);

/* Reads an experiment file over the defaults: the files it is based on first, then its own keys. Errors: QD_ERR_IO,
 * QD_ERR_USAGE (no such file, an unknown or mistyped key with the nearest known one, a value out of range, a chain of
 * bases without end, a grid of several runs). */
enum qd_status qd_experiment_read(qd_experiment *experiment, const char *path);

/* "key=value" with a JSON value; nested keys with a dot ("quantization.eval_images=500"). A value that is no JSON is
 * taken as a string. Errors: QD_ERR_USAGE. */
enum qd_status qd_experiment_set(qd_experiment *experiment, const char *assignment);

/* The effective configuration as JSON text (freed with free()); NULL when memory is short. */
char *qd_experiment_print(const qd_experiment *experiment);

/* One state of a run, for progress lines. */
typedef struct qd_progress {
    const char *model;          /* "ResNet18" */
    const char *phase;          /* "train", "validate", "observe", "calibrate", "sqnr", "int8" */
    int64_t epoch, epoch_count; /* epoch_count 0: no epochs */
    int64_t step, step_count;   /* within the phase */
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
    qd_processes *processes;       /* that train together and all call qd_experiment_run(); NULL: this one alone */
} qd_run_options;

/*
 * Runs all models in order; each writes <out>/<model>_results.json, <out>/checkpoints/<model>_epoch_<k>.safetensors,
 * <out>/checkpoints/<model>_best.safetensors (highest validation accuracy; of equal ones the earlier) and
 * <out>/checkpoints/<model>_last.safetensors. A complete model is not trained again. The folder is locked meanwhile;
 * its manifest.json tells the state and log.txt what was logged. Of several processes the first does all this, and
 * the others take their parts of each batch, until it is over. Errors: QD_ERR_INPUT (data, checkpoint), QD_ERR_USAGE
 * (resume with another configuration, data or instruction set), QD_ERR_NUMERIC (non-finite loss: epoch, step and
 * module named), QD_ERR_MEMORY (the plan does not fit, with advice), QD_ERR_IO (another process works in the folder,
 * a full disk), QD_ERR_INTERRUPTED.
 */
enum qd_status qd_experiment_run(qd_experiment *experiment, const qd_run_options *options);

/* The final table (model × epoch) of an output folder, from its results files, as plain text and as Markdown into
 * <out>/table.md. *text is freed with free(). Errors: QD_ERR_INPUT, QD_ERR_IO. */
enum qd_status qd_experiment_table(qd_experiment *experiment, char **text);

/* The folder the experiment writes to; valid until a key is set. */
const char *qd_experiment_folder(const qd_experiment *experiment);

/* ---- what folders tell of their runs ---- */

#define QD_MANIFEST_NAME "manifest.json" /* whose presence makes a folder a run's */

enum qd_run_state {
    QD_RUN_RUNNING, /* or killed: then nobody holds the folder */
    QD_RUN_COMPLETE,
    QD_RUN_FAILED,
    QD_RUN_INTERRUPTED
};

/* "running", "complete", "failed", "interrupted"; static. */
const char *qd_run_state_name(enum qd_run_state state);

typedef struct qd_model_report {
    char model[48]; /* "EfficientNet-B0" */
    int64_t epoch;  /* the last validated one; -1: none yet */
    int64_t epoch_count;
    double val_acc;     /* percent, after that epoch */
    int64_t int8_epoch; /* the last quantized one; -1: none yet */
    double int8_acc;
} qd_model_report;

typedef struct qd_run_report {
    char *folder;
    enum qd_run_state state;
    bool locked;       /* a process is at work in it */
    int64_t locked_by; /* its id; 0 when it does not tell */
    char *reason;      /* of a failure; "" otherwise */
    qd_model_report *models;
    int model_count;
} qd_run_report;

/* What a run's folder says, from its files alone; emptied with qd_run_report_free(). Errors: QD_ERR_INPUT (no run's
 * folder, a file that is damaged), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_run_report_read(qd_context *ctx, const char *folder, qd_run_report *out);
void qd_run_report_free(qd_run_report *report);

/* Calls `visit` with every run's folder at or below `folder`, in order of their names; links are not followed. A
 * status other than QD_OK ends the search with it. Errors: QD_ERR_INPUT (no such folder), QD_ERR_IO, QD_ERR_MEMORY.
 */
typedef enum qd_status qd_run_visit_fn(void *user, const char *folder);
enum qd_status qd_run_folders_visit(qd_context *ctx, const char *folder, qd_run_visit_fn *visit, void *user);

enum qd_finding {
    QD_FINDING_EQUAL,
    QD_FINDING_DIFFERENT,
    QD_FINDING_UNCHECKED, /* what it takes to check is not there */
    QD_FINDING_COUNT
};

typedef struct qd_verify_options {
    const char *data_dir; /* NULL: as the run's configuration says */
    void (*finding)(void *user, enum qd_finding finding, const char *sentence); /* may be NULL */
    void *user;
} qd_verify_options;

/*
 * Checks what a run's folder holds against itself: hashes of its files with the manifest's, then for each checkpoint
 * of a logged epoch validation, activation statistics and quantization, all computed again, with the results file.
 * Nothing is written. counts[QD_FINDING_COUNT] are filled. Errors: QD_ERR_INPUT (no run's folder), QD_ERR_USAGE (a
 * process is at work in it), QD_ERR_MEMORY; differences are no errors.
 */
enum qd_status qd_run_verify(qd_context *ctx, const char *folder, const qd_verify_options *options, int64_t *counts);

#endif
