/* The graph that quantization-aware training trains. */
#ifndef QD_QUANTIZE_QAT_GRAPH_H
#define QD_QUANTIZE_QAT_GRAPH_H

#include "quantize/qgraph.h"

/*
 * A copy of `graph`, which `q` was laid out from, with fake quantization behind every value that q quantizes; a SiLU
 * whose sigmoid is a tensor becomes sigmoid and product. Modules stay behind: parameters and buffers keep their
 * names, parameters their places. fake_quant: [q->quantizer_count], the node of each tensor in the new graph, -1 for
 * tensors that stay float. Errors: QD_ERR_SHAPE (averaging), QD_ERR_INTERNAL (a name too long), QD_ERR_MEMORY.
 */
enum qd_status qd_qat_graph_build(qd_context *ctx, const qd_graph *graph, const qd_qgraph *q, double averaging,
                                  int *fake_quant, qd_graph **out);

#endif
