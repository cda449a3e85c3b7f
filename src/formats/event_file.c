/*
 * A record is its length (8 bytes), a masked CRC-32C of the length, the message, a masked CRC-32C of the message.
 * Source: tensorflow.org, "TFRecord and tf.train.Example"; RFC 3720, appendix B.4 for the checksum.
 */
#include "formats/event_file.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "tensorboard.pb-c.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What TensorBoard looks for in the first record, and the status that voids older files' later steps. */
#define FILE_VERSION  "brain.Event:2"
#define SESSION_START 1

/* Bins of a histogram: more than a plot has room for, few enough for hundreds of tensors an epoch. */
#define BIN_COUNT 64

/* Castagnoli's polynomial, bits reversed. */
#define CRC32C_POLYNOMIAL 0x82f63b78u

struct qd_event_file {
    qd_context *ctx;
    char *path;
    FILE *stream;
};

uint32_t qd_crc32c(const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < count; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC32C_POLYNOMIAL : 0);
    }
    return ~crc;
}

/* Records inside records would otherwise have checksums of checksums. */
static uint32_t masked_crc(const void *bytes, size_t count)
{
    const uint32_t crc = qd_crc32c(bytes, count);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static enum qd_status write_event(qd_event_file *file, QdTensorboard__Event *event)
{
    event->has_wall_time = true;
    event->wall_time = now_s();
    const uint64_t size = qd_tensorboard__event__get_packed_size(event);
    uint8_t *message = qd_calloc(size, 1);
    if (!message)
        return qd_fail(file->ctx, QD_ERR_MEMORY, "writing '%s': memory is short", file->path);
    qd_tensorboard__event__pack(event, message);
    const uint32_t size_crc = masked_crc(&size, sizeof size), message_crc = masked_crc(message, size);
    const bool written = fwrite(&size, sizeof size, 1, file->stream) == 1 &&
                         fwrite(&size_crc, sizeof size_crc, 1, file->stream) == 1 &&
                         fwrite(message, size, 1, file->stream) == 1 &&
                         fwrite(&message_crc, sizeof message_crc, 1, file->stream) == 1;
    const int error = errno;
    free(message);
    return written ? QD_OK : qd_fail_errno(file->ctx, error, "writing '%s'", file->path);
}

/* The first number of seconds for which there is no such file yet. */
static enum qd_status create_stream(qd_event_file *file, const char *folder)
{
    for (long long seconds = (long long)now_s();; seconds++) {
        free(file->path);
        file->path = qd_format("%s/events.out.tfevents.%010lld.quantdrift", folder, seconds);
        if (!file->path)
            return qd_fail(file->ctx, QD_ERR_MEMORY, "writing into '%s': memory is short", folder);
        file->stream = fopen(file->path, "wbx");
        if (file->stream)
            return QD_OK;
        if (errno != EEXIST)
            return qd_fail_errno(file->ctx, errno, "writing '%s'", file->path);
    }
}

enum qd_status qd_event_file_create(qd_context *ctx, const char *folder, int64_t first_step, qd_event_file **out)
{
    char version[] = FILE_VERSION;
    QdTensorboard__SessionLog log = QD_TENSORBOARD__SESSION_LOG__INIT;
    QdTensorboard__Event first = QD_TENSORBOARD__EVENT__INIT, start = QD_TENSORBOARD__EVENT__INIT;
    enum qd_status status = QD_OK;
    qd_event_file *file = qd_calloc(1, sizeof *file);
    if (!file)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing into '%s': memory is short", folder);
    file->ctx = ctx;
    QD_TRY_GOTO(create_stream(file, folder));
    first.file_version = version;
    QD_TRY_GOTO(write_event(file, &first));
    log.has_status = true;
    log.status = SESSION_START;
    start.session_log = &log;
    start.has_step = true;
    start.step = first_step;
    QD_TRY_GOTO(write_event(file, &start));
    *out = file;
    return QD_OK;
fail:
    qd_event_file_close(file);
    return status;
}

static enum qd_status write_value(qd_event_file *file, const char *tag, int64_t step, QdTensorboard__Value *value)
{
    QdTensorboard__Event event = QD_TENSORBOARD__EVENT__INIT;
    QdTensorboard__Summary summary = QD_TENSORBOARD__SUMMARY__INIT;
    char *copy = strdup(tag); /* the generated struct has no const text */
    if (!copy)
        return qd_fail(file->ctx, QD_ERR_MEMORY, "writing '%s': memory is short", file->path);
    value->tag = copy;
    summary.value = &value;
    summary.n_value = 1;
    event.summary = &summary;
    event.has_step = true;
    event.step = step;
    const enum qd_status status = write_event(file, &event);
    free(copy);
    return status;
}

enum qd_status qd_event_file_scalar(qd_event_file *file, const char *tag, int64_t step, double value)
{
    QdTensorboard__Value message = QD_TENSORBOARD__VALUE__INIT;
    message.has_simple_value = true;
    message.simple_value = (float)value;
    return write_value(file, tag, step, &message);
}

enum qd_status qd_event_file_histogram(qd_event_file *file, const char *tag, int64_t step, const float *values,
                                       int64_t count)
{
    QdTensorboard__Value message = QD_TENSORBOARD__VALUE__INIT;
    QdTensorboard__Histogram histogram = QD_TENSORBOARD__HISTOGRAM__INIT;
    double low = INFINITY, high = -INFINITY, limits[BIN_COUNT], counts[BIN_COUNT] = {0};
    for (int64_t i = 0; i < count; i++) {
        const double v = (double)values[i];
        if (!isfinite(v))
            continue;
        low = v < low ? v : low;
        high = v > high ? v : high;
        histogram.num += 1.0;
        histogram.sum += v;
        histogram.sum_squares += v * v;
    }
    if (histogram.num == 0.0)
        low = high = 0.0;
    const double width = high > low ? (high - low) / BIN_COUNT : 1.0;
    for (int b = 0; b < BIN_COUNT; b++)
        limits[b] = b == BIN_COUNT - 1 && high > low ? high : low + width * (b + 1);
    for (int64_t i = 0; i < count; i++) {
        const double v = (double)values[i];
        if (isfinite(v))
            counts[(int)fmin((v - low) / width, BIN_COUNT - 1)] += 1.0;
    }
    histogram.has_min = histogram.has_max = histogram.has_num = histogram.has_sum = histogram.has_sum_squares = true;
    histogram.min = low;
    histogram.max = high;
    histogram.bucket_limit = limits;
    histogram.bucket = counts;
    histogram.n_bucket_limit = histogram.n_bucket = BIN_COUNT;
    message.histo = &histogram;
    return write_value(file, tag, step, &message);
}

enum qd_status qd_event_file_flush(qd_event_file *file)
{
    return fflush(file->stream) == 0 ? QD_OK : qd_fail_errno(file->ctx, errno, "writing '%s'", file->path);
}

void qd_event_file_close(qd_event_file *file)
{
    if (!file)
        return;
    if (file->stream)
        (void)fclose(file->stream);
    free(file->path);
    free(file);
}
