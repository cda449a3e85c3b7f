/* Several runs in a row or side by side: what experiment files expand to, what of it is still to be done, and what it
 * will take. Starting the runs is the caller's part: each in a process of its own. */
#ifndef QUANTDRIFT_QUEUE_H
#define QUANTDRIFT_QUEUE_H

#include <quantdrift/experiment.h>

typedef struct qd_queue qd_queue;

enum qd_status qd_queue_create(qd_context *ctx, qd_queue **out);
void qd_queue_destroy(qd_queue *queue);

/* Changes an experiment after its file was read, before its place in the grid is settled. */
typedef enum qd_status qd_configure_fn(void *user, qd_experiment *experiment);

/*
 * Adds the runs of an experiment file: one, or with a grid one a point, each writing to <output_dir>/<point>, where
 * the point's name is made of its values ("seed_1-relu"). `configure` (NULL: none) is applied to each. Errors:
 * QD_ERR_USAGE (qd_experiment_read()'s; two runs of the queue with one folder; a setting that undoes the grid),
 * QD_ERR_IO, QD_ERR_MEMORY, what `configure` returned.
 */
enum qd_status qd_queue_add(qd_queue *queue, const char *path, qd_configure_fn *configure, void *user);

int qd_queue_count(const qd_queue *queue);

/* One of the runs, borrowed; its keys that decide no results may still be set. */
qd_experiment *qd_queue_get(const qd_queue *queue, int index);

enum qd_queue_state {
    QD_QUEUE_NEW,           /* its folder holds nothing of a run */
    QD_QUEUE_BEGUN,         /* interrupted, failed, or complete for another configuration or other data */
    QD_QUEUE_DONE,          /* complete and unchanged: configuration, data, program */
    QD_QUEUE_OTHER_PROGRAM, /* the same, by another version or commit of the program */
    QD_QUEUE_CHANGED,       /* complete, but results were changed since: they are no run's */
    QD_QUEUE_LOCKED         /* a process is at work in its folder */
};

/* What there is to do for a run, as its folder is now. A folder that cannot be judged counts as begun: running it
 * tells what is wrong. Errors: QD_ERR_MEMORY. */
enum qd_status qd_queue_inspect(qd_queue *queue, int index, enum qd_queue_state *state);

/* What a whole run takes on this machine. */
typedef struct qd_run_estimate {
    int64_t steps;       /* optimizer steps of all models */
    double seconds;      /* NaN: not estimated */
    double memory_bytes; /* of the largest model */
    double disk_bytes;   /* of the checkpoints, the largest one's temporary copy included */
} qd_run_estimate;

enum qd_estimate_time {
    QD_TIME_NONE,     /* seconds stay NaN */
    QD_TIME_MEASURED, /* from one training step, forward pass and INT8 pass a model on random images, measured here
                       * once for each size */
    QD_TIME_GIVEN     /* from a given training rate; a forward pass as a third of a step, INT8 as a forward pass */
};

/* Errors: the data's (QD_ERR_INPUT, QD_ERR_IO), QD_ERR_MEMORY. */
enum qd_status qd_queue_estimate(qd_queue *queue, int index, enum qd_estimate_time time, double train_images_per_s,
                                 qd_run_estimate *out);

#endif
