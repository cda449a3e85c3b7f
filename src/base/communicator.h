/*
 * The processes that train one network together, as layers and the trainer see each other: what they exchange,
 * whatever carries it (MPI; threads in tests). NULL stands for a process alone. All of them call the same functions
 * in the same order.
 */
#ifndef QD_BASE_COMMUNICATOR_H
#define QD_BASE_COMMUNICATOR_H

#include <quantdrift/context.h>

typedef struct qd_communicator {
    int rank, size; /* rank 0 leads: it reads, writes and reports */
    void *user;
    /* values[count] become their sums over all processes, the same bits in each. Errors: QD_ERR_IO when another one
     * is gone. */
    enum qd_status (*sum)(void *user, double *values, int64_t count);
    /* *value becomes the smallest of all. Errors: as above. */
    enum qd_status (*smallest)(void *user, int64_t *value);
    /* bytes[count] of process `root` reach all. Errors: as above. */
    enum qd_status (*broadcast)(void *user, void *bytes, size_t count, int root);
    /* Begins a sum over values[count] of float, or double, and returns; they are not touched until finish_sums().
     * progress() carries begun sums on a little. Errors: as above. */
    enum qd_status (*begin_sum)(void *user, void *values, int64_t count, bool are_double);
    enum qd_status (*progress)(void *user);
    enum qd_status (*finish_sums)(void *user);
} qd_communicator;

/* What one of `parts` takes of n things that lie in a row: n/parts each, one more for the first ones. */
typedef struct qd_part {
    int64_t first, count;
} qd_part;

qd_part qd_part_of(int64_t n, int part, int parts);

/* QD_OK when every process brings QD_OK; else in all of them status and sentence of the first that does not. Alone:
 * `status`. */
enum qd_status qd_agree(qd_context *ctx, const qd_communicator *processes, enum qd_status status);

#endif
