/*
 * A state_dict as torch.save would write it: "<name>/data.pkl", "<name>/data/<i>" and "<name>/version", stored, each
 * entry's data aligned so that PyTorch can map them into memory.
 * Source: torch/serialization.py and caffe2/serialize/inline_container.cc of PyTorch 1.13.
 */
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/pth_impl.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* Folder of every entry; torch.save takes the file's name, torch.load accepts any. */
#define FOLDER "archive"

/* What torch.save writes into "version": the format's, not PyTorch's. */
static const char version_text[] = "3\n";

/* PyTorch pads the extra field of an entry's header, under the id "FB", until its data are aligned to this. */
#define DATA_ALIGNMENT     64
#define PADDING_ID         0x4246
#define LOCAL_HEADER_BYTES 30 /* of a ZIP entry, without its name */
#define EXTRA_HEADER_BYTES 4

/* A growing text of bytes; `failed` once memory was short. */
typedef struct buffer {
    char *bytes;
    size_t count, room;
    bool failed;
} buffer;

static void put(buffer *b, const void *data, size_t count)
{
    if (!b->failed && b->count + count > b->room) {
        size_t room = 2 * b->room + count + 256;
        char *bytes = realloc(b->bytes, room);
        b->failed = !bytes;
        if (bytes) {
            b->bytes = bytes;
            b->room = room;
        }
    }
    if (b->failed)
        return;
    memcpy(b->bytes + b->count, data, count);
    b->count += count;
}

/* An opcode (or several) without arguments. */
static void put_op(buffer *b, const char *opcodes)
{
    put(b, opcodes, strlen(opcodes));
}

static void put_little(buffer *b, uint64_t value, int count)
{
    for (int i = 0; i < count; i++)
        put(b, &(char){(char)(value >> 8 * i)}, 1);
}

static void put_text(buffer *b, const char *text)
{
    put_op(b, "X"); /* BINUNICODE */
    put_little(b, strlen(text), 4);
    put(b, text, strlen(text));
}

static void put_global(buffer *b, const char *module, const char *name)
{
    put_op(b, "c");
    put(b, module, strlen(module));
    put_op(b, "\n");
    put(b, name, strlen(name));
    put_op(b, "\n");
}

static void put_int(buffer *b, int64_t value)
{
    if (value >= INT32_MIN && value <= INT32_MAX) {
        put_op(b, "J"); /* BININT */
        put_little(b, (uint64_t)value, 4);
    } else {
        put_op(b, "\x8a\x08"); /* LONG1 of eight bytes */
        put_little(b, (uint64_t)value, 8);
    }
}

static void put_sizes(buffer *b, const int64_t *sizes, int rank)
{
    put_op(b, "(");
    for (int d = 0; d < rank; d++)
        put_int(b, sizes[d]);
    put_op(b, "t");
}

static void put_empty_dict(buffer *b)
{
    put_global(b, "collections", "OrderedDict");
    put_op(b, ")R");
}

static const char *storage_name(enum qd_dtype dtype)
{
    /* The widened types share their dtype with an earlier one, which is the one to write. */
#define STORAGE_NAME(name, type, value)                                                                              \
    if (dtype == (value))                                                                                            \
        return #name;
    QD_PTH_STORAGES(STORAGE_NAME)
#undef STORAGE_NAME
    return NULL;
}

/* torch._utils._rebuild_tensor_v2(storage, 0, sizes, strides, False, OrderedDict()) */
static void put_tensor(buffer *b, const qd_tensor *tensor, int index)
{
    const qd_tensor dense = qd_tensor_contiguous(tensor->dtype, tensor->rank, tensor->shape, NULL);
    char key[16];
    snprintf(key, sizeof key, "%d", index);
    put_global(b, "torch._utils", "_rebuild_tensor_v2");
    put_op(b, "((");
    put_text(b, "storage");
    put_global(b, "torch", storage_name(tensor->dtype));
    put_text(b, key);
    put_text(b, "cpu");
    put_int(b, qd_tensor_count(tensor));
    put_op(b, "tQ");
    put_int(b, 0);
    put_sizes(b, dense.shape, dense.rank);
    put_sizes(b, dense.stride, dense.rank);
    put_op(b, "\x89"); /* NEWFALSE */
    put_empty_dict(b);
    put_op(b, "tR");
}

static void put_pickle(buffer *b, const qd_tensor *tensors, int count)
{
    put_op(b, "\x80\x02"); /* protocol 2 */
    put_empty_dict(b);
    put_op(b, "(");
    for (int i = 0; i < count; i++) {
        put_text(b, tensors[i].name);
        put_tensor(b, &tensors[i], i);
    }
    put_op(b, "u."); /* SETITEMS, STOP */
}

/* ---- the archive ---- */

typedef struct writer {
    qd_context *ctx;
    const char *path;
    zip_source_t *target; /* in memory */
    zip_t *archive;
    size_t at;       /* where the next entry begins */
    qd_arena values; /* of the tensors, contiguous: libzip reads them when it closes the archive */
} writer;

static enum qd_status fail_zip(const writer *w, const char *reason)
{
    return qd_fail(w->ctx, QD_ERR_IO, "writing '%s': the archive cannot be made: %s", w->path, reason);
}

