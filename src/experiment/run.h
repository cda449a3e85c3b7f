/* What the files of a run share: the data, the generator that passes from model to model, and one model's run. */
#ifndef QD_EXPERIMENT_RUN_H
#define QD_EXPERIMENT_RUN_H

#include "experiment/config.h"
#include "experiment/results.h"
#include "experiment/tracking.h"
#include "graph/plan.h"
#include "quantize/quantize.h"
#include "train/checkpoint.h"
#include "train/trainer.h"
#include <quantdrift/network.h>

typedef struct qd_step_log qd_step_log;
typedef struct qd_record qd_record;

/* Images that stay in memory for the whole run: what activation logs are taken on. */
typedef struct qd_image_batch {
    float *images; /* [count][size][size][3], owned */
    int64_t count;
} qd_image_batch;

typedef struct qd_run {
    qd_context *ctx;
    const qd_config *config;
    const qd_run_options *options;
    const qd_communicator *processes; /* that train together; NULL: this one alone */
    int64_t loader_threads;
    int64_t class_count;
    qd_dataset *training, *validation;
    char data_fingerprint[QD_FINGERPRINT_BYTES]; /* of both splits */
    char *checkpoint_folder;
    qd_record *record;
    qd_step_log *step_log; /* NULL: none */
    qd_image_batch fixed;  /* the first validation batch */
    qd_image_batch mixed;  /* as many images, class-balanced */
    qd_rng rng;            /* the generator as the last model left it */
    char *metrics;         /* rows of complete models in metrics.csv, owned; NULL: none */
} qd_run;

/* Mean times so far, for the time that is left. */
typedef struct qd_pace {
    double train_s, validate_s, log_s;
    int64_t steps, validations, logs;
} qd_pace;

/* One model's run. */
typedef struct qd_model_run {
    qd_run *run;
    const qd_model_info *model;
    qd_model_config model_config;
    char config_hash[65];
    char *results_path, *last_path;
    qd_graph *graph;
    qd_state *state;
    qd_trainer *trainer;
    qd_plan *inference;
    qd_loader *train_loader, *val_loader;
    bool ordered; /* the other processes were told to set it up */
    qd_results results;
    qd_event_file *events; /* NULL: none wanted */
    qd_totals validation;  /* of the epoch just validated */
    int64_t epoch, steps;  /* completed */
    int64_t epoch_count;   /* of the training under way, in all */
    qd_epoch_state begun;  /* the epoch under way until its checkpoint is written; batches 0: none is */
    qd_rng rng;            /* consumed */
    qd_pace pace;
    /* of the phase under way */
    const char *phase;
    int64_t phase_epoch;
    double phase_start_s;
} qd_model_run;

/* ---- run.c ---- */

/* Every iter(loader) draws its base seed, random_() on int64. */
#define QD_RUN_ITERATOR_WORDS 2

/* The generator as the first model's constructor finds it. */
void qd_run_seed(const qd_config *config, qd_rng *rng);

/* Opens both splits of the data folder and takes their common fingerprint. Errors: qd_dataset_open()'s, QD_ERR_INPUT
 * when their classes differ. */
enum qd_status qd_run_open_data(qd_run *run);

/* Loads the two batches that activation logs are taken on. Errors: qd_dataset_load_eval()'s. */
enum qd_status qd_run_load_log_batches(qd_run *run);

/* Frees what the run owns; the record is closed before. */
void qd_run_close(qd_run *run);

/* Opens "train" or "val" of the data folder. Errors: qd_dataset_open()'s. */
enum qd_status qd_run_open_split(const qd_run *run, const char *name, qd_dataset **out);

/* Fills run->class_count from the training split. Errors: QD_ERR_INPUT when it does not fit num_classes or the head.
 */
enum qd_status qd_run_count_classes(qd_run *run);

/* ---- model_run.c ---- */

/* Trains, logs and quantizes one model, from what resume.c found or from the start; run->rng moves on. */
enum qd_status qd_model_run_execute(qd_run *run, int model_index);

/* Network, trainer, loaders and inference plan, in all processes, and taking them down again; half-built is accepted
 * there. */
enum qd_status qd_model_run_set_up(qd_model_run *m);
void qd_model_run_tear_down(qd_model_run *m);

/* The same in this process alone. */
enum qd_status qd_model_run_make_network(qd_model_run *m);

/* Loss and accuracy of the network as it is after m->epoch, into m->validation. */
enum qd_status qd_model_run_validate(qd_model_run *m);

/* Model configuration of a run. */
qd_model_config qd_run_model_config(const qd_run *run);

/* True when nothing is left to train after `epoch` and `steps`. */
bool qd_run_is_complete(const qd_config *config, int64_t epoch, int64_t steps);

/* True for the epochs that are logged, given the one after which training ends or has got to. */
bool qd_run_is_logged_epoch(const qd_config *config, int64_t epoch, int64_t last_epoch, int64_t steps);

/* Writes <model>_results.json. */
enum qd_status qd_model_run_write_results(const qd_model_run *m);

/* Loader configurations, also for the memory check. `graph` may be NULL for validation. */
qd_loader_config qd_run_loader_config(const qd_run *run, const qd_graph *graph, bool training);

/* ---- logged_epoch.c ---- */

/* Observes and quantizes the network as it is after m->epoch and adds to m->results. */
enum qd_status qd_log_epoch(qd_model_run *m);

