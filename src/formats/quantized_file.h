/*
 * A quantized model file: a safetensors container whose tensors are int8 weights, int32 biases, float32 scales and
 * uint8 tables, and whose metadata tell what network they are of and how they are scaled.
 *
 * Metadata: "format" "pt"; "quantdrift_quantized" the version; "model", "head", "num_classes", "image_size";
 * "scheme", a JSON object; "encodings", those of formats/encodings.h on one line, weights without ranges and scales;
 * "sha256" of the tensors; "header_sha256" of everything else.
 */
#ifndef QD_FORMATS_QUANTIZED_FILE_H
#define QD_FORMATS_QUANTIZED_FILE_H

#include "formats/encodings.h"
#include "formats/safetensors.h"

typedef struct qd_quantized_header {
    char model[QD_ENCODING_WORD_BYTES], head[QD_ENCODING_WORD_BYTES];
    int64_t num_classes, image_size;
    int weight_bits, activation_bits; /* 2 to 8 */
    bool weight_per_channel, activation_signed, activation_symmetric;
    qd_encodings encodings; /* owned */
} qd_quantized_header;

typedef struct qd_quantized_file {
    char *path;            /* owned */
    qd_safetensors *bytes; /* owned */
    qd_quantized_header header;
} qd_quantized_file;

/* Writes atomically; `header` is borrowed. Errors: QD_ERR_IO, QD_ERR_MEMORY, QD_ERR_USAGE. */
enum qd_status qd_quantized_file_write(qd_context *ctx, const char *path, const qd_quantized_header *header,
                                       const qd_tensor *tensors, int count);

/* True for a safetensors file that claims to be a quantized model. */
bool qd_quantized_file_recognise(const qd_safetensors *bytes);

/* Opens, checks both digests and reads the header; what the tensors mean is checked by whoever knows the network.
 * Errors: QD_ERR_INPUT (damage, another kind of file, another version), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_quantized_file_open(qd_context *ctx, const char *path, qd_quantized_file *out);
void qd_quantized_file_close(qd_quantized_file *file);

/* The header of an opened file without its digests, which keep a fuzzer's changes from the reader behind them.
 * Errors: QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_quantized_header_read(qd_context *ctx, const char *path, const qd_safetensors *bytes,
                                        qd_quantized_header *out);
void qd_quantized_header_free(qd_quantized_header *header);

#endif
