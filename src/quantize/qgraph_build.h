/* From a graph of layers to steps over quantized values: the placement of docs/quantization.md section 2. */
#ifndef QD_QUANTIZE_QGRAPH_BUILD_H
#define QD_QUANTIZE_QGRAPH_BUILD_H

#include "quantize/qgraph.h"

/*
 * Fills a zeroed qgraph's steps, values, quantizers and convolutions from `graph` and folds the weights of `state`.
 * Errors: QD_ERR_USAGE (a BatchNorm that follows no convolution; a filter too large for int32), QD_ERR_NUMERIC,
 * QD_ERR_MEMORY. The caller frees `q` in any case.
 */
enum qd_status qd_qgraph_build(qd_qgraph *q, const qd_graph *graph, const qd_state *state);

#endif
