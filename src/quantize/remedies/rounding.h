/* AdaRound's optimizer: learned rounding of one block of filters. Knows no network. */
#ifndef QD_QUANTIZE_REMEDIES_ROUNDING_H
#define QD_QUANTIZE_REMEDIES_ROUNDING_H

#include "kernels/kernels.h"
#include <quantdrift/recipe.h>

/*
 * `filters` filters of `depth` weights, and the rows they are fitted to. Side by side (depthwise): every filter has
 * inputs of its own, weights lie [depth][filters] and inputs [rows][depth][filters]; else all read the same inputs
 * [rows][depth] and weights lie [filters][depth].
 */
typedef struct qd_rounding_block {
    const qd_kernels *kernels; /* float32 */
    const qd_adaround_settings *settings;
    bool side_by_side;
    int64_t filters, depth, rows;
    const float *inputs;
    const float *targets;          /* [rows][filters]: the float network's outputs, before the activation */
    enum qd_activation activation; /* ReLU and ReLU6 count, others are none */
    const float *bias;             /* [filters] of the quantized layer */
    const float *scale;            /* [filters] */
    float low, high;               /* codes */
    const float *weight;           /* to be rounded, in the order above */
    float *code;                   /* out: the codes, whole numbers */
    double *noise[2]; /* out, [filters]: squared error of outputs with nearest and with the codes chosen */
} qd_rounding_block;

/* Floats of scratch that qd_rounding_learn() needs. */
int64_t qd_rounding_scratch(const qd_rounding_block *block);

/* Deterministic; single-threaded. */
void qd_rounding_learn(const qd_rounding_block *block, float *scratch);

#endif
