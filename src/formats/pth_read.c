/*
 * .pth files into memory: the archive, its pickle, the storages, and the tensors as views into them.
 * Source: torch/serialization.py and torch/_utils.py of PyTorch 1.13.
 */
#include "base/arena.h"
#include "base/error.h"
#include "formats/half.h"
#include "formats/pth_impl.h"
#include "formats/zip_archive.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* About 200 bytes a tensor, and what training loops add: enough for 40,000 tensors. A hostile pickle takes up to 100
 * times its size in memory. */
#define MAX_PICKLE_BYTES ((size_t)8 << 20)

/* The first bytes of torch.save's format before PyTorch 1.6: protocol 2, and a magic number of ten bytes. */
static const unsigned char legacy_magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9};

static const struct {
    const char *type;
    enum qd_dtype dtype;
} storages[] = {
#define STORAGE_ROW(name, type, dtype) {type, dtype},
    QD_PTH_STORAGES(STORAGE_ROW)
#undef STORAGE_ROW
};

struct qd_pth {
    qd_arena storages;
    char *pickle_bytes; /* the names lie here */
    qd_tensor *tensors;
    const char **types;
    int count;
};

typedef struct reader {
    qd_context *ctx;
    const char *path;
    qd_zip *zip;
    char *folder; /* of the archive's entries, with its slash; owned */
    qd_pth_described *tensors;
    int count;
} reader;

static enum qd_status fail_memory(const reader *r)
{
    return qd_fail(r->ctx, QD_ERR_MEMORY, "reading '%s': memory is short; close other programs", r->path);
}

static enum qd_status refuse_tensor(const reader *r, const char *name, const char *problem)
{
    return qd_pth_refuse_tensor(r->ctx, r->path, name, problem);
}

static size_t stored_bytes(enum qd_pth_storage storage)
{
    switch (storage) {
    case QD_PTH_HalfStorage:
    case QD_PTH_BFloat16Storage:
    case QD_PTH_ShortStorage:
        return 2;
    default:
        return qd_dtype_size(storages[storage].dtype);
    }
}

/* ---- the archive ---- */

/* Tells a ZIP archive by its first bytes; whatever else it is gets a sentence of its own. */
static enum qd_status check_magic(const reader *r, int descriptor)
{
    unsigned char head[16] = {0};
    const ssize_t got = pread(descriptor, head, sizeof head, 0);
    if (got < 0)
        return qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
    if (memcmp(head, "PK\3\4", 4) == 0)
        return QD_OK;
    if (memcmp(head, legacy_magic, sizeof legacy_magic) == 0)
        return qd_fail(
            r->ctx, QD_ERR_INPUT,
            "reading '%s': this is the format of PyTorch before 1.6; load it with a newer PyTorch and save "
            "it again: torch.save(torch.load(file), file)",
            r->path);
    return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected a ZIP archive as torch.save writes it", r->path);
}

