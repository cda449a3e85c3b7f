/*
 * What is done to a network that does not survive quantization: docs/quantization.md has the formulas. All are
 * deterministic and give the same bits for any number of threads.
 */
#ifndef QD_QUANTIZE_REMEDIES_REMEDIES_H
#define QD_QUANTIZE_REMEDIES_REMEDIES_H

#include "quantize/quantize.h"
#include <quantdrift/recipe.h>

/* ---- BatchNorm re-estimation: of the float state, before folding ---- */

typedef struct qd_bn_estimate qd_bn_estimate;

/*
 * Running statistics are re-estimated as averages of what batches of images give, every BatchNorm normalising by its
 * batch's own statistics as in training, with everything else (dropout, stochastic depth) as in evaluation. `state`
 * is a copy that may be changed and outlives the estimate. Errors: QD_ERR_MEMORY, QD_ERR_USAGE (no BatchNorm).
 */
enum qd_status qd_bn_estimate_create(qd_context *ctx, const qd_graph *graph, qd_state *state, int64_t max_batch,
                                     qd_bn_estimate **out);
void qd_bn_estimate_destroy(qd_bn_estimate *estimate);

/* images float32 [n][h][w][3], any n, max_batch at a time, and the rest of each call; leaves the state's statistics
 * undefined until qd_bn_estimate_finish(). Errors: QD_ERR_SHAPE (one value a channel), QD_ERR_NUMERIC (a value that
 * is not finite, its module named). */
enum qd_status qd_bn_estimate_observe(qd_bn_estimate *estimate, const float *images, int64_t n);

/* Writes the averages into the state. Errors: QD_ERR_USAGE (no image seen). */
enum qd_status qd_bn_estimate_finish(qd_bn_estimate *estimate);

/* ---- cross-layer equalization: of the folded network, before calibrating ---- */

/* What became of one convolution or linear layer and the one before it. */
typedef struct qd_equalized_pair {
    const char *first, *second;  /* weights' names, of the qgraph; first NULL: there is no convolution before */
    const char *skipped;         /* why nothing was done, static; NULL: equalized */
    double spread_before, after; /* largest over smallest range of the first layer's channels; 0 when skipped */
} qd_equalized_pair;

/*
 * Scales every channel between two convolutions so that both see it in the same range; the float network stays the
 * same function. Ranges already calibrated are forgotten. *pairs (NULL: not wanted; freed with free()) has one entry
 * a weight, in order. Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
 * Correction", section 4.1. Errors: QD_ERR_USAGE (weights already rounded by AdaRound; a
 * network read from a file), QD_ERR_MEMORY.
 */
enum qd_status qd_qgraph_equalize(qd_qgraph *qgraph, qd_equalized_pair **pairs, int *count);

/* ---- on a finalized network, over n <= max_batch images float32 [n][h][w][3] ---- */

/*
 * Subtracts from every convolution's bias, first to last, the mean difference per channel between its output in the
 * simulated network and in the float network, before activations. The float network keeps its biases. Source: Nagel
 * et al. 2019, section 4.2 and appendix D (empirical). Errors: QD_ERR_USAGE (not finalized; n out of range),
 * QD_ERR_MEMORY.
 */
enum qd_status qd_qgraph_correct_bias(qd_qgraph *qgraph, const float *images, int64_t n);

/* What AdaRound did to one weight tensor. */
typedef struct qd_rounded_layer {
    const char *name;             /* of the qgraph */
    double nearest_db, learnt_db; /* output signal to noise on the rows it was fitted to */
    int64_t moved;                /* weights that are not rounded to nearest */
} qd_rounded_layer;

/*
 * Learns for every weight whether to round up or down, layer by layer, so that the layer's output from the quantized
 * network's input comes close to the float network's. *layers (NULL: not wanted; freed with free()) has one entry a
 * weight, in order; those that stay float have moved = 0. Bias correction comes after. Source: Nagel et al. 2020, "Up
 * or Down? Adaptive Rounding for Post-Training Quantization". Errors: QD_ERR_USAGE (not finalized; n or a setting out
 * of range), QD_ERR_MEMORY.
 */
enum qd_status qd_qgraph_adaround(qd_qgraph *qgraph, const qd_adaround_settings *settings, const float *images,
                                  int64_t n, qd_rounded_layer **layers, int *count);

#endif
