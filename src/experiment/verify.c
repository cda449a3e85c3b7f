/* A run's folder against itself: hashes, and what can be computed again from its checkpoints. */
#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "experiment/manifest.h"
#include "experiment/record.h"
#include "experiment/run.h"
#include "train/checkpoint.h"
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct verification {
    qd_context *ctx;
    const char *folder;
    const qd_verify_options *options;
    const qd_manifest *manifest;
    int64_t *counts;
} verification;

__attribute__((format(printf, 3, 4))) static void find(verification *v, enum qd_finding finding, const char *format,
                                                       ...)
{
    v->counts[finding]++;
    if (!v->options->finding)
        return;
    char sentence[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    v->options->finding(v->options->user, finding, sentence);
}

/* ---- hashes ---- */

static bool is_checkpoint(const char *name)
{
    return strncmp(name, "checkpoints/", strlen("checkpoints/")) == 0;
}

static void verify_file(verification *v, const char *name, const char *recorded)
{
    char hash[65];
    char *path = qd_run_file(v->folder, name);
    const enum qd_status status = path ? qd_file_sha256(v->ctx, path, hash) : QD_ERR_MEMORY;
    if (status == QD_OK && strcmp(hash, recorded) == 0)
        find(v, QD_FINDING_EQUAL, "%s: the hash is the manifest's", name);
    else if (status == QD_OK)
        find(v, QD_FINDING_DIFFERENT, "%s: the hash is %.12s..., the manifest says %.12s...; the file was changed",
             name, hash, recorded);
    else if (is_checkpoint(name) && path && !qd_file_exists(path))
        find(v, QD_FINDING_UNCHECKED, "%s: not there", name); /* they are large: results are often kept without */
    else
        find(v, QD_FINDING_DIFFERENT, "%s: %s", name, path && !qd_file_exists(path) ? "gone" : "cannot be read");
    free(path);
}

/* Files of the run that the manifest passes over. A checkpoint may have come later; anything else was recorded. */
static enum qd_status verify_unrecorded(verification *v, const qd_config *config)
{
    char **names;
    int count;
    QD_TRY(qd_run_files_list(v->ctx, config, &names, &count));
    for (int i = 0; i < count; i++)
        if (!cJSON_GetObjectItemCaseSensitive(v->manifest->files, names[i]))
            find(v, is_checkpoint(names[i]) ? QD_FINDING_UNCHECKED : QD_FINDING_DIFFERENT,
                 "%s: the manifest has no hash of it", names[i]);
    qd_run_files_free(names, count);
    return QD_OK;
}

static enum qd_status verify_hashes(verification *v, const qd_config *config)
{
    const cJSON *file;
    if (v->manifest->state != QD_RUN_COMPLETE) {
        find(v, QD_FINDING_UNCHECKED, "hashes: the run is not complete, so none were recorded");
        return QD_OK;
    }
    cJSON_ArrayForEach(file, v->manifest->files)
    {
        verify_file(v, file->string, cJSON_IsString(file) ? file->valuestring : "");
    }
    return verify_unrecorded(v, config);
}

/* ---- numbers ---- */

/* Where the two sides first differ; "" where they do not. */
typedef struct difference {
    char text[256];
} difference;

/* As in the file: what is not finite is null there. */
static bool same_number(double a, double b)
{
    return a == b || (!isfinite(a) && !isfinite(b));
}

static void compare(difference *d, const char *of, const char *what, double recorded, double computed)
{
    if (!d->text[0] && !same_number(recorded, computed))
        snprintf(d->text, sizeof d->text, "%.120s%s%s: the file says %.9g, computed again it is %.9g", of,
                 of[0] ? ", " : "", what, recorded, computed);
}

static void compare_counts(difference *d, const char *what, int recorded, int computed)
{
    if (!d->text[0] && recorded != computed)
        snprintf(d->text, sizeof d->text, "the file has %d %s, computed again there are %d", recorded, what,
                 computed);
}

static void compare_names(difference *d, const char *recorded, const char *computed)
{
    if (!d->text[0] && strcmp(recorded, computed) != 0)
        snprintf(d->text, sizeof d->text, "the file has '%.90s' where '%.90s' is computed", recorded, computed);
}

static void compare_logs(difference *d, const qd_epoch_log *recorded, const qd_epoch_log *computed, bool all)
{
    compare_counts(d, "modules", recorded->count, computed->count);
    for (int i = 0; !d->text[0] && i < recorded->count; i++) {
        const qd_module_record *a = &recorded->modules[i], *b = &computed->modules[i];
        compare_names(d, a->path, b->path);
        compare_names(d, a->layer_type, b->layer_type);
        compare_counts(d, "dimensions", a->rank, b->rank);
        for (int r = 0; r < b->rank && r < QD_MAX_RANK; r++)
            compare(d, a->path, "shape", (double)a->shape[r], (double)b->shape[r]);
        compare(d, a->path, "min", a->min, b->min);
        compare(d, a->path, "max", a->max, b->max);
        compare(d, a->path, "mean", a->mean, b->mean);
        compare(d, a->path, "std", a->std, b->std);
        compare(d, a->path, "range", a->range, b->range);
        compare(d, a->path, "zeros_pct", a->zeros_pct, all ? b->zeros_pct : a->zeros_pct);
        compare(d, a->path, "outlier_ratio", a->outlier_ratio, all ? b->outlier_ratio : a->outlier_ratio);
    }
}

static void compare_quantized(difference *d, const qd_quantized_epoch *recorded, const qd_quantized_epoch *computed)
{
    compare(d, "", "float_loss", recorded->float_loss, computed->float_loss);
    compare(d, "", "float_accuracy", recorded->float_accuracy, computed->float_accuracy);
    compare(d, "", "int8_loss", recorded->int8_loss, computed->int8_loss);
    compare(d, "", "int8_accuracy", recorded->int8_accuracy, computed->int8_accuracy);
    compare(d, "", "calibration_images", (double)recorded->calibration_images, (double)computed->calibration_images);
    compare(d, "", "eval_images", (double)recorded->eval_images, (double)computed->eval_images);
    compare(d, "", "sqnr_images", (double)recorded->sqnr_images, (double)computed->sqnr_images);
    if (recorded->agree >= 0) {
        compare(d, "", "agree", (double)recorded->agree, (double)computed->agree);
        compare(d, "", "only_float", (double)recorded->only_float, (double)computed->only_float);
        compare(d, "", "only_int8", (double)recorded->only_int8, (double)computed->only_int8);
    }
    compare_counts(d, "tensors", recorded->tensor_count, computed->tensor_count);
    for (int i = 0; !d->text[0] && i < recorded->tensor_count; i++) {
        const qd_tensor_record *a = &recorded->tensors[i], *b = &computed->tensors[i];
        compare_names(d, a->name, b->name);
        compare(d, a->name, "min", a->min, b->min);
        compare(d, a->name, "max", a->max, b->max);
        compare(d, a->name, "scale", a->scale, b->scale);
        compare(d, a->name, "zero_point", (double)a->zero_point, (double)b->zero_point);
        compare(d, a->name, "sqnr_rounding_db", a->sqnr_rounding_db, b->sqnr_rounding_db);
        compare(d, a->name, "sqnr_accumulated_db", a->sqnr_accumulated_db, b->sqnr_accumulated_db);
    }
    compare_counts(d, "weights", recorded->weight_count, computed->weight_count);
    for (int i = 0; !d->text[0] && i < recorded->weight_count; i++) {
        compare_names(d, recorded->weights[i].name, computed->weights[i].name);
        compare(d, recorded->weights[i].name, "scale", recorded->weights[i].scale, computed->weights[i].scale);
    }
}

static const qd_epoch_log *find_mixed_log(const qd_results *results, int64_t epoch)
{
    for (int i = 0; i < results->mixed_log_count; i++)
        if (results->mixed_logs[i].epoch == epoch)
            return &results->mixed_logs[i];
    return NULL;
}

/* One sentence on each of the kinds of numbers of an epoch. */
static void tell(verification *v, const qd_model_run *m, const char *what, const difference *d)
{
    find(v, d->text[0] ? QD_FINDING_DIFFERENT : QD_FINDING_EQUAL, "%s, epoch %" PRId64 ": %s %s%s",
         m->model->display_name, m->epoch, what, d->text[0] ? "differ: " : "are the file's", d->text);
}

static void compare_epoch(verification *v, const qd_model_run *m, const qd_results *recorded,
                          const qd_history_entry *validated)
{
    const qd_results *computed = &m->results;
    difference d = {""};
    compare(&d, "", "val_loss", validated->val_loss, qd_totals_loss(&m->validation));
    compare(&d, "", "val_acc", validated->val_acc, qd_totals_accuracy_percent(&m->validation));
    tell(v, m, "validation loss and accuracy", &d);

    const qd_epoch_log *mixed = find_mixed_log(recorded, m->epoch);
    const qd_epoch_log *log = qd_results_find_log(recorded, m->epoch);
    static const qd_epoch_log none;
    d = (difference){""};
    compare_logs(&d, log ? log : &none, &computed->logs[0], m->run->config->log_all);
    compare_logs(&d, mixed ? mixed : &none, &computed->mixed_logs[0], m->run->config->log_all);
    tell(v, m, "activation statistics", &d);

    const qd_quantized_epoch *quantized = qd_results_find_quantized(recorded, m->epoch);
    if (!quantized && computed->quantized_count == 0)
        return;
    d = (difference){""};
    compare_counts(&d, "quantized networks of this epoch", quantized != NULL, computed->quantized_count);
    if (!d.text[0])
        compare_quantized(&d, quantized, &computed->quantized[0]);
    tell(v, m, "INT8 numbers", &d);
}

/* ---- computing again ---- */

/* A logged epoch from its checkpoint, into m->results. */
static enum qd_status compute_epoch(qd_model_run *m, const char *checkpoint, const qd_history_entry *validated)
{
    m->epoch = validated->epoch;
    m->phase_epoch = m->epoch;
    qd_results_free(&m->results);
    qd_results_init(m->model, &m->results);
    QD_TRY(qd_checkpoint_read(m->run->ctx, checkpoint, m->state));
    QD_TRY(qd_model_run_validate(m));
    QD_TRY(qd_results_add_history(m->run->ctx, &m->results, validated));
    return qd_log_epoch(m);
}

static enum qd_status verify_epoch(verification *v, qd_model_run *m, const qd_results *recorded,
                                   const qd_history_entry *validated)
{
    char which[32];
    snprintf(which, sizeof which, "epoch_%" PRId64, validated->epoch);
    char *path = qd_checkpoint_path(m->run, m->model, which);
    enum qd_status status = path ? QD_OK : qd_fail(v->ctx, QD_ERR_MEMORY, "verify: out of memory");
    if (path && !qd_file_exists(path)) {
        find(v, QD_FINDING_UNCHECKED, "%s, epoch %" PRId64 ": no checkpoint to compute its numbers from",
             m->model->display_name, validated->epoch);
    } else if (path) {
        status = compute_epoch(m, path, validated);
        if (status == QD_OK)
            compare_epoch(v, m, recorded, validated);
        else if (status == QD_ERR_INPUT) {
            find(v, QD_FINDING_DIFFERENT, "%s", qd_context_error(v->ctx));
            status = QD_OK;
        }
    }
    free(path);
    return status;
}

static enum qd_status verify_model(verification *v, qd_run *run, const qd_model_info *model)
{
    enum qd_status status = QD_OK;
    qd_results recorded = {0};
    qd_model_run m = {.run = run,
                      .model = model,
                      .model_config = qd_run_model_config(run),
                      .rng = run->rng,
                      .epoch_count = run->config->num_epochs};
    char *path = qd_results_path(run->config->output_dir, model);
    if (!path) {
        status = qd_fail(v->ctx, QD_ERR_MEMORY, "verify: out of memory");
        goto fail;
    }
    if (!qd_file_exists(path)) {
        if (v->manifest->state == QD_RUN_COMPLETE)
            find(v, QD_FINDING_DIFFERENT, "%s: the run is complete and its results are gone", model->display_name);
        else
            find(v, QD_FINDING_UNCHECKED, "%s: no results yet", model->display_name);
        goto fail;
    }
    status = qd_results_read(v->ctx, path, model, &recorded);
    if (status == QD_ERR_INPUT) {
        find(v, QD_FINDING_DIFFERENT, "%s", qd_context_error(v->ctx));
        status = QD_OK;
        goto fail;
    }
    if (status != QD_OK)
        goto fail;
    QD_TRY_GOTO(qd_model_run_set_up(&m));
    for (int i = 0; i < recorded.history_count; i++)
        if (qd_results_find_log(&recorded, recorded.history[i].epoch))
            QD_TRY_GOTO(verify_epoch(v, &m, &recorded, &recorded.history[i]));
fail:
    qd_model_run_tear_down(&m);
    qd_results_free(&recorded);
    free(path);
    return status;
}

/* Why nothing can be computed again; NULL when it can. Opens the run's data. */
static const char *open_for_computing(verification *v, qd_run *run)
{
    const char *isa = qd_isa_name(qd_context_isa(v->ctx));
    if (strcmp(v->manifest->instruction_set, isa) != 0)
        return "the run used another instruction set, which rounds differently: give its name to --cpu";
    if (qd_run_open_data(run) != QD_OK || qd_run_count_classes(run) != QD_OK)
        return qd_context_error(v->ctx);
    return NULL;
}

static enum qd_status verify_numbers(verification *v, const qd_config *config)
{
    static const qd_run_options options = {0};
    enum qd_status status = QD_OK;
    qd_run run = {.ctx = v->ctx, .config = config, .options = &options};
    run.loader_threads = config->loader_threads > 0 ? config->loader_threads : qd_context_threads(v->ctx);
    run.checkpoint_folder = qd_run_file(v->folder, "checkpoints");
    qd_run_seed(config, &run.rng);
    if (!run.checkpoint_folder) {
        status = qd_fail(v->ctx, QD_ERR_MEMORY, "verify: out of memory");
        goto fail;
    }
    const char *obstacle = open_for_computing(v, &run);
    if (obstacle) {
        find(v, QD_FINDING_UNCHECKED, "nothing is computed again: %s", obstacle);
        goto fail;
    }
    if (strcmp(v->manifest->data_fingerprint, run.data_fingerprint) != 0) {
        find(v, QD_FINDING_DIFFERENT, "the data in '%s' is not what the run was made with; nothing is computed again",
             config->data_dir);
        goto fail;
    }
    find(v, QD_FINDING_EQUAL, "the data has the manifest's fingerprint");
    QD_TRY_GOTO(qd_run_load_log_batches(&run));
    for (int i = 0; i < config->model_count; i++)
        QD_TRY_GOTO(verify_model(v, &run, config->models[i]));
fail:
    qd_run_close(&run);
    return status;
}

enum qd_status qd_run_verify(qd_context *ctx, const char *folder, const qd_verify_options *options, int64_t *counts)
{
    static const qd_verify_options no_options = {0};
    enum qd_status status = QD_OK;
    qd_manifest manifest = {0};
    qd_config config = {0};
    int64_t pid;
    verification v = {.ctx = ctx,
                      .folder = folder,
                      .options = options ? options : &no_options,
                      .manifest = &manifest,
                      .counts = counts};
    memset(counts, 0, QD_FINDING_COUNT * sizeof *counts);
    if (qd_folder_lock_is_held(folder, &pid))
        return qd_fail(ctx, QD_ERR_USAGE,
                       "'%s': process %" PRId64 " is at work in it; verify it when the run has ended", folder, pid);
    QD_TRY_GOTO(qd_manifest_read(ctx, folder, &manifest));
    if (!manifest.json) {
        status = qd_fail(ctx, QD_ERR_INPUT, "'%s' is no run's folder: it has no " QD_MANIFEST_NAME, folder);
        goto fail;
    }
    QD_TRY_GOTO(qd_run_config_read(ctx, folder, &config));
    if (v.options->data_dir) {
        free(config.data_dir);
        config.data_dir = strdup(v.options->data_dir);
        if (!config.data_dir) {
            status = qd_fail(ctx, QD_ERR_MEMORY, "verify: out of memory");
            goto fail;
        }
    }
    QD_TRY_GOTO(verify_hashes(&v, &config));
    QD_TRY_GOTO(verify_numbers(&v, &config));
fail:
    qd_config_free(&config);
    qd_manifest_free(&manifest);
    return status;
}
