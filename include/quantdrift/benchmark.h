/* Speed on this machine: whole training steps and forward passes, and where their time goes, layer by layer. */
#ifndef QUANTDRIFT_BENCHMARK_H
#define QUANTDRIFT_BENCHMARK_H

#include <quantdrift/context.h>

typedef struct qd_benchmark_config {
    const char *model;  /* "resnet18", "efficientnet_b0" */
    bool training;      /* forward, loss, backward, SGD; false: forward in eval mode */
    int64_t batch;      /* images of normally distributed random values */
    int64_t image_size; /* side, pixels */
    int64_t steps;      /* counted; one before them is not */
} qd_benchmark_config;

typedef struct qd_benchmark_result {
    double median_images_per_s, best_images_per_s; /* over the steps */
    double processor_s;                            /* of all threads, a step */
    size_t planned_bytes;                          /* activations and workspaces */
    int64_t peak_rss_bytes;                        /* of the process so far */
} qd_benchmark_result;

/* Errors: QD_ERR_USAGE (unknown model, a number below 1), QD_ERR_MEMORY, QD_ERR_SHAPE. */
enum qd_status qd_benchmark_run(qd_context *ctx, const qd_benchmark_config *config, qd_benchmark_result *result);

/* What a layer does in one pass over a batch. */
enum qd_profile_pass {
    QD_PROFILE_FORWARD,
    QD_PROFILE_BACKWARD, /* of layers whose two gradients come from one pass over memory */
    QD_PROFILE_BACKWARD_DATA,
    QD_PROFILE_BACKWARD_WEIGHTS,
    QD_PROFILE_PASS_COUNT
};

/* "forward", "backward", "backward-data", "backward-weights". */
const char *qd_profile_pass_name(enum qd_profile_pass pass);

typedef struct qd_profile_row {
    char module[128];  /* "layer1.0.conv1"; "… + activation" where one runs inside */
    const char *layer; /* "conv2d", static */
    char shape[64];    /* of the output of one sample, "64x56x56" */
    enum qd_profile_pass pass;
    double operations;     /* multiplications and additions of a direct calculation; 0 where memory is all */
    double bytes;          /* the fewest: every input read once, every output written once */
    double floor_s;        /* the larger of operations at peak and bytes at bandwidth */
    double best_s;         /* shortest of the steps */
    double begin_s, end_s; /* in the last step, from its begin */
} qd_profile_row;

typedef struct qd_profile {
    double peak_flops;    /* measured here: multiply-adds in registers on all threads, operations a second */
    double bandwidth;     /* measured here: sum of two arrays far larger than any cache, bytes a second */
    double step_s;        /* shortest */
    qd_profile_row *rows; /* in the order of execution */
    int row_count;
} qd_profile;

/* As qd_benchmark_run(); fills *out, which the caller empties with qd_profile_free(). */
enum qd_status qd_profile_run(qd_context *ctx, const qd_benchmark_config *config, qd_profile *out);
void qd_profile_free(qd_profile *profile);

#endif
