/*
 * safetensors files into memory. A reader must not trust a single number of a file: every length is checked against
 * the file's size before memory is taken for it.
 * Source: github.com/huggingface/safetensors, "Format".
 */
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "formats/half.h"
#include "formats/safetensors_impl.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A dtype of the format. */
typedef struct stored_dtype {
    const char *name, *type;
    enum qd_dtype dtype;
} stored_dtype;

static const stored_dtype dtypes[] = {
#define DTYPE_ROW(name, type, value) {#name, type, value},
    QD_SAFETENSORS_DTYPES(DTYPE_ROW)
#undef DTYPE_ROW
};
enum {
#define DTYPE_ENUM(name, type, value) STORED_##name,
    QD_SAFETENSORS_DTYPES(DTYPE_ENUM)
#undef DTYPE_ENUM
};

struct qd_safetensors {
    qd_arena data;
    qd_tensor *tensors; /* in the header's order */
    const stored_dtype **stored;
    int count;
    cJSON *header; /* owns names and metadata */
};

/* Where a tensor lies in the data section. */
typedef struct byte_range {
    size_t begin, end;
    int tensor;
} byte_range;

typedef struct reader {
    qd_context *ctx;
    const char *path;
    FILE *stream;
    size_t data_bytes; /* what the file's size leaves for tensors */
    byte_range *ranges;
} reader;

/* ---- errors ---- */

static enum qd_status refuse_tensor(const reader *r, const char *name, const char *problem)
{
    return qd_fail(r->ctx, QD_ERR_INPUT,
                   "reading '%s': tensor '%s': %s; the file is damaged or not a safetensors file", r->path, name,
                   problem);
}

static enum qd_status fail_memory(const reader *r)
{
    return qd_fail(r->ctx, QD_ERR_MEMORY, "reading '%s': memory is short; close other programs", r->path);
}

static enum qd_status read_bytes(const reader *r, void *data, size_t bytes)
{
    if (bytes == 0 || fread(data, 1, bytes, r->stream) == bytes)
        return QD_OK;
    if (ferror(r->stream))
        return qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
    return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': the file ended early; it changed while it was read", r->path);
}

/* ---- header ---- */

static enum qd_status open_stream(reader *r)
{
    /* O_NONBLOCK: to be refused, a pipe must not wait for its writer first. Reading a file knows no difference. */
    int descriptor = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        int error = errno;
        qd_fail_errno(r->ctx, error, "reading '%s'", r->path);
        return qd_open_status(error);
    }
    r->stream = fdopen(descriptor, "rb");
    if (!r->stream) {
        enum qd_status status = qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
        close(descriptor);
        return status;
    }
    return QD_OK;
}

/* The header as a tree, and the number of bytes behind it. */
static enum qd_status read_header(reader *r, cJSON **out)
{
    struct stat info;
    uint8_t length_bytes[QD_SAFETENSORS_LENGTH_BYTES];
    uint64_t length = 0;
    enum qd_status status;
    if (fstat(fileno(r->stream), &info) != 0)
        return qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
    if (!S_ISREG(info.st_mode) || info.st_size < QD_SAFETENSORS_LENGTH_BYTES)
        return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected a safetensors file, found %s", r->path,
                       S_ISREG(info.st_mode) ? "fewer than 8 bytes" : "something that is no file");
    QD_TRY(read_bytes(r, length_bytes, QD_SAFETENSORS_LENGTH_BYTES));
    for (int i = 0; i < QD_SAFETENSORS_LENGTH_BYTES; i++)
        length |= (uint64_t)length_bytes[i] << 8 * i;
    const uint64_t behind = (uint64_t)info.st_size - QD_SAFETENSORS_LENGTH_BYTES;
    const uint64_t limit = behind < QD_SAFETENSORS_MAX_HEADER_BYTES ? behind : QD_SAFETENSORS_MAX_HEADER_BYTES;
    if (length > limit)
        return qd_fail(r->ctx, QD_ERR_INPUT,
                       "reading '%s': expected a header of at most %llu bytes, found %llu; the file is cut or not a "
                       "safetensors file",
                       r->path, (unsigned long long)limit, (unsigned long long)length);
    r->data_bytes = behind - length;
    char *text = qd_calloc(length + 1, 1);
    if (!text)
        return fail_memory(r);
    QD_TRY_GOTO(read_bytes(r, text, length));
    if (text[0] != '{' || memchr(text, '\0', length)) {
        status = qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected a header in JSON; this is no safetensors file",
                         r->path);
        goto fail;
    }
    QD_TRY_GOTO(qd_json_parse(r->ctx, r->path, text, false, out));
fail:
    free(text);
    return status;
}

static enum qd_status check_metadata(const reader *r, const cJSON *metadata)
{
    const cJSON *entry;
    if (!metadata)
        return QD_OK;
    if (!cJSON_IsObject(metadata))
        return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected an object '" QD_SAFETENSORS_METADATA "'",
                       r->path);
    cJSON_ArrayForEach(entry, metadata)
    {
        if (!cJSON_IsString(entry))
            return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': metadata '%s': expected a text", r->path,
                           entry->string);
    }
    return QD_OK;
}

