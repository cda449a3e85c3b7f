/* Training and evaluating one network, epoch by epoch. */
#ifndef QD_TRAIN_TRAINER_H
#define QD_TRAIN_TRAINER_H

#include "base/communicator.h"
#include "graph/plan.h"
#include "models/models.h"
#include "train/epoch_state.h"
#include "train/optimizer.h"
#include <quantdrift/dataset.h>

/* NaN without images. */
double qd_totals_loss(const qd_totals *totals);
double qd_totals_accuracy_percent(const qd_totals *totals);

/* The loss that belongs to a head: cross-entropy, or binary cross-entropy with logits. Arguments as in nn/loss.h. */
void qd_head_loss(enum qd_head head, const qd_tensor *logits, const int64_t *labels, double *loss_sum,
                  int64_t *correct, void *dlogits);

/* The class each sample of float32 logits is taken for: the first largest logit (or first NaN), of a binary head 1
 * above 0. So `correct` of qd_head_loss() counts those equal to the label. */
void qd_head_classes(enum qd_head head, const qd_tensor *logits, int64_t *classes);

/* What a step tells its observer. */
typedef struct qd_step_report {
    int64_t epoch; /* 1 for the first training epoch; in validation the epoch after which it runs */
    int64_t step;  /* optimizer steps so far, this one included; 0 in validation */
    int64_t batch; /* this batch's number in the epoch, from 1 */
    int64_t batch_count;
    int64_t n;               /* images of this batch */
    double loss;             /* mean over this batch */
    double lr, grad_norm;    /* training only; the norm before weight decay */
    const qd_totals *totals; /* of the epoch so far */
} qd_step_report;

/* Called from the calling thread after each step; a status other than QD_OK ends the epoch with it. */
typedef enum qd_status qd_step_fn(void *user, const qd_step_report *report);

typedef struct qd_trainer qd_trainer;

/* Parameters that a network computes with in place of those that are trained: exchanged for each step's passes, back
 * before the step is taken. */
typedef struct qd_weight_loan {
    enum qd_status (*lend)(void *user); /* NULL: it computes with its own */
    void (*take_back)(void *user);      /* called when lend() has succeeded */
    void *user;
} qd_weight_loan;

typedef struct qd_trainer_config {
    int64_t batch_size;
    enum qd_head head;
    qd_sgd_config sgd;
    qd_weight_loan loan;
    const qd_communicator *processes; /* that train the network together (borrowed); NULL: this one alone */
    bool sync_batchnorm; /* BatchNorm's statistics are those of the whole batch, not of this part of it */
} qd_trainer_config;

/* A training plan and an optimizer over `state` (borrowed, made for training, float32 or double). Errors:
 * QD_ERR_MEMORY, QD_ERR_USAGE. */
enum qd_status qd_trainer_create(qd_context *ctx, const qd_graph *graph, qd_state *state,
                                 const qd_trainer_config *config, qd_trainer **out);
void qd_trainer_destroy(qd_trainer *trainer);

typedef struct qd_epoch_options {
    int64_t epoch; /* 1 for the first */
    double lr;
    int64_t max_steps;   /* stop when this many steps have been taken in all; negative: no limit */
    qd_step_fn *on_step; /* may be NULL */
    void *user;
} qd_epoch_options;

/*
 * One epoch over `loader` (training, of this process's part of each batch), or the rest of it: from where *state
 * stands, which follows each step before on_step is called. Processes that train together all call this, with the
 * same network, state, steps and options but for on_step; totals are those of the whole batches, and one's error is
 * all's. *steps: optimizer steps taken in all, advanced. Errors: QD_ERR_NUMERIC for a loss or gradient norm that is
 * not finite, before the step is applied: the sentence names epoch, step and the first module that returned a
 * non-finite value; the loader's and the plan's; what on_step returned.
 */
enum qd_status qd_trainer_run_epoch(qd_trainer *trainer, qd_loader *loader, qd_epoch_state *state, int64_t *steps,
                                    const qd_epoch_options *options);

typedef struct qd_evaluate_options {
    int64_t epoch; /* for reports and errors */
    enum qd_head head;
    qd_step_fn *on_step; /* may be NULL */
    void *user;
    const qd_communicator *processes; /* that evaluate together, each its part of a batch; NULL: this one alone */
} qd_evaluate_options;

/*
 * Loss and accuracy over `loader` (validation) with an inference plan. *rng advances by the iterator's base seed.
 * Errors: QD_ERR_NUMERIC for a loss that is not finite, the loader's, the plan's, what on_step returned.
 */
enum qd_status qd_evaluate(qd_context *ctx, const qd_graph *graph, qd_plan *plan, qd_loader *loader, qd_rng *rng,
                           const qd_evaluate_options *options, qd_totals *totals);

/* Node of the first non-finite value in a forward pass of `plan` over x; -1 when all are finite. `draws` may be NULL
 * where nothing is drawn. */
enum qd_status qd_find_nonfinite_node(qd_plan *plan, const void *x, int64_t n, const qd_draws *draws, int *node);

/* Sums loss and hits of one batch over the processes; the error that one of them comes with is all's. */
enum qd_status qd_share_batch_result(qd_context *ctx, const qd_communicator *processes, enum qd_status status,
                                     double *loss_sum, int64_t *correct);

#endif
