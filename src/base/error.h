/* Setting the context's error text, and logging. */
#ifndef QD_BASE_ERROR_H
#define QD_BASE_ERROR_H

#include <quantdrift/context.h>

/*
 * Formats one sentence (operation, file or module, expected and found, what to do) into the context and
 * returns `status`, so that `return qd_fail(...)` reads naturally. Control characters and bytes that are
 * not UTF-8 are shown as \xNN. Thread-safe; ctx may be NULL (the text is lost).
 */
enum qd_status qd_fail(qd_context *ctx, enum qd_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* qd_fail() for a failed system call: appends ": " and strerror(errno_value). Returns QD_ERR_IO. */
enum qd_status qd_fail_errno(qd_context *ctx, int errno_value, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Logs one line. Thread-safe. */
void qd_log(qd_context *ctx, enum qd_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
