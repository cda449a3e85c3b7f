/* Every model, once. Adding one: its file src/models/<name>.c and a line here. */
#ifndef QD_MODELS_MODEL_LIST_H
#define QD_MODELS_MODEL_LIST_H

#define QD_MODEL_LIST(X)                                                                                             \
    X(resnet18)                                                                                                      \
    X(efficientnet_b0)

#endif
