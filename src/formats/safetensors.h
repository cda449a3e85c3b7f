/* safetensors: eight bytes of header length, a JSON header, raw little-endian tensors. */
#ifndef QD_FORMATS_SAFETENSORS_H
#define QD_FORMATS_SAFETENSORS_H

#include <quantdrift/tensor.h>

typedef struct qd_metadata_entry {
    const char *key;
    const char *value;
} qd_metadata_entry;

/*
 * Writes atomically (temporary name, fsync, rename). Tensors of any stride are stored contiguous in logical
 * order. Names must be unique. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE.
 */
enum qd_status qd_safetensors_write(qd_context *ctx, const char *path, const qd_tensor *tensors, int count,
                                    const qd_metadata_entry *metadata, int metadata_count);

typedef struct qd_safetensors qd_safetensors; /* an opened, fully checked file */

/* Reads and checks the whole file: magic lengths, header, dtypes, shapes, offsets without gap or overlap, and the
 * SHA-256 in metadata key "sha256" when present. 16-bit floats become float32, bool uint8. Errors: QD_ERR_INPUT,
 * QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_safetensors_open(qd_context *ctx, const char *path, qd_safetensors **out);
void qd_safetensors_close(qd_safetensors *file);

int qd_safetensors_count(const qd_safetensors *file);
/* Contiguous views into the opened file; name set. NULL when there is no such tensor. */
const qd_tensor *qd_safetensors_get(const qd_safetensors *file, int index);
const qd_tensor *qd_safetensors_find(const qd_safetensors *file, const char *name);
/* Type of a tensor in the file: "bfloat16". */
const char *qd_safetensors_stored_type(const qd_safetensors *file, int index);
/* Metadata value, NULL when missing. */
const char *qd_safetensors_metadata(const qd_safetensors *file, const char *key);
/* All of it, in the file's order: how many entries there are, and entries[count]. */
int qd_safetensors_metadata_count(const qd_safetensors *file);
void qd_safetensors_metadata_entries(const qd_safetensors *file, qd_metadata_entry *entries);

#endif
