#include "train/levers.h"

#include <math.h>

/* Standard deviations on each side of a channel's mean that count as its range. */
#define REACH 3.0

static double get(const qd_tensor *t, int64_t i)
{
    return t->dtype == QD_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

static void put(qd_tensor *t, int64_t i, double value)
{
    if (t->dtype == QD_F64)
        ((double *)t->data)[i] = value;
    else
        ((float *)t->data)[i] = (float)value;
}

/* Adds `side`·penalty·d(beta + side·3·|gamma|) at the channel where side·beta + 3·|gamma| is largest. */
static void push_end(qd_state *state, const qd_node *node, double side, double penalty)
{
    const qd_tensor gamma = qd_state_param(state, QD_BLOCK_PARAMS, node->param[0]);
    const qd_tensor beta = qd_state_param(state, QD_BLOCK_PARAMS, node->param[1]);
    qd_tensor dgamma = qd_state_param(state, QD_BLOCK_GRADS, node->param[0]);
    qd_tensor dbeta = qd_state_param(state, QD_BLOCK_GRADS, node->param[1]);
    int64_t end = 0;
    double farthest = -INFINITY;
    for (int64_t c = 0; c < gamma.shape[0]; c++) {
        const double reach = side * get(&beta, c) + REACH * fabs(get(&gamma, c));
        if (reach > farthest) {
            farthest = reach;
            end = c;
        }
    }
    const double sign = get(&gamma, end) > 0.0 ? 1.0 : get(&gamma, end) < 0.0 ? -1.0 : 0.0;
    put(&dgamma, end, get(&dgamma, end) + penalty * REACH * sign);
    put(&dbeta, end, get(&dbeta, end) + penalty * side);
}

void qd_levers_add_gradients(const qd_levers *levers, qd_state *state)
{
    if (levers->range_penalty == 0.0)
        return;
    for (int i = 0; i < state->graph->node_count; i++) {
        const qd_node *node = &state->graph->nodes[i];
        if (node->kind != QD_LAYER_batchnorm2d)
            continue;
        push_end(state, node, 1.0, levers->range_penalty);
        push_end(state, node, -1.0, levers->range_penalty);
    }
}

void qd_levers_clamp(const qd_levers *levers, qd_state *state)
{
    if (levers->gamma_clamp == 0.0)
        return;
    for (int i = 0; i < state->graph->node_count; i++) {
        const qd_node *node = &state->graph->nodes[i];
        if (node->kind != QD_LAYER_batchnorm2d)
            continue;
        qd_tensor gamma = qd_state_param(state, QD_BLOCK_PARAMS, node->param[0]);
        for (int64_t c = 0; c < gamma.shape[0]; c++)
            put(&gamma, c, fmax(-levers->gamma_clamp, fmin(levers->gamma_clamp, get(&gamma, c))));
    }
}
