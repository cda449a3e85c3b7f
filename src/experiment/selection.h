/* Which images stand for a data set where not all of them are used. */
#ifndef QD_EXPERIMENT_SELECTION_H
#define QD_EXPERIMENT_SELECTION_H

#include <quantdrift/dataset.h>

/* A class-balanced choice of at most `wanted` images: the first of every class, then the second of every class, and
 * so on; classes that run out are passed over. indices[wanted]; returns how many were written. */
int64_t qd_select_balanced(const qd_dataset *dataset, int64_t wanted, int64_t *indices);

/* The first min(wanted, count) entries of randperm(count) of a generator seeded with `seed`. Errors: QD_ERR_MEMORY.
 */
enum qd_status qd_select_random(qd_context *ctx, const qd_dataset *dataset, uint64_t seed, int64_t wanted,
                                int64_t *indices, int64_t *selected);

#endif
