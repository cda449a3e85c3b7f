#include "formats/zip_archive.h"
#include "base/arena.h"
#include "base/error.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

typedef struct entry {
    const char *name; /* of libzip, as long as the archive is open */
    int64_t index;
} entry;

struct qd_zip {
    qd_context *ctx;
    const char *path;
    zip_t *archive;
    entry *by_name; /* sorted */
    size_t *sizes;
    const char **names;
    int64_t count;
};

static enum qd_status refuse(const qd_zip *zip, const char *name, const char *problem)
{
    return qd_fail(zip->ctx, QD_ERR_INPUT,
                   "reading '%s': entry '%.200s': %s; the file is damaged or not torch.save's", zip->path, name,
                   problem);
}

static enum qd_status fail_memory(const qd_zip *zip)
{
    return qd_fail(zip->ctx, QD_ERR_MEMORY, "reading '%s': memory is short", zip->path);
}

static int compare_entries(const void *left, const void *right)
{
    return strcmp(((const entry *)left)->name, ((const entry *)right)->name);
}

static enum qd_status check_entry(qd_zip *zip, int64_t index, size_t *left)
{
    const zip_uint64_t wanted = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    zip_stat_t stat;
    zip_stat_init(&stat);
    if (zip_stat_index(zip->archive, (zip_uint64_t)index, ZIP_FL_ENC_RAW, &stat) != 0 ||
        (stat.valid & wanted) != wanted)
        return qd_fail(zip->ctx, QD_ERR_INPUT, "reading '%s': its entry %lld cannot be read; the file is damaged",
                       zip->path, (long long)index);
    if (stat.comp_method != ZIP_CM_STORE || stat.comp_size != stat.size)
        return refuse(zip, stat.name, "expected data stored as they are, found them compressed");
    if ((stat.valid & ZIP_STAT_ENCRYPTION_METHOD) && stat.encryption_method != ZIP_EM_NONE)
        return refuse(zip, stat.name, "expected plain data, found them encrypted");
    if (stat.size > *left)
        return refuse(zip, stat.name, "the entries claim more bytes than the file has");
    *left -= stat.size;
    zip->names[index] = stat.name;
    zip->sizes[index] = stat.size;
    zip->by_name[index] = (entry){stat.name, index};
    return QD_OK;
}

static enum qd_status read_directory(qd_zip *zip, size_t file_bytes)
{
    zip->count = zip_get_num_entries(zip->archive, 0);
    zip->by_name = qd_calloc((size_t)zip->count, sizeof *zip->by_name);
    zip->sizes = qd_calloc((size_t)zip->count, sizeof *zip->sizes);
    zip->names = qd_calloc((size_t)zip->count, sizeof *zip->names);
    if (!zip->by_name || !zip->sizes || !zip->names)
        return fail_memory(zip);
    for (int64_t i = 0; i < zip->count; i++)
        QD_TRY(check_entry(zip, i, &file_bytes));
    qsort(zip->by_name, (size_t)zip->count, sizeof *zip->by_name, compare_entries);
    return QD_OK;
}

enum qd_status qd_zip_open(qd_context *ctx, const char *path, int descriptor, qd_zip **out)
{
    struct stat info;
    int error = 0;
    enum qd_status status = QD_OK;
    qd_zip *zip = qd_calloc(1, sizeof *zip);
    if (!zip) {
        close(descriptor);
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
    }
    zip->ctx = ctx;
    zip->path = path;
    if (fstat(descriptor, &info) != 0) {
        status = qd_fail_errno(ctx, errno, "reading '%s'", path);
        close(descriptor);
        goto fail;
    }
    /* Takes the descriptor over when it succeeds; the check refuses a name that is there twice, too. */
    zip->archive = zip_fdopen(descriptor, ZIP_CHECKCONS, &error);
    if (!zip->archive) {
        zip_error_t reason;
        zip_error_init_with_code(&reason, error);
        status = error == ZIP_ER_MEMORY
                     ? fail_memory(zip)
                     : qd_fail(ctx, QD_ERR_INPUT, "reading '%s': its ZIP directory is damaged (%s)", path,
                               zip_error_strerror(&reason));
        zip_error_fini(&reason);
        close(descriptor);
        goto fail;
    }
    QD_TRY_GOTO(read_directory(zip, (size_t)info.st_size));
    *out = zip;
    return QD_OK;
fail:
    qd_zip_close(zip);
    return status;
}

void qd_zip_close(qd_zip *zip)
{
    if (!zip)
        return;
    if (zip->archive)
        zip_discard(zip->archive);
    free(zip->by_name);
    free(zip->sizes);
    free((void *)zip->names);
    free(zip);
}

int64_t qd_zip_count(const qd_zip *zip)
{
    return zip->count;
}

const char *qd_zip_name(const qd_zip *zip, int64_t index)
{
    return zip->names[index];
}

size_t qd_zip_size(const qd_zip *zip, int64_t index)
{
    return zip->sizes[index];
}

int64_t qd_zip_find(const qd_zip *zip, const char *name)
{
    const entry key = {.name = name};
    const entry *found = bsearch(&key, zip->by_name, (size_t)zip->count, sizeof *zip->by_name, compare_entries);
    return found ? found->index : -1;
}

enum qd_status qd_zip_read(const qd_zip *zip, int64_t index, void *data)
{
    const size_t size = zip->sizes[index];
    char behind;
    zip_file_t *file = zip_fopen_index(zip->archive, (zip_uint64_t)index, 0);
    if (!file)
        return refuse(zip, zip->names[index], zip_strerror(zip->archive));
    enum qd_status status = QD_OK;
    zip_int64_t done = zip_fread(file, data, size);
    /* libzip compares the checksum when it meets the end. */
    if (done != (zip_int64_t)size || zip_fread(file, &behind, 1) != 0)
        status = refuse(zip, zip->names[index], zip_file_strerror(file));
    zip_fclose(file);
    return status;
}