/* A non-negative integer written as digits only. */
static bool get_size(const cJSON *item, int64_t *out)
{
    if (!cJSON_IsNumber(item) || !item->valuestring ||
        strspn(item->valuestring, "0123456789") != strlen(item->valuestring))
        return false;
    errno = 0;
    long long value = strtoll(item->valuestring, NULL, 10);
    if (errno != 0)
        return false;
    *out = value;
    return true;
}

static enum qd_status parse_dtype(const reader *r, const cJSON *entry, const stored_dtype **out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    if (!cJSON_IsString(item))
        return refuse_tensor(r, entry->string, "expected a text 'dtype'");
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        if (strcmp(item->valuestring, dtypes[i].name) == 0) {
            *out = &dtypes[i];
            return QD_OK;
        }
    }
    return qd_fail(r->ctx, QD_ERR_INPUT,
                   "reading '%s': tensor '%s': expected dtype F32, F64, F16, BF16, I8, U8, I32, I64 or BOOL, found "
                   "'%s'; convert the file to F32",
                   r->path, entry->string, item->valuestring);
}

static bool is_half(const stored_dtype *stored)
{
    return stored == &dtypes[STORED_F16] || stored == &dtypes[STORED_BF16];
}

static size_t stored_bytes(const stored_dtype *stored)
{
    return is_half(stored) ? sizeof(uint16_t) : qd_dtype_size(stored->dtype);
}

/* Fills the shape of *out; *bytes is what its values take. */
static enum qd_status parse_shape(const reader *r, const cJSON *entry, const stored_dtype *stored, qd_tensor *out,
                                  int64_t *bytes)
{
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *item;
    int64_t sizes[QD_MAX_RANK] = {0}, count = 1;
    int rank = 0;
    if (!cJSON_IsArray(shape))
        return refuse_tensor(r, entry->string, "expected a list 'shape'");
    cJSON_ArrayForEach(item, shape)
    {
        if (rank == QD_MAX_RANK)
            return refuse_tensor(r, entry->string, "expected at most 4 dimensions");
        if (!get_size(item, &sizes[rank]))
            return refuse_tensor(r, entry->string, "expected whole sizes of at least 0 in 'shape'");
        /* In any order of sizes: a zero must not hide a product that overflows, because strides are products too. */
        if (__builtin_mul_overflow(count, sizes[rank] > 0 ? sizes[rank] : 1, &count))
            return refuse_tensor(r, entry->string, "its shape is too large");
        rank++;
    }
    /* Of the dtype in memory, which is at least as wide. */
    if (__builtin_mul_overflow(count, (int64_t)qd_dtype_size(stored->dtype), &count))
        return refuse_tensor(r, entry->string, "its shape is too large");
    *out = qd_tensor_contiguous(stored->dtype, rank, sizes, NULL);
    out->name = entry->string;
    *bytes = qd_tensor_count(out) * (int64_t)stored_bytes(stored);
    return QD_OK;
}

static enum qd_status parse_tensor(reader *r, const cJSON *entry, int index, qd_safetensors *file)
{
    const stored_dtype *stored = NULL;
    int64_t bytes = 0, begin = 0, end = 0;
    if (!cJSON_IsObject(entry) || cJSON_GetArraySize(entry) != 3)
        return refuse_tensor(r, entry->string, "expected an object of dtype, shape and data_offsets");
    QD_TRY(parse_dtype(r, entry, &stored));
    QD_TRY(parse_shape(r, entry, stored, &file->tensors[index], &bytes));
    file->stored[index] = stored;
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets");
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 || !get_size(offsets->child, &begin) ||
        !get_size(offsets->child->next, &end))
        return refuse_tensor(r, entry->string, "expected two whole numbers in 'data_offsets'");
    if (end < begin || (uint64_t)end > r->data_bytes)
        return refuse_tensor(r, entry->string, "its data lie outside the file, which may have been cut");
    if (end - begin != bytes)
        return refuse_tensor(r, entry->string, "its shape and its data_offsets disagree");
    r->ranges[index] = (byte_range){(size_t)begin, (size_t)end, index};
    return QD_OK;
}

/* ---- data ---- */

static int compare_ranges(const void *left, const void *right)
{
    const byte_range *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end) /* an empty tensor lies before the one that begins in the same place */
        return a->end < b->end ? -1 : 1;
    return a->tensor - b->tensor;
}

/* Sorts the ranges; they must cover the data section, each byte once. */
static enum qd_status check_ranges(const reader *r, const qd_safetensors *file)
{
    size_t covered = 0;
    qsort(r->ranges, (size_t)file->count, sizeof(*r->ranges), compare_ranges);
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensors[r->ranges[i].tensor].name;
        if (r->ranges[i].begin < covered)
            return refuse_tensor(r, name, "its data overlap another tensor's");
        if (r->ranges[i].begin > covered)
            return refuse_tensor(r, name, "bytes before its data belong to no tensor");
        covered = r->ranges[i].end;
    }
    if (covered != r->data_bytes)
        return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected %zu bytes of tensors, found %zu", r->path,
                       covered, r->data_bytes);
    return QD_OK;
}

