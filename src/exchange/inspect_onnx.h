/* What an ONNX model says of its tensors and quantizers. */
#ifndef QD_EXCHANGE_INSPECT_ONNX_H
#define QD_EXCHANGE_INSPECT_ONNX_H

#include "formats/onnx_file.h"
#include <quantdrift/inspect.h>

/* Fills the lists of *out, which borrow the model's texts; freed with qd_inspection_free_lists(), also after a
 * failure. Errors: QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_inspect_onnx(qd_context *ctx, const char *path, const Onnx__ModelProto *model, qd_inspection *out);

/* Frees facts, tensors and quantizers, not what their texts lie in. */
void qd_inspection_free_lists(qd_inspection *inspection);

#endif
