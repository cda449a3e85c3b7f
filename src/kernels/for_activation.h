/* One inlined copy of a loop for every activation. */
#ifndef QD_KERNELS_FOR_ACTIVATION_H
#define QD_KERNELS_FOR_ACTIVATION_H

#include "kernels/kernels.h"

/* function(kind, ...) with a constant kind: an inlined copy of the loop per activation, without a switch in it. */
#define QD_FOR_ACTIVATION(kind, function, ...)                                                                       \
    do {                                                                                                             \
        switch (kind) {                                                                                              \
        case QD_ACTIVATION_NONE:                                                                                     \
            function(QD_ACTIVATION_NONE, __VA_ARGS__);                                                               \
            break;                                                                                                   \
        case QD_ACTIVATION_RELU:                                                                                     \
            function(QD_ACTIVATION_RELU, __VA_ARGS__);                                                               \
            break;                                                                                                   \
        case QD_ACTIVATION_RELU6:                                                                                    \
            function(QD_ACTIVATION_RELU6, __VA_ARGS__);                                                              \
            break;                                                                                                   \
        case QD_ACTIVATION_SILU:                                                                                     \
            function(QD_ACTIVATION_SILU, __VA_ARGS__);                                                               \
            break;                                                                                                   \
        case QD_ACTIVATION_HARDSWISH:                                                                                \
            function(QD_ACTIVATION_HARDSWISH, __VA_ARGS__);                                                          \
            break;                                                                                                   \
        case QD_ACTIVATION_SIGMOID:                                                                                  \
            function(QD_ACTIVATION_SIGMOID, __VA_ARGS__);                                                            \
            break;                                                                                                   \
        }                                                                                                            \
    } while (0)

#endif
