/* From a graph of layers to steps over quantized values: the placement of docs/quantization.md section 2. */
#ifndef QD_QUANTIZE_QGRAPH_BUILD_H
#define QD_QUANTIZE_QGRAPH_BUILD_H

#include "quantize/qgraph.h"

/*
 * Fills a zeroed qgraph's steps, values, quantizers and convolutions from `graph`, without weights. Errors:
 * QD_ERR_USAGE (a BatchNorm that follows no convolution; a filter too large for int32), QD_ERR_MEMORY. The caller
 * frees `q` in any case.
 */
enum qd_status qd_qgraph_lay_out(qd_qgraph *q, const qd_graph *graph);

/* Bytes of all weight arrays of a network that is laid out. */
size_t qd_qgraph_weight_bytes(const qd_qgraph *q);

/* Allocates the weights of a network laid out from `graph` and folds those of `state` into them. Errors:
 * QD_ERR_NUMERIC (a value that is not finite, its module named), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_fold(qd_qgraph *q, const qd_graph *graph, const qd_state *state);

#endif
