/* The operators our layers become. */
#ifndef QD_EXCHANGE_ONNX_NODES_H
#define QD_EXCHANGE_ONNX_NODES_H

#include "exchange/onnx_builder.h"

#define QD_ONNX_INPUT  "input"
#define QD_ONNX_LOGITS "logits"

/* Each adds the node(s) of one layer called `name` and returns the name of its output, which is `output`. Names of
 * inputs come before. */
const char *qd_onnx_conv(qd_onnx_builder *b, const char *name, const qd_conv2d_config *config, const char *x,
                         const char *weight, const char *bias, const char *output);
const char *qd_onnx_linear(qd_onnx_builder *b, const char *name, const char *x, const char *weight, const char *bias,
                           const char *output);
const char *qd_onnx_maxpool(qd_onnx_builder *b, const char *name, const qd_maxpool2d_config *config, const char *x,
                            const char *output);

/* ReLU, ReLU6, sigmoid, hard-swish; not SiLU, which is two nodes. */
const char *qd_onnx_activation(qd_onnx_builder *b, const char *name, enum qd_activation kind, const char *x,
                               const char *output);

/* "Add", "Mul", "Flatten", "GlobalAveragePool": operators without attributes of one or two inputs. */
const char *qd_onnx_plain(qd_onnx_builder *b, const char *op, const char *name, const char *x0, const char *x1,
                          const char *output);

/* A scalar of float32. */
const char *qd_onnx_scalar(qd_onnx_builder *b, const char *name, float value);

#endif
