/* Event files, as TensorBoard reads them: records of one protobuf message each, with checksums. */
#ifndef QD_FORMATS_EVENT_FILE_H
#define QD_FORMATS_EVENT_FILE_H

#include <quantdrift/context.h>

typedef struct qd_event_file qd_event_file;

/*
 * Creates "<folder>/events.out.tfevents.<seconds>.quantdrift", a name no other file has. What older files of the
 * folder say of steps from `first_step` on is void: a resumed run tells it again. Errors: QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_event_file_create(qd_context *ctx, const char *folder, int64_t first_step, qd_event_file **out);

/* One value of a curve. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_event_file_scalar(qd_event_file *file, const char *tag, int64_t step, double value);

/* The distribution of values[count], those that are finite, over 64 bins of equal width. Errors: as above. */
enum qd_status qd_event_file_histogram(qd_event_file *file, const char *tag, int64_t step, const float *values,
                                       int64_t count);

/* Hands everything to the operating system. Errors: QD_ERR_IO. */
enum qd_status qd_event_file_flush(qd_event_file *file);

/* Closes it; NULL is accepted. What was not flushed may be lost. */
void qd_event_file_close(qd_event_file *file);

/* CRC-32C (Castagnoli) of bytes[count]. */
uint32_t qd_crc32c(const void *bytes, size_t count);

#endif
