/* Threads that take the next item until none is left. */
#include "dataset/work_pool.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct shared_work {
    qd_work_fn *work;
    void *user;
    int64_t count;
    atomic_int_fast64_t next;
} shared_work;

typedef struct work_thread {
    pthread_t thread;
    int worker;
    shared_work *shared;
} work_thread;

static void take_items(shared_work *shared, int worker)
{
    for (;;) {
        int64_t item = atomic_fetch_add(&shared->next, 1);
        if (item >= shared->count)
            return;
        shared->work(shared->user, worker, item);
    }
}

static void *thread_main(void *argument)
{
    work_thread *self = argument;
    take_items(self->shared, self->worker);
    return NULL;
}

void qd_work_run(int threads, int64_t count, qd_work_fn *work, void *user)
{
    shared_work shared = {.work = work, .user = user, .count = count};
    atomic_init(&shared.next, 0);
    int helpers = threads - 1 < count - 1 ? threads - 1 : (int)(count - 1);
    work_thread *pool = helpers > 0 ? calloc((size_t)helpers, sizeof(*pool)) : NULL;
    int started = 0;
    while (pool && started < helpers) {
        pool[started] = (work_thread){.worker = started + 1, .shared = &shared};
        if (pthread_create(&pool[started].thread, NULL, thread_main, &pool[started]) != 0)
            break; /* the calling thread does what is left */
        started++;
    }
    take_items(&shared, 0);
    for (int i = 0; i < started; i++)
        pthread_join(pool[i].thread, NULL);
    free(pool);
}
