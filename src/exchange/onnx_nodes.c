/* Source: onnx.ai, "ONNX Operators", operator set 17. */
#include "exchange/onnx_nodes.h"

const char *qd_onnx_conv(qd_onnx_builder *b, const char *name, const qd_conv2d_config *config, const char *x,
                         const char *weight, const char *bias, const char *output)
{
    output = qd_onnx_node(b, "Conv", name, (const char *const[QD_ONNX_NODE_INPUTS]){x, weight, bias}, output);
    qd_onnx_attribute_ints(b, "kernel_shape", config->kernel, 2);
    qd_onnx_attribute_ints(b, "strides", config->stride, 2);
    qd_onnx_attribute_ints(b, "pads", config->padding, 4);
    qd_onnx_attribute_int(b, "group", config->groups);
    return output;
}

const char *qd_onnx_linear(qd_onnx_builder *b, const char *name, const char *x, const char *weight, const char *bias,
                           const char *output)
{
    output = qd_onnx_node(b, "Gemm", name, (const char *const[QD_ONNX_NODE_INPUTS]){x, weight, bias}, output);
    qd_onnx_attribute_int(b, "transB", 1); /* weights are [out][in] */
    return output;
}

const char *qd_onnx_maxpool(qd_onnx_builder *b, const char *name, const qd_maxpool2d_config *config, const char *x,
                            const char *output)
{
    output = qd_onnx_node(b, "MaxPool", name, (const char *const[QD_ONNX_NODE_INPUTS]){x}, output);
    qd_onnx_attribute_ints(b, "kernel_shape", config->kernel, 2);
    qd_onnx_attribute_ints(b, "strides", config->stride, 2);
    qd_onnx_attribute_ints(b, "pads", config->padding, 4);
    return output;
}

const char *qd_onnx_scalar(qd_onnx_builder *b, const char *name, float value)
{
    const qd_tensor tensor = qd_tensor_contiguous(QD_F32, 0, NULL, &value);
    return qd_onnx_initializer(b, name, &tensor, false);
}

const char *qd_onnx_activation(qd_onnx_builder *b, const char *name, enum qd_activation kind, const char *x,
                               const char *output)
{
    switch (kind) {
    case QD_ACTIVATION_RELU:
        return qd_onnx_plain(b, "Relu", name, x, NULL, output);
    case QD_ACTIVATION_SIGMOID:
        return qd_onnx_plain(b, "Sigmoid", name, x, NULL, output);
    case QD_ACTIVATION_HARDSWISH:
        return qd_onnx_plain(b, "HardSwish", name, x, NULL, output);
    case QD_ACTIVATION_RELU6: {
        const char *low = qd_onnx_scalar(b, qd_onnx_text(b, "%s.min", output), 0.0f);
        const char *high = qd_onnx_scalar(b, qd_onnx_text(b, "%s.max", output), 6.0f);
        return qd_onnx_node(b, "Clip", name, (const char *const[QD_ONNX_NODE_INPUTS]){x, low, high}, output);
    }
    case QD_ACTIVATION_SILU:
    case QD_ACTIVATION_NONE:
        break;
    }
    return x;
}

const char *qd_onnx_plain(qd_onnx_builder *b, const char *op, const char *name, const char *x0, const char *x1,
                          const char *output)
{
    return qd_onnx_node(b, op, name, (const char *const[QD_ONNX_NODE_INPUTS]){x0, x1}, output);
}
