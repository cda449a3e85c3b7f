#include <quantdrift/queue.h>

#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "experiment/estimate.h"
#include "experiment/experiment_file.h"
#include "experiment/manifest.h"
#include <stdlib.h>
#include <string.h>

/* A data folder that was scanned: runs of one queue mostly share it. */
typedef struct scanned_data {
    char *data_dir;
    int on_bad_image;
    qd_dataset *training, *validation;
    char fingerprint[QD_FINGERPRINT_BYTES];
} scanned_data;

struct qd_queue {
    qd_context *ctx;
    qd_experiment **runs;
    int count;
    scanned_data *data;
    int data_count;
    qd_speed_list speeds;
};

enum qd_status qd_queue_create(qd_context *ctx, qd_queue **out)
{
    qd_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return qd_fail(ctx, QD_ERR_MEMORY, "queue: out of memory");
    queue->ctx = ctx;
    *out = queue;
    return QD_OK;
}

void qd_queue_destroy(qd_queue *queue)
{
    if (!queue)
        return;
    for (int i = 0; i < queue->count; i++)
        qd_experiment_destroy(queue->runs[i]);
    for (int i = 0; i < queue->data_count; i++) {
        free(queue->data[i].data_dir);
        qd_dataset_destroy(queue->data[i].training);
        qd_dataset_destroy(queue->data[i].validation);
    }
    free(queue->runs);
    free(queue->data);
    qd_speed_list_free(&queue->speeds);
    free(queue);
}

int qd_queue_count(const qd_queue *queue)
{
    return queue->count;
}

qd_experiment *qd_queue_get(const qd_queue *queue, int index)
{
    return queue->runs[index];
}

/* ---- expanding ---- */

/* The next name of a path and its length, doubled slashes and "." left out; NULL at the end. */
static const char *next_name(const char *path, size_t *length)
{
    for (;;) {
        path += strspn(path, "/");
        *length = strcspn(path, "/");
        if (*length == 0)
            return NULL;
        if (*length != 1 || path[0] != '.')
            return path;
        path += 1;
    }
}

/* Whether two folders are written the same but for that. */
static bool same_folder(const char *a, const char *b)
{
    size_t length_a, length_b;
    if ((a[0] == '/') != (b[0] == '/'))
        return false;
    for (;;) {
        a = next_name(a, &length_a);
        b = next_name(b, &length_b);
        if (!a || !b)
            return a == b;
        if (length_a != length_b || strncmp(a, b, length_a) != 0)
            return false;
        a += length_a;
        b += length_b;
    }
}

/* Takes `run`. */
static enum qd_status push_run(qd_queue *queue, qd_experiment *run, const char *path)
{
    const char *folder = run->config.output_dir;
    for (int i = 0; i < queue->count; i++)
        if (same_folder(queue->runs[i]->config.output_dir, folder)) {
            const enum qd_status status =
                qd_fail(queue->ctx, QD_ERR_USAGE,
                        "%s: two runs would write to '%s'; give them other names or other values of output_dir", path,
                        folder);
            qd_experiment_destroy(run);
            return status;
        }
    qd_experiment **larger = realloc(queue->runs, ((size_t)queue->count + 1) * sizeof(qd_experiment *));
    if (!larger) {
        qd_experiment_destroy(run);
        return qd_fail(queue->ctx, QD_ERR_MEMORY, "queue: out of memory");
    }
    queue->runs = larger;
    queue->runs[queue->count++] = run;
    return QD_OK;
}

/* Puts the run of a grid's point into a folder of its own. */
static enum qd_status name_folder(qd_context *ctx, const qd_experiment_file *file, int64_t point, qd_config *config)
{
    char *name = qd_experiment_file_point_name(file, point);
    char *folder = name ? qd_format("%s/%s", config->output_dir, name) : NULL;
    free(name);
    if (!folder)
        return qd_fail(ctx, QD_ERR_MEMORY, "queue: out of memory");
    free(config->output_dir);
    config->output_dir = folder;
    return QD_OK;
}

static enum qd_status add_point(qd_queue *queue, const qd_experiment_file *file, int64_t point,
                                qd_configure_fn *configure, void *user)
{
    qd_context *ctx = queue->ctx;
    enum qd_status status = QD_OK;
    qd_experiment *run = NULL;
    QD_TRY_GOTO(qd_experiment_create(ctx, &run));
    QD_TRY_GOTO(qd_experiment_file_apply(ctx, file, &run->config));
    QD_TRY_GOTO(qd_experiment_file_apply_point(ctx, file, point, &run->config));
    if (configure)
        QD_TRY_GOTO(configure(user, run));
    QD_TRY_GOTO(qd_experiment_file_check_point(ctx, file, point, &run->config));
    if (file->grid)
        QD_TRY_GOTO(name_folder(ctx, file, point, &run->config));
    return push_run(queue, run, file->layers[0].path);
fail:
    qd_experiment_destroy(run);
    return status;
}

