#include "base/folder_lock.h"
#include "base/error.h"
#include "base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* A process id and a newline. */
enum { PID_BYTES = 24 };

static char *lock_path(const char *folder)
{
    return qd_format("%s/run.lock", folder);
}

/* Locks of open file descriptions: unlike flock() they can be asked about without being taken, and unlike those of
 * processes they exclude two users in one process. */
static int call(int descriptor, int command, struct flock *lock)
{
    *lock = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(descriptor, command, lock) == 0 ? 0 : errno;
}

static int64_t read_pid(int descriptor)
{
    char text[PID_BYTES] = "";
    return pread(descriptor, text, sizeof text - 1, 0) > 0 ? strtoll(text, NULL, 10) : 0;
}

/* For whoever is refused. A disk too full for it does not weaken the lock. */
static void write_pid(int descriptor)
{
    char text[PID_BYTES];
    const int length = snprintf(text, sizeof text, "%lld\n", (long long)getpid());
    if (ftruncate(descriptor, 0) == 0 && pwrite(descriptor, text, (size_t)length, 0) != length)
        (void)!ftruncate(descriptor, 0);
}

static enum qd_status fail_held(qd_context *ctx, const char *folder, int64_t pid)
{
    char who[48] = "another process";
    if (pid > 0)
        snprintf(who, sizeof who, "process %" PRId64, pid);
    return qd_fail(ctx, QD_ERR_IO, "folder '%s': %s is at work in it; wait for its end, or choose another output",
                   folder, who);
}

enum qd_status qd_folder_lock_take(qd_context *ctx, const char *folder, qd_folder_lock *lock)
{
    enum qd_status status = QD_OK;
    char *path = lock_path(folder);
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "folder '%s': memory is short", folder);
    for (;;) {
        struct flock request;
        const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (descriptor < 0) {
            status = qd_fail_errno(ctx, errno, "folder '%s': cannot create '%s'", folder, path);
            goto fail;
        }
        const int error = call(descriptor, F_OFD_SETLK, &request);
        if (error == EAGAIN || error == EACCES) {
            status = fail_held(ctx, folder, read_pid(descriptor));
            close(descriptor);
            goto fail;
        }
        if (!qd_file_is_descriptor(path, descriptor)) {
            close(descriptor); /* its holder removed it before the lock was ours: begin again */
            continue;
        }
        write_pid(descriptor);
        *lock = (qd_folder_lock){.path = path, .descriptor = descriptor};
        return QD_OK;
    }
fail:
    free(path);
    return status;
}

void qd_folder_lock_release(qd_folder_lock *lock)
{
    if (!lock->path)
        return;
    unlink(lock->path); /* while it is still locked, so that no other holder's file can bear the name */
    close(lock->descriptor);
    free(lock->path);
    *lock = (qd_folder_lock){0};
}

bool qd_folder_lock_is_held(const char *folder, int64_t *pid)
{
    struct flock request;
    char *path = lock_path(folder);
    const int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    const bool held = descriptor >= 0 && call(descriptor, F_OFD_GETLK, &request) == 0 && request.l_type != F_UNLCK;
    *pid = held ? read_pid(descriptor) : 0;
    if (descriptor >= 0)
        close(descriptor);
    free(path);
    return held;
}
