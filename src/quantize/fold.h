/* BatchNorm folded into the convolution before it. */
#ifndef QD_QUANTIZE_FOLD_H
#define QD_QUANTIZE_FOLD_H

#include "graph/graph.h"

/*
 * Weights and bias of convolution or linear node `node`, with the BatchNorm node `batchnorm` (-1: none) folded in, in
 * double, rounded to float32 once: weight keeps the parameter's memory order, bias has one value per output channel.
 * Source: docs/quantization.md section 2. Errors: QD_ERR_NUMERIC (a value that is not finite, its parameter named).
 */
enum qd_status qd_fold_batchnorm(qd_context *ctx, const qd_graph *graph, const qd_state *state, int node,
                                 int batchnorm, float *weight, float *bias);

/* What BatchNorm node `batchnorm` multiplies channel c with: g. */
double qd_fold_gain(const qd_graph *graph, const qd_state *state, int batchnorm, int64_t c);

#endif
