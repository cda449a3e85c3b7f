/* What a run's folder tells, from its files alone: nothing is locked, nothing is written. */
#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "experiment/manifest.h"
#include "experiment/results.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_CONFIG_BYTES ((size_t)1 << 20)

/* Folders below one another; runs lie a few deep. */
#define MAX_DEPTH 32

/* ---- one run ---- */

static enum qd_status report_model(qd_context *ctx, const qd_config *config, const qd_model_info *model,
                                   qd_model_report *report)
{
    qd_results results = {0};
    *report = (qd_model_report){
        .epoch = -1, .epoch_count = config->num_epochs, .val_acc = NAN, .int8_epoch = -1, .int8_acc = NAN};
    snprintf(report->model, sizeof report->model, "%s", model->display_name);
    char *path = qd_results_path(config->output_dir, model);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "status: out of memory");
    const enum qd_status status = qd_file_exists(path) ? qd_results_read(ctx, path, model, &results) : QD_OK;
    free(path);
    QD_TRY(status);
    if (results.history_count > 0) {
        const qd_history_entry *last = &results.history[results.history_count - 1];
        report->epoch = last->epoch;
        report->val_acc = last->val_acc;
    }
    if (results.quantized_count > 0) {
        const qd_quantized_epoch *last = &results.quantized[results.quantized_count - 1];
        report->int8_epoch = last->epoch;
        report->int8_acc = last->int8_accuracy;
    }
    qd_results_free(&results);
    return QD_OK;
}

enum qd_status qd_run_config_read(qd_context *ctx, const char *folder, qd_config *out)
{
    enum qd_status status = QD_OK;
    cJSON *json = NULL;
    qd_config config = {0};
    char *path = qd_run_file(folder, "config.json"), *output_dir = strdup(folder);
    if (!path || !output_dir) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "configuration of '%s': out of memory", folder);
        goto fail;
    }
    QD_TRY_GOTO(qd_config_init(ctx, &config));
    QD_TRY_GOTO(qd_json_read(ctx, path, MAX_CONFIG_BYTES, false, &json));
    QD_TRY_GOTO(qd_config_apply(ctx, &config, path, json));
    free(config.output_dir);
    config.output_dir = output_dir;
    *out = config;
    output_dir = NULL;
    config = (qd_config){0};
fail:
    qd_config_free(&config);
    cJSON_Delete(json);
    free(output_dir);
    free(path);
    return status;
}

enum qd_status qd_run_report_read(qd_context *ctx, const char *folder, qd_run_report *out)
{
    enum qd_status status = QD_OK;
    qd_manifest manifest = {0};
    qd_config config = {0};
    qd_run_report report = {.folder = strdup(folder)};
    QD_TRY_GOTO(qd_manifest_read(ctx, folder, &manifest));
    if (!manifest.json) {
        status = qd_fail(ctx, QD_ERR_INPUT, "'%s' is no run's folder: it has no " QD_MANIFEST_NAME, folder);
        goto fail;
    }
    report.state = manifest.state;
    report.reason = strdup(manifest.reason);
    report.locked = qd_folder_lock_is_held(folder, &report.locked_by);
    QD_TRY_GOTO(qd_run_config_read(ctx, folder, &config));
    report.models = calloc((size_t)config.model_count, sizeof *report.models);
    if (!report.folder || !report.reason || !report.models) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "status of '%s': out of memory", folder);
        goto fail;
    }
    for (int m = 0; m < config.model_count; m++)
        QD_TRY_GOTO(report_model(ctx, &config, config.models[m], &report.models[report.model_count++]));
    *out = report;
    report = (qd_run_report){0};
fail:
    qd_run_report_free(&report);
    qd_config_free(&config);
    qd_manifest_free(&manifest);
    return status;
}

void qd_run_report_free(qd_run_report *report)
{
    free(report->folder);
    free(report->reason);
    free(report->models);
    *report = (qd_run_report){0};
}

/* ---- all runs below a folder ---- */

typedef struct search {
    qd_context *ctx;
    qd_run_visit_fn *visit;
    void *user;
} search;

static bool is_folder(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static enum qd_status visit_folder(const search *s, const char *folder, int depth);

/* The folders in a folder; `entries` are freed. */
static enum qd_status visit_entries(const search *s, const char *folder, struct dirent **entries, int count,
                                    int depth)
{
    enum qd_status status = QD_OK;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char *path = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ? NULL : qd_run_file(folder, name);
        if (status == QD_OK && path && is_folder(path))
            status = visit_folder(s, path, depth + 1);
        free(path);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static enum qd_status visit_folder(const search *s, const char *folder, int depth)
{
    struct dirent **entries = NULL;
    char *manifest = qd_run_file(folder, QD_MANIFEST_NAME);
    const bool is_run = manifest && qd_file_exists(manifest);
    free(manifest);
    if (is_run)
        QD_TRY(s->visit(s->user, folder));
    if (depth == MAX_DEPTH)
        return QD_OK;
    const int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0 && depth == 0) {
        const int error = errno;
        qd_fail_errno(s->ctx, error, "reading folder '%s'", folder);
        return qd_open_status(error);
    }
    return count < 0 ? QD_OK
                     : visit_entries(s, folder, entries, count, depth); /* one that may not be read has none */
}

enum qd_status qd_run_folders_visit(qd_context *ctx, const char *folder, qd_run_visit_fn *visit, void *user)
{
    const search s = {.ctx = ctx, .visit = visit, .user = user};
    return visit_folder(&s, folder, 0);
}
