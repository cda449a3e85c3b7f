/*
 * Levers on the ranges of activations while a network trains, through BatchNorm's weights gamma and biases beta. In
 * training BatchNorm gives every channel mean beta and standard deviation |gamma|, so beta ± 3·|gamma| is where
 * nearly all of the channel lies, whatever the batch.
 */
#ifndef QD_TRAIN_LEVERS_H
#define QD_TRAIN_LEVERS_H

#include "graph/graph.h"

typedef struct qd_levers {
    /* Adds to the loss range_penalty · Σ over BatchNorms of max_c(beta + 3·|gamma|) - min_c(beta - 3·|gamma|): the
     * range of the whole tensor, which is what one scale must cover. 0: off. */
    double range_penalty;
    /* Keeps |gamma| at or below this after each step. 0: off. */
    double gamma_clamp;
} qd_levers;

/* Adds the penalty's subgradient: 1 at beta and 3·sign(gamma) at gamma of the channel that ends the range, the first
 * of equals. */
void qd_levers_add_gradients(const qd_levers *levers, qd_state *state);

void qd_levers_clamp(const qd_levers *levers, qd_state *state);

#endif
