/* The layers whose ranges the post compares before and behind BatchNorm. */
#ifndef QD_EXPERIMENT_POST_LAYERS_H
#define QD_EXPERIMENT_POST_LAYERS_H

#include <stdbool.h>

typedef struct qd_post_layer {
    const char *title, *batchnorm, *convolution;
} qd_post_layer;

#define QD_POST_LAYER_COUNT 3

extern const qd_post_layer qd_post_layers[QD_POST_LAYER_COUNT];

/* Whether a module is one of these. */
bool qd_post_layers_name(const char *module);

#endif
