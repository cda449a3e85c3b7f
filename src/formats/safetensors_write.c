/*
 * Tensors and metadata into a safetensors file: the same bytes for the same arguments.
 * Source: github.com/huggingface/safetensors, "Format".
 */
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "base/text.h"
#include "formats/safetensors_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Data begin at a multiple of the largest element. */
#define DATA_ALIGNMENT 8

static bool is_utf8(const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        size_t bytes = qd_utf8_length(text, left);
        if (bytes == 0)
            return false;
        text += bytes;
        left -= bytes;
    }
    return true;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Names must be there, be UTF-8, differ from each other and from `reserved`. Sorts `names`. */
static enum qd_status check_names(qd_context *ctx, const char *path, const char *what, const char **names, int count,
                                  const char *reserved)
{
    for (int i = 0; i < count; i++) {
        if (!names[i] || !is_utf8(names[i]))
            return qd_fail(ctx, QD_ERR_USAGE, "writing '%s': %s %d: expected a name in UTF-8, got '%s'", path, what,
                           i, names[i] ? names[i] : "(none)");
        if (strcmp(names[i], reserved) == 0)
            return qd_fail(ctx, QD_ERR_USAGE, "writing '%s': the name '%s' is reserved; choose another", path,
                           reserved);
    }
    qsort((void *)names, (size_t)count, sizeof(const char *), compare_names);
    for (int i = 1; i < count; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return qd_fail(ctx, QD_ERR_USAGE, "writing '%s': %s '%s' is given twice", path, what, names[i]);
    return QD_OK;
}

static enum qd_status check_arguments(qd_context *ctx, const char *path, const qd_tensor *tensors, int count,
                                      const qd_metadata_entry *metadata, int metadata_count)
{
    const int larger = count > metadata_count ? count : metadata_count;
    const char **names = qd_calloc((size_t)larger, sizeof(*names));
    if (!names)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    for (int i = 0; i < count; i++)
        names[i] = tensors[i].name;
    enum qd_status status = check_names(ctx, path, "tensor", names, count, QD_SAFETENSORS_METADATA);
    for (int i = 0; status == QD_OK && i < metadata_count; i++)
        names[i] = metadata[i].value ? metadata[i].key : NULL;
    if (status == QD_OK)
        status = check_names(ctx, path, "metadata entry", names, metadata_count, QD_SAFETENSORS_SHA256);
    free((void *)names);
    return status;
}

/* cJSON's functions accept what its functions failed to make: only the last result of a chain is looked at. */

static bool append_int(cJSON *array, int64_t value)
{
    cJSON *item = qd_json_int(value);
    if (item && cJSON_AddItemToArray(array, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static size_t tensor_bytes(const qd_tensor *tensor)
{
    return (size_t)qd_tensor_count(tensor) * qd_dtype_size(tensor->dtype);
}

static const char *dtype_name(enum qd_dtype dtype)
{
    /* The widened types share their dtype with an earlier one, which is the one to write. */
#define DTYPE_NAME(name, type, value)                                                                                \
    if (dtype == (value))                                                                                            \
        return #name;
    QD_SAFETENSORS_DTYPES(DTYPE_NAME)
#undef DTYPE_NAME
    return NULL; /* of no dtype: cJSON makes no text of it */
}

static bool add_tensor_entry(cJSON *root, const qd_tensor *tensor, size_t begin)
{
    cJSON *entry = cJSON_AddObjectToObject(root, tensor->name);
    bool ok = cJSON_AddStringToObject(entry, "dtype", dtype_name(tensor->dtype)) != NULL;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int i = 0; ok && i < tensor->rank; i++)
        ok = append_int(shape, tensor->shape[i]);
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    return ok && append_int(offsets, (int64_t)begin) && append_int(offsets, (int64_t)(begin + tensor_bytes(tensor)));
}

/* The digest is known only when the tensors are written: it stands first, so that its place is. */
#define TEXT_BEFORE_DIGEST "{\"" QD_SAFETENSORS_METADATA "\":{\"" QD_SAFETENSORS_SHA256 "\":\""
static const char no_digest[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* The header's text, padded with spaces; freed with free(). NULL when memory is short. */
static char *make_header(const qd_tensor *tensors, int count, const qd_metadata_entry *metadata, int metadata_count)
{
    char *padded = NULL, *text = NULL;
    cJSON *root = cJSON_CreateObject();
    cJSON *entries = cJSON_AddObjectToObject(root, QD_SAFETENSORS_METADATA);
    bool ok = cJSON_AddStringToObject(entries, QD_SAFETENSORS_SHA256, no_digest) != NULL;
    for (int i = 0; ok && i < metadata_count; i++)
        ok = cJSON_AddStringToObject(entries, metadata[i].key, metadata[i].value) != NULL;
    size_t begin = 0;
    for (int i = 0; ok && i < count; i++) {
        ok = add_tensor_entry(root, &tensors[i], begin);
        begin += tensor_bytes(&tensors[i]);
    }
    if (ok)
        text = qd_json_print_line(root);
    if (text) {
        const size_t past = strlen(text) % DATA_ALIGNMENT;
        padded = qd_format("%s%*s", text, past > 0 ? (int)(DATA_ALIGNMENT - past) : 0, "");
    }
    free(text);
    cJSON_Delete(root);
    return padded;
}

static enum qd_status write_bytes(qd_atomic_file *file, const void *data, size_t bytes)
{
    if (bytes > 0 && fwrite(data, 1, bytes, file->stream) != bytes)
        return qd_fail_errno(file->ctx, errno, "writing '%s'", file->path);
    return QD_OK;
}

static enum qd_status write_tensors(qd_atomic_file *file, const qd_tensor *tensors, int count, char digest[65])
{
    enum qd_status status = QD_OK;
    void *packed = NULL;
    size_t packed_bytes = 0;
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; i < count; i++) {
        const qd_tensor *tensor = &tensors[i];
        const size_t bytes = tensor_bytes(tensor);
        if (!packed || bytes > packed_bytes) {
            free(packed);
            packed = qd_calloc(1, bytes);
            packed_bytes = bytes;
            if (!packed) {
                status = qd_fail(file->ctx, QD_ERR_MEMORY, "writing '%s': memory is short for '%s'", file->path,
                                 tensor->name);
                goto fail;
            }
        }
        qd_tensor row_major = qd_tensor_contiguous(tensor->dtype, tensor->rank, tensor->shape, packed);
        QD_TRY_GOTO(qd_tensor_copy(file->ctx, &row_major, tensor));
        qd_sha256_update(&hash, packed, bytes);
        QD_TRY_GOTO(write_bytes(file, packed, bytes));
    }
    qd_sha256_finish(&hash, digest);
fail:
    free(packed);
    return status;
}

enum qd_status qd_safetensors_write(qd_context *ctx, const char *path, const qd_tensor *tensors, int count,
                                    const qd_metadata_entry *metadata, int metadata_count)
{
    enum qd_status status;
    qd_atomic_file file = {0};
    char digest[65];
    QD_TRY(check_arguments(ctx, path, tensors, count, metadata, metadata_count));
    char *header = make_header(tensors, count, metadata, metadata_count);
    if (!header)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    const size_t header_bytes = strlen(header);
    if (header_bytes > QD_SAFETENSORS_MAX_HEADER_BYTES) {
        status = qd_fail(ctx, QD_ERR_USAGE, "writing '%s': expected a header of at most %zu bytes, got %zu", path,
                         QD_SAFETENSORS_MAX_HEADER_BYTES, header_bytes);
        goto fail;
    }
    uint8_t length[QD_SAFETENSORS_LENGTH_BYTES];
    for (int i = 0; i < QD_SAFETENSORS_LENGTH_BYTES; i++)
        length[i] = (uint8_t)((uint64_t)header_bytes >> 8 * i);
    QD_TRY_GOTO(qd_atomic_open(ctx, path, &file));
    QD_TRY_GOTO(write_bytes(&file, length, QD_SAFETENSORS_LENGTH_BYTES));
    QD_TRY_GOTO(write_bytes(&file, header, header_bytes));
    QD_TRY_GOTO(write_tensors(&file, tensors, count, digest));
    if (fseek(file.stream, QD_SAFETENSORS_LENGTH_BYTES + (long)strlen(TEXT_BEFORE_DIGEST), SEEK_SET) != 0) {
        status = qd_fail_errno(ctx, errno, "writing '%s'", path);
        goto fail;
    }
    QD_TRY_GOTO(write_bytes(&file, digest, strlen(digest)));
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(header);
    return status;
}
