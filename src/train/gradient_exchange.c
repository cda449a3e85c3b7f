/*
 * Parameters lie in the order of the modules, and a backward pass fills their gradients from the end: what is
 * complete is a piece at the block's end, which grows. Each time it has grown by a bucket the sum of that bucket
 * begins, in the same order in all processes. The idea is that of PyTorch's DistributedDataParallel (Li et al. 2020).
 */
#include "train/gradient_exchange.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

/* 4 MiB of float32: a tenth of ResNet18, so that most of it is on its way before the pass ends, and 3 ms at 10
 * Gbit/s, beside which the latency of a message, tens of microseconds, does not count. */
#define BUCKET_ELEMENTS ((int64_t)1 << 20)

struct qd_gradient_exchange {
    qd_state *state;
    const qd_communicator *processes;
    bool *done;     /* [param_count] */
    int first_done; /* this parameter and all behind it are */
    int64_t handed; /* elements from here on are being summed */
};

enum qd_status qd_gradient_exchange_create(qd_context *ctx, qd_state *state, const qd_communicator *processes,
                                           qd_gradient_exchange **out)
{
    qd_gradient_exchange *exchange = qd_calloc(1, sizeof *exchange);
    if (exchange)
        exchange->done = qd_calloc((size_t)state->graph->param_count, sizeof *exchange->done);
    if (!exchange || !exchange->done) {
        qd_gradient_exchange_destroy(exchange);
        return qd_fail(ctx, QD_ERR_MEMORY, "gradient exchange: out of memory");
    }
    exchange->state = state;
    exchange->processes = processes;
    *out = exchange;
    return QD_OK;
}

void qd_gradient_exchange_destroy(qd_gradient_exchange *exchange)
{
    if (!exchange)
        return;
    free(exchange->done);
    free(exchange);
}

void qd_gradient_exchange_start(qd_gradient_exchange *exchange)
{
    const qd_graph *graph = exchange->state->graph;
    memset(exchange->done, 0, (size_t)graph->param_count * sizeof *exchange->done);
    exchange->first_done = graph->param_count;
    exchange->handed = graph->param_elements;
}

/* The sum of what lies from `from` to what is already being summed. */
static enum qd_status hand_on(qd_gradient_exchange *exchange, int64_t from)
{
    const qd_communicator *processes = exchange->processes;
    const enum qd_dtype dtype = exchange->state->dtype;
    const int64_t count = exchange->handed - from;
    exchange->handed = from;
    return processes->begin_sum(processes->user, (char *)exchange->state->grads + (size_t)from * qd_dtype_size(dtype),
                                count, dtype == QD_F64);
}

enum qd_status qd_gradient_exchange_add(void *user, int node)
{
    qd_gradient_exchange *exchange = user;
    const qd_graph *graph = exchange->state->graph;
    for (int i = 0; i < QD_MAX_PARAMS && graph->nodes[node].param[i] >= 0; i++)
        exchange->done[graph->nodes[node].param[i]] = true;
    while (exchange->first_done > 0 && exchange->done[exchange->first_done - 1])
        exchange->first_done--;
    if (exchange->first_done == graph->param_count)
        return QD_OK;
    const int64_t from = exchange->first_done > 0 ? graph->params[exchange->first_done].offset : 0;
    if (exchange->handed - from >= BUCKET_ELEMENTS)
        return hand_on(exchange, from);
    return exchange->processes->progress(exchange->processes->user);
}

enum qd_status qd_gradient_exchange_finish(qd_gradient_exchange *exchange)
{
    if (exchange->handed > 0)
        QD_TRY(hand_on(exchange, 0));
    return exchange->processes->finish_sums(exchange->processes->user);
}
