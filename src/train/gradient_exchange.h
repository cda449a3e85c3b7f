/* Gradients summed over the processes of a training while the backward pass goes on. */
#ifndef QD_TRAIN_GRADIENT_EXCHANGE_H
#define QD_TRAIN_GRADIENT_EXCHANGE_H

#include "base/communicator.h"
#include "graph/graph.h"

typedef struct qd_gradient_exchange qd_gradient_exchange;

/* Over the gradients of `state`; both borrowed. Errors: QD_ERR_MEMORY. */
enum qd_status qd_gradient_exchange_create(qd_context *ctx, qd_state *state, const qd_communicator *processes,
                                           qd_gradient_exchange **out);
void qd_gradient_exchange_destroy(qd_gradient_exchange *exchange);

/* A backward pass begins. */
void qd_gradient_exchange_start(qd_gradient_exchange *exchange);

/* A qd_plan_gradients_fn, `user` the exchange: begins the sum of what has come together. Errors: the communicator's.
 */
enum qd_status qd_gradient_exchange_add(void *user, int node);

/* Waits until all gradients are sums over all processes. Errors: the communicator's. */
enum qd_status qd_gradient_exchange_finish(qd_gradient_exchange *exchange);

#endif
