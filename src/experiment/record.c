#include "experiment/record.h"
#include "base/error.h"
#include "base/file.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the beginning ---- */

enum qd_status qd_record_open(const qd_run *run, qd_record *record)
{
    const char *folder = run->config->output_dir;
    QD_TRY(qd_folder_create(run->ctx, folder));
    QD_TRY(qd_folder_lock_take(run->ctx, folder, &record->lock));
    QD_TRY(qd_manifest_read(run->ctx, folder, &record->before));
    return qd_config_run_hash(run->ctx, run->config, record->configuration_hash);
}

bool qd_record_is_settled(const qd_run *run, const qd_record *record)
{
    const qd_manifest *before = &record->before;
    const cJSON *file;
    if (!before->json || before->state != QD_RUN_COMPLETE ||
        strcmp(before->configuration_hash, record->configuration_hash) != 0 ||
        strcmp(before->data_fingerprint, run->data_fingerprint) != 0)
        return false;
    cJSON_ArrayForEach(file, before->files)
    {
        char *path = qd_run_file(run->config->output_dir, file->string);
        const bool there = path && qd_file_exists(path);
        free(path);
        if (!there)
            return false;
    }
    return true;
}

enum qd_status qd_record_check_machine(const qd_run *run, const qd_record *record)
{
    const qd_manifest *before = &record->before;
    const char *now = qd_isa_name(qd_context_isa(run->ctx));
    enum qd_isa was;
    if (!before->json || strcmp(before->instruction_set, now) == 0)
        return QD_OK;
    /* A better set can be left unused; a set that is missing cannot be had. */
    const bool can_follow = qd_isa_parse(before->instruction_set, &was) && was < qd_context_isa(run->ctx);
    return qd_fail(run->ctx, QD_ERR_USAGE,
                   "'%s' was begun with the instruction set '%.20s' and would go on with '%s', which rounds "
                   "differently; %s%s%s, or choose another --out",
                   run->config->output_dir, before->instruction_set, now,
                   can_follow ? "give --cpu " : "resume it where '", before->instruction_set,
                   can_follow ? "" : "' is allowed");
}

static enum qd_status write_manifest(const qd_run *run, const qd_record *record, enum qd_run_state state,
                                     const char *reason, const char *ended)
{
    char **files = NULL;
    int file_count = 0;
    if (state == QD_RUN_COMPLETE)
        QD_TRY(qd_run_files_list(run->ctx, run->config, &files, &file_count));
    const qd_manifest_entries entries = {.state = state,
                                         .reason = reason,
                                         .started = record->started,
                                         .session_started = record->session_started,
                                         .ended = ended,
                                         .interruptions = record->interruptions,
                                         .configuration_hash = record->configuration_hash,
                                         .data_fingerprint = run->data_fingerprint,
                                         .loader_threads = run->loader_threads,
                                         .processes = run->processes ? run->processes->size : 1,
                                         .files = (const char *const *)files,
                                         .file_count = file_count};
    const enum qd_status status = qd_manifest_write(run->ctx, run->config->output_dir, &entries);
    qd_run_files_free(files, file_count);
    return status;
}

/* The interruptions so far, and the last part of the run when it did not end well. */
static enum qd_status collect_interruptions(const qd_run *run, qd_record *record)
{
    const qd_manifest *before = &record->before;
    record->interruptions =
        before->interruptions ? cJSON_Duplicate(before->interruptions, true) : cJSON_CreateArray();
    bool done = record->interruptions != NULL;
    if (done && before->json && before->state != QD_RUN_COMPLETE) {
        cJSON *entry = qd_manifest_interruption(before);
        done = entry && cJSON_AddItemToArray(record->interruptions, entry);
        if (!done)
            cJSON_Delete(entry);
    }
    return done ? QD_OK : qd_fail(run->ctx, QD_ERR_MEMORY, "run: out of memory");
}

enum qd_status qd_record_begin(const qd_run *run, qd_record *record)
{
    const qd_manifest *before = &record->before;
    QD_TRY(collect_interruptions(run, record));
    qd_text_time(record->session_started);
    snprintf(record->started, sizeof record->started, "%s",
             before->json && before->started[0] ? before->started : record->session_started);
    char *path = qd_run_file(run->config->output_dir, "log.txt");
    if (!path)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "run: out of memory");
    record->log = fopen(path, "ae");
    const int error = errno;
    enum qd_status status = QD_OK;
    if (!record->log)
        status = qd_fail_errno(run->ctx, error, "writing '%s'", path);
    free(path);
    QD_TRY(status);
    record->begun = true;
    qd_log_attach(run->ctx, record->log);
    if (before->json && !qd_manifest_is_ours(before))
        qd_log(
            run->ctx, QD_LOG_WARNING,
            "'%s' was begun by quantdrift %.40s (%.40s), another build than this one: its results may not be those "
            "of a run by one program",
            run->config->output_dir, before->version, before->commit);
    return write_manifest(run, record, QD_RUN_RUNNING, NULL, NULL);
}

/* ---- the end ---- */

