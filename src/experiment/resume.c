/* What an output folder holds already, and whether it belongs to this configuration and this data. */
#include "base/error.h"
#include "base/file.h"
#include "experiment/record.h"
#include "experiment/run.h"
#include <stdlib.h>
#include <string.h>

#define MAX_CONFIG_BYTES  ((size_t)1 << 20)
#define MAX_RESULTS_BYTES ((size_t)1 << 30)

char *qd_checkpoint_path(const qd_run *run, const qd_model_info *model, const char *which)
{
    return qd_format("%s/%s_%s.safetensors", run->checkpoint_folder, model->name, which);
}

/* ---- the folder ---- */

/* True when the folder holds results or a checkpoint of any model; `*what` then names the file (owned). */
static bool folder_is_used(const qd_run *run, char **what)
{
    for (const qd_model_info *const *model = qd_model_list(); *model; model++) {
        char *candidates[2] = {qd_results_path(run->config->output_dir, *model),
                               qd_checkpoint_path(run, *model, "last")};
        for (int c = 0; c < 2; c++) {
            if (!*what && candidates[c] && qd_file_exists(candidates[c]))
                *what = candidates[c];
            else
                free(candidates[c]);
        }
    }
    return *what != NULL;
}

/* Text of changes such as "lr (was 0.01, is 0.02)". */
typedef struct changes {
    char text[1024];
    size_t used;
} changes;

static void add_change(changes *list, const char *name, const cJSON *was, const cJSON *is)
{
    char *before = qd_json_print_line(was), *after = qd_json_print_line(is);
    if (before && after && strcmp(before, after) != 0 && list->used < sizeof list->text)
        list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used,
                                       "%s%s (was %.80s, is %.80s)", list->used ? ", " : "", name, before, after);
    free(before);
    free(after);
}

/* The later models of a list may come and go, because each starts from the generator of those before it. */
static bool same_beginning(const qd_config *a, const qd_config *b)
{
    for (int i = 0; i < a->model_count && i < b->model_count; i++)
        if (a->models[i] != b->models[i])
            return false;
    return true;
}

static void compare_configs(const qd_config *was, const qd_config *is, changes *list)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    for (int i = 0; i < count; i++) {
        if (keys[i].decides != QD_DECIDES_TRAINING && !(keys[i].kind == QD_KEY_MODELS && !same_beginning(was, is)))
            continue;
        cJSON *before = qd_config_key_json(was, &keys[i]), *after = qd_config_key_json(is, &keys[i]);
        if (before && after)
            add_change(list, keys[i].name, before, after);
        cJSON_Delete(before);
        cJSON_Delete(after);
    }
}

/* Compares with the configuration that an earlier run recorded. */
static enum qd_status check_recorded_config(const qd_run *run, const char *path)
{
    qd_config recorded;
    cJSON *json = NULL;
    changes list = {0};
    QD_TRY(qd_config_init(run->ctx, &recorded));
    enum qd_status status = QD_OK;
    QD_TRY_GOTO(qd_json_read(run->ctx, path, MAX_CONFIG_BYTES, false, &json));
    QD_TRY_GOTO(qd_config_apply(run->ctx, &recorded, path, json));
    compare_configs(&recorded, run->config, &list);
    if (list.used > 0)
        status =
            qd_fail(run->ctx, QD_ERR_USAGE,
                    "'%s' was begun with another configuration: %s; set it back to resume, or choose another --out",
                    run->config->output_dir, list.text);
fail:
    cJSON_Delete(json);
    qd_config_free(&recorded);
    return status;
}

/* Every checkpoint is looked at before anything is written: a refusal must leave the folder as it was. */
static enum qd_status check_checkpoints(qd_run *run)
{
    for (int i = 0; i < run->config->model_count; i++) {
        char hash[65];
        qd_resume_point point;
        QD_TRY(qd_config_hash(run->ctx, run->config, i, hash));
        QD_TRY(qd_resume_find(run, i, hash, &point));
        qd_checkpoint_info_free(&point.info);
    }
    return QD_OK;
}

