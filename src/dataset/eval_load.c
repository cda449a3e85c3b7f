/* Chosen images with the validation transform, several threads at once. */
#include "base/arena.h"
#include "base/error.h"
#include "dataset/sample_load.h"
#include "dataset/work_pool.h"
#include <stdlib.h>
#include <string.h>

typedef struct eval_load {
    qd_sample_source source;
    qd_sample_worker *workers;
    const int64_t *indices;
    float *out;
    pthread_mutex_t mutex; /* guards what follows */
    enum qd_status status;
    int64_t failed_item; /* the first in order of those that failed */
    qd_image_fault fault;
} eval_load;

static void load_item(void *user, int worker, int64_t item)
{
    eval_load *load = user;
    size_t values = (size_t)load->source.image_size * (size_t)load->source.image_size * 3;
    qd_sample_plan sample = {.index = load->indices[item]};
    qd_image_fault fault;
    enum qd_status status = qd_sample_load(&load->source, &load->workers[worker], &sample,
                                           load->out + (size_t)item * values, NULL, &fault);
    if (status == QD_OK)
        return;
    pthread_mutex_lock(&load->mutex);
    if (load->status == QD_OK || item < load->failed_item) {
        load->status = status;
        load->failed_item = item;
        memcpy(load->fault.sentence, fault.sentence, strlen(fault.sentence) + 1);
    }
    pthread_mutex_unlock(&load->mutex);
}

static enum qd_status check_indices(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (indices[i] < 0 || indices[i] >= qd_dataset_count(dataset))
            return qd_fail(ctx, QD_ERR_USAGE, "loading images of '%s': expected indices of 0 to %lld, got %lld",
                           qd_dataset_folder(dataset), (long long)qd_dataset_count(dataset) - 1,
                           (long long)indices[i]);
    return QD_OK;
}

enum qd_status qd_dataset_load_eval(qd_context *ctx, const qd_dataset *dataset, const int64_t *indices, int64_t n,
                                    int32_t image_size, int threads, float *out, int64_t *labels)
{
    if (image_size < 1 || image_size > QD_MAX_INPUT_SIZE || threads < 1)
        return qd_fail(ctx, QD_ERR_USAGE, "loading images: expected a size of 1 to %d and a thread, got %d and %d",
                       QD_MAX_INPUT_SIZE, image_size, threads);
    QD_TRY(check_indices(ctx, dataset, indices, n));
    enum qd_status status;
    bool mutex_made = false;
    eval_load load = {.source = {.dataset = dataset, .image_size = image_size}, .indices = indices, .out = out};
    qd_normalizer_init(&load.source.normalizer);
    load.workers = qd_calloc((size_t)threads, sizeof(*load.workers));
    if (!load.workers || pthread_mutex_init(&load.mutex, NULL) != 0) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "loading images: memory is short for %d threads", threads);
        goto fail;
    }
    mutex_made = true;
    for (int i = 0; i < threads; i++)
        QD_TRY_GOTO(qd_sample_worker_create(ctx, image_size, &load.workers[i]));
    qd_work_run(threads, n, load_item, &load);
    status = load.status;
    if (status != QD_OK)
        qd_fail(ctx, status, "%s", load.fault.sentence);
    for (int64_t i = 0; status == QD_OK && labels && i < n; i++)
        labels[i] = qd_dataset_get(dataset, indices[i])->label;
fail:
    if (mutex_made)
        pthread_mutex_destroy(&load.mutex);
    for (int i = 0; load.workers && i < threads; i++)
        qd_sample_worker_destroy(&load.workers[i]);
    free(load.workers);
    return status;
}