enum qd_status qd_queue_add(qd_queue *queue, const char *path, qd_configure_fn *configure, void *user)
{
    qd_experiment_file file;
    QD_TRY(qd_experiment_file_open(queue->ctx, path, &file));
    enum qd_status status = QD_OK;
    for (int64_t point = 0; point < file.point_count && status == QD_OK; point++)
        status = add_point(queue, &file, point, configure, user);
    qd_experiment_file_close(&file);
    return status;
}

/* ---- data ---- */

/* Scans the data of a run, unless it was before. */
static enum qd_status scan_data(qd_queue *queue, const qd_config *config, const scanned_data **out)
{
    for (int i = 0; i < queue->data_count; i++) {
        const scanned_data *known = &queue->data[i];
        if (strcmp(known->data_dir, config->data_dir) == 0 && known->on_bad_image == config->on_bad_image) {
            *out = known;
            return QD_OK;
        }
    }
    qd_run run = {.ctx = queue->ctx, .config = config};
    enum qd_status status = QD_OK;
    char *data_dir = strdup(config->data_dir);
    scanned_data *larger = realloc(queue->data, ((size_t)queue->data_count + 1) * sizeof *larger);
    if (larger)
        queue->data = larger;
    if (!larger || !data_dir) {
        status = qd_fail(queue->ctx, QD_ERR_MEMORY, "queue: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(qd_run_open_data(&run));
    scanned_data *added = &queue->data[queue->data_count++];
    *added = (scanned_data){.data_dir = data_dir,
                            .on_bad_image = config->on_bad_image,
                            .training = run.training,
                            .validation = run.validation};
    memcpy(added->fingerprint, run.data_fingerprint, sizeof added->fingerprint);
    *out = added;
    return QD_OK;
fail:
    free(data_dir);
    qd_run_close(&run);
    return status;
}

/* ---- what there is to do ---- */

/* Whether the files that a complete run always leaves are still there. */
static bool has_results(const qd_config *config)
{
    bool there = true;
    for (int m = 0; there && m < config->model_count; m++) {
        char *path = qd_results_path(config->output_dir, config->models[m]);
        there = path && qd_file_exists(path);
        free(path);
    }
    return there;
}

/* Whether the results are those whose hashes were recorded. */
static bool has_recorded_results(qd_queue *queue, const qd_config *config, const qd_manifest *manifest)
{
    bool same = true;
    for (int m = 0; same && m < config->model_count; m++) {
        char *path = qd_results_path(config->output_dir, config->models[m]), hash[65];
        const char *name = path ? strrchr(path, '/') + 1 : "";
        const cJSON *recorded = cJSON_GetObjectItemCaseSensitive(manifest->files, name);
        same = path && cJSON_IsString(recorded) && qd_file_sha256(queue->ctx, path, hash) == QD_OK &&
               strcmp(recorded->valuestring, hash) == 0;
        free(path);
    }
    return same;
}

static enum qd_queue_state judge_complete(qd_queue *queue, const qd_config *config, const qd_manifest *manifest,
                                          const char *hash)
{
    const scanned_data *data;
    if (strcmp(manifest->configuration_hash, hash) != 0 || !has_results(config) ||
        scan_data(queue, config, &data) != QD_OK || strcmp(manifest->data_fingerprint, data->fingerprint) != 0)
        return QD_QUEUE_BEGUN;
    if (!has_recorded_results(queue, config, manifest))
        return QD_QUEUE_CHANGED;
    return qd_manifest_is_ours(manifest) ? QD_QUEUE_DONE : QD_QUEUE_OTHER_PROGRAM;
}

enum qd_status qd_queue_inspect(qd_queue *queue, int index, enum qd_queue_state *state)
{
    const qd_config *config = &queue->runs[index]->config;
    qd_manifest manifest = {0};
    char hash[65];
    int64_t pid;
    QD_TRY(qd_config_run_hash(queue->ctx, config, hash));
    const enum qd_status read = qd_manifest_read(queue->ctx, config->output_dir, &manifest);
    if (read == QD_ERR_MEMORY)
        return read;
    if (qd_folder_lock_is_held(config->output_dir, &pid))
        *state = QD_QUEUE_LOCKED;
    else if (read != QD_OK || (manifest.json && manifest.state != QD_RUN_COMPLETE))
        *state = QD_QUEUE_BEGUN;
    else if (!manifest.json)
        *state = QD_QUEUE_NEW;
    else
        *state = judge_complete(queue, config, &manifest, hash);
    qd_manifest_free(&manifest);
    return QD_OK;
}

enum qd_status qd_queue_estimate(qd_queue *queue, int index, enum qd_estimate_time time, double train_images_per_s,
                                 qd_run_estimate *out)
{
    const qd_config *config = &queue->runs[index]->config;
    const scanned_data *data;
    QD_TRY(scan_data(queue, config, &data));
    qd_run run = {.ctx = queue->ctx,
                  .config = config,
                  .loader_threads = config->loader_threads > 0 ? config->loader_threads : 1,
                  .training = data->training,
                  .validation = data->validation};
    QD_TRY(qd_run_count_classes(&run));
    return qd_run_estimate_all(&run, time, train_images_per_s, &queue->speeds, out);
}