/* ---- quantize_epoch.c ---- */

/* Folds, calibrates, quantizes and evaluates m->state, the network after `epoch`, whose validation is in the history;
 * fills *out, whose arrays the caller owns. */
enum qd_status qd_quantize_epoch(qd_model_run *m, int64_t epoch, qd_quantized_epoch *out);

/* Ranges that come from elsewhere than calibration images, and where the encodings that they make are left. */
typedef struct qd_known_ranges {
    enum qd_status (*set)(void *user, qd_qgraph *qgraph);
    void *user;
    const char *encodings, *calibrator; /* path; what found them */
} qd_known_ranges;

/* The same with these ranges. */
enum qd_status qd_quantize_epoch_with(qd_model_run *m, int64_t epoch, const qd_known_ranges *ranges,
                                      qd_quantized_epoch *out);

/* Images a batch of the quantized network. */
int64_t qd_quantize_batch(const qd_config *config);

/* ---- requantize.c ---- */

/* Whether m->results, as read from the file, lack the quantization of a logged epoch up to `epoch` as the
 * configuration wants it, or have one that it does not want. */
bool qd_requantize_is_needed(const qd_model_run *m, int64_t epoch);

/* Makes that quantization from the logged checkpoints, and drops what is not wanted; m->state is then one of theirs.
 * Writes the results after each epoch. Errors: QD_ERR_INPUT when a checkpoint is gone. */
enum qd_status qd_requantize(qd_model_run *m, int64_t epoch);

/* ---- resume.c ---- */

/* Refuses a folder that holds results (without resume) or results of another configuration, other data or another
 * instruction set (with it), then records the configuration as <out>/config.json, unless the record turns out to be
 * settled. run->record is open. Errors:
 * QD_ERR_USAGE, QD_ERR_IO, QD_ERR_INPUT. */
enum qd_status qd_resume_prepare_folder(qd_run *run);

/* What a folder holds of one model. */
typedef struct qd_resume_point {
    bool found;
    qd_checkpoint_info info; /* when found; freed with qd_checkpoint_info_free() */
} qd_resume_point;

/* Looks for <model>_last.safetensors and checks it against configuration and data. Errors: QD_ERR_USAGE
 * (configuration or data changed), QD_ERR_INPUT. */
enum qd_status qd_resume_find(qd_run *run, int model_index, const char *config_hash, qd_resume_point *point);

/* Path of a checkpoint: "last" or "epoch_5"; NULL when memory is short; freed with free(). */
char *qd_checkpoint_path(const qd_run *run, const qd_model_info *model, const char *which);

/* ---- qat_run.c ---- */

/* Of the ranges that quantization-aware training leaves in the output folder, after the model's name. */
#define QD_QAT_ENCODINGS_SUFFIX "_qat_encodings.json"

/*
 * Quantization-aware training of one model as the configuration says, which may be none, from the checkpoint it
 * names; goes on where <model>_qat_last.safetensors stands. Leaves <model>_qat.safetensors,
 * <model>_qat_encodings.json beside the results, and the record in these. The run's generator is not touched. Errors:
 * QD_ERR_INPUT (a checkpoint that is not there or of another network), the trainer's, QD_ERR_INTERRUPTED.
 */
enum qd_status qd_qat_execute(qd_run *run, int model_index);

/* ---- run_export.c ---- */

/* Writes a complete model in the formats of the configuration, from its last checkpoint. Errors: as
 * qd_network_export(). */
enum qd_status qd_run_export(qd_run *run, const qd_model_info *model);

/* "<out>/<model>_<dataset>.pth"; NULL when memory is short; freed with free(). */
char *qd_export_path(const qd_config *config, const qd_model_info *model, enum qd_export_format format);

/* ---- memory.c ---- */

/* What the largest model needs at a time, in bytes; *largest: that model. Errors: QD_ERR_MEMORY, QD_ERR_SHAPE. */
enum qd_status qd_run_planned_bytes(qd_run *run, double *bytes, const qd_model_info **largest);

/* Logs planned and available memory in one line. Errors: QD_ERR_MEMORY with advice when the plan does not fit. */
enum qd_status qd_run_check_memory(qd_run *run);

/* ---- run_progress.c ---- */

double qd_now_s(void);

/* A phase begins. */
void qd_progress_begin(qd_model_run *m, const char *phase);

/* Seconds since qd_progress_begin(). */
double qd_progress_phase_seconds(const qd_model_run *m);

/* Reports to options->progress and looks at options->interrupt. `loader` NULL: no share of waiting; totals NULL: no
 * loss. Errors: QD_ERR_INTERRUPTED. */
enum qd_status qd_progress_report(qd_model_run *m, int64_t step, int64_t step_count, int64_t images,
                                  const qd_totals *totals, const qd_loader *loader);

/* ---- step_log.c ---- */

/* Opens the log for appending; without `resume` an old one is emptied. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_step_log_open(qd_context *ctx, const char *path, bool resume, qd_step_log **out);
void qd_step_log_close(qd_step_log *log);

/* Drops lines of `model` after optimizer step `steps`, and lines that were cut short: they will be written again. A
 * pipe or device keeps what it was given. */
enum qd_status qd_step_log_rewind(qd_step_log *log, const char *model, int64_t steps);

enum qd_status qd_step_log_write(qd_step_log *log, const char *model, const qd_step_report *report);

#endif
