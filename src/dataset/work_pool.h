/* A loop whose iterations run on several threads: for scans and other work without an order of its own. */
#ifndef QD_DATASET_WORK_POOL_H
#define QD_DATASET_WORK_POOL_H

#include <stdint.h>

/* One iteration; `worker` is 0 … threads - 1, for scratch memory. It leaves its result where the caller finds it. */
typedef void qd_work_fn(void *user, int worker, int64_t item);

/*
 * Calls work(user, worker, item) for every item 0 … count - 1, each once, from up to `threads` threads (the calling
 * one included; fewer when the system refuses more), and returns when all are done. Items are taken in order.
 */
void qd_work_run(int threads, int64_t count, qd_work_fn *work, void *user);

#endif
