/* Files: atomic writes, whole reads, folders. */
#ifndef QD_BASE_FILE_H
#define QD_BASE_FILE_H

#include <quantdrift/context.h>
#include <stdio.h>

/* A file being written under a temporary name beside its final one. */
typedef struct qd_atomic_file {
    FILE *stream;
    char *path, *temporary_path; /* no temporary name: a device or pipe, written to as it is */
    qd_context *ctx;
} qd_atomic_file;

/* Opens "<path>.tmp", locked: a second writer of the same path is refused, the left-over of a killed one taken over.
 * Links are followed to the file they name; devices and pipes (/dev/stdout) are written to directly.
 * Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_atomic_open(qd_context *ctx, const char *path, qd_atomic_file *file);
/* Flushes, fsyncs, renames, fsyncs the folder. On failure the temporary file is removed and the old one stays; only
 * when the folder's fsync fails, which the sentence says, is the new one in place already. */
enum qd_status qd_atomic_commit(qd_atomic_file *file);
/* Removes the temporary file; harmless after a commit and on a zeroed struct. */
void qd_atomic_abort(qd_atomic_file *file);

/* What a failed open() for reading means: QD_ERR_INPUT when no such file is there, else QD_ERR_IO. */
enum qd_status qd_open_status(int errno_value);

/* Whole file into memory with a NUL behind it. Errors: QD_ERR_IO, QD_ERR_INPUT when there is no such file or it is
 * larger than max_bytes. */
enum qd_status qd_file_read(qd_context *ctx, const char *path, size_t max_bytes, char **data, size_t *size);

/* mkdir -p. */
enum qd_status qd_folder_create(qd_context *ctx, const char *path);
bool qd_file_exists(const char *path);

/* True when `path` still names the file behind `descriptor`: locked files may have been renamed or removed since. */
bool qd_file_is_descriptor(const char *path, int descriptor);

/* Hex SHA-256 of a file's bytes. Errors: QD_ERR_INPUT when there is no such file, QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_file_sha256(qd_context *ctx, const char *path, char text[65]);

/* Gives the file at `path` the name `name` too, in place of what had it; a copy where the file system has no hard
 * links. For files that are only ever replaced whole. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_file_name_too(qd_context *ctx, const char *path, const char *name);

/* printf into fresh memory; NULL when memory is short. */
char *qd_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
