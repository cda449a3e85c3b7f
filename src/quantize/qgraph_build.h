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

/* A network of `graph` that is laid out but without weights. Errors: as qd_qgraph_create(). */
enum qd_status qd_qgraph_create_empty(qd_context *ctx, const qd_graph *graph, const qd_quant_scheme *scheme,
                                      int64_t max_batch, qd_qgraph **out);

/* Bytes of all weight arrays of a network that is laid out. */
size_t qd_qgraph_weight_bytes(const qd_qgraph *q);

/* Allocates these arrays: a restored network's are its codes, and float32 weights where it computes with them.
 * Errors: QD_ERR_MEMORY. */
enum qd_status qd_qgraph_allocate_weights(qd_qgraph *q);

/* Notes which steps and convolutions run in float32, from what is marked float. */
void qd_qgraph_mark_float_steps(qd_qgraph *q);

/* Biases are int32 where weights and input are quantized and int32 is wide enough for them. */
bool qd_qgraph_has_integer_bias(const qd_qgraph *q, const qd_qstep *step);

/* The step's table of one function of its input's code, of a lookup or of a SiLU's sigmoid, and the tensor it writes;
 * NULL for others and for steps in float32. */
uint8_t *qd_qgraph_function_table(const qd_qgraph *q, qd_qstep *step, int *quantizer);

/* What follows from scales, codes and those tables: multipliers, products of tables, packed and simulated weights.
 * Finalizes a network whose scales, codes and tables come from a file. */
void qd_qgraph_derive(qd_qgraph *q);

/* Allocates the weights of a network laid out from `graph` and folds those of `state` into them. Errors:
 * QD_ERR_NUMERIC (a value that is not finite, its module named), QD_ERR_MEMORY. */
enum qd_status qd_qgraph_fold(qd_qgraph *q, const qd_graph *graph, const qd_state *state);

#endif
