/* Stochastic gradient descent as torch.optim.SGD does it, and its schedule. */
#ifndef QD_TRAIN_OPTIMIZER_H
#define QD_TRAIN_OPTIMIZER_H

#include "train/levers.h"

/*
 * Learning rate of epoch `epoch` (0 for the first) of `epoch_count`: the closed form of CosineAnnealingLR with
 * T_max = epoch_count and a minimum of 0. Source: PyTorch, torch/optim/lr_scheduler.py.
 */
double qd_schedule_cosine(double base_lr, int64_t epoch, int64_t epoch_count);

typedef struct qd_sgd qd_sgd;

typedef struct qd_sgd_config {
    double momentum, weight_decay;
    bool spare_batchnorm; /* no weight decay on BatchNorm's weights and biases */
    qd_levers levers;
} qd_sgd_config;

/* An optimizer over the float32 or float64 `state` (borrowed), which must have gradients. Errors: QD_ERR_MEMORY,
 * QD_ERR_USAGE. */
enum qd_status qd_sgd_create(qd_context *ctx, qd_state *state, const qd_sgd_config *config, qd_sgd **out);
void qd_sgd_destroy(qd_sgd *sgd);

/* Euclidean norm of the gradients of all parameters, before weight decay and levers; the same bits for any thread
 * count. */
double qd_sgd_grad_norm(qd_sgd *sgd);

/*
 * One step on every parameter: g += decay·w; m = momentum·m + g (m = g at the first step); w -= lr·m. Weight decay is
 * coupled, no dampening, no Nesterov. Levers act before and after.
 */
void qd_sgd_apply_step(qd_sgd *sgd, double lr, bool first_step);

#endif