/* Tells the log and the manifest of an end before the run was complete. The outcome's sentence must survive. */
static void close_incomplete(const qd_run *run, qd_record *record, enum qd_status outcome, const char *ended)
{
    char *sentence = strdup(qd_context_error(run->ctx));
    const bool interrupted = outcome == QD_ERR_INTERRUPTED;
    qd_log(run->ctx, QD_LOG_DEBUG, "%s: %s", interrupted ? "interrupted" : "failed", sentence ? sentence : "");
    /* Where the disk is full, the manifest says "running" and the lock is gone: it is known not to be. */
    if (write_manifest(run, record, interrupted ? QD_RUN_INTERRUPTED : QD_RUN_FAILED, sentence, ended) != QD_OK)
        qd_fail(run->ctx, outcome, "%s", sentence ? sentence : "run: out of memory");
    free(sentence);
}

enum qd_status qd_record_close(const qd_run *run, qd_record *record, enum qd_status outcome)
{
    char ended[QD_TIME_BYTES];
    qd_text_time(ended);
    if (record->begun && outcome == QD_OK) {
        outcome = write_manifest(run, record, QD_RUN_COMPLETE, NULL, ended);
        if (outcome == QD_OK)
            qd_log(run->ctx, QD_LOG_DEBUG, "complete");
    }
    if (record->begun && outcome != QD_OK)
        close_incomplete(run, record, outcome, ended);
    if (record->log) {
        qd_log_attach(run->ctx, NULL);
        fclose(record->log);
    }
    qd_folder_lock_release(&record->lock);
    qd_manifest_free(&record->before);
    cJSON_Delete(record->interruptions);
    *record = (qd_record){0};
    return outcome;
}

/* ---- files ---- */

typedef struct name_list {
    char **names;
    int count;
} name_list;

/* Takes `name`; false when memory is short. */
static bool add_name(name_list *list, char *name)
{
    char **larger = name ? realloc(list->names, ((size_t)list->count + 1) * sizeof *larger) : NULL;
    if (!larger) {
        free(name);
        return false;
    }
    list->names = larger;
    list->names[list->count++] = name;
    return true;
}

static bool add_if_there(name_list *list, const char *folder, char *name)
{
    char *path = name ? qd_run_file(folder, name) : NULL;
    if (!path) {
        free(name);
        return false;
    }
    const bool there = qd_file_exists(path);
    free(path);
    if (there)
        return add_name(list, name);
    free(name);
    return true;
}

static int is_checkpoint(const struct dirent *entry)
{
    const char *end = strrchr(entry->d_name, '.');
    return end && strcmp(end, ".safetensors") == 0;
}

static enum qd_status add_checkpoints(qd_context *ctx, const char *folder, name_list *list)
{
    struct dirent **entries = NULL;
    char *path = qd_run_file(folder, "checkpoints");
    const int count = path ? scandir(path, &entries, is_checkpoint, alphasort) : 0;
    const int error = errno;
    enum qd_status status = QD_OK;
    bool done = path != NULL;
    if (count < 0 && error != ENOENT) /* results are often kept without */
        status = qd_fail_errno(ctx, error, "reading folder '%s'", path);
    for (int i = 0; i < count; i++) {
        done = done && add_name(list, qd_format("checkpoints/%s", entries[i]->d_name));
        free(entries[i]);
    }
    free(entries);
    free(path);
    return done ? status : qd_fail(ctx, QD_ERR_MEMORY, "run: out of memory");
}

enum qd_status qd_run_files_list(qd_context *ctx, const qd_config *config, char ***names, int *count)
{
    static const char *const fixed[] = {"config.json", "metrics.csv", "table.md"};
    const char *folder = config->output_dir;
    enum qd_status status = QD_OK;
    name_list list = {0};
    bool done = true;
    for (size_t i = 0; done && i < sizeof fixed / sizeof fixed[0]; i++)
        done = add_if_there(&list, folder, strdup(fixed[i]));
    for (int m = 0; done && m < config->model_count; m++)
        done = add_if_there(&list, folder, qd_format("%s_results.json", config->models[m]->name)) &&
               add_if_there(&list, folder, qd_format("%s" QD_QAT_ENCODINGS_SUFFIX, config->models[m]->name));
    for (int m = 0; done && m < config->model_count; m++) {
        for (int format = 0; done && format < QD_EXPORT_FORMAT_COUNT; format++) {
            if (!(config->export_formats & 1u << format))
                continue;
            char *path = qd_export_path(config, config->models[m], (enum qd_export_format)format);
            const char *name = path ? path + strlen(folder) + 1 : NULL;
            done = path && add_if_there(&list, folder, strdup(name));
            free(path);
        }
    }
    status = done ? add_checkpoints(ctx, folder, &list) : qd_fail(ctx, QD_ERR_MEMORY, "run: out of memory");
    if (status == QD_OK) {
        *names = list.names;
        *count = list.count;
    } else {
        qd_run_files_free(list.names, list.count);
    }
    return status;
}

void qd_run_files_free(char **names, int count)
{
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
}
