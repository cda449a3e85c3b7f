/* The main job: data, folder, generator, then one model after the other. */
#include "experiment/run.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "experiment/data_parallel.h"
#include "experiment/record.h"
#include "experiment/selection.h"
#include <stdlib.h>
#include <string.h>

void qd_run_seed(const qd_config *config, qd_rng *rng)
{
    qd_rng_seed(rng, (uint64_t)config->seed);
    qd_rng_skip(rng, QD_RUN_ITERATOR_WORDS); /* next(iter(val_loader)) for the fixed batch */
}

enum qd_status qd_run_open_split(const qd_run *run, const char *name, qd_dataset **out)
{
    char *folder = qd_format("%s/%s", run->config->data_dir, name);
    if (!folder)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "data set '%s': out of memory", run->config->data_dir);
    enum qd_status status = qd_dataset_open(run->ctx, folder, (enum qd_on_bad_image)run->config->on_bad_image, out);
    free(folder);
    return status;
}

enum qd_status qd_run_count_classes(qd_run *run)
{
    const qd_config *config = run->config;
    run->class_count = qd_dataset_class_count(run->training);
    if (run->class_count < 2)
        return qd_fail(run->ctx, QD_ERR_INPUT,
                       "data set '%s' has one class; training needs two or more folders in train/", config->data_dir);
    if (config->num_classes != QD_CONFIG_NULL && config->num_classes != run->class_count)
        return qd_fail(
            run->ctx, QD_ERR_INPUT,
            "data set '%s' has %lld classes, num_classes says %lld; set num_classes to null to take the folders'",
            config->data_dir, (long long)run->class_count, (long long)config->num_classes);
    if (config->head == QD_HEAD_BINARY && run->class_count != 2)
        return qd_fail(run->ctx, QD_ERR_INPUT, "head \"binary\" needs two classes, data set '%s' has %lld",
                       config->data_dir, (long long)run->class_count);
    return QD_OK;
}

enum qd_status qd_run_open_data(qd_run *run)
{
    QD_TRY(qd_run_open_split(run, "train", &run->training));
    QD_TRY(qd_run_open_split(run, "val", &run->validation));
    QD_TRY(qd_dataset_check_classes(run->ctx, run->training, run->validation));
    const qd_dataset *splits[2] = {run->training, run->validation};
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; i < 2; i++) {
        char fingerprint[QD_FINGERPRINT_BYTES];
        qd_dataset_fingerprint(splits[i], fingerprint);
        qd_sha256_update(&hash, fingerprint, strlen(fingerprint));
    }
    qd_sha256_finish(&hash, run->data_fingerprint);
    return QD_OK;
}

static void log_skipped_images(const qd_run *run)
{
    const qd_dataset *splits[2] = {run->training, run->validation};
    const char *const names[2] = {"train", "val"};
    for (int i = 0; i < 2; i++)
        if (qd_dataset_skipped_count(splits[i]) > 0)
            qd_log(run->ctx, QD_LOG_WARNING, "%s/: unreadable images left out: %lld; results list them", names[i],
                   (long long)qd_dataset_skipped_count(splits[i]));
}

static enum qd_status load_batch(qd_run *run, const int64_t *indices, int64_t count, qd_image_batch *batch)
{
    int64_t size = run->config->image_size;
    batch->images = qd_calloc((size_t)(count * size * size * 3), sizeof(float));
    batch->count = count;
    if (!batch->images)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "activation logs: out of memory for a batch of %lld images",
                       (long long)count);
    return qd_dataset_load_eval(run->ctx, run->validation, indices, count, (int32_t)size, (int)run->loader_threads,
                                batch->images, NULL);
}

enum qd_status qd_run_load_log_batches(qd_run *run)
{
    int64_t count = qd_dataset_count(run->validation);
    if (count > run->config->batch_size)
        count = run->config->batch_size;
    int64_t *indices = qd_calloc((size_t)count, sizeof *indices);
    if (!indices)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "activation logs: out of memory");
    enum qd_status status = QD_OK;
    for (int64_t i = 0; i < count; i++)
        indices[i] = i;
    QD_TRY_GOTO(load_batch(run, indices, count, &run->fixed));
    int64_t mixed_count = qd_select_balanced(run->validation, count, indices);
    QD_TRY_GOTO(load_batch(run, indices, mixed_count, &run->mixed));
