/* One operation, made to fail at each of its allocations in turn. */
#ifndef QD_TESTS_EACH_ALLOCATION_H
#define QD_TESTS_EACH_ALLOCATION_H

#include <quantdrift/context.h>

/*
 * Calls `operation` with its 1st, 2nd, 3rd … allocation failing until it gets along without. A failure must report
 * short memory (a library's own shortage arrives as ENOMEM from a system call) and leak nothing; only allocations of
 * the calling thread fail. `prepare` runs before each call, `check` after each failure; both may be NULL. Returns the
 * number of allocations that failed.
 */
int test_fail_each_allocation(qd_context *ctx, enum qd_status (*operation)(void), void (*prepare)(void),
                              void (*check)(void));

#endif
