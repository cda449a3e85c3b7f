/*
 * Batches decoded ahead by threads. The calling thread plans batches in order (all draws happen there); threads take
 * the planned samples one by one and fill slots, a ring of batches; the caller gets the slots in order. Every sample
 * is a function of its plan and its file alone, so that the number of threads cannot change a bit.
 */
#include "base/arena.h"
#include "base/error.h"
#include "dataset/sample_load.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Larger numbers are typing mistakes; they also keep the sizes below from overflowing. */
#define MAX_THREADS  1024
#define MAX_PREFETCH 1024
#define MAX_BATCH    ((int64_t)1 << 20)

typedef struct loader_slot {
    qd_batch batch; /* what the caller sees; the pointers below, without const */
    float *images;
    uint8_t *bytes; /* NULL unless kept */
    int64_t *labels, *indices;
    qd_sample_plan *samples;
    int64_t next_sample; /* taken by the next thread */
    int64_t left;        /* samples not finished */
    enum qd_status status;
    int64_t failed_sample; /* the first in order of those that failed */
    qd_image_fault fault;
} loader_slot;

struct qd_loader {
    qd_context *ctx;
    qd_loader_config config;
    qd_epoch_plan plan;      /* the calling thread's */
    qd_sample_source source; /* read only while threads run */
    qd_arena arena;          /* all slots' memory */
    loader_slot *slots;
    int64_t slot_count;
    qd_sample_worker *workers; /* one a thread */
    pthread_t *threads;
    int started_threads;
    bool locks_made;
    bool handed_out;     /* the caller holds the batch at `consumed` */
    double wait_seconds; /* of the epoch */

    /* Positions count the epoch's batches from the one it began with; position p lies in slot p % slot_count. */
    pthread_mutex_t mutex;
    pthread_cond_t work_ready, work_done;
    int64_t planned;    /* positions with a plan */
    int64_t dispensing; /* the first position with samples no thread has taken */
    int64_t consumed;   /* positions that the caller has given back */
    int busy;           /* threads that hold a sample */
    int next_worker;    /* the number of the next thread to start */
    bool stop;
};

/* ---- threads ---- */

static void finish_sample(qd_loader *loader, loader_slot *slot, int64_t i, enum qd_status status,
                          const qd_image_fault *fault)
{
    if (status != QD_OK && (slot->status == QD_OK || i < slot->failed_sample)) {
        slot->status = status;
        slot->failed_sample = i;
        memcpy(slot->fault.sentence, fault->sentence, strlen(fault->sentence) + 1);
    }
    slot->left--;
    loader->busy--;
    if (slot->left == 0 || loader->busy == 0)
        pthread_cond_broadcast(&loader->work_done);
}

static void *thread_main(void *argument)
{
    qd_loader *loader = argument;
    size_t values = (size_t)loader->config.image_size * (size_t)loader->config.image_size * 3;
    qd_image_fault fault;
    pthread_mutex_lock(&loader->mutex);
    qd_sample_worker *worker = &loader->workers[loader->next_worker++];
    for (;;) {
        while (!loader->stop && loader->dispensing == loader->planned)
            pthread_cond_wait(&loader->work_ready, &loader->mutex);
        if (loader->stop)
            break;
        loader_slot *slot = &loader->slots[loader->dispensing % loader->slot_count];
        if (slot->batch.n == 0) { /* a batch too small for every part */
            loader->dispensing++;
            continue;
        }
        int64_t i = slot->next_sample++;
        if (slot->next_sample == slot->batch.n)
            loader->dispensing++;
        loader->busy++;
        pthread_mutex_unlock(&loader->mutex);

        enum qd_status status =
            qd_sample_load(&loader->source, worker, &slot->samples[i], slot->images + (size_t)i * values,
                           slot->bytes ? slot->bytes + (size_t)i * values : NULL, &fault);
        pthread_mutex_lock(&loader->mutex);
        finish_sample(loader, slot, i, status, &fault);
    }
    pthread_mutex_unlock(&loader->mutex);
    return NULL;
}