fail:
    free(indices);
    return status;
}

void qd_run_close(qd_run *run)
{
    qd_step_log_close(run->step_log);
    qd_dataset_destroy(run->training);
    qd_dataset_destroy(run->validation);
    free(run->fixed.images);
    free(run->mixed.images);
    free(run->checkpoint_folder);
    free(run->metrics);
}

/* The models in turn, then the table over them. */
static enum qd_status run_models(qd_run *run, qd_experiment *experiment)
{
    char *table = NULL;
    qd_run_seed(run->config, &run->rng);
    for (int i = 0; i < run->config->model_count; i++) {
        QD_TRY(qd_model_run_execute(run, i));
        QD_TRY(qd_qat_execute(run, i));
        QD_TRY(qd_run_export(run, run->config->models[i]));
    }
    QD_TRY(qd_experiment_table(experiment, &table));
    free(table);
    return QD_OK;
}

/* What one process does alone when there are several: the others would wait for hours. */
static enum qd_status check_processes(const qd_run *run)
{
    const qd_config *config = run->config;
    if (!run->processes)
        return QD_OK;
    const int size = run->processes->size;
    if (config->batch_size < size)
        return qd_fail(
            run->ctx, QD_ERR_USAGE,
            "training with %d processes: a batch of %lld has no image for some of them; start at most as many "
            "processes as batch_size says",
            size, (long long)config->batch_size);
    if (config->qat.num_epochs > 0)
        return qd_fail(
            run->ctx, QD_ERR_USAGE,
            "training with %d processes: quantization-aware training is for one; set qat.num_epochs to 0, and "
            "let one process go on afterwards with --resume and qat.num_epochs as it is",
            size);
    return QD_OK;
}

/* What every process of a run needs before the first model. */
static enum qd_status prepare(qd_run *run)
{
    const qd_config *config = run->config;
    if (config->threads > 0)
        QD_TRY(qd_context_set_threads(run->ctx, (int)config->threads));
    run->loader_threads = config->loader_threads > 0 ? config->loader_threads : qd_context_threads(run->ctx);
    QD_TRY(check_processes(run));
    QD_TRY(qd_run_open_data(run));
    return qd_run_count_classes(run);
}

/* The process that is alone, or leads. */
static enum qd_status lead(qd_run *run, qd_experiment *experiment)
{
    qd_context *ctx = run->ctx;
    const qd_config *config = run->config;
    run->checkpoint_folder = qd_format("%s/checkpoints", config->output_dir);
    if (!run->checkpoint_folder)
        return qd_fail(ctx, QD_ERR_MEMORY, "run: out of memory");
    QD_TRY(qd_record_open(run, run->record));
    QD_TRY(qd_resume_prepare_folder(run));
    if (run->record->settled) {
        for (int i = 0; i < config->model_count; i++)
            qd_log(ctx, QD_LOG_INFO, "%s: complete, not trained again", config->models[i]->display_name);
        return QD_OK;
    }
    QD_TRY(qd_record_begin(run, run->record));
    log_skipped_images(run);
    QD_TRY(qd_run_check_memory(run));
    if (run->options->step_log_path)
        QD_TRY(qd_step_log_open(ctx, run->options->step_log_path, run->options->resume, &run->step_log));
    QD_TRY(qd_run_load_log_batches(run));
    return run_models(run, experiment);
}

enum qd_status qd_experiment_run(qd_experiment *experiment, const qd_run_options *options)
{
    static const qd_run_options no_options = {0};
    qd_run run = {.ctx = experiment->ctx, .config = &experiment->config, .options = options ? options : &no_options};
    qd_record record = {0};
    run.record = &record;
    run.processes = qd_processes_communicator(run.options->processes);
    enum qd_status status = qd_processes_meet(&run, prepare(&run));
    if (status == QD_OK && qd_processes_rank(run.options->processes) > 0) {
        status = qd_run_follow(&run);
    } else if (status == QD_OK) {
        status = qd_record_close(&run, &record, lead(&run, experiment));
        qd_order_end(&run);
    }
    qd_run_close(&run);
    return status;
}
