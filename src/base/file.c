/* Atomic writes, whole reads, folders. */
#include "base/file.h"
#include "base/error.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

char *qd_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length >= 0 ? text : NULL;
}

/* ---- atomic writes ---- */

bool qd_file_is_descriptor(const char *path, int descriptor)
{
    struct stat by_name, by_descriptor;
    return lstat(path, &by_name) == 0 && fstat(descriptor, &by_descriptor) == 0 &&
           by_name.st_dev == by_descriptor.st_dev && by_name.st_ino == by_descriptor.st_ino;
}

/*
 * The temporary name is fixed, so that a process killed while writing leaves at most one file behind, which the
 * next write takes over; a lock tells such a left-over from the file of a writer at work.
 */
static enum qd_status open_temporary(qd_context *ctx, const char *path, const char *temporary_path, int *out)
{
    for (;;) {
        int descriptor = open(temporary_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (descriptor < 0)
            return qd_fail_errno(ctx, errno, "writing '%s': cannot create '%s'", path, temporary_path);
        int lock_error = flock(descriptor, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
        if (lock_error == EWOULDBLOCK) {
            close(descriptor);
            return qd_fail(ctx, QD_ERR_IO,
                           "writing '%s': another writer is at work on '%s'; wait for it or choose another output",
                           path, temporary_path);
        }
        /* File systems without locks (some network ones) are trusted to have one writer. */
        if (!qd_file_is_descriptor(temporary_path, descriptor)) {
            close(descriptor); /* its writer renamed or removed it before the lock was ours: begin again */
            continue;
        }
        if (ftruncate(descriptor, 0) != 0) {
            int error = errno;
            close(descriptor);
            unlink(temporary_path);
            return qd_fail_errno(ctx, error, "writing '%s': cannot empty '%s'", path, temporary_path);
        }
        *out = descriptor;
        return QD_OK;
    }
}

/* The file behind a link, so that writing leaves the link in place; a link to nowhere is itself replaced. NULL when
 * memory is short. */
static char *follow_link(const char *path)
{
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode))
        return strdup(path);
    char *target = realpath(path, NULL);
    return target || errno == ENOMEM ? target : strdup(path);
}

/* Devices, pipes and sockets cannot be replaced: they are written to as they are. */
static enum qd_status open_device(qd_context *ctx, const char *path, int *out)
{
    int descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (descriptor < 0)
        return qd_fail_errno(ctx, errno, "writing '%s'", path);
    *out = descriptor;
    return QD_OK;
}

enum qd_status qd_atomic_open(qd_context *ctx, const char *path, qd_atomic_file *file)
{
    enum qd_status status;
    int descriptor = -1;
    struct stat info;
    bool exists = stat(path, &info) == 0, replaceable = !exists || S_ISREG(info.st_mode);
    if (exists && S_ISDIR(info.st_mode))
        return qd_fail(ctx, QD_ERR_IO, "writing '%s': expected a file or nothing there, found a folder", path);
    qd_atomic_file opened = {.ctx = ctx, .path = replaceable ? follow_link(path) : strdup(path)};
    if (opened.path && replaceable)
        opened.temporary_path = qd_format("%s.tmp", opened.path);
    if (!opened.path || (replaceable && !opened.temporary_path)) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
        goto fail;
    }
    if (replaceable)
        QD_TRY_GOTO(open_temporary(ctx, path, opened.temporary_path, &descriptor));
    else
        QD_TRY_GOTO(open_device(ctx, path, &descriptor));
    opened.stream = fdopen(descriptor, "wb");
    if (!opened.stream) {
        status = qd_fail_errno(ctx, errno, "writing '%s': cannot open a stream", path);
        if (opened.temporary_path)
            unlink(opened.temporary_path);
        close(descriptor);
        goto fail;
    }
    *file = opened;
    return QD_OK;
fail:
    free(opened.path);
    free(opened.temporary_path);
    return status;
}

/* A rename survives a power failure only once its folder is on disk. Needs no memory, because the file is already in
 * place: the temporary name has done its work and becomes the folder's. */
static enum qd_status sync_folder(qd_atomic_file *file)
{
    char *slash = strrchr(file->temporary_path, '/');
    const char *folder = ".";
    if (slash) {
        slash[slash == file->temporary_path] = '\0';
        folder = file->temporary_path;
    }
    enum qd_status status = QD_OK;
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* A folder that may be written but not read cannot be opened, and some file systems have no fsync() of folders
     * (EINVAL, ENOTSUP): then the rename is as durable as that system makes it. */
    if (descriptor >= 0) {
        if (fsync(descriptor) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EROFS)
            status =
                qd_fail_errno(file->ctx, errno,
                              "writing '%s': the file is in place, but its folder could not be synced", file->path);
        close(descriptor);
    }
    return status;
}

