/*
 * The inside of a qd_qgraph: a list of steps over values, each with a float, a simulated and an integer way to run.
 * Seen by quantize/, by exchange/, which writes it down for other runtimes, and by tests only.
 */
#ifndef QD_QUANTIZE_QGRAPH_H
#define QD_QUANTIZE_QGRAPH_H

#include "base/arena.h"
#include "kernels/int8.h"
#include "quantize/scheme.h"

/* Room for a module's path, a call number ("#1") and ".sigmoid". */
#define QD_QUANT_NAME_BYTES (QD_NAME_BYTES + 32)

/* Room for the name of what found a range: "minmax". */
#define QD_QUANT_WORD_BYTES 32

/* A quantized activation tensor: its range, then its parameters. */
typedef struct qd_quantizer {
    char name[QD_QUANT_NAME_BYTES];
    char calibrator[QD_QUANT_WORD_BYTES]; /* "": the one that calibrates all */
    int bits;                             /* this and the next as the scheme says, unless encodings change it */
    bool symmetric;
    bool feeds_silu; /* a convolution's output that a fused SiLU reads: docs/quantization.md section 12 */
    bool is_float;   /* not quantized after all: docs/quantization.md section 9 */
    double min, max; /* calibrated; min > max: nothing seen yet */
    qd_quant_params params;
    double signal, noise_rounding, noise_accumulated; /* energies; 0 until measured */
    bool measured;
} qd_quantizer;

/* A tensor of the folded network. */
typedef struct qd_qvalue {
    qd_dims dims;
    int quantizer;  /* -1: the logits; a max-pool's output shares its input's */
    int source;     /* value of the graph it was made from; -1: SiLU's inner tensor, of which that graph has none */
    int first_step; /* that writes it */
    int last_step;  /* that reads it; its memory is free afterwards */
    int64_t offset; /* first element in the activation memory, for one sample; times the batch for more */
} qd_qvalue;

/* A convolution or, as a 1x1 convolution of one position, a linear layer. All arrays are owned by the qgraph's arena.
 */
typedef struct qd_qconv {
    char name[QD_NAME_BYTES + 24];        /* of the weight in the state dict: "layer1.0.conv1.weight" */
    char calibrator[QD_QUANT_WORD_BYTES]; /* as a quantizer's */
    int bits;                             /* this and the next as the scheme says, unless encodings change it */
    bool per_channel;
    bool is_float;    /* keeps float32 weights */
    bool in_float;    /* its step runs in float32; known when finalized */
    bool scale_given; /* `scale` was chosen elsewhere; it is only raised where the bias needs it */
    qd_conv2d_config config;
    int node, batchnorm; /* of the graph it was made from; batchnorm -1: none */
    bool depthwise;
    int64_t filter;                           /* weights of one output channel */
    float *weight;                            /* folded; memory order of the layer: OHWI, depthwise HWO */
    float *bias;                              /* [out_channels], folded */
    float *scale;                             /* [out_channels] S_w: equal values when per tensor */
    float *weight_simulated, *bias_simulated; /* quantized and dequantized, what stays float as it is */
    float *bias_correction;                   /* [out_channels], added to `bias` before it is quantized; 0 at first */
    float *rounded; /* learnt values on the grid of `scale`, quantized instead of `weight`; NULL: none learnt */
    int8_t *codes;  /* in the order of `weight`; up to 8 bits */
    int32_t *bias_codes;
    float *multiplier; /* [out_channels] */
    /* As the kernels read them (kernels/int8_pack.h), written by qd_qconv_pack(). */
    int8_t *packed;
    int32_t *packed_bias;
    float *packed_multiplier;
    uint8_t *padding; /* [in_channels] the stored zero point of the input */
} qd_qconv;

/* A dense convolution as a product of each group: `taps` rows of `depth` codes times `columns` channels. */
typedef struct qd_qproduct {
    int64_t groups, taps, depth, columns;
    int64_t weights; /* of a tap: depth, without what fills it up */
    bool bands;      /* few channels: a tap is a whole line of the kernel, read from a copy with margins */
} qd_qproduct;

enum qd_qstep_kind {
    QD_QSTEP_CONV,    /* with an optional fused ReLU or ReLU6 */
    QD_QSTEP_TABLE,   /* an activation standing alone */
    QD_QSTEP_SILU,    /* two tensors: inner is sigmoid(x), output is the product */
    QD_QSTEP_ADD,     /* with an optional fused ReLU or ReLU6 */
    QD_QSTEP_GATE,    /* input0 times input1, one value a channel */
    QD_QSTEP_MAXPOOL, /* keeps the scale */
    QD_QSTEP_MEAN     /* over all positions */
};

typedef struct qd_qstep {
    enum qd_qstep_kind kind;
    char name[QD_NAME_BYTES];
    int input[2]; /* values; -1: none */
    int output;
    int inner;   /* SiLU's sigmoid; -1: none */
    int conv;    /* index into convs; -1: none */
    bool merges; /* an integer convolution whose only reader is the next step, which it may do itself */
    enum qd_activation activation; /* fused, or the table's */
    qd_maxpool2d_config pool;
    bool in_float;                        /* a tensor or the weights are float32, and so is the step; known when
                                           * finalized */
    float multiplier[2];                  /* requantization; a sum has two */
    uint8_t table[256], inner_table[256]; /* of stored codes (kernels/int8.h) */
} qd_qstep;