/* Adds an entry whose data live until the archive is closed, padded so that they begin aligned. */
static enum qd_status add_entry(writer *w, const char *name, const void *data, size_t bytes)
{
    static const unsigned char zeros[DATA_ALIGNMENT] = {0};
    zip_source_t *source = zip_source_buffer(w->archive, bytes > 0 ? data : zeros, bytes, 0);
    if (!source)
        return fail_zip(w, zip_strerror(w->archive));
    const zip_int64_t index = zip_file_add(w->archive, name, source, 0);
    if (index < 0) {
        zip_source_free(source);
        return fail_zip(w, zip_strerror(w->archive));
    }
    const size_t header = LOCAL_HEADER_BYTES + strlen(name) + EXTRA_HEADER_BYTES;
    const size_t past = (w->at + header) % DATA_ALIGNMENT, padding = past ? DATA_ALIGNMENT - past : 0;
    /* The date is part of the archive: a fixed one makes equal files of equal tensors. */
    if (zip_set_file_compression(w->archive, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(w->archive, (zip_uint64_t)index, 0, 0x21 /* 1 January 1980 */, 0) != 0 ||
        zip_file_extra_field_set(w->archive, (zip_uint64_t)index, PADDING_ID, 0, zeros, (zip_uint16_t)padding,
                                 ZIP_FL_LOCAL) != 0)
        return fail_zip(w, zip_strerror(w->archive));
    w->at += header + padding + bytes;
    return QD_OK;
}

static enum qd_status add_tensors(writer *w, const qd_tensor *tensors, int count)
{
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += qd_align_bytes((size_t)qd_tensor_count(&tensors[i]) * qd_dtype_size(tensors[i].dtype));
    QD_TRY(qd_arena_create(w->ctx, bytes, "the tensors of a file", &w->values));
    for (int i = 0; i < count; i++) {
        const size_t size = (size_t)qd_tensor_count(&tensors[i]) * qd_dtype_size(tensors[i].dtype);
        char name[32];
        void *data = qd_arena_take(&w->values, size);
        if (!data)
            return qd_fail(w->ctx, QD_ERR_INTERNAL, "writing '%s': tensors outgrew their arena", w->path);
        qd_tensor dense = qd_tensor_contiguous(tensors[i].dtype, tensors[i].rank, tensors[i].shape, data);
        QD_TRY(qd_tensor_copy(w->ctx, &dense, &tensors[i]));
        snprintf(name, sizeof name, FOLDER "/data/%d", i);
        QD_TRY(add_entry(w, name, data, size));
    }
    return QD_OK;
}

static enum qd_status start_archive(writer *w)
{
    zip_error_t error;
    zip_error_init(&error);
    w->target = zip_source_buffer_create(NULL, 0, 0, &error);
    if (w->target)
        w->archive = zip_open_from_source(w->target, ZIP_CREATE | ZIP_TRUNCATE, &error);
    enum qd_status status = w->archive ? QD_OK : fail_zip(w, zip_error_strerror(&error));
    if (w->archive)
        zip_source_keep(w->target); /* closing the archive must not take it away */
    zip_error_fini(&error);
    return status;
}

/* Closes the archive, which makes its bytes, and copies them into the file. */
static enum qd_status finish_archive(writer *w)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char chunk[1 << 16];
    zip_int64_t got;
    if (zip_close(w->archive) != 0)
        return fail_zip(w, zip_strerror(w->archive));
    w->archive = NULL;
    if (zip_source_open(w->target) != 0)
        return fail_zip(w, zip_error_strerror(zip_source_error(w->target)));
    QD_TRY_GOTO(qd_atomic_open(w->ctx, w->path, &file));
    while ((got = zip_source_read(w->target, chunk, sizeof chunk)) > 0) {
        if (fwrite(chunk, 1, (size_t)got, file.stream) == (size_t)got)
            continue;
        status = qd_fail_errno(w->ctx, errno, "writing '%s'", w->path);
        goto fail;
    }
    if (got < 0) {
        status = fail_zip(w, zip_error_strerror(zip_source_error(w->target)));
        goto fail;
    }
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    zip_source_close(w->target);
    return status;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static enum qd_status check_names(qd_context *ctx, const char *path, const qd_tensor *tensors, int count)
{
    const char **names = qd_calloc((size_t)count, sizeof *names);
    enum qd_status status = QD_OK;
    if (!names)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    for (int i = 0; i < count; i++)
        names[i] = tensors[i].name ? tensors[i].name : "";
    qsort((void *)names, (size_t)count, sizeof *names, compare_names);
    for (int i = 0; status == QD_OK && i < count; i++)
        if (names[i][0] == '\0' || (i > 0 && strcmp(names[i - 1], names[i]) == 0))
            status = qd_fail(ctx, QD_ERR_USAGE, "writing '%s': expected different names, got '%s' twice or none",
                             path, names[i]);
    free((void *)names);
    return status;
}

enum qd_status qd_pth_write(qd_context *ctx, const char *path, const qd_tensor *tensors, int count)
{
    enum qd_status status = QD_OK;
    writer w = {.ctx = ctx, .path = path};
    buffer pickle = {0};
    QD_TRY(check_names(ctx, path, tensors, count));
    put_pickle(&pickle, tensors, count);
    if (pickle.failed) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
        goto fail;
    }
    QD_TRY_GOTO(start_archive(&w));
    QD_TRY_GOTO(add_entry(&w, FOLDER "/data.pkl", pickle.bytes, pickle.count));
    QD_TRY_GOTO(add_tensors(&w, tensors, count));
    QD_TRY_GOTO(add_entry(&w, FOLDER "/version", version_text, strlen(version_text)));
    QD_TRY_GOTO(finish_archive(&w));
fail:
    if (w.archive)
        zip_discard(w.archive);
    if (w.target)
        zip_source_free(w.target);
    qd_arena_destroy(&w.values);
    free(pickle.bytes);
    return status;
}