static enum qd_status start_threads(qd_loader *loader)
{
    /* Signals belong to the program's own threads: a handler must not run, or interrupt a read, in here. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = 0;
    while (error == 0 && loader->started_threads < loader->config.loader_threads) {
        error = pthread_create(&loader->threads[loader->started_threads], NULL, thread_main, loader);
        loader->started_threads += error == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: could not start thread %d of %d: %s",
                       loader->started_threads + 1, loader->config.loader_threads, strerror(error));
    return QD_OK;
}

/* ---- memory ---- */

static size_t sample_values(const qd_loader_config *config)
{
    return (size_t)config->image_size * (size_t)config->image_size * 3;
}

static size_t slot_bytes(const qd_loader_config *config)
{
    size_t n = (size_t)qd_epoch_plan_batch_size(config), values = n * sample_values(config);
    return qd_align_bytes(values * sizeof(float)) + qd_align_bytes(config->keep_bytes ? values : 0) +
           2 * qd_align_bytes(n * sizeof(int64_t)) + qd_align_bytes(n * sizeof(qd_sample_plan));
}

/* One slot is with the caller while the others are decoded. */
static int64_t slot_count(const qd_loader_config *config)
{
    return config->prefetch_batches + 1;
}

size_t qd_loader_bytes(const qd_loader_config *config)
{
    size_t bytes = (size_t)slot_count(config) * slot_bytes(config);
    for (int64_t i = 0; config->cache_images && i < qd_dataset_count(config->dataset); i++) {
        const qd_dataset_item *item = qd_dataset_get(config->dataset, i);
        bytes += (size_t)item->width * (size_t)item->height * 3;
    }
    return bytes;
}

static enum qd_status create_slots(qd_loader *loader)
{
    const qd_loader_config *config = &loader->config;
    size_t n = (size_t)qd_epoch_plan_batch_size(config), values = n * sample_values(config);
    loader->slot_count = slot_count(config);
    loader->slots = qd_calloc((size_t)loader->slot_count, sizeof(*loader->slots));
    if (!loader->slots)
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: memory is short for %lld batches",
                       (long long)loader->slot_count);
    QD_TRY(qd_arena_create(loader->ctx, (size_t)loader->slot_count * slot_bytes(config), "batches decoded ahead",
                           &loader->arena));
    for (int64_t i = 0; i < loader->slot_count; i++) {
        loader_slot *slot = &loader->slots[i];
        slot->images = qd_arena_take(&loader->arena, values * sizeof(float));
        slot->bytes = config->keep_bytes ? qd_arena_take(&loader->arena, values) : NULL;
        slot->labels = qd_arena_take(&loader->arena, n * sizeof(int64_t));
        slot->indices = qd_arena_take(&loader->arena, n * sizeof(int64_t));
        slot->samples = qd_arena_take(&loader->arena, n * sizeof(qd_sample_plan));
        if (!slot->images || !slot->labels || !slot->indices || !slot->samples ||
            (config->keep_bytes && !slot->bytes))
            return qd_fail(loader->ctx, QD_ERR_INTERNAL, "loader: the batches do not fit the block made for them");
        slot->batch = (qd_batch){
            .images = slot->images, .bytes = slot->bytes, .labels = slot->labels, .indices = slot->indices};
    }
    return QD_OK;
}

static enum qd_status create_workers(qd_loader *loader)
{
    size_t threads = (size_t)loader->config.loader_threads;
    loader->threads = qd_calloc(threads, sizeof(*loader->threads));
    loader->workers = qd_calloc(threads, sizeof(*loader->workers));
    if (!loader->threads || !loader->workers)
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: memory is short for %zu threads", threads);
    for (size_t i = 0; i < threads; i++)
        QD_TRY(qd_sample_worker_create(loader->ctx, loader->config.image_size, &loader->workers[i]));
    return QD_OK;
}

static enum qd_status create_locks(qd_loader *loader)
{
    if (pthread_mutex_init(&loader->mutex, NULL) != 0)
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: memory is short for a lock");
    if (pthread_cond_init(&loader->work_ready, NULL) != 0) {
        pthread_mutex_destroy(&loader->mutex);
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: memory is short for a lock");
    }
    if (pthread_cond_init(&loader->work_done, NULL) != 0) {
        pthread_cond_destroy(&loader->work_ready);
        pthread_mutex_destroy(&loader->mutex);
        return qd_fail(loader->ctx, QD_ERR_MEMORY, "loader: memory is short for a lock");
    }
    loader->locks_made = true;
    return QD_OK;
}

static enum qd_status check_config(qd_context *ctx, const qd_loader_config *config)
{
    const struct {
        const char *name;
        int64_t value, low, high;
    } limits[] = {{"batch_size", config->batch_size, 1, MAX_BATCH},
                  {"image_size", config->image_size, 1, QD_MAX_INPUT_SIZE},
                  {"loader_threads", config->loader_threads, 1, MAX_THREADS},
                  {"prefetch_batches", config->prefetch_batches, 1, MAX_PREFETCH},
                  {"draw_words_per_sample", config->draw_words_per_sample, 0, INT32_MAX},
                  {"part", config->part, 0, config->parts > 0 ? config->parts - 1 : 0}};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
        if (limits[i].value < limits[i].low || limits[i].value > limits[i].high)
            return qd_fail(ctx, QD_ERR_USAGE, "loader: expected %s of %lld to %lld, got %lld", limits[i].name,
                           (long long)limits[i].low, (long long)limits[i].high, (long long)limits[i].value);
    return QD_OK;
}

