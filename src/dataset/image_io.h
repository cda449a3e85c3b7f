/*
 * Reading image files, below the public functions. Reasons are left in buffers of the caller's, not in the context:
 * several threads decode at once, and the file that is reported must be the first in order, not the last to fail.
 */
#ifndef QD_DATASET_IMAGE_IO_H
#define QD_DATASET_IMAGE_IO_H

#include <quantdrift/dataset.h>

/* A decoder's half of a sentence: "the file is truncated after 512 bytes". */
#define QD_REASON_BYTES 256
/* The whole sentence: a path as long as most systems allow would fit twice over, and the context cuts it there
 * anyway. */
#define QD_SENTENCE_BYTES 2048

typedef struct qd_image_fault {
    char sentence[QD_SENTENCE_BYTES];
} qd_image_fault;

/* What is known of an image without decoding it. */
typedef struct qd_image_header {
    int32_t width, height; /* pixels */
    int64_t file_bytes;
} qd_image_header;

/*
 * One file format. probe() reads the size from the first `size` bytes, which may be cut off; decode() needs them all.
 * Both return QD_ERR_INPUT with the reason, or QD_ERR_MEMORY; results are set on success only. Thread-safe.
 */
typedef struct qd_image_decoder {
    const char *name;
    uint8_t magic[8];
    size_t magic_bytes;
    enum qd_status (*probe)(const uint8_t *data, size_t size, int32_t *width, int32_t *height,
                            char reason[QD_REASON_BYTES]);
    enum qd_status (*decode)(const uint8_t *data, size_t size, qd_image *out, char reason[QD_REASON_BYTES]);
} qd_image_decoder;

extern const qd_image_decoder qd_jpeg_decoder;
extern const qd_image_decoder qd_png_decoder;

/* Pillow's limit against decompression bombs: twice Image.MAX_IMAGE_PIXELS. */
#define QD_MAX_IMAGE_PIXELS ((int64_t)2 * 89478485)

/* Refuses sizes of nothing and beyond the limit. For decoders. */
enum qd_status qd_image_check_size(uint64_t width, uint64_t height, char reason[QD_REASON_BYTES]);

/* Memory for width x height pixels, not cleared. For decoders, after qd_image_check_size(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_image_allocate(int32_t width, int32_t height, qd_image *out, char reason[QD_REASON_BYTES]);

/* Writes "reading image 'path': <the formatted reason>" and returns `status`. */
enum qd_status qd_image_set_fault(qd_image_fault *fault, enum qd_status status, const char *path, const char *format,
                                  ...) __attribute__((format(printf, 4, 5)));

/* What to do about a file that cannot be read; ends the sentences of scan and loaders. */
#define QD_BAD_IMAGE_ADVICE "; remove it or set on_bad_image to \"skip\""

/* Size from the header and from the file system. Errors as qd_image_read(). Thread-safe. */
enum qd_status qd_image_probe(const char *path, qd_image_header *out, qd_image_fault *fault);

/* qd_image_read() that leaves its sentence in `fault`. Thread-safe. */
enum qd_status qd_image_load(const char *path, qd_image *out, qd_image_fault *fault);

/* An image as the bytes of a JPEG or PNG file, in colour or grey. Errors: QD_ERR_MEMORY. Freed with free(). */
enum qd_status qd_image_encode_jpeg(qd_context *ctx, const qd_image *image, bool grey, uint8_t **bytes, size_t *size);
enum qd_status qd_image_encode_png(qd_context *ctx, const qd_image *image, bool grey, uint8_t **bytes, size_t *size);

#endif
