/* What a run will take: steps, time, memory and disk. */
#ifndef QD_EXPERIMENT_ESTIMATE_H
#define QD_EXPERIMENT_ESTIMATE_H

#include "experiment/run.h"
#include <quantdrift/queue.h>

/* Images a second of one network at one size. */
typedef struct qd_speed {
    const qd_model_info *model;
    int64_t image_size, batch_size, quantized_batch;
    double train, forward, int8;
} qd_speed;

/* Speeds that were measured already, owned. */
typedef struct qd_speed_list {
    qd_speed *speeds;
    int count;
} qd_speed_list;

void qd_speed_list_free(qd_speed_list *list);

/* Steps that one model's training takes, and the epochs it is spread over. */
int64_t qd_run_steps(const qd_run *run, int64_t *epochs);

/* Estimates a run whose data is open. Errors: QD_ERR_MEMORY, QD_ERR_SHAPE. */
enum qd_status qd_run_estimate_all(qd_run *run, enum qd_estimate_time time, double train_images_per_s,
                                   qd_speed_list *list, qd_run_estimate *out);

#endif
