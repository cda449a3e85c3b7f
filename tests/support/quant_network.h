/*
 * Networks for quantization tests: weights drawn from a seed, BatchNorm's gammas, betas and running statistics far
 * from 1, 0, 0, 1, and every layer's output of ordinary size, as after training.
 */
#ifndef TESTS_SUPPORT_QUANT_NETWORK_H
#define TESTS_SUPPORT_QUANT_NETWORK_H

#include "graph/plan.h"
#include "quantize/quantize_recipe.h"
#include "support/test_context.h"

typedef struct quant_network {
    qd_context *ctx; /* borrowed */
    qd_graph *graph;
    qd_state *state;
    int64_t n;     /* images */
    float *images; /* [n][h][w][3]: a wave of its own in each channel, with noise, about -2 to 2 */
} quant_network;

/* A model of the list by name at 64 x 64 pixels with 10 classes; "small": one of every pattern that quantization
 * knows; "mobile": depthwise blocks with ReLU, 18 x 18 pixels; "binary": ResNet18 with the post's head. Freed with
 * quant_network_free(). */
quant_network quant_network_create(qd_context *ctx, const char *name, int64_t n);
void quant_network_free(quant_network *network);

/* Logits of the float network in eval mode [n][classes]; freed with free(). */
float *quant_network_logits(const quant_network *network);

int64_t quant_network_classes(const quant_network *network);

/* A qgraph calibrated on the network's images and finalized. */
qd_qgraph *quant_network_quantize(const quant_network *network, const qd_quant_scheme *scheme);

/* The network as a recipe makes it, from batches of `batch` of its images. */
qd_qgraph *quant_network_cook(const quant_network *network, const qd_quant_recipe *recipe, int64_t batch);

/* How well the simulated network does on the images: signal to noise of its logits against the float network's in dB,
 * and the share of images that both take for the same class. */
typedef struct quant_score {
    double logits_db, agreement;
} quant_score;
quant_score quant_network_score(const quant_network *network, qd_qgraph *qgraph);

/* Largest |a - b| over largest |a|. */
double quant_largest_difference(const float *a, const float *b, int64_t count);

#endif
