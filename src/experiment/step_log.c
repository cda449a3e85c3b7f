/* One line of JSON a training step. */
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "experiment/run.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A line takes about 150 bytes; 25 epochs of the full set on both models make about 7000. */
#define MAX_LOG_BYTES ((size_t)1 << 30)

struct qd_step_log {
    qd_context *ctx;
    char *path;
    FILE *stream;
};

static enum qd_status open_stream(qd_step_log *log, const char *mode)
{
    log->stream = fopen(log->path, mode);
    return log->stream ? QD_OK : qd_fail_errno(log->ctx, errno, "step log '%s': cannot open", log->path);
}

enum qd_status qd_step_log_open(qd_context *ctx, const char *path, bool resume, qd_step_log **out)
{
    qd_step_log *log = calloc(1, sizeof *log);
    if (log)
        log->path = strdup(path);
    if (!log || !log->path) {
        qd_step_log_close(log);
        return qd_fail(ctx, QD_ERR_MEMORY, "step log '%s': out of memory", path);
    }
    log->ctx = ctx;
    enum qd_status status = open_stream(log, resume ? "a" : "w");
    if (status == QD_OK)
        *out = log;
    else
        qd_step_log_close(log);
    return status;
}

void qd_step_log_close(qd_step_log *log)
{
    if (!log)
        return;
    if (log->stream)
        fclose(log->stream);
    free(log->path);
    free(log);
}

/* True for a whole line that is not of `model` beyond `steps`. */
static bool keeps_line(qd_context *ctx, const char *line, const char *model, int64_t steps)
{
    cJSON *json = NULL;
    if (qd_json_parse(ctx, "step log", line, false, &json) != QD_OK)
        return false;
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(json, "model");
    const cJSON *step = cJSON_GetObjectItemCaseSensitive(json, "step");
    bool keeps = cJSON_IsString(name) && cJSON_IsNumber(step) &&
                 (strcmp(name->valuestring, model) != 0 || step->valuedouble <= (double)steps);
    cJSON_Delete(json);
    return keeps;
}

enum qd_status qd_step_log_rewind(qd_step_log *log, const char *model, int64_t steps)
{
    char *text = NULL;
    size_t size;
    qd_atomic_file file = {0};
    enum qd_status status = QD_OK;
    struct stat info;
    /* What went into a pipe or a terminal cannot be taken back. */
    if (fstat(fileno(log->stream), &info) == 0 && !S_ISREG(info.st_mode))
        return QD_OK;
    fclose(log->stream);
    log->stream = NULL;
    QD_TRY_GOTO(qd_file_read(log->ctx, log->path, MAX_LOG_BYTES, &text, &size));
    QD_TRY_GOTO(qd_atomic_open(log->ctx, log->path, &file));
    for (char *line = text, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (!end)
            break; /* cut short */
        *end++ = '\0';
        if (keeps_line(log->ctx, line, model, steps))
            fprintf(file.stream, "%s\n", line);
    }
    QD_TRY_GOTO(qd_atomic_commit(&file));
    QD_TRY_GOTO(open_stream(log, "a"));
fail:
    qd_atomic_abort(&file);
    free(text);
    return status;
}

enum qd_status qd_step_log_write(qd_step_log *log, const char *model, const qd_step_report *report)
{
    cJSON *json = cJSON_CreateObject();
    char *line = NULL;
    bool built = json && cJSON_AddStringToObject(json, "model", model) &&
                 cJSON_AddItemToObject(json, "epoch", qd_json_int(report->epoch)) &&
                 cJSON_AddItemToObject(json, "step", qd_json_int(report->step)) &&
                 cJSON_AddItemToObject(json, "loss", qd_json_double(report->loss)) &&
                 cJSON_AddItemToObject(json, "lr", qd_json_double(report->lr)) &&
                 cJSON_AddItemToObject(json, "grad_norm", qd_json_double(report->grad_norm));
    if (built)
        line = qd_json_print_line(json);
    cJSON_Delete(json);
    if (!line)
        return qd_fail(log->ctx, QD_ERR_MEMORY, "step log '%s': out of memory", log->path);
    /* Flushed line by line: whoever watches the file sees every step. */
    bool written = fprintf(log->stream, "%s\n", line) > 0 && fflush(log->stream) == 0;
    int error = errno;
    free(line);
    return written ? QD_OK : qd_fail_errno(log->ctx, error, "step log '%s': cannot write", log->path);
}
