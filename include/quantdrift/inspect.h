/* What a model file holds: its tensors and, of quantized models and ONNX models with quantizers, every scale and zero
 * point. */
#ifndef QUANTDRIFT_INSPECT_H
#define QUANTDRIFT_INSPECT_H

#include <quantdrift/context.h>

/* More dimensions than this no tensor of a network has. */
#define QD_INSPECT_MAX_RANK 8

typedef struct qd_inspected_tensor {
    const char *name;
    const char *role; /* "tensor" of weight files; "input", "output", "initializer" of ONNX models */
    const char *type; /* in the file: "float32", "bfloat16", "int8" */
    int rank;
    int64_t shape[QD_INSPECT_MAX_RANK]; /* -1: any, such as a batch */
} qd_inspected_tensor;

/* Scale and zero point of one quantized tensor: x is about scale·(q − zero_point). */
typedef struct qd_inspected_quantizer {
    const char *tensor;
    const char *type; /* of the codes */
    int64_t axis;     /* of the channels; -1: one scale for the whole tensor */
    int64_t count;    /* of scales and zero points */
    double *scale;
    int64_t *zero_point;
} qd_inspected_quantizer;

typedef struct qd_inspected_fact {
    const char *key, *value; /* "producer", "quantdrift 0.1.0"; a metadata entry */
} qd_inspected_fact;

typedef struct qd_inspection {
    const char *format; /* "PyTorch", "safetensors", "quantized model", "ONNX" */
    qd_inspected_fact *facts;
    int fact_count;
    qd_inspected_tensor *tensors;
    int tensor_count;
    qd_inspected_quantizer *quantizers; /* in the order of the model's nodes */
    int quantizer_count;
    void *file; /* the library's: what the texts above lie in */
} qd_inspection;

/*
 * Reads a .pth, safetensors or ONNX file of any program; a name that ends in ".onnx" is an ONNX model. Freed with
 * qd_inspection_free(). Errors: QD_ERR_INPUT (damage, more dimensions than QD_INSPECT_MAX_RANK), QD_ERR_IO,
 * QD_ERR_MEMORY.
 */
enum qd_status qd_inspect(qd_context *ctx, const char *path, qd_inspection *out);
void qd_inspection_free(qd_inspection *inspection);

#endif
