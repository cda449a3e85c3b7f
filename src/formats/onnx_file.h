/* ONNX files to and from the structs that protoc-c makes of src/formats/onnx/onnx.proto. */
#ifndef QD_FORMATS_ONNX_FILE_H
#define QD_FORMATS_ONNX_FILE_H

#include "onnx.pb-c.h"
#include <quantdrift/context.h>

/* ModelProto.ir_version and the operator set this program writes: what ONNX 1.12 defines, and every runtime since. */
#define QD_ONNX_IR_VERSION 8
#define QD_ONNX_OPSET      17

/*
 * Reads a model. Before anything is believed the wire format is walked: lengths inside their messages, at most
 * QD_ONNX_MAX_DEPTH messages in one another; then memory is limited to a constant times the file's size. The result
 * is otherwise unchecked: any field may be missing. Freed with qd_onnx_free(). Errors: QD_ERR_INPUT, QD_ERR_IO,
 * QD_ERR_MEMORY.
 */
enum qd_status qd_onnx_read(qd_context *ctx, const char *path, Onnx__ModelProto **out);
void qd_onnx_free(Onnx__ModelProto *model);

/* Graphs hang in attributes of nodes of graphs; control flow nests a few of them. */
#define QD_ONNX_MAX_DEPTH 64

/* Writes a model atomically. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE (beyond the 2 GiB a protobuf may have).
 */
enum qd_status qd_onnx_write(qd_context *ctx, const char *path, const Onnx__ModelProto *model);

#endif
