/*
 * What each layer's quantization costs: a finalized network is run with one layer alone quantized, or with one layer
 * alone in float32, layer by layer. What comes before the layer is the same for all of them and is computed once.
 */
#ifndef QD_QUANTIZE_LAYER_SENSITIVITY_H
#define QD_QUANTIZE_LAYER_SENSITIVITY_H

#include "quantize/quantize.h"

enum qd_quant_layer_kind {
    QD_QUANT_LAYER_INPUT,
    QD_QUANT_LAYER_CONV,
    QD_QUANT_LAYER_LINEAR,
    QD_QUANT_LAYER_SUM,
    QD_QUANT_LAYER_PRODUCT,
    QD_QUANT_LAYER_MEAN,
    QD_QUANT_LAYER_ACTIVATION, /* that does not alone read a layer of these */
    QD_QUANT_LAYER_KIND_COUNT
};

/* "input", "conv", "linear", "sum", "product", "mean", "activation". */
const char *qd_quant_layer_kind_name(enum qd_quant_layer_kind kind);

/* Its own tensor, and two of a SiLU. */
#define QD_QUANT_LAYER_TENSORS 3

/* A step of the network with the activation that alone reads it: what is left in float32 together. */
typedef struct qd_quant_layer {
    enum qd_quant_layer_kind kind;
    const char *name; /* of a convolution or linear layer its module, else of the tensor; borrowed from the qgraph */
    int step;         /* the first one; -1: the input */
    int weight;       /* index of its weights; -1: none */
    int tensors[QD_QUANT_LAYER_TENSORS];
    int tensor_count;
} qd_quant_layer;

/* The layers in the order of computation, *layers freed with free(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_quant_layers_list(const qd_qgraph *qgraph, qd_quant_layer **layers, int *count);

/* Leaves a layer's weights and tensors in float32, or takes that back; in effect with the next qd_qgraph_finalize().
 */
void qd_quant_layer_mark(qd_qgraph *qgraph, const qd_quant_layer *layer, bool is_float);

/* What of a network is in float32, everything else being quantized. */
enum qd_float_part {
    QD_FLOAT_NOTHING,
    QD_FLOAT_TENSORS,
    QD_FLOAT_WEIGHTS,
    QD_FLOAT_SILU_INPUTS,
    QD_FLOAT_SILU_INPUTS_AND_SIGMOIDS
};

/* Marks it, in effect with the next qd_qgraph_finalize(). False when the network has no such part. */
bool qd_qgraph_mark_part(qd_qgraph *qgraph, enum qd_float_part part);

/* Gives the tensors of `to` the ranges of the tensors of `from` that have their names: the same network under another
 * scheme needs no images again. */
enum qd_status qd_qgraph_take_ranges(qd_qgraph *to, const qd_qgraph *from);

enum qd_sensitivity_mode {
    QD_SENSITIVITY_ONLY,   /* the layer alone is quantized */
    QD_SENSITIVITY_WITHOUT /* the layer alone is in float32 */
};

/* Receives the logits [n][classes] of the simulated network that belong to layer `layer`. */
typedef enum qd_status qd_sensitivity_visitor(void *user, int layer, const float *logits, int64_t n);

/*
 * Runs every layer's network on 1 <= n <= max_batch images, float32 [n][h][w][3]. Nothing of `qgraph` may be marked
 * as float; it is as before afterwards. Errors: QD_ERR_USAGE (not finalized, dynamic ranges, n), QD_ERR_MEMORY, the
 * visitor's.
 */
enum qd_status qd_sensitivity_run(qd_qgraph *qgraph, enum qd_sensitivity_mode mode, const qd_quant_layer *layers,
                                  int count, const float *images, int64_t n, qd_sensitivity_visitor *visitor,
                                  void *user);

#endif
