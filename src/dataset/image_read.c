/* Opening image files: what kind of file it is, its size, its pixels, and the sentence when it is none. */
#include "base/error.h"
#include "base/file.h"
#include "dataset/image_io.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Nearly every header ends here; longer ones (large EXIF data) cost a second, full read. */
#define HEADER_BYTES ((size_t)16 * 1024)

/* An uncompressed 16-bit RGBA image at the limit of pixels is smaller. */
#define MAX_FILE_BYTES ((int64_t)1 << 31)

static const qd_image_decoder *const decoders[] = {&qd_jpeg_decoder, &qd_png_decoder};

/* Formats that Pillow reads and this program does not, so that the sentence can name them. */
typedef struct foreign_format {
    const char *name;
    size_t offset;
    const char *magic;
} foreign_format;

static const foreign_format foreign_formats[] = {
    {"GIF", 0, "GIF8"},       {"BMP", 0, "BM"},         {"WebP", 8, "WEBP"}, {"TIFF", 0, "II*"},
    {"TIFF", 0, "MM"},        {"PBM", 0, "P1"},         {"PGM", 0, "P2"},    {"PPM", 0, "P3"},
    {"PBM", 0, "P4"},         {"PGM", 0, "P5"},         {"PPM", 0, "P6"},    {"HEIF or AVIF", 4, "ftyp"},
    {"JPEG 2000", 4, "jP  "}, {"HTML", 0, "<!DOCTYPE"}, {"HTML", 0, "<html"}};

typedef struct file_bytes {
    uint8_t *data;
    size_t size;       /* bytes in data */
    int64_t file_size; /* bytes in the file */
} file_bytes;

