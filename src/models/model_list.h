/* Every model, once. Adding one: an entry in a file of src/models/ and a line here. */
#ifndef QD_MODELS_MODEL_LIST_H
#define QD_MODELS_MODEL_LIST_H

#define QD_MODEL_LIST(X)                                                                                             \
    X(resnet18)                                                                                                      \
    X(efficientnet_b0)                                                                                               \
    X(resnet18_silu)                                                                                                 \
    X(resnet18_separable)                                                                                            \
    X(efficientnet_b0_relu)                                                                                          \
    X(efficientnet_b0_relu6)                                                                                         \
    X(efficientnet_b0_hardswish)                                                                                     \
    X(efficientnet_b0_no_se)                                                                                         \
    X(efficientnet_b0_dense)                                                                                         \
    X(efficientnet_b0_no_depth)                                                                                      \
    X(efficientnet_lite0)

#endif
