/*
 * The communicator over MPI. Every exchange is a non-blocking one that is waited for here, because MPI's own waiting
 * neither sleeps, which an hour of the leader's INT8 evaluation asks for, nor ends when another process is gone.
 */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/data_parallel.h"
#include <errno.h>
#include <mpi.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Where a process runs, so that those on the same host can look after each other. */
typedef struct place {
    char host[MPI_MAX_PROCESSOR_NAME];
    int64_t pid;
} place;

struct qd_processes {
    qd_context *ctx;
    qd_communicator communicator;
    MPI_Comm orders;    /* everything but gradients */
    MPI_Comm gradients; /* of their own, so that BatchNorm's sums do not queue behind them */
    MPI_Request *begun; /* [begun_room], of which begun_count are under way */
    int begun_count, begun_room;
    place *places; /* [size] */
    const volatile int *interrupt;
    bool lost; /* another process is gone: nothing can be exchanged any more */
};

static enum qd_status fail_lost(qd_processes *p, int rank)
{
    p->lost = true;
    if (rank < 0)
        return qd_fail(
            p->ctx, QD_ERR_IO,
            "training with %d processes: the connection between them broke; run it again with --resume to go "
            "on from the last checkpoint",
            p->communicator.size);
    return qd_fail(p->ctx, QD_ERR_IO,
                   "training with %d processes: process %d (%lld on %s) is gone; run it again with --resume to go on "
                   "from the last checkpoint",
                   p->communicator.size, rank + 1, (long long)p->places[rank].pid, p->places[rank].host);
}

/* ---- waiting ---- */

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_ns(long ns)
{
    nanosleep(&(struct timespec){.tv_nsec = ns}, NULL);
}

/* A process of this host that is no more. */
static int find_dead(const qd_processes *p)
{
    const place *own = &p->places[p->communicator.rank];
    for (int rank = 0; rank < p->communicator.size; rank++)
        if (strcmp(p->places[rank].host, own->host) == 0 && kill((pid_t)p->places[rank].pid, 0) != 0 &&
            errno == ESRCH)
            return rank;
    return -1;
}

/* An exchange within a step takes micro- to milliseconds: until then a process does not sleep. */
#define AWAKE_S 0.002
/* Then it looks this often; later, when the leader writes or quantizes, it need not be as quick. */
#define SHORT_NAP_NS 50000L
#define LONG_NAP_NS  5000000L
#define LONG_WAIT_S  1.0
/* How often it is asked whether the others are still there. */
#define LOOK_S 0.1

