#include "support/thread_processes.h"
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROCESSES 8

/* What the threads share. */
typedef struct meeting {
    pthread_barrier_t barrier;
    void *offered[MAX_PROCESSES]; /* what each brings to the exchange under way */
    void (*body)(void *user, const qd_communicator *processes);
    void *user;
} meeting;

typedef struct participant {
    qd_communicator communicator;
    meeting *place;
} participant;

static void show(const participant *self, void *bytes)
{
    self->place->offered[self->communicator.rank] = bytes;
    pthread_barrier_wait(&self->place->barrier);
}

/* Every thread adds what all bring, in the same order, then all replace what they brought. */
static enum qd_status sum_values(const participant *self, void *values, int64_t count, bool are_double)
{
    const size_t size = are_double ? sizeof(double) : sizeof(float);
    void *total = calloc((size_t)count + 1, size);
    if (!total)
        return QD_ERR_MEMORY;
    show(self, values);
    for (int rank = 0; rank < self->communicator.size; rank++)
        for (int64_t i = 0; i < count; i++)
            if (are_double)
                ((double *)total)[i] += ((const double *)self->place->offered[rank])[i];
            else
                ((float *)total)[i] += ((const float *)self->place->offered[rank])[i];
    pthread_barrier_wait(&self->place->barrier);
    memcpy(values, total, (size_t)count * size);
    free(total);
    return QD_OK;
}

static enum qd_status sum(void *user, double *values, int64_t count)
{
    return sum_values(user, values, count, true);
}

static enum qd_status smallest(void *user, int64_t *value)
{
    const participant *self = user;
    int64_t least = *value;
    show(self, value);
    for (int rank = 0; rank < self->communicator.size; rank++) {
        const int64_t other = *(const int64_t *)self->place->offered[rank];
        least = other < least ? other : least;
    }
    pthread_barrier_wait(&self->place->barrier);
    *value = least;
    return QD_OK;
}

static enum qd_status broadcast(void *user, void *bytes, size_t count, int root)
{
    const participant *self = user;
    show(self, bytes);
    if (self->communicator.rank != root)
        memcpy(bytes, self->place->offered[root], count);
    pthread_barrier_wait(&self->place->barrier);
    return QD_OK;
}

static enum qd_status begin_sum(void *user, void *values, int64_t count, bool are_double)
{
    return sum_values(user, values, count, are_double);
}

static enum qd_status nothing(void *user)
{
    (void)user;
    return QD_OK;
}

static void *thread_main(void *argument)
{
    const participant *self = argument;
    self->place->body(self->place->user, &self->communicator);
    return NULL;
}

void thread_processes_run(int count, void (*body)(void *user, const qd_communicator *processes), void *user)
{
    meeting place = {.body = body, .user = user};
    participant participants[MAX_PROCESSES];
    pthread_t threads[MAX_PROCESSES];
    cr_assert_leq(count, MAX_PROCESSES);
    cr_assert_eq(pthread_barrier_init(&place.barrier, NULL, (unsigned)count), 0);
    for (int rank = 0; rank < count; rank++) {
        participants[rank] = (participant){.communicator = {.rank = rank,
                                                            .size = count,
                                                            .user = &participants[rank],
                                                            .sum = sum,
                                                            .smallest = smallest,
                                                            .broadcast = broadcast,
                                                            .begin_sum = begin_sum,
                                                            .progress = nothing,
                                                            .finish_sums = nothing},
                                           .place = &place};
        cr_assert_eq(pthread_create(&threads[rank], NULL, thread_main, &participants[rank]), 0);
    }
    for (int rank = 0; rank < count; rank++)
        pthread_join(threads[rank], NULL);
    pthread_barrier_destroy(&place.barrier);
}