static enum qd_status open_archive(reader *r)
{
    struct stat info;
    /* O_NONBLOCK: to be refused, a pipe must not wait for its writer first. */
    const int descriptor = open(r->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum qd_status status = QD_OK;
    if (descriptor < 0)
        return qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
    if (fstat(descriptor, &info) != 0)
        status = qd_fail_errno(r->ctx, errno, "reading '%s'", r->path);
    else if (!S_ISREG(info.st_mode))
        status = qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected a file, found something else", r->path);
    else
        status = check_magic(r, descriptor);
    if (status != QD_OK) {
        close(descriptor);
        return status;
    }
    return qd_zip_open(r->ctx, r->path, descriptor, &r->zip);
}

/* The pickle is the entry "<folder>/data.pkl"; the folder is called like the file once was. */
static enum qd_status find_pickle(reader *r, int64_t *out)
{
    static const char pickle_name[] = "data.pkl";
    int64_t found = -1;
    for (int64_t i = 0; i < qd_zip_count(r->zip); i++) {
        const char *name = qd_zip_name(r->zip, i), *slash = strchr(name, '/');
        if (!slash || strcmp(slash + 1, pickle_name) != 0)
            continue;
        if (found >= 0)
            return qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected one data.pkl, found several", r->path);
        found = i;
    }
    if (found < 0)
        return qd_fail(r->ctx, QD_ERR_INPUT,
                       "reading '%s': expected an archive of torch.save, found no data.pkl in it", r->path);
    const char *name = qd_zip_name(r->zip, found);
    r->folder = strndup(name, strlen(name) - strlen(pickle_name));
    if (!r->folder)
        return fail_memory(r);
    *out = found;
    return QD_OK;
}

/* Entry "<folder><name>"; -1 when there is none. */
static enum qd_status find_entry(const reader *r, const char *name, int64_t *out)
{
    const size_t bytes = strlen(r->folder) + strlen(name) + 1;
    char *full = qd_calloc(bytes, 1);
    if (!full)
        return fail_memory(r);
    snprintf(full, bytes, "%s%s", r->folder, name);
    *out = qd_zip_find(r->zip, full);
    free(full);
    return QD_OK;
}

/* Since PyTorch 2.1 an entry says which byte order the storages have; before, it was the machine's. */
static enum qd_status check_byte_order(const reader *r)
{
    int64_t entry = -1;
    char order[8] = {0};
    QD_TRY(find_entry(r, "byteorder", &entry));
    if (entry < 0)
        return QD_OK;
    if (qd_zip_size(r->zip, entry) < sizeof order)
        QD_TRY(qd_zip_read(r->zip, entry, order));
    return strcmp(order, "little") == 0
               ? QD_OK
               : qd_fail(r->ctx, QD_ERR_INPUT, "reading '%s': expected little-endian storages; save it on x86 or ARM",
                         r->path);
}

static enum qd_status parse_pickle(reader *r, qd_pth *file)
{
    int64_t entry = -1;
    QD_TRY(find_pickle(r, &entry));
    const size_t size = qd_zip_size(r->zip, entry);
    if (size > MAX_PICKLE_BYTES)
        return qd_fail(
            r->ctx, QD_ERR_INPUT,
            "reading '%s': expected a pickle of at most %zu bytes, found %zu; save model.state_dict() alone", r->path,
            MAX_PICKLE_BYTES, size);
    file->pickle_bytes = qd_calloc(size + 1, 1);
    if (!file->pickle_bytes)
        return fail_memory(r);
    QD_TRY(qd_zip_read(r->zip, entry, file->pickle_bytes));
    return qd_pth_describe(r->ctx, r->path, file->pickle_bytes, size, &r->tensors, &r->count);
}

/* ---- the storages ---- */

static int compare_keys(const void *left, const void *right)
{
    return strcmp(((const qd_pth_described *)left)->key, ((const qd_pth_described *)right)->key);
}

/* Entry of a storage, which must hold exactly what the pickle says. */
static enum qd_status find_storage(const reader *r, const qd_pth_described *t, int64_t *out)
{
    char name[QD_PTH_KEY_LENGTH + 8];
    size_t bytes;
    snprintf(name, sizeof name, "data/%s", t->key);
    QD_TRY(find_entry(r, name, out));
    if (*out < 0)
        return refuse_tensor(r, t->name, "its storage is not in the archive");
    if (__builtin_mul_overflow((size_t)t->storage_count, stored_bytes(t->storage), &bytes) ||
        bytes != qd_zip_size(r->zip, *out))
        return refuse_tensor(r, t->name, "its storage has another size than the pickle says");
    return QD_OK;
}

static void widen_int16(char *data, int64_t count)
{
    for (int64_t i = 0; i < count; i++) { /* as qd_half_expand() */
        int16_t value;
        memcpy(&value, data + 2 * (count + i), sizeof value);
        memcpy(data + 4 * i, &(int32_t){value}, sizeof(int32_t));
    }
}

/* Reads one storage into `data`; values of two bytes go to its second half and are widened. */
static enum qd_status read_values(const reader *r, const qd_pth_described *t, int64_t entry, char *data)
{
    const bool narrow = stored_bytes(t->storage) < qd_dtype_size(storages[t->storage].dtype);
    QD_TRY(qd_zip_read(r->zip, entry, narrow ? data + 2 * t->storage_count : data));
    if (t->storage == QD_PTH_HalfStorage || t->storage == QD_PTH_BFloat16Storage)
        qd_half_expand(t->storage == QD_PTH_HalfStorage ? QD_HALF_FLOAT16 : QD_HALF_BFLOAT16, data, t->storage_count);
    else if (narrow)
        widen_int16(data, t->storage_count);
    return QD_OK;
}

/* With the tensors sorted by key: true for the first one of each storage. */
static bool begins_storage(const reader *r, int i)
{
    return i == 0 || strcmp(r->tensors[i - 1].key, r->tensors[i].key) != 0;
}

static enum qd_status read_storages(reader *r, qd_pth *file)
{
    size_t bytes = 0;
    int64_t entry = -1;
    qsort(r->tensors, (size_t)r->count, sizeof *r->tensors, compare_keys);
    for (int i = 0; i < r->count; i++) {
        const qd_pth_described *t = &r->tensors[i];
        if (begins_storage(r, i)) {
            QD_TRY(find_storage(r, t, &entry));
            bytes += qd_align_bytes((size_t)t->storage_count * qd_dtype_size(storages[t->storage].dtype));
        } else if (t->storage != t[-1].storage || t->storage_count != t[-1].storage_count) {
            return refuse_tensor(r, t->name, "its storage is described in two ways");
        }
    }
    QD_TRY(qd_arena_create(r->ctx, bytes, "the tensors of a file", &file->storages));
    for (int i = 0; i < r->count; i++) {
        qd_pth_described *t = &r->tensors[i];
        if (!begins_storage(r, i)) {
            t->data = t[-1].data;
            continue;
        }
        QD_TRY(find_storage(r, t, &entry));
        t->data =
            qd_arena_take(&file->storages, (size_t)t->storage_count * qd_dtype_size(storages[t->storage].dtype));
        if (!t->data)
            return qd_fail(r->ctx, QD_ERR_INTERNAL, "reading '%s': storages outgrew their arena", r->path);
        QD_TRY(read_values(r, t, entry, t->data));
    }
    return QD_OK;
}

/* The views, in the dict's order again. */
static enum qd_status make_views(const reader *r, qd_pth *file)
{
    file->tensors = qd_calloc((size_t)r->count, sizeof *file->tensors);
    file->types = qd_calloc((size_t)r->count, sizeof *file->types);
    if (!file->tensors || !file->types)
        return fail_memory(r);
    file->count = r->count;
    for (int i = 0; i < r->count; i++) {
        const qd_pth_described *t = &r->tensors[i];
        const enum qd_dtype dtype = storages[t->storage].dtype;
        qd_tensor *view = &file->tensors[t->place];
        *view = (qd_tensor){.dtype = dtype, .rank = t->rank, .name = t->name};
        memcpy(view->shape, t->shape, sizeof t->shape);
        memcpy(view->stride, t->stride, sizeof t->stride);
        view->data = (char *)t->data + (size_t)t->offset * qd_dtype_size(dtype);
        file->types[t->place] = storages[t->storage].type;
    }
    return QD_OK;
}

/* ---- opened files ---- */

enum qd_status qd_pth_open(qd_context *ctx, const char *path, qd_pth **out)
{
    enum qd_status status = QD_OK;
    reader r = {.ctx = ctx, .path = path};
    qd_pth *file = qd_calloc(1, sizeof *file);
    if (!file)
        return fail_memory(&r);
    QD_TRY_GOTO(open_archive(&r));
    QD_TRY_GOTO(parse_pickle(&r, file));
    QD_TRY_GOTO(check_byte_order(&r));
    QD_TRY_GOTO(read_storages(&r, file));
    QD_TRY_GOTO(make_views(&r, file));
    *out = file;
    file = NULL;
fail:
    qd_zip_close(r.zip);
    free(r.folder);
    free(r.tensors);
    qd_pth_close(file);
    return status;
}

void qd_pth_close(qd_pth *file)
{
    if (!file)
        return;
    qd_arena_destroy(&file->storages);
    free(file->pickle_bytes);
    free(file->tensors);
    free((void *)file->types);
    free(file);
}

int qd_pth_count(const qd_pth *file)
{
    return file->count;
}

const qd_tensor *qd_pth_get(const qd_pth *file, int index)
{
    return index >= 0 && index < file->count ? &file->tensors[index] : NULL;
}

const char *qd_pth_stored_type(const qd_pth *file, int index)
{
    return file->types[index];
}