enum qd_status qd_atomic_commit(qd_atomic_file *file)
{
    qd_context *ctx = file->ctx;
    enum qd_status status = QD_OK;
    if (!file->stream)
        return qd_fail(ctx, QD_ERR_INTERNAL, "committing a file that is not open");
    if (ferror(file->stream))
        /* fflush() may succeed after a failed write whose bytes are gone; its errno is gone too. */
        status = qd_fail(ctx, QD_ERR_IO, "writing '%s': an earlier write failed; is the disk full?", file->path);
    else if (fflush(file->stream) != 0)
        status = qd_fail_errno(ctx, errno, "writing '%s'", file->path);
    else if (file->temporary_path && fsync(fileno(file->stream)) != 0)
        status = qd_fail_errno(ctx, errno, "writing '%s': syncing to disk", file->path);
    if (status == QD_OK && file->temporary_path && rename(file->temporary_path, file->path) != 0)
        status = qd_fail_errno(ctx, errno, "writing '%s': renaming '%s'", file->path, file->temporary_path);
    if (status != QD_OK) {
        qd_atomic_abort(file);
        return status;
    }
    /* All bytes are on disk: closing only ends the lock, which must outlive the rename. */
    fclose(file->stream);
    if (file->temporary_path)
        status = sync_folder(file);
    free(file->path);
    free(file->temporary_path);
    *file = (qd_atomic_file){0};
    return status;
}

void qd_atomic_abort(qd_atomic_file *file)
{
    if (!file)
        return;
    if (file->stream) {
        /* Removed while still locked, so that no other writer's file can bear the name. */
        if (file->temporary_path)
            unlink(file->temporary_path);
        fclose(file->stream);
    }
    free(file->path);
    free(file->temporary_path);
    *file = (qd_atomic_file){0};
}

/* ---- reading ---- */

enum qd_status qd_open_status(int errno_value)
{
    return errno_value == ENOENT || errno_value == ENOTDIR || errno_value == EISDIR || errno_value == ELOOP ||
                   errno_value == ENAMETOOLONG
               ? QD_ERR_INPUT
               : QD_ERR_IO;
}

enum qd_status qd_file_read(qd_context *ctx, const char *path, size_t max_bytes, char **data, size_t *size)
{
    enum qd_status status;
    char *bytes = NULL;
    if (max_bytes > SIZE_MAX - 2)
        max_bytes = SIZE_MAX - 2;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        int error = errno;
        qd_fail_errno(ctx, error, "reading '%s'", path);
        return qd_open_status(error);
    }
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        status = qd_fail_errno(ctx, errno, "reading '%s'", path);
        goto fail;
    }
    if (S_ISDIR(info.st_mode)) {
        status = qd_fail(ctx, QD_ERR_INPUT, "reading '%s': expected a file, found a folder", path);
        goto fail;
    }
    if (S_ISREG(info.st_mode) && (uint64_t)info.st_size > max_bytes) {
        status = qd_fail(ctx, QD_ERR_INPUT, "reading '%s': expected at most %zu bytes, found %lld", path, max_bytes,
                         (long long)info.st_size);
        goto fail;
    }
    /* The size is a first guess: pipes and /proc report 0, and a file may grow while it is read. One byte more than
     * expected is asked for, so that the end is seen, and one is kept for the NUL. */
    size_t capacity = info.st_size > 0 ? (size_t)info.st_size : 4096;
    if (capacity > max_bytes)
        capacity = max_bytes;
    capacity += 2;
    size_t used = 0;
    bytes = malloc(capacity);
    for (;;) {
        if (!bytes) {
            status = qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short for %zu bytes", path, capacity);
            goto fail;
        }
        ssize_t got = read(descriptor, bytes + used, capacity - 1 - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            status = qd_fail_errno(ctx, errno, "reading '%s'", path);
            goto fail;
        }
        used += (size_t)got;
        if (used > max_bytes) {
            status =
                qd_fail(ctx, QD_ERR_INPUT, "reading '%s': expected at most %zu bytes, found more", path, max_bytes);
            goto fail;
        }
        if (got == 0)
            break;
        if (used == capacity - 1) {
            size_t wanted = capacity <= SIZE_MAX / 2 ? capacity * 2 : SIZE_MAX;
            if (wanted > max_bytes + 2)
                wanted = max_bytes + 2;
            char *larger = realloc(bytes, wanted);
            if (!larger)
                free(bytes);
            bytes = larger;
            capacity = wanted;
        }
    }
    close(descriptor);
    bytes[used] = '\0';
    *data = bytes;
    *size = used;
    return QD_OK;
fail:
    free(bytes);
    close(descriptor);
    return status;
}

/* ---- folders ---- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* mkdir() that is content with a folder already there, made by whomever. */
static int make_folder(const char *path)
{
    if (mkdir(path, 0777) == 0)
        return 0;
    int error = errno;
    if (is_folder(path))
        return 0;
    return error;
}

enum qd_status qd_folder_create(qd_context *ctx, const char *path)
{
    char *partial = strdup(path);
    if (!partial)
        return qd_fail(ctx, QD_ERR_MEMORY, "creating folder '%s': memory is short", path);
    int error = 0;
    for (char *slash = strchr(partial + (partial[0] == '/'), '/'); slash && error == 0;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        error = make_folder(partial);
        if (error == 0)
            *slash = '/';
    }
    if (error == 0)
        error = make_folder(partial);
    /* `partial` ends at the folder that could not be made. */
    enum qd_status status = QD_OK;
    if (error == EEXIST)
        status = qd_fail(ctx, QD_ERR_IO, "creating folder '%s': '%s' is there and is no folder; choose another name",
                         path, partial);
    else if (error != 0)
        status = qd_fail_errno(ctx, error, "creating folder '%s': '%s'", path, partial);
    free(partial);
    return status;
}

bool qd_file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}
