/*
 * One process leads: it alone decides, reads checkpoints and writes. At an epoch or a validation it sends an order
 * and its network to the others, then all do the same together. So a run resumes with any number of processes, and
 * everything but these two phases is the code of a single process.
 */
#include "experiment/data_parallel.h"
#include "base/error.h"
#include <string.h>

enum order_kind { ORDER_END, ORDER_SET_UP, ORDER_TEAR_DOWN, ORDER_TRAIN, ORDER_VALIDATE };

/* The same program runs everywhere: a struct goes as its bytes. */
typedef struct order {
    enum order_kind kind;
    int model_index;
    int64_t epoch, steps, max_steps;
    double lr;
    qd_rng rng;
    qd_epoch_state begun;
} order;

static enum qd_status broadcast(const qd_communicator *processes, void *bytes, size_t count)
{
    return processes->broadcast(processes->user, bytes, count, 0);
}

static enum qd_status send(const qd_run *run, const order *message)
{
    order copy = *message;
    return broadcast(run->processes, &copy, sizeof copy);
}

/* The leader's network reaches all. */
static enum qd_status share_state(const qd_run *run, qd_state *state, bool with_momentum)
{
    const qd_communicator *processes = run->processes;
    const qd_graph *graph = state->graph;
    const size_t element = qd_dtype_size(state->dtype);
    QD_TRY(broadcast(processes, state->params, (size_t)graph->param_elements * element));
    QD_TRY(broadcast(processes, state->buffers, (size_t)graph->buffer_elements * element));
    QD_TRY(broadcast(processes, state->batches_tracked,
                     (size_t)graph->batches_tracked_count * sizeof *state->batches_tracked));
    return with_momentum ? broadcast(processes, state->momentum, (size_t)graph->param_elements * element) : QD_OK;
}

enum qd_status qd_processes_agree(qd_context *ctx, const qd_processes *processes, enum qd_status status)
{
    return qd_agree(ctx, qd_processes_communicator(processes), status);
}

/* What must be the same everywhere, or the processes would wait for each other in different places. */
typedef struct identity {
    char data[QD_FINGERPRINT_BYTES], configuration[65];
} identity;

static enum qd_status check_identity(const qd_run *run, const identity *own, const identity *leaders)
{
    if (strcmp(own->configuration, leaders->configuration) != 0)
        return qd_fail(run->ctx, QD_ERR_USAGE,
                       "the experiment is not that of the first process (hash %.12s, there %.12s); give all of them "
                       "the same file and options",
                       own->configuration, leaders->configuration);
    if (strcmp(own->data, leaders->data) != 0)
        return qd_fail(run->ctx, QD_ERR_INPUT,
                       "data set '%s' is not what the first process reads under this name (fingerprint %.12s, there "
                       "%.12s); give all nodes the same files",
                       run->config->data_dir, own->data, leaders->data);
    return QD_OK;
}

enum qd_status qd_processes_meet(const qd_run *run, enum qd_status status)
{
    identity own = {0};
    QD_TRY(qd_agree(run->ctx, run->processes, status));
    if (!run->processes)
        return QD_OK;
    memcpy(own.data, run->data_fingerprint, sizeof own.data);
    QD_TRY(qd_agree(run->ctx, run->processes, qd_config_run_hash(run->ctx, run->config, own.configuration)));
    identity leaders = own;
    QD_TRY(broadcast(run->processes, &leaders, sizeof leaders));
    return qd_agree(run->ctx, run->processes, check_identity(run, &own, &leaders));
}

/* ---- orders ---- */

enum qd_status qd_order_set_up(const qd_model_run *m, int model_index)
{
    if (!m->run->processes)
        return QD_OK;
    return send(m->run, &(order){.kind = ORDER_SET_UP, .model_index = model_index});
}

/* Nothing more can be done where the others are gone. */
void qd_order_tear_down(const qd_model_run *m)
{
    if (m->run->processes)
        (void)send(m->run, &(order){.kind = ORDER_TEAR_DOWN});
}

enum qd_status qd_order_training(const qd_model_run *m, const qd_epoch_options *options)
{
    if (!m->run->processes)
        return QD_OK;
    QD_TRY(send(m->run, &(order){.kind = ORDER_TRAIN,
                                 .epoch = options->epoch,
                                 .steps = m->steps,
                                 .max_steps = options->max_steps,
                                 .lr = options->lr,
                                 .begun = m->begun}));
    return share_state(m->run, m->state, true);
}

enum qd_status qd_order_validation(const qd_model_run *m)
{
    if (!m->run->processes)
        return QD_OK;
    QD_TRY(send(m->run, &(order){.kind = ORDER_VALIDATE, .epoch = m->epoch, .rng = m->rng}));
    return share_state(m->run, m->state, false);
}

void qd_order_end(const qd_run *run)
{
    if (run->processes)
        (void)send(run, &(order){.kind = ORDER_END});
}

/* ---- following ---- */

static enum qd_status follow_set_up(qd_model_run *m, const order *message)
{
    qd_run *run = m->run;
    *m = (qd_model_run){
        .run = run, .model = run->config->models[message->model_index], .model_config = qd_run_model_config(run)};
    return qd_agree(run->ctx, run->processes, qd_model_run_make_network(m));
}

static enum qd_status follow_training(qd_model_run *m, const order *message)
{
    const qd_epoch_options options = {.epoch = message->epoch, .lr = message->lr, .max_steps = message->max_steps};
    QD_TRY(share_state(m->run, m->state, true));
    m->begun = message->begun;
    m->steps = message->steps;
    return qd_trainer_run_epoch(m->trainer, m->train_loader, &m->begun, &m->steps, &options);
}

static enum qd_status follow_validation(qd_model_run *m, const order *message)
{
    const qd_evaluate_options options = {
        .epoch = message->epoch, .head = m->model_config.head, .processes = m->run->processes};
    QD_TRY(share_state(m->run, m->state, false));
    m->rng = message->rng;
    return qd_evaluate(m->run->ctx, m->graph, m->inference, m->val_loader, &m->rng, &options, &m->validation);
}

/* What fails in an order has failed in the leader too, which says what comes next. */
enum qd_status qd_run_follow(qd_run *run)
{
    qd_model_run m = {.run = run};
    enum qd_status status;
    for (;;) {
        order message = {.kind = ORDER_END};
        status = broadcast(run->processes, &message, sizeof message);
        if (status == QD_OK && !m.state && (message.kind == ORDER_TRAIN || message.kind == ORDER_VALIDATE))
            status =
                qd_fail(run->ctx, QD_ERR_INTERNAL, "following a run: told to compute before a network was set up");
        if (status != QD_OK || message.kind == ORDER_END)
            break;
        switch (message.kind) {
        case ORDER_SET_UP:
            (void)follow_set_up(&m, &message);
            break;
        case ORDER_TRAIN:
            (void)follow_training(&m, &message);
            break;
        case ORDER_VALIDATE:
            (void)follow_validation(&m, &message);
            break;
        default:
            qd_model_run_tear_down(&m);
            m = (qd_model_run){.run = run};
        }
    }
    qd_model_run_tear_down(&m);
    return status;
}

int64_t qd_run_batch_part(const qd_run *run)
{
    const int64_t batch = run->config->batch_size;
    return run->processes ? qd_part_of(batch, 0, run->processes->size).count : batch;
}