enum qd_status qd_image_set_fault(qd_image_fault *fault, enum qd_status status, const char *path, const char *format,
                                  ...)
{
    char reason[2 * QD_REASON_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    snprintf(fault->sentence, sizeof(fault->sentence), "reading image '%s': %s", path, reason);
    return status;
}

enum qd_status qd_image_check_size(uint64_t width, uint64_t height, char reason[QD_REASON_BYTES])
{
    if (width > 0 && height > 0 && width <= INT32_MAX && height <= INT32_MAX &&
        width * height <= (uint64_t)QD_MAX_IMAGE_PIXELS)
        return QD_OK;
    snprintf(reason, QD_REASON_BYTES, "expected an image of 1 to %lld pixels, found one of %llu x %llu",
             (long long)QD_MAX_IMAGE_PIXELS, (unsigned long long)width, (unsigned long long)height);
    return QD_ERR_INPUT;
}

enum qd_status qd_image_allocate(int32_t width, int32_t height, qd_image *out, char reason[QD_REASON_BYTES])
{
    size_t bytes = (size_t)width * (size_t)height * 3;
    uint8_t *rgb = malloc(bytes);
    if (!rgb) {
        snprintf(reason, QD_REASON_BYTES, "memory is short for %d x %d pixels (%zu bytes)", width, height, bytes);
        return QD_ERR_MEMORY;
    }
    *out = (qd_image){.width = width, .height = height, .rgb = rgb};
    return QD_OK;
}

/* strerror() into a buffer; the GNU strerror_r() returns the text, which need not be in it. */
static const char *error_text(int error, char buffer[QD_REASON_BYTES])
{
    return strerror_r(error, buffer, QD_REASON_BYTES);
}

/* Opens without waiting (a FIFO would block for ever) and refuses what is no regular file. */
static enum qd_status open_regular(const char *path, int *descriptor, int64_t *size, qd_image_fault *fault)
{
    char text[QD_REASON_BYTES];
    struct stat info;
    int opened = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (opened < 0) {
        int error = errno;
        return qd_image_set_fault(fault, qd_open_status(error), path, "%s", error_text(error, text));
    }
    enum qd_status status = QD_OK;
    if (fstat(opened, &info) != 0)
        status = qd_image_set_fault(fault, QD_ERR_IO, path, "%s", error_text(errno, text));
    else if (!S_ISREG(info.st_mode))
        status = qd_image_set_fault(fault, QD_ERR_INPUT, path,
                                    "expected a regular file, found a folder, device, pipe or socket");
    else if (info.st_size == 0)
        status = qd_image_set_fault(fault, QD_ERR_INPUT, path, "the file is empty (zero bytes)");
    else if (info.st_size > MAX_FILE_BYTES)
        status = qd_image_set_fault(fault, QD_ERR_INPUT, path, "expected at most %lld bytes, found %lld",
                                    (long long)MAX_FILE_BYTES, (long long)info.st_size);
    if (status != QD_OK) {
        close(opened);
        return status;
    }
    *descriptor = opened;
    *size = info.st_size;
    return QD_OK;
}

/* The first `limit` bytes of a file, or all of them. */
static enum qd_status read_bytes(const char *path, size_t limit, file_bytes *out, qd_image_fault *fault)
{
    char text[QD_REASON_BYTES];
    int descriptor = -1;
    int64_t file_size = 0;
    QD_TRY(open_regular(path, &descriptor, &file_size, fault));
    size_t wanted = (uint64_t)file_size < limit ? (size_t)file_size : limit;
    size_t used = 0;
    uint8_t *data = malloc(wanted);
    enum qd_status status = QD_OK;
    if (!data) {
        close(descriptor);
        qd_image_set_fault(fault, QD_ERR_MEMORY, path, "memory is short for %zu bytes", wanted);
        return QD_ERR_MEMORY;
    }
    while (status == QD_OK && used < wanted) {
        ssize_t got = read(descriptor, data + used, wanted - used);
        if (got > 0)
            used += (size_t)got;
        else if (got == 0)
            break; /* the file has shrunk since it was opened: the decoder will find it truncated */
        else if (errno != EINTR)
            status = qd_image_set_fault(fault, QD_ERR_IO, path, "%s", error_text(errno, text));
    }
    close(descriptor);
    if (status != QD_OK) {
        free(data);
        return status;
    }
    *out = (file_bytes){.data = data, .size = used, .file_size = file_size};
    return QD_OK;
}

static bool starts_with(const file_bytes *bytes, size_t offset, const void *magic, size_t length)
{
    return bytes->size >= offset + length && memcmp(bytes->data + offset, magic, length) == 0;
}

/* Content decides, as in Pillow; the name's extension only got the file into the list. */
/* NULL, with the fault of a QD_ERR_INPUT written, when the bytes are no JPEG and no PNG. */
static const qd_image_decoder *choose_decoder(const char *path, const file_bytes *bytes, qd_image_fault *fault)
{
    for (size_t i = 0; i < sizeof(decoders) / sizeof(decoders[0]); i++) {
        if (starts_with(bytes, 0, decoders[i]->magic, decoders[i]->magic_bytes))
            return decoders[i];
    }
    for (size_t i = 0; i < sizeof(foreign_formats) / sizeof(foreign_formats[0]); i++) {
        const foreign_format *format = &foreign_formats[i];
        if (starts_with(bytes, format->offset, format->magic, strlen(format->magic))) {
            qd_image_set_fault(fault, QD_ERR_INPUT, path,
                               "expected JPEG or PNG, found %s; convert the file to one of these", format->name);
            return NULL;
        }
    }
    qd_image_set_fault(fault, QD_ERR_INPUT, path,
                       "this is no image: expected JPEG or PNG, found other bytes (%lld in all)",
                       (long long)bytes->file_size);
    return NULL;
}

static enum qd_status probe_bytes(const char *path, const file_bytes *bytes, qd_image_header *out,
                                  qd_image_fault *fault)
{
    const qd_image_decoder *decoder = choose_decoder(path, bytes, fault);
    char reason[QD_REASON_BYTES] = "";
    int32_t width, height;
    if (!decoder)
        return QD_ERR_INPUT;
    enum qd_status status = decoder->probe(bytes->data, bytes->size, &width, &height, reason);
    if (status != QD_OK)
        return qd_image_set_fault(fault, status, path, "%s", reason);
    *out = (qd_image_header){.width = width, .height = height, .file_bytes = bytes->file_size};
    return QD_OK;
}

enum qd_status qd_image_probe(const char *path, qd_image_header *out, qd_image_fault *fault)
{
    file_bytes bytes = {0};
    QD_TRY(read_bytes(path, HEADER_BYTES, &bytes, fault));
    enum qd_status status = probe_bytes(path, &bytes, out, fault);
    bool partial = (uint64_t)bytes.file_size > bytes.size;
    free(bytes.data);
    if (status != QD_ERR_INPUT || !partial)
        return status;
    QD_TRY(read_bytes(path, SIZE_MAX, &bytes, fault));
    status = probe_bytes(path, &bytes, out, fault);
    free(bytes.data);
    return status;
}

enum qd_status qd_image_load(const char *path, qd_image *out, qd_image_fault *fault)
{
    file_bytes bytes = {0};
    char reason[QD_REASON_BYTES] = "";
    QD_TRY(read_bytes(path, SIZE_MAX, &bytes, fault));
    const qd_image_decoder *decoder = choose_decoder(path, &bytes, fault);
    enum qd_status status = QD_ERR_INPUT;
    if (decoder) {
        status = decoder->decode(bytes.data, bytes.size, out, reason);
        if (status != QD_OK)
            status = qd_image_set_fault(fault, status, path, "%s", reason);
    }
    free(bytes.data);
    return status;
}

enum qd_status qd_image_read(qd_context *ctx, const char *path, qd_image *out)
{
    qd_image_fault fault;
    enum qd_status status = qd_image_load(path, out, &fault);
    return status == QD_OK ? QD_OK : qd_fail(ctx, status, "%s", fault.sentence);
}

void qd_image_free(qd_image *image)
{
    if (!image)
        return;
    free(image->rgb);
    *image = (qd_image){0};
}
