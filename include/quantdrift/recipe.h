/* How a network is quantized, as data: the scheme, what chooses the ranges, what is treated differently, and which
 * remedies are applied. docs/quantization.md defines every part. */
#ifndef QUANTDRIFT_RECIPE_H
#define QUANTDRIFT_RECIPE_H

#include <quantdrift/status.h>
#include <stdbool.h>
#include <stdint.h>

/* The defaults are the post's: static, per tensor, S8 activations, affine, S8 weights. Weights are symmetric. */
typedef struct qd_quant_scheme {
    int weight_bits; /* 2 to 16 */
    bool weight_per_channel;
    int activation_bits; /* 2 to 16 */
    bool activation_signed;
    bool activation_symmetric;
    bool activation_dynamic; /* each image's own range, found while it runs; simulated only */
    bool fused_silu; /* a convolution's SiLU reads a code of four more bits and its sigmoid is no tensor; simulated
                      * only */
} qd_quant_scheme;

qd_quant_scheme qd_quant_scheme_defaults(void);

/* What chooses the ranges of static quantization. */
typedef struct qd_calibrator_settings {
    const char *name;      /* of qd_calibrator_name(); NULL: "minmax" */
    double moving_average; /* "moving_minmax": share of each new batch, above 0 and at most 1 */
    double percentile;     /* "percentile": values that stay inside the range, above 50 and at most 100 */
} qd_calibrator_settings;

/* "minmax", c = 0.01 (PyTorch's MovingAverageMinMaxObserver), 99.99 % (Wu et al. 2020). */
qd_calibrator_settings qd_calibrator_settings_defaults(void);

/* Names from index 0 on; NULL beyond the last. */
const char *qd_calibrator_name(int index);

/* Of a property of an override that it leaves alone. */
#define QD_AS_SCHEME (-1)

/* One activation tensor that differs from the scheme. */
typedef struct qd_tensor_override {
    const char *name; /* as in results: module path of the value; "input" */
    int bits;         /* 2 to 16; 0: as the scheme says */
    int symmetric;    /* 1 or 0; QD_AS_SCHEME: as the scheme says */
    bool is_float;    /* not quantized at all */
} qd_tensor_override;

/* One weight tensor that differs from the scheme. */
typedef struct qd_weight_override {
    const char *name; /* in the state dict: "layer1.0.conv1.weight" */
    int bits;         /* 2 to 16; 0: as the scheme says */
    int per_channel;  /* 1 or 0; QD_AS_SCHEME: as the scheme says */
    bool is_float;
} qd_weight_override;

/* Nagel et al. 2020, section 3 and 5; where the defaults differ, docs/quantization.md says why. */
typedef struct qd_adaround_settings {
    int64_t rows;         /* output positions a layer is fitted to, drawn from all images */
    int64_t batch;        /* of them a step */
    int64_t iterations;   /* steps a layer */
    double learning_rate; /* Adam's */
    double weight;        /* lambda of the term that drives roundings to 0 or 1 */
    double warm_start;    /* share of the steps without that term */
    uint64_t seed;        /* draws the positions */
} qd_adaround_settings;

qd_adaround_settings qd_adaround_settings_defaults(void);

/* All off by default; any combination. */
typedef struct qd_remedies {
    bool reestimate_batchnorm; /* running statistics from the calibration images, before folding */
    bool equalize;             /* cross-layer equalization, before calibrating */
    bool adaround;             /* learned rounding of weights */
    bool correct_bias;         /* empirical bias correction, after everything else */
    int64_t images;            /* that the last two look at, all in memory at once; at least 1 */
    qd_adaround_settings adaround_settings;
} qd_remedies;

typedef struct qd_quant_recipe {
    qd_quant_scheme scheme;
    qd_calibrator_settings calibrator;
    const qd_tensor_override *tensors;
    int tensor_count;
    const qd_weight_override *weights;
    int weight_count;
    const char *const *excluded; /* module paths: what they hold stays float */
    int excluded_count;
    qd_remedies remedies;
} qd_quant_recipe;

qd_quant_recipe qd_quant_recipe_defaults(void);

#endif