enum qd_status qd_loader_create(qd_context *ctx, const qd_loader_config *config, qd_loader **out)
{
    enum qd_status status;
    QD_TRY(check_config(ctx, config));
    qd_loader *loader = calloc(1, sizeof(*loader));
    if (!loader)
        return qd_fail(ctx, QD_ERR_MEMORY, "loader: memory is short");
    loader->ctx = ctx;
    loader->config = *config;
    loader->source = (qd_sample_source){
        .dataset = config->dataset, .image_size = config->image_size, .training = config->training};
    qd_normalizer_init(&loader->source.normalizer);
    QD_TRY_GOTO(qd_epoch_plan_create(ctx, config, &loader->plan));
    if (config->cache_images)
        QD_TRY_GOTO(qd_image_cache_create(ctx, qd_dataset_count(config->dataset), &loader->source.cache));
    QD_TRY_GOTO(create_slots(loader));
    QD_TRY_GOTO(create_workers(loader));
    QD_TRY_GOTO(create_locks(loader));
    QD_TRY_GOTO(start_threads(loader));
    *out = loader;
    return QD_OK;
fail:
    qd_loader_destroy(loader);
    return status;
}

void qd_loader_destroy(qd_loader *loader)
{
    if (!loader)
        return;
    if (loader->locks_made) {
        pthread_mutex_lock(&loader->mutex);
        loader->stop = true;
        pthread_cond_broadcast(&loader->work_ready);
        pthread_mutex_unlock(&loader->mutex);
        for (int i = 0; i < loader->started_threads; i++)
            pthread_join(loader->threads[i], NULL);
        pthread_cond_destroy(&loader->work_done);
        pthread_cond_destroy(&loader->work_ready);
        pthread_mutex_destroy(&loader->mutex);
    }
    for (int i = 0; loader->workers && i < loader->config.loader_threads; i++)
        qd_sample_worker_destroy(&loader->workers[i]);
    free(loader->workers);
    free(loader->threads);
    free(loader->slots);
    qd_arena_destroy(&loader->arena);
    qd_image_cache_destroy(loader->source.cache);
    qd_epoch_plan_destroy(&loader->plan);
    free(loader);
}

/* ---- epochs ---- */

int64_t qd_loader_batch_count(const qd_loader *loader)
{
    return loader->plan.batch_count;
}

double qd_loader_wait_seconds(const qd_loader *loader)
{
    return loader->wait_seconds;
}

/* Plans batches into all free slots and hands them to the threads. */
static void fill_slots(qd_loader *loader)
{
    /* Only this thread changes `planned` and `consumed`, and threads look at planned slots only. */
    while (loader->planned - loader->consumed < loader->slot_count) {
        loader_slot *slot = &loader->slots[loader->planned % loader->slot_count];
        slot->batch.ordinal = loader->plan.next_batch;
        qd_part share;
        slot->batch.whole_n = qd_epoch_plan_next(&loader->plan, slot->samples, &share, &slot->batch.rng);
        if (slot->batch.whole_n == 0)
            return;
        slot->batch.n = share.count;
        slot->batch.first = share.first;
        for (int64_t i = 0; i < slot->batch.n; i++) {
            slot->indices[i] = slot->samples[i].index;
            slot->labels[i] = qd_dataset_get(loader->config.dataset, slot->indices[i])->label;
        }
        slot->next_sample = 0;
        slot->left = slot->batch.n;
        slot->status = QD_OK;
        pthread_mutex_lock(&loader->mutex);
        loader->planned++;
        pthread_cond_broadcast(&loader->work_ready);
        pthread_mutex_unlock(&loader->mutex);
    }
}

enum qd_status qd_loader_start_epoch(qd_loader *loader, const qd_rng *rng, int64_t first_batch)
{
    pthread_mutex_lock(&loader->mutex);
    loader->dispensing = loader->planned; /* what no thread has taken is abandoned */
    while (loader->busy > 0)
        pthread_cond_wait(&loader->work_done, &loader->mutex);
    loader->planned = loader->dispensing = loader->consumed = 0;
    pthread_mutex_unlock(&loader->mutex);
    loader->handed_out = false;
    loader->wait_seconds = 0.0;
    qd_epoch_plan_start(&loader->plan, rng, first_batch);
    fill_slots(loader);
    return QD_OK;
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

enum qd_status qd_loader_next(qd_loader *loader, const qd_batch **batch)
{
    if (loader->handed_out) {
        loader->consumed++;
        loader->handed_out = false;
    }
    fill_slots(loader);
    if (loader->consumed == loader->planned) {
        *batch = NULL;
        return QD_OK;
    }
    loader_slot *slot = &loader->slots[loader->consumed % loader->slot_count];
    double began = now_seconds();
    pthread_mutex_lock(&loader->mutex);
    while (slot->left > 0)
        pthread_cond_wait(&loader->work_done, &loader->mutex);
    pthread_mutex_unlock(&loader->mutex);
    loader->wait_seconds += now_seconds() - began;
    /* A batch with an unreadable image stays where it is: asking again gives the same answer. */
    if (slot->status != QD_OK)
        return qd_fail(loader->ctx, slot->status, "%s", slot->fault.sentence);
    loader->handed_out = true;
    *batch = &slot->batch;
    return QD_OK;
}
