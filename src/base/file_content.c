/* Whole files: their hash, and a second name for one. */
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Large enough that system calls do not count. */
#define BLOCK_BYTES ((size_t)1 << 20)

/* Receives the blocks of a file in order. */
typedef void block_fn(void *user, const char *data, size_t bytes);

static enum qd_status for_blocks(qd_context *ctx, const char *path, block_fn *receive, void *user)
{
    enum qd_status status = QD_OK;
    char *block = malloc(BLOCK_BYTES);
    FILE *stream = fopen(path, "rbe");
    if (!stream) {
        const int error = errno;
        qd_fail_errno(ctx, error, "reading '%s'", path);
        status = qd_open_status(error);
        goto fail;
    }
    if (!block) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': memory is short", path);
        goto fail;
    }
    for (size_t n; (n = fread(block, 1, BLOCK_BYTES, stream)) > 0;)
        receive(user, block, n);
    if (ferror(stream))
        status = qd_fail_errno(ctx, errno, "reading '%s'", path);
fail:
    if (stream)
        fclose(stream);
    free(block);
    return status;
}

static void hash_block(void *user, const char *data, size_t bytes)
{
    qd_sha256_update(user, data, bytes);
}

enum qd_status qd_file_sha256(qd_context *ctx, const char *path, char text[65])
{
    qd_sha256 hash;
    qd_sha256_init(&hash);
    QD_TRY(for_blocks(ctx, path, hash_block, &hash));
    qd_sha256_finish(&hash, text);
    return QD_OK;
}

static void write_block(void *user, const char *data, size_t bytes)
{
    fwrite(data, 1, bytes, user); /* the commit tells of a failure */
}

static enum qd_status copy(qd_context *ctx, const char *path, const char *name)
{
    qd_atomic_file file = {0};
    QD_TRY(qd_atomic_open(ctx, name, &file));
    const enum qd_status status = for_blocks(ctx, path, write_block, file.stream);
    if (status == QD_OK)
        return qd_atomic_commit(&file);
    qd_atomic_abort(&file);
    return status;
}

enum qd_status qd_file_name_too(qd_context *ctx, const char *path, const char *name)
{
    enum qd_status status = QD_OK;
    char *temporary_path = qd_format("%s.link", name);
    if (!temporary_path)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", name);
    unlink(temporary_path); /* left over by a process that was killed */
    if (link(path, temporary_path) != 0)
        status = copy(ctx, path, name); /* no links here: another file system's rules, or none left */
    else if (rename(temporary_path, name) != 0)
        status = qd_fail_errno(ctx, errno, "writing '%s': renaming '%s'", name, temporary_path);
    unlink(temporary_path); /* renaming one name of a file to another name of it leaves both */
    free(temporary_path);
    return status;
}