enum qd_qmode { QD_QMODE_FLOAT, QD_QMODE_SIMULATED, QD_QMODE_INTEGER };

typedef struct qd_fused qd_fused; /* fused.h */

struct qd_qgraph {
    qd_context *ctx;
    qd_kernels kernels; /* float32 */
    qd_int8_kernels int8;
    qd_quant_scheme scheme;
    int64_t max_batch;
    bool finalized;
    bool restored; /* from a file: `weight` and `bias` do not exist, there is the integer network alone */
    bool mixed;    /* some steps run in float32; known when finalized */
    qd_qstep *steps;
    int step_count;
    qd_qvalue *values;
    int value_count;
    qd_quantizer *quantizers;
    int quantizer_count;
    qd_qconv *convs;
    int conv_count;
    int input, output;       /* values */
    int64_t sample_elements; /* of the activation memory, one sample */
    qd_arena weights;
    qd_arena rounded;        /* of all convolutions, once a rounding is learnt */
    qd_arena activations[3]; /* by mode; the second and third are allocated when first needed */
    qd_arena workspace;      /* of the float layers: workspace, then what they save */
    size_t saved_offset;
    qd_arena scratch;     /* of the integer run, one part a thread */
    size_t scratch_bytes; /* of one thread */
    qd_fused *fused;      /* the float run */
};

/* Allocates what `mode` needs, once. Errors: QD_ERR_USAGE (not finalized; integers of more than 8 bits),
 * QD_ERR_MEMORY. */
enum qd_status qd_qgraph_prepare(qd_qgraph *q, enum qd_qmode mode);

/* Memory of a value in a mode, [max_batch] samples: float, float, stored codes (uint8_t, kernels/int8.h). */
void *qd_qgraph_value(const qd_qgraph *q, enum qd_qmode mode, int value);

/* Loads n <= max_batch images into the input value, quantized as the mode wants it. Errors: QD_ERR_NUMERIC (a dynamic
 * range that is not finite). */
enum qd_status qd_qgraph_load(qd_qgraph *q, enum qd_qmode mode, const float *images, int64_t n);

/* Parameters of a tensor for a range, in its bits and form. */
qd_quant_params qd_quantizer_params(const qd_quantizer *quantizer, double min, double max);

/* Where the integer network keeps a value: QD_QMODE_INTEGER, or QD_QMODE_SIMULATED when its tensor is float. */
enum qd_qmode qd_qgraph_value_mode(const qd_qgraph *q, int value);

/* Weights and biases as the network sees them, with scales from the ranges as they are: `weight_simulated` and
 * `bias_simulated` of every convolution, while a training changes `weight` and `bias`. A tensor without range counts
 * as one of nothing but 0. */
void qd_qgraph_simulate_weights(qd_qgraph *q);

/* Quantizes one step of a finalized network again, after a remedy has changed its biases or rounding. */
void qd_qgraph_finalize_step(qd_qgraph *q, qd_qstep *step);

/* Runs one step of n samples. `inner`: integer SiLUs also write their sigmoid, which nothing but a measurement reads.
 * The last layer writes its logits into the output value, float32 in every mode. */
enum qd_status qd_qgraph_step(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n, bool inner);

/* The network's result of the last pass, [n][classes]. */
void qd_qgraph_result(const qd_qgraph *q, enum qd_qmode mode, int64_t n, float *logits);

/* run_float.c: docs/quantization.md sections 2 and 4. */
size_t qd_qgraph_float_workspace_bytes(const qd_qgraph *q, size_t *saved_offset);
enum qd_status qd_qgraph_load_float(qd_qgraph *q, enum qd_qmode mode, const float *images, int64_t n);
enum qd_status qd_qgraph_step_float(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n);

/* A convolution alone, in float or simulated, into y [n][h][w][c]: before its clamp and its rounding. */
enum qd_status qd_qgraph_run_conv(qd_qgraph *q, enum qd_qmode mode, const qd_qstep *step, int64_t n, float *y);

/* Parameters that dynamic quantization gives to one sample's values; false when they are not all finite. */
bool qd_quantizer_dynamic_params(const qd_quantizer *quantizer, const float *values, int64_t count,
                                 qd_quant_params *params);

/* qgraph_pack.c: kernels' forms of a convolution. `layout` is that of q->int8. */
qd_qproduct qd_qconv_product(const qd_qconv *conv);
size_t qd_qconv_packed_bytes(const qd_qconv *conv, qd_u8_layout layout);
int64_t qd_qconv_packed_width(const qd_qconv *conv, qd_u8_layout layout); /* of bias and multiplier */
void qd_qconv_pack(qd_qconv *conv, qd_u8_layout layout, int32_t input_zero);

/* run_integer.c: docs/quantization.md section 3. */
size_t qd_qgraph_integer_scratch_bytes(const qd_qgraph *q);
void qd_qgraph_load_integer(qd_qgraph *q, const float *images, int64_t n);
void qd_qgraph_step_integer(qd_qgraph *q, const qd_qstep *step, int64_t n, bool inner);
/* All steps, those that can be merged at once: values between them are not written. */
void qd_qgraph_steps_integer(qd_qgraph *q, int64_t n);

/* run_mixed.c: docs/quantization.md section 9. */
enum qd_status qd_qgraph_step_mixed(qd_qgraph *q, const qd_qstep *step, int64_t n);

#endif