static enum qd_status wait_for(qd_processes *p, MPI_Request *requests, int count)
{
    const double began = seconds_now();
    double looked = began;
    for (;;) {
        int done = 0;
        if (MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
            return fail_lost(p, -1);
        if (done)
            return QD_OK;
        const double now = seconds_now();
        if (now - looked > LOOK_S) {
            looked = now;
            const int dead = find_dead(p);
            if (dead >= 0)
                return fail_lost(p, dead);
        }
        if (now - began < AWAKE_S)
            sched_yield();
        else
            sleep_ns(now - began < LONG_WAIT_S || *p->interrupt ? SHORT_NAP_NS : LONG_NAP_NS);
    }
}

/* Waits for an exchange that `code` says has begun. */
static enum qd_status settle(qd_processes *p, int code, MPI_Request *request)
{
    return code == MPI_SUCCESS ? wait_for(p, request, 1) : fail_lost(p, -1);
}

/* ---- the communicator ---- */

static enum qd_status check_not_lost(qd_processes *p)
{
    return p->lost ? QD_ERR_IO : QD_OK; /* whose sentence stands */
}

static enum qd_status sum(void *user, double *values, int64_t count)
{
    qd_processes *p = user;
    MPI_Request request;
    QD_TRY(check_not_lost(p));
    return settle(p, MPI_Iallreduce(MPI_IN_PLACE, values, (int)count, MPI_DOUBLE, MPI_SUM, p->orders, &request),
                  &request);
}

static enum qd_status smallest(void *user, int64_t *value)
{
    qd_processes *p = user;
    MPI_Request request;
    QD_TRY(check_not_lost(p));
    return settle(p, MPI_Iallreduce(MPI_IN_PLACE, value, 1, MPI_INT64_T, MPI_MIN, p->orders, &request), &request);
}

/* MPI counts in int. */
#define LARGEST_MESSAGE ((size_t)1 << 30)

static enum qd_status broadcast(void *user, void *bytes, size_t count, int root)
{
    qd_processes *p = user;
    char *at = bytes;
    QD_TRY(check_not_lost(p));
    while (count > 0) {
        const size_t piece = count < LARGEST_MESSAGE ? count : LARGEST_MESSAGE;
        MPI_Request request;
        QD_TRY(settle(p, MPI_Ibcast(at, (int)piece, MPI_BYTE, root, p->orders, &request), &request));
        at += piece;
        count -= piece;
    }
    return QD_OK;
}

static enum qd_status begin_sum(void *user, void *values, int64_t count, bool are_double)
{
    qd_processes *p = user;
    char *at = values;
    const size_t element = are_double ? sizeof(double) : sizeof(float);
    const int64_t largest = (int64_t)(LARGEST_MESSAGE / sizeof(double));
    QD_TRY(check_not_lost(p));
    while (count > 0) {
        const int64_t piece = count < largest ? count : largest;
        if (p->begun_count == p->begun_room) {
            const int room = 2 * p->begun_room + 16;
            MPI_Request *more = reallocarray(p->begun, (size_t)room, sizeof(MPI_Request));
            if (!more)
                return qd_fail(p->ctx, QD_ERR_MEMORY, "gradient exchange: out of memory");
            p->begun = more;
            p->begun_room = room;
        }
        if (MPI_Iallreduce(MPI_IN_PLACE, at, (int)piece, are_double ? MPI_DOUBLE : MPI_FLOAT, MPI_SUM, p->gradients,
                           &p->begun[p->begun_count]) != MPI_SUCCESS)
            return fail_lost(p, -1);
        p->begun_count++;
        at += (size_t)piece * element;
        count -= piece;
    }
    return QD_OK;
}

/* Open MPI moves data only while it is called. */
static enum qd_status progress(void *user)
{
    qd_processes *p = user;
    int done;
    QD_TRY(check_not_lost(p));
    if (p->begun_count > 0 && MPI_Testall(p->begun_count, p->begun, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS)
        return fail_lost(p, -1);
    return QD_OK;
}

static enum qd_status finish_sums(void *user)
{
    qd_processes *p = user;
    QD_TRY(check_not_lost(p));
    QD_TRY(wait_for(p, p->begun, p->begun_count));
    p->begun_count = 0;
    return QD_OK;
}

/* ---- joining ---- */

static enum qd_status exchange_places(qd_processes *p)
{
    int length;
    place own = {.pid = getpid()};
    MPI_Get_processor_name(own.host, &length);
    p->places = qd_calloc((size_t)p->communicator.size, sizeof *p->places);
    if (!p->places)
        return qd_fail(p->ctx, QD_ERR_MEMORY, "joining %d processes: out of memory", p->communicator.size);
    if (MPI_Allgather(&own, sizeof own, MPI_BYTE, p->places, sizeof own, MPI_BYTE, p->orders) != MPI_SUCCESS)
        return fail_lost(p, -1);
    return QD_OK;
}

enum qd_status qd_processes_join(qd_context *ctx, const volatile int *interrupt, qd_processes **out)
{
    enum qd_status status = QD_OK;
    int provided;
    qd_processes *p = qd_calloc(1, sizeof *p);
    if (!p)
        return qd_fail(ctx, QD_ERR_MEMORY, "joining the other processes: out of memory");
    p->ctx = ctx;
    p->interrupt = interrupt;
    p->orders = p->gradients = MPI_COMM_NULL;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS ||
        provided < MPI_THREAD_FUNNELED) {
        free(p);
        return qd_fail(ctx, QD_ERR_IO, "joining the other processes: MPI did not start, or knows no threads");
    }
    MPI_Comm_dup(MPI_COMM_WORLD, &p->orders);
    MPI_Comm_dup(MPI_COMM_WORLD, &p->gradients);
    MPI_Comm_set_errhandler(p->orders, MPI_ERRORS_RETURN);
    MPI_Comm_set_errhandler(p->gradients, MPI_ERRORS_RETURN);
    p->communicator = (qd_communicator){.user = p,
                                        .sum = sum,
                                        .smallest = smallest,
                                        .broadcast = broadcast,
                                        .begin_sum = begin_sum,
                                        .progress = progress,
                                        .finish_sums = finish_sums};
    MPI_Comm_rank(p->orders, &p->communicator.rank);
    MPI_Comm_size(p->orders, &p->communicator.size);
    QD_TRY_GOTO(exchange_places(p));
    *out = p;
    return QD_OK;
fail:
    qd_processes_leave(p);
    return status;
}

void qd_processes_leave(qd_processes *processes)
{
    if (!processes)
        return;
    /* MPI's own ending waits for all: where one is gone the launcher ends the others. */
    if (!processes->lost) {
        MPI_Comm_free(&processes->orders);
        MPI_Comm_free(&processes->gradients);
        MPI_Finalize();
    }
    free(processes->begun);
    free(processes->places);
    free(processes);
}

int qd_processes_rank(const qd_processes *processes)
{
    return processes ? processes->communicator.rank : 0;
}

int qd_processes_count(const qd_processes *processes)
{
    return processes ? processes->communicator.size : 1;
}

const qd_communicator *qd_processes_communicator(const qd_processes *processes)
{
    return processes ? &processes->communicator : NULL;
}
