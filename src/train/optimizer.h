/* Stochastic gradient descent as torch.optim.SGD does it, and its schedule. */
#ifndef QD_TRAIN_OPTIMIZER_H
#define QD_TRAIN_OPTIMIZER_H

#include "graph/graph.h"

/*
 * Learning rate of epoch `epoch` (0 for the first) of `epoch_count`: the closed form of CosineAnnealingLR with
 * T_max = epoch_count and a minimum of 0. Source: PyTorch, torch/optim/lr_scheduler.py.
 */
double qd_schedule_cosine(double base_lr, int64_t epoch, int64_t epoch_count);

typedef struct qd_sgd qd_sgd;

/* An optimizer over the float32 or float64 `state` (borrowed), which must have gradients. Errors: QD_ERR_MEMORY,
 * QD_ERR_USAGE. */
enum qd_status qd_sgd_create(qd_context *ctx, qd_state *state, double momentum, double weight_decay, qd_sgd **out);
void qd_sgd_destroy(qd_sgd *sgd);

/* Euclidean norm of the gradients of all parameters, before weight decay; the same bits for any thread count. */
double qd_sgd_grad_norm(qd_sgd *sgd);

/*
 * One step on every parameter: g += decay·w; m = momentum·m + g (m = g at the first step); w -= lr·m. Weight decay is
 * coupled, no dampening, no Nesterov.
 */
void qd_sgd_apply_step(qd_sgd *sgd, double lr, bool first_step);

#endif
