#include "dataset/parallel_load.h"

#include "base/arena.h"
#include "base/error.h"
#include "dataset/work_pool.h"

#include <stdlib.h>
#include <string.h>

typedef struct parallel_load {
    qd_load_item *load;
    void *user;
    qd_sample_worker *workers;
    pthread_mutex_t mutex; /* guards what follows */
    enum qd_status status;
    int64_t failed_item; /* the first in order of those that failed */
    qd_image_fault fault;
} parallel_load;

static void load_item(void *user, int worker, int64_t item)
{
    parallel_load *all = user;
    qd_image_fault fault;
    enum qd_status status = all->load(all->user, &all->workers[worker], item, &fault);
    if (status == QD_OK)
        return;
    pthread_mutex_lock(&all->mutex);
    if (all->status == QD_OK || item < all->failed_item) {
        all->status = status;
        all->failed_item = item;
        memcpy(all->fault.sentence, fault.sentence, strlen(fault.sentence) + 1);
    }
    pthread_mutex_unlock(&all->mutex);
}

enum qd_status qd_load_parallel(qd_context *ctx, int64_t n, int32_t image_size, int threads, qd_load_item *load,
                                void *user)
{
    enum qd_status status = QD_OK;
    bool mutex_made = false;
    parallel_load all = {.load = load, .user = user};
    if (image_size < 1 || image_size > QD_MAX_INPUT_SIZE || threads < 1)
        return qd_fail(ctx, QD_ERR_USAGE, "loading images: expected a size of 1 to %d and a thread, got %d and %d",
                       QD_MAX_INPUT_SIZE, image_size, threads);
    all.workers = qd_calloc((size_t)threads, sizeof *all.workers);
    if (!all.workers || pthread_mutex_init(&all.mutex, NULL) != 0) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "loading images: memory is short for %d threads", threads);
        goto fail;
    }
    mutex_made = true;
    for (int i = 0; i < threads; i++)
        QD_TRY_GOTO(qd_sample_worker_create(ctx, image_size, &all.workers[i]));
    qd_work_run(threads, n, load_item, &all);
    status = all.status;
    if (status != QD_OK)
        qd_fail(ctx, status, "%s", all.fault.sentence);
fail:
    if (mutex_made)
        pthread_mutex_destroy(&all.mutex);
    for (int i = 0; all.workers && i < threads; i++)
        qd_sample_worker_destroy(&all.workers[i]);
    free(all.workers);
    return status;
}
