/* Every layer, once. Adding one: its file src/nn/<name>.c and a line here. */
#ifndef QD_NN_LAYER_LIST_H
#define QD_NN_LAYER_LIST_H

#define QD_LAYER_LIST(X)                                                                                             \
    X(conv2d)           /* dense, grouped and depthwise */                                                           \
    X(batchnorm2d)      /* with an optional fused activation */                                                      \
    X(activation)       /* ReLU, ReLU6, SiLU, hard-swish, sigmoid */                                                 \
    X(maxpool2d)        /* square window, padding counts as -inf */                                                  \
    X(global_avgpool)   /* AdaptiveAvgPool2d(1): rank 4, 1x1 */                                                      \
    X(flatten)          /* rank 4 to rank 2; needs h = w = 1 */                                                      \
    X(linear)           /* rank 2 */                                                                                 \
    X(add)              /* input0 + input1 */                                                                        \
    X(channel_multiply) /* input0 (h, w) times input1 (1x1 gate): squeeze-excite */                                  \
    X(dropout)          /* elementwise */                                                                            \
    X(stochastic_depth) /* per sample, mode "row" */                                                                 \
    X(multiply)         /* input0 times input1 */                                                                    \
    X(fake_quant)       /* rounded to codes and back; quantization-aware training */

#endif
