/*
 * Networks as ONNX models. Nodes are called by torchvision's module paths and what they do
 * ("layer1.0.conv1/Conv"), values by the keys of the activation log ("layer1.0.bn1"), weights by their names in the
 * state_dict. One input "input" [batch, 3, size, size], one output "logits", dynamic batch.
 */
#ifndef QD_EXCHANGE_ONNX_EXPORT_H
#define QD_EXCHANGE_ONNX_EXPORT_H

#include "models/models.h"
#include "quantize/quantize.h"

/* Layer by layer in float32, BatchNorm as nodes of its own. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE. */
enum qd_status qd_onnx_write_layers(qd_context *ctx, const char *path, const qd_graph *graph, const qd_state *state);

/*
 * The folded network of a qgraph made from `graph`: in float32, or with a QuantizeLinear and DequantizeLinear around
 * every quantized tensor, whose scales, zero points, int8 weights and int32 biases are the qgraph's own. Codes are
 * int8 or uint8 as the scheme says. Names of these are ONNX Runtime's: "<tensor>_scale", "<tensor>_zero_point",
 * "<weight>_quantized". Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE (scales not chosen yet; more than 8 bits).
 */
enum qd_status qd_onnx_write_folded(qd_context *ctx, const char *path, const qd_graph *graph, const qd_qgraph *qgraph,
                                    bool quantized);

#endif
