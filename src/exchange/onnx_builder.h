/* An ONNX model under construction: nodes, attributes and initializers, and the memory they lie in. */
#ifndef QD_EXCHANGE_ONNX_BUILDER_H
#define QD_EXCHANGE_ONNX_BUILDER_H

#include "formats/onnx_file.h"
#include "nn/layer.h"

/* BatchNormalization takes the most. */
#define QD_ONNX_NODE_INPUTS 5

/* Once memory was short every call is a no-op that returns NULL, and qd_onnx_builder_write() reports it: so an export
 * reads without error checks. */
typedef struct qd_onnx_builder qd_onnx_builder;

enum qd_status qd_onnx_builder_create(qd_context *ctx, const char *graph_name, qd_onnx_builder **out);
void qd_onnx_builder_destroy(qd_onnx_builder *builder);

/* Zeroed memory that lives as long as the builder. */
void *qd_onnx_memory(qd_onnx_builder *builder, size_t bytes);

/* printf into the builder's memory. */
const char *qd_onnx_text(qd_onnx_builder *builder, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Adds a node of the default operator set called "<name>/<op>" with the inputs up to the first NULL (or all); returns
 * the name of its one output, which is `output`. */
const char *qd_onnx_node(qd_onnx_builder *builder, const char *op, const char *name,
                         const char *const inputs[QD_ONNX_NODE_INPUTS], const char *output);

/* Attributes of the node added last. */
void qd_onnx_attribute_int(qd_onnx_builder *builder, const char *name, int64_t value);
void qd_onnx_attribute_float(qd_onnx_builder *builder, const char *name, float value);
/* `count` times the same value, as kernels and paddings want them. */
void qd_onnx_attribute_ints(qd_onnx_builder *builder, const char *name, int64_t value, int count);

/* Adds an initializer from a tensor of any strides, which is copied; unsigned: its int8 values are stored 128 higher,
 * as uint8. Returns its name. */
const char *qd_onnx_initializer(qd_onnx_builder *builder, const char *name, const qd_tensor *tensor,
                                bool is_unsigned);

/* Declares an input or output of float32 [batch][dims]. */
void qd_onnx_input(qd_onnx_builder *builder, const char *name, const qd_dims *dims);
void qd_onnx_output(qd_onnx_builder *builder, const char *name, const qd_dims *dims);

void qd_onnx_metadata(qd_onnx_builder *builder, const char *key, const char *value);

/* Errors: QD_ERR_MEMORY, and those of qd_onnx_write(). */
enum qd_status qd_onnx_builder_write(qd_onnx_builder *builder, const char *path);

#endif