/* Bytes of a tensor in memory. */
static size_t memory_bytes(const qd_safetensors *file, const byte_range *range)
{
    return (range->end - range->begin) * (is_half(file->stored[range->tensor]) ? 2 : 1);
}

/* Reads every tensor into a place of its own, aligned whatever the file's offsets are. */
static enum qd_status read_tensors(const reader *r, qd_safetensors *file)
{
    size_t bytes = 0;
    for (int i = 0; i < file->count; i++)
        bytes += qd_align_bytes(memory_bytes(file, &r->ranges[i]));
    QD_TRY(qd_arena_create(r->ctx, bytes, "the tensors of a file", &file->data));
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; i < file->count; i++) {
        const byte_range *range = &r->ranges[i];
        const stored_dtype *stored = file->stored[range->tensor];
        const size_t size = range->end - range->begin;
        char *data = qd_arena_take(&file->data, memory_bytes(file, range));
        if (!data)
            return qd_fail(r->ctx, QD_ERR_INTERNAL, "reading '%s': tensors outgrew their arena", r->path);
        char *end = is_half(stored) ? data + size : data; /* the second half, from where they are expanded */
        QD_TRY(read_bytes(r, end, size));
        qd_sha256_update(&hash, end, size);
        if (is_half(stored))
            qd_half_expand(stored == &dtypes[STORED_F16] ? QD_HALF_FLOAT16 : QD_HALF_BFLOAT16, data,
                           (int64_t)(size / sizeof(uint16_t)));
        file->tensors[range->tensor].data = data;
    }
    char digest[65];
    qd_sha256_finish(&hash, digest);
    const char *expected = qd_safetensors_metadata(file, QD_SAFETENSORS_SHA256);
    if (expected && strcmp(expected, digest) != 0)
        return qd_fail(r->ctx, QD_ERR_INPUT,
                       "reading '%s': expected SHA-256 %s of the tensors, found %s; the file is damaged", r->path,
                       expected, digest);
    return QD_OK;
}

/* ---- opened files ---- */

enum qd_status qd_safetensors_open(qd_context *ctx, const char *path, qd_safetensors **out)
{
    enum qd_status status;
    reader r = {.ctx = ctx, .path = path};
    QD_TRY(open_stream(&r));
    qd_safetensors *file = qd_calloc(1, sizeof(*file));
    if (!file) {
        status = fail_memory(&r);
        goto fail;
    }
    QD_TRY_GOTO(read_header(&r, &file->header));
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(file->header, QD_SAFETENSORS_METADATA);
    QD_TRY_GOTO(check_metadata(&r, metadata));
    const size_t entries = (size_t)cJSON_GetArraySize(file->header);
    file->tensors = qd_calloc(entries, sizeof(*file->tensors));
    file->stored = qd_calloc(entries, sizeof(const stored_dtype *));
    r.ranges = qd_calloc(entries, sizeof(*r.ranges));
    if (!file->tensors || !file->stored || !r.ranges) {
        status = fail_memory(&r);
        goto fail;
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, file->header)
    {
        if (entry == metadata)
            continue;
        QD_TRY_GOTO(parse_tensor(&r, entry, file->count, file));
        file->count++;
    }
    QD_TRY_GOTO(check_ranges(&r, file));
    QD_TRY_GOTO(read_tensors(&r, file));
    free(r.ranges);
    fclose(r.stream);
    *out = file;
    return QD_OK;
fail:
    free(r.ranges);
    fclose(r.stream);
    qd_safetensors_close(file);
    return status;
}

void qd_safetensors_close(qd_safetensors *file)
{
    if (!file)
        return;
    qd_arena_destroy(&file->data);
    free(file->tensors);
    free((void *)file->stored);
    cJSON_Delete(file->header);
    free(file);
}

int qd_safetensors_count(const qd_safetensors *file)
{
    return file->count;
}

const qd_tensor *qd_safetensors_get(const qd_safetensors *file, int index)
{
    return index >= 0 && index < file->count ? &file->tensors[index] : NULL;
}

const qd_tensor *qd_safetensors_find(const qd_safetensors *file, const char *name)
{
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0)
            return &file->tensors[i];
    return NULL;
}

const char *qd_safetensors_stored_type(const qd_safetensors *file, int index)
{
    return file->stored[index]->type;
}

static const cJSON *metadata_of(const qd_safetensors *file)
{
    return cJSON_GetObjectItemCaseSensitive(file->header, QD_SAFETENSORS_METADATA);
}

const char *qd_safetensors_metadata(const qd_safetensors *file, const char *key)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata_of(file), key));
}

int qd_safetensors_metadata_count(const qd_safetensors *file)
{
    return cJSON_GetArraySize(metadata_of(file));
}

void qd_safetensors_metadata_entries(const qd_safetensors *file, qd_metadata_entry *entries)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, metadata_of(file)) *entries++ = (qd_metadata_entry){entry->string, entry->valuestring};
}
