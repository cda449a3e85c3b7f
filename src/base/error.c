/* The text of the last failure, and log lines. */
#include "base/error.h"
#include "base/context_impl.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* `reason` (NULL: none) follows after a colon and is never cut: it matters more than the end of an overlong path. */
static void set_error(qd_context *ctx, const char *raw, const char *reason)
{
    /* Written before the lock is taken: `raw` may quote the error it replaces. */
    char text[QD_ERROR_BYTES];
    const size_t reserved = reason ? 2 + strlen(reason) : 0;
    qd_text_escape(raw, text, sizeof(text) - reserved);
    if (reason) {
        strcat(text, ": ");
        strcat(text, reason);
    }
    pthread_mutex_lock(&ctx->error_mutex);
    memcpy(ctx->error, text, strlen(text) + 1);
    pthread_mutex_unlock(&ctx->error_mutex);
}

/* vsnprintf() that leaves a text behind whatever happens. */
static void format_text(char *buffer, size_t bytes, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

static void format_text(char *buffer, size_t bytes, const char *format, va_list arguments)
{
    if (vsnprintf(buffer, bytes, format, arguments) < 0)
        snprintf(buffer, bytes, "%s", format);
}

enum qd_status(qd_fail)(qd_context *ctx, enum qd_status status, const char *format, ...)
{
    if (!ctx)
        return status;
    /* One byte longer than what is kept, so that escaping sees a text that is too long and marks it. */
    char raw[QD_ERROR_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    format_text(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    set_error(ctx, raw, NULL);
    return status;
}

enum qd_status(qd_fail_errno)(qd_context *ctx, int errno_value, const char *format, ...)
{
    if (!ctx)
        return QD_ERR_IO;
    char raw[QD_ERROR_BYTES + 1];
    va_list arguments;
    va_start(arguments, format);
    format_text(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    char reason[128];
    /* The GNU strerror_r() returns the text, which need not be in `reason`. */
    set_error(ctx, raw, strerror_r(errno_value, reason, sizeof(reason)));
    return QD_ERR_IO;
}

/* A log that cannot be written ends no work. */
static void write_line(FILE *stream, enum qd_log_level level, const char *line)
{
    char now[QD_TIME_BYTES];
    qd_text_time(now);
    fprintf(stream, "%s %s%s\n", now, level == QD_LOG_WARNING ? "warning: " : "", line);
    fflush(stream);
}

void qd_log(qd_context *ctx, enum qd_log_level level, const char *format, ...)
{
    if (!ctx || (!ctx->log && !ctx->log_stream))
        return;
    char raw[QD_ERROR_BYTES + 1];
    char line[QD_ERROR_BYTES];
    va_list arguments;
    va_start(arguments, format);
    format_text(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    qd_text_escape(raw, line, sizeof(line));
    pthread_mutex_lock(&ctx->log_mutex);
    if (ctx->log)
        ctx->log(ctx->log_user, level, line);
    if (ctx->log_stream)
        write_line(ctx->log_stream, level, line);
    pthread_mutex_unlock(&ctx->log_mutex);
}

void qd_log_attach(qd_context *ctx, FILE *stream)
{
    pthread_mutex_lock(&ctx->log_mutex);
    ctx->log_stream = stream;
    pthread_mutex_unlock(&ctx->log_mutex);
}
