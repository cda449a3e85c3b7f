/*
 * Quantized networks and their files. Of a convolution or linear layer "<module>.weight" the file has int8
 * "<module>.weight" in PyTorch's shape, float32 "<module>.weight.scale" (one value, or one an output channel) and
 * int32
 * "<module>.bias"; a layer that stays float has float32 weights and no scale; biases are float32 where the layer or
 * its input stays float. Functions looked up have uint8 "<tensor>.table" [256], codes plus 128 by the input's code
 * plus 128. Scales of activations are in the encodings of the header. Multipliers, products of tables and packed
 * weights follow from these.
 */
#ifndef QD_EXCHANGE_QUANTIZED_MODEL_H
#define QD_EXCHANGE_QUANTIZED_MODEL_H

#include "formats/quantized_file.h"
#include "models/models.h"
#include "quantize/qgraph.h"

/* Room for a tensor's name in such a file. */
#define QD_QUANTIZED_NAME_BYTES (QD_QUANT_NAME_BYTES + 8)

/* PyTorch's shape over values of a layer's weights in its memory order; `graph` is what the qgraph was made from. */
qd_tensor qd_qconv_weight_view(const qd_graph *graph, const qd_qconv *conv, enum qd_dtype dtype, void *data);

/* Names of what belongs to a weight or table: "….weight.scale", "….bias", "….table". */
void qd_quantized_scale_name(const qd_qconv *conv, char name[QD_QUANTIZED_NAME_BYTES]);
void qd_quantized_bias_name(const qd_qconv *conv, char name[QD_QUANTIZED_NAME_BYTES]);
void qd_quantized_table_name(const qd_quantizer *quantizer, char name[QD_QUANTIZED_NAME_BYTES]);

/* Writes a finalized qgraph that was made from `graph`, atomically; `calibrator` as for qd_qgraph_describe(). Errors:
 * QD_ERR_USAGE (not finalized, more than 8 bits, itself from a file), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_quantized_write(qd_context *ctx, const char *path, const qd_graph *graph,
                                  const qd_model_config *config, const char *calibrator, const qd_qgraph *qgraph);

/* The network of an opened file, laid out as `graph`, which needs no state. It runs as integers only, with the same
 * bits as the one that was written. Errors: QD_ERR_INPUT (tensors that are missing, misshapen, of no use, or hold
 * values that no quantizer writes), QD_ERR_MEMORY. */
enum qd_status qd_quantized_restore(qd_context *ctx, const qd_quantized_file *file, const qd_graph *graph,
                                    int64_t max_batch, qd_qgraph **out);

#endif
