/* Outcome of every function that can fail. The text of the last failure is in the context. */
#ifndef QUANTDRIFT_STATUS_H
#define QUANTDRIFT_STATUS_H

enum qd_status {
    QD_OK = 0,
    QD_ERR_USAGE,       /* the caller asked for something that does not exist or make sense */
    QD_ERR_INPUT,       /* a file or folder holds something it must not */
    QD_ERR_IO,          /* the operating system refused a read, write, fsync or rename */
    QD_ERR_MEMORY,      /* an allocation failed, or the plan does not fit */
    QD_ERR_SHAPE,       /* shapes, dtypes or counts that do not fit together */
    QD_ERR_NUMERIC,     /* a value that must be finite is not */
    QD_ERR_INTERRUPTED, /* a signal asked to stop; the state on disk is resumable */
    QD_ERR_INTERNAL     /* a promise of this library is broken: report it */
};

/* Static name such as "QD_ERR_INPUT". Thread-safe. */
const char *qd_status_name(enum qd_status status);

/* Forwards a failure to the caller; only for functions without anything to free. */
#define QD_TRY(expression)                                                                                           \
    do {                                                                                                             \
        enum qd_status qd_try_status_ = (expression);                                                                \
        if (qd_try_status_ != QD_OK)                                                                                 \
            return qd_try_status_;                                                                                   \
    } while (0)

/* The same for functions that own something: jumps to the one `fail:` label with `status` set. */
#define QD_TRY_GOTO(expression)                                                                                      \
    do {                                                                                                             \
        status = (expression);                                                                                       \
        if (status != QD_OK)                                                                                         \
            goto fail;                                                                                               \
    } while (0)

#endif
