/*
 * The folded network in float32 as it is run, where qd_qgraph_visit() looks at every tensor: convolutions with fixed
 * weights (nn/conv_fixed.h) that do on the way what follows them, so that the values in between are never written.
 *     convolution → activation (SiLU included), or → sum with a value that is there already → ReLU
 *     depthwise convolution → mean over all positions, beside its output
 *     squeeze-excite product → 1x1 convolution
 * wherever nobody else reads what lies between.
 */
#ifndef QD_QUANTIZE_FUSED_H
#define QD_QUANTIZE_FUSED_H

#include "nn/conv_fixed.h"
#include "quantize/qgraph.h"

/* What is done at once. */
typedef struct qd_fused_op {
    const qd_qstep *step;          /* the first of the steps it stands for; borrowed from the qgraph */
    int input, gate, residual;     /* values of the qgraph; gate, residual -1: none */
    enum qd_activation activation; /* at the end */
    int output;
    int pooled;         /* value that gets the output's mean; -1: none */
    qd_fixed_conv conv; /* of a QD_QSTEP_CONV */
} qd_fused_op;

struct qd_fused {
    const qd_qgraph *q;
    qd_fused_op *ops;
    int op_count;
    size_t *offset; /* [values of the qgraph], in `values`; the network's input is read where the caller has it */
    size_t values_bytes, packed_bytes, workspace_bytes;
    qd_arena values, packed, workspace;
};

/* Plans the run of a qgraph that is laid out; takes no memory for weights and values yet. Errors: QD_ERR_MEMORY. */
enum qd_status qd_fused_create(const qd_qgraph *q, qd_fused **out);
void qd_fused_destroy(qd_fused *fused);

/* Bytes of everything a run needs. */
size_t qd_fused_bytes(const qd_fused *fused);

/* The folded weights have changed: the next run lays them out again. */
void qd_fused_forget_weights(qd_fused *fused);

/* Logits [n][classes] of n <= max_batch images, laying the folded weights out the first time. Errors: QD_ERR_MEMORY.
 */
enum qd_status qd_fused_run(qd_fused *fused, const float *images, int64_t n, float *logits);

#endif
