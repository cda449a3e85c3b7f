/* ZIP archives of stored (uncompressed) entries: what torch.save makes of a file. */
#ifndef QD_FORMATS_ZIP_ARCHIVE_H
#define QD_FORMATS_ZIP_ARCHIVE_H

#include <quantdrift/context.h>

typedef struct qd_zip qd_zip;

/*
 * Opens an archive and checks its directory: consistent with the entries, no name twice, every entry stored without
 * compression or encryption, and all of them together no larger than the file. So nothing read from it takes more
 * memory than the file has bytes. `path` names the file in errors; takes over `descriptor` in any case. Errors:
 * QD_ERR_INPUT, QD_ERR_IO, QD_ERR_MEMORY.
 */
enum qd_status qd_zip_open(qd_context *ctx, const char *path, int descriptor, qd_zip **out);
void qd_zip_close(qd_zip *zip);

int64_t qd_zip_count(const qd_zip *zip);
const char *qd_zip_name(const qd_zip *zip, int64_t index);
size_t qd_zip_size(const qd_zip *zip, int64_t index);

/* Index of an entry; -1 when there is none. */
int64_t qd_zip_find(const qd_zip *zip, const char *name);

/* Reads a whole entry into data[qd_zip_size()] and checks its CRC-32. Errors: QD_ERR_INPUT, QD_ERR_IO. */
enum qd_status qd_zip_read(const qd_zip *zip, int64_t index, void *data);

#endif
