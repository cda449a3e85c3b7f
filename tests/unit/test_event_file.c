/* Event files: the checksum, and what a record says when another reader of the schema unpacks it. */
#include "base/file.h"
#include "formats/event_file.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "tensorboard.pb-c.h"
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

TestSuite(event_file);

Test(event_file, crc32c_is_castagnolis)
{
    /* RFC 3720, appendix B.4; and the check value of the CRC catalogues. */
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    cr_assert_eq(qd_crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    cr_assert_eq(qd_crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    cr_assert_eq(qd_crc32c(bytes, 32), 0x46dd794eu);
    cr_assert_eq(qd_crc32c("123456789", 9), 0xe3069283u);
}

/* The only file of a folder, whole. */
static char *read_only_file(const char *folder, size_t *size)
{
    char *bytes = NULL;
    DIR *entries = opendir(folder);
    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (strncmp(entry->d_name, "events.out.tfevents.", 20) != 0)
            continue;
        char *path = test_folder_path(folder, entry->d_name);
        cr_assert_eq(qd_file_read(NULL, path, 1 << 20, &bytes, size), QD_OK);
        free(path);
    }
    closedir(entries);
    cr_assert_not_null(bytes);
    return bytes;
}

/* The event at *at, which moves behind it. */
static QdTensorboard__Event *next_event(const char *bytes, size_t size, size_t *at)
{
    uint64_t length;
    cr_assert_leq(*at + 16, size);
    memcpy(&length, bytes + *at, sizeof length);
    QdTensorboard__Event *event = qd_tensorboard__event__unpack(NULL, length, (const uint8_t *)bytes + *at + 12);
    cr_assert_not_null(event);
    *at += 16 + length;
    return event;
}

Test(event_file, says_what_was_written)
{
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create();
    qd_event_file *file;
    const float values[] = {-1.0f, 0.0f, 0.5f, 3.0f, 3.0f, NAN, INFINITY};
    size_t size, at = 0;
    TEST_OK(ctx, qd_event_file_create(ctx, folder, 4, &file));
    TEST_OK(ctx, qd_event_file_scalar(file, "loss/val", 4, 0.25));
    TEST_OK(ctx, qd_event_file_histogram(file, "parameters/w", 4, values, 7));
    TEST_OK(ctx, qd_event_file_histogram(file, "parameters/constant", 4, values, 1));
    TEST_OK(ctx, qd_event_file_flush(file));
    qd_event_file_close(file);
    char *bytes = read_only_file(folder, &size);

    QdTensorboard__Event *event = next_event(bytes, size, &at);
    cr_assert_str_eq(event->file_version, "brain.Event:2");
    qd_tensorboard__event__free_unpacked(event, NULL);
    event = next_event(bytes, size, &at);
    cr_assert_eq(event->step, 4);
    cr_assert_eq(event->session_log->status, 1, "no start: older files' later steps stay valid");
    qd_tensorboard__event__free_unpacked(event, NULL);
    event = next_event(bytes, size, &at);
    cr_assert_str_eq(event->summary->value[0]->tag, "loss/val");
    cr_assert_eq(event->summary->value[0]->simple_value, 0.25f);
    cr_assert_gt(event->wall_time, 1.6e9);
    qd_tensorboard__event__free_unpacked(event, NULL);

    event = next_event(bytes, size, &at);
    const QdTensorboard__Histogram *h = event->summary->value[0]->histo;
    cr_assert_eq(h->num, 5.0, "values that are not finite are left out");
    cr_assert_eq(h->min, -1.0);
    cr_assert_eq(h->max, 3.0);
    cr_assert_eq(h->sum, 5.5);
    cr_assert_eq(h->sum_squares, 1.0 + 0.25 + 9.0 + 9.0);
    cr_assert_eq(h->n_bucket, 64);
    cr_assert_eq(h->n_bucket_limit, 64);
    double total = 0.0;
    for (int b = 0; b < 64; b++) {
        total += h->bucket[b];
        cr_assert(b == 0 || h->bucket_limit[b] > h->bucket_limit[b - 1]);
    }
    cr_assert_eq(total, 5.0);
    cr_assert_eq(h->bucket[0], 1.0);
    cr_assert_eq(h->bucket[63], 2.0);
    cr_assert_eq(h->bucket_limit[63], 3.0);
    qd_tensorboard__event__free_unpacked(event, NULL);
    event = next_event(bytes, size, &at);
    cr_assert_eq(event->summary->value[0]->histo->bucket[0], 1.0, "a constant falls into the first bin");
    qd_tensorboard__event__free_unpacked(event, NULL);
    cr_assert_eq(at, size);

    /* A second file of the same second gets a name of its own. */
    TEST_OK(ctx, qd_event_file_create(ctx, folder, 5, &file));
    qd_event_file_close(file);
    cr_assert_eq(test_folder_count(folder), 2);
    TEST_FAILS(ctx, qd_event_file_create(ctx, "/no/such/folder", 0, &file), QD_ERR_IO, "/no/such/folder");
    free(bytes);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}
