/*
 * PyTorch's .pth files: a ZIP archive of one pickle and one entry for each storage, as torch.save writes it since
 * PyTorch 1.6.
 */
#ifndef QD_FORMATS_PTH_H
#define QD_FORMATS_PTH_H

#include <quantdrift/tensor.h>

typedef struct qd_pth qd_pth; /* an opened, fully checked file */

/*
 * Reads a state_dict, or a dict that holds one under "model_state_dict", "state_dict" or "model". Nothing in the file
 * is ever executed, and memory stays within a constant times the file's size: entries must be stored uncompressed, as
 * torch.save does, and tensors are views into their storages, strides and sharing included. 16-bit floats become
 * float32, int16 becomes int32, bool uint8. Errors: QD_ERR_INPUT (also: a file of PyTorch before 1.6, a pickled
 * module, more than QD_MAX_RANK dimensions), QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_pth_open(qd_context *ctx, const char *path, qd_pth **out);
void qd_pth_close(qd_pth *file);

int qd_pth_count(const qd_pth *file);
/* Views into the opened file, of any strides; name set; in the dict's order. NULL when there is no such tensor. */
const qd_tensor *qd_pth_get(const qd_pth *file, int index);
/* Its type in the file: "bfloat16". */
const char *qd_pth_stored_type(const qd_pth *file, int index);

/*
 * Writes a state_dict (an OrderedDict of tensors, each with a storage of its own) atomically; torch.load reads it,
 * also with weights_only. Tensors of any stride are stored contiguous; names must be unique; float32, float64, int8,
 * uint8, int32, int64. The same bytes for the same arguments. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE.
 */
enum qd_status qd_pth_write(qd_context *ctx, const char *path, const qd_tensor *tensors, int count);

#endif
