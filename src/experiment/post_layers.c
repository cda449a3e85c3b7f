#include "experiment/post_layers.h"
#include <string.h>

/* BatchNorm's range over its convolution's, where the two networks are compared: ResNet18's first block, and the
 * expansion and the depthwise convolution of EfficientNet-B0's second stage. */
const qd_post_layer qd_post_layers[QD_POST_LAYER_COUNT] = {
    {"BN/conv layer1.0", "layer1.0.bn1", "layer1.0.conv1"},
    {"BN/conv features.2.0.block.0", "features.2.0.block.0.1", "features.2.0.block.0.0"},
    {"BN/conv features.2.0.block.1", "features.2.0.block.1.1", "features.2.0.block.1.0"},
};

bool qd_post_layers_name(const char *module)
{
    for (int i = 0; i < QD_POST_LAYER_COUNT; i++)
        if (strcmp(module, qd_post_layers[i].batchnorm) == 0 || strcmp(module, qd_post_layers[i].convolution) == 0)
            return true;
    return false;
}
