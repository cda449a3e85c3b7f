/* Setting the context's error text, and logging. */
#ifndef QD_BASE_ERROR_H
#define QD_BASE_ERROR_H

#include <quantdrift/context.h>
#include <stdio.h>

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

/* Logs one line: to the context's logger, and with the time in front to the stream of qd_log_attach(). Thread-safe.
 */
void qd_log(qd_context *ctx, enum qd_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What is logged from now on goes to `stream` (borrowed) as well, flushed line by line; NULL: no more. */
void qd_log_attach(qd_context *ctx, FILE *stream);

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: it must be told that a failure is never QD_OK. (error.c puts the names in
 * parentheses, which keeps its definitions from being taken for these macros.) */
#define qd_fail(ctx, status, ...)            (qd_fail(ctx, status, __VA_ARGS__), (status))
#define qd_fail_errno(ctx, errno_value, ...) (qd_fail_errno(ctx, errno_value, __VA_ARGS__), QD_ERR_IO)
#endif

#endif