enum qd_status qd_resume_prepare_folder(qd_run *run)
{
    enum qd_status status = QD_OK;
    char *path = qd_format("%s/config.json", run->config->output_dir);
    cJSON *json = qd_config_json(run->config, false);
    char *used = NULL;
    if (!path || !json) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "output folder '%s': out of memory", run->config->output_dir);
        goto fail;
    }
    bool is_used = folder_is_used(run, &used);
    if (is_used && !run->options->resume) {
        status =
            qd_fail(run->ctx, QD_ERR_USAGE,
                    "output folder '%s' already holds results ('%s'); go on with --resume, or choose another --out",
                    run->config->output_dir, used);
        goto fail;
    }
    /* A run that ended before its first checkpoint has left nothing that another configuration could spoil. */
    if (is_used && qd_file_exists(path))
        QD_TRY_GOTO(check_recorded_config(run, path));
    if (is_used)
        QD_TRY_GOTO(check_checkpoints(run));
    run->record->settled = is_used && qd_record_is_settled(run, run->record);
    if (run->record->settled)
        goto fail; /* as it is: what made it stays recorded */
    if (is_used)
        QD_TRY_GOTO(qd_record_check_machine(run, run->record));
    QD_TRY_GOTO(qd_folder_create(run->ctx, run->checkpoint_folder));
    QD_TRY_GOTO(qd_json_write(run->ctx, path, json));
fail:
    free(used);
    free(path);
    cJSON_Delete(json);
    return status;
}

/* ---- one model ---- */

/* One sentence about a split that differs from what the results file recorded; empty when it does not. */
static void describe_split(const cJSON *recorded, const char *name, const qd_dataset *dataset, char *text,
                           size_t size)
{
    char fingerprint[QD_FINGERPRINT_BYTES];
    qd_dataset_fingerprint(dataset, fingerprint);
    const cJSON *split = cJSON_GetObjectItemCaseSensitive(recorded, name);
    const cJSON *images = cJSON_GetObjectItemCaseSensitive(split, "images");
    const cJSON *before = cJSON_GetObjectItemCaseSensitive(split, "fingerprint");
    text[0] = '\0';
    if (!cJSON_IsNumber(images) || !cJSON_IsString(before) || strcmp(before->valuestring, fingerprint) == 0)
        return;
    if ((int64_t)images->valuedouble != qd_dataset_count(dataset))
        snprintf(text, size, ": '%s' had %.0f images and has %lld", name, images->valuedouble,
                 (long long)qd_dataset_count(dataset));
    else
        snprintf(text, size, ": files of '%s' changed, in as many images as before", name);
}

static enum qd_status fail_data_changed(const qd_run *run, const qd_model_info *model, const char *path)
{
    char training[128] = "", validation[128] = "";
    char *results_path = qd_results_path(run->config->output_dir, model);
    cJSON *json = NULL;
    if (results_path && qd_json_read(run->ctx, results_path, MAX_RESULTS_BYTES, false, &json) == QD_OK) {
        const cJSON *recorded = cJSON_GetObjectItemCaseSensitive(json, "dataset");
        describe_split(recorded, "train", run->training, training, sizeof training);
        describe_split(recorded, "val", run->validation, validation, sizeof validation);
    }
    cJSON_Delete(json);
    free(results_path);
    return qd_fail(
        run->ctx, QD_ERR_USAGE,
        "the data in '%s' changed since '%s' was written%s%s; restore it to resume, or choose another --out",
        run->config->data_dir, path, training, validation);
}

static enum qd_status check_point(const qd_run *run, const qd_model_info *model, const char *config_hash,
                                  const char *path, const qd_checkpoint_info *info)
{
    if (strcmp(info->model, model->name) != 0)
        return qd_fail(run->ctx, QD_ERR_INPUT, "checkpoint '%s' is of the model '%s', expected '%s'", path,
                       info->model, model->name);
    if (strcmp(info->data_fingerprint, run->data_fingerprint) != 0)
        return fail_data_changed(run, model, path);
    if (strcmp(info->config_hash, config_hash) != 0)
        return qd_fail(run->ctx, QD_ERR_USAGE,
                       "checkpoint '%s' was written with another configuration (or with other models before this "
                       "one); set it back to resume, or choose another --out",
                       path);
    return QD_OK;
}

enum qd_status qd_resume_find(qd_run *run, int model_index, const char *config_hash, qd_resume_point *point)
{
    const qd_model_info *model = run->config->models[model_index];
    qd_resume_point found = {0};
    char *path = qd_checkpoint_path(run, model, "last");
    if (!path)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "resuming %s: out of memory", model->display_name);
    enum qd_status status = QD_OK;
    if (qd_file_exists(path)) {
        QD_TRY_GOTO(qd_checkpoint_read_info(run->ctx, path, &found.info));
        QD_TRY_GOTO(check_point(run, model, config_hash, path, &found.info));
        found.found = true;
    }
    *point = found;
    found = (qd_resume_point){0};
fail:
    qd_checkpoint_info_free(&found.info);
    free(path);
    return status;
}
