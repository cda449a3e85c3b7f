/* One writer a folder: a lock that the operating system ends together with the process that holds it. */
#ifndef QD_BASE_FOLDER_LOCK_H
#define QD_BASE_FOLDER_LOCK_H

#include <quantdrift/context.h>

typedef struct qd_folder_lock {
    char *path; /* NULL: nothing is held */
    int descriptor;
} qd_folder_lock;

/* Locks a folder by its file "run.lock", which tells the process's id. File systems without locks are trusted to have
 * one writer. Errors: QD_ERR_IO (another process holds it: its id is in the sentence; the file cannot be made),
 * QD_ERR_MEMORY. */
enum qd_status qd_folder_lock_take(qd_context *ctx, const char *folder, qd_folder_lock *lock);

/* Removes the file and ends the lock; harmless on a zeroed struct. */
void qd_folder_lock_release(qd_folder_lock *lock);

/* Whether another open lock holds the folder, without touching it; *pid: of the process, 0 when its file does not
 * tell. */
bool qd_folder_lock_is_held(const char *folder, int64_t *pid);

#endif
