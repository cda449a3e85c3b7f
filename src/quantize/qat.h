/*
 * Quantization-aware training: a network that trains in float and computes as its quantized form will. A graph with
 * fake quantization wherever the quantized network rounds a tensor, and weights that are exchanged for their rounded
 * values around each pass. docs/quantization.md section 14.
 */
#ifndef QD_QUANTIZE_QAT_H
#define QD_QUANTIZE_QAT_H

#include "quantize/quantize_recipe.h"

typedef struct qd_qat qd_qat;

/*
 * Of the recipe, the scheme, overrides and exclusions count. averaging: share of a new batch in the ranges. The graph
 * is borrowed, the result freed with qd_qat_destroy(). Errors: QD_ERR_USAGE (dynamic ranges, which nothing is trained
 * for; a name that is not in the network), those of qd_qgraph_create(), QD_ERR_SHAPE (averaging), QD_ERR_MEMORY.
 */
enum qd_status qd_qat_create(qd_context *ctx, const qd_graph *graph, const qd_quant_recipe *recipe, double averaging,
                             qd_qat **out);
void qd_qat_destroy(qd_qat *qat);

/* Bytes that training takes with all of its plans, the state and the lent weights; allocates next to nothing. Errors:
 * as qd_qat_create(). */
enum qd_status qd_qat_bytes(qd_context *ctx, const qd_graph *graph, const qd_quant_recipe *recipe, int64_t max_batch,
                            size_t *bytes);

/* The graph to train: parameters as the original's, in the same places; ranges as buffers "<tensor>.fake_quant.min"
 * and
 * ".max". A state of it is trained and evaluated between qd_qat_lend() and qd_qat_take_back(). */
const qd_graph *qd_qat_graph(const qd_qat *qat);

/* Parameters and running statistics from a state of the original graph into one of the graph to train, and back. Both
 * float32. */
void qd_qat_load(const qd_qat *qat, const qd_state *original, qd_state *state);
void qd_qat_store(const qd_qat *qat, const qd_state *state, qd_state *original);

/*
 * Exchanges the weights of `state` (float32) for what the quantized network will compute with: of convolution and
 * BatchNorm together, rounded, and taken apart again. Gradients taken meanwhile are those of the weights that come
 * back. Errors: QD_ERR_NUMERIC (a folded weight that is not finite, named).
 */
enum qd_status qd_qat_lend(qd_qat *qat, qd_state *state);
void qd_qat_take_back(qd_qat *qat, qd_state *state);

/* Sets the ranges that the state has learnt in a quantized network of the original graph. Errors: QD_ERR_USAGE (of
 * another layout; no batch seen). */
enum qd_status qd_qat_set_ranges(const qd_qat *qat, const qd_state *state, qd_qgraph *qgraph);

#endif
