/* One layer with memory of its own, for tests that look at what it computes. Values go in and out as doubles. */
#ifndef TESTS_SUPPORT_LAYER_RUN_H
#define TESTS_SUPPORT_LAYER_RUN_H

#include "nn/layer.h"

typedef struct layer_run {
    const qd_layer_ops *ops;
    qd_layer_decl decl;
    qd_layer_call call; /* change training, fused, threads, n … between passes as needed */
    qd_kernels kernels;
    int64_t batches_tracked;
    void *x[QD_MAX_INPUTS]; /* writable views of call.x and call.dy */
    void *dy;
    void *workspace[2]; /* forward, backward */
} layer_run;

/* Allocates everything a training pass over n samples needs; zeroed. infer() must succeed. */
void layer_run_create(layer_run *run, qd_context *ctx, enum qd_layer_kind kind, const void *config, const qd_dims *in,
                      int64_t n, enum qd_dtype dtype);
void layer_run_destroy(layer_run *run);

enum qd_status layer_run_forward(layer_run *run);
enum qd_status layer_run_backward(layer_run *run);

/* Elements of input i, output, parameter i or buffer i. */
int64_t layer_run_in_count(const layer_run *run, int i);
int64_t layer_run_out_count(const layer_run *run);
int64_t layer_run_decl_count(const qd_param_decl *decl);

double layer_run_get(const layer_run *run, const void *array, int64_t index);
void layer_run_put(const layer_run *run, void *array, int64_t index, double value);

#endif
