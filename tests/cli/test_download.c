/* scripts/get_imagewoof.sh against a local server: whole, interrupted, wrong. */
#include "base/file.h"
#include "base/sha256.h"
#include "cli/program.h"
#include "cli/range_server.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct stand_in {
    char *folder, *script, *archive, *log, *target;
    char *data; /* of the archive */
    size_t bytes;
    char sha256[65];
} stand_in;

/* A small archive of the same layout. */
static stand_in stand_in_create(void)
{
    stand_in s = {.folder = test_folder_create(), .script = fixture_source_path("scripts/get_imagewoof.sh")};
    char *command = qd_format("mkdir -p '%s/made/imagewoof2-320/train/n1' '%s/made/imagewoof2-320/val/n1' && "
                              "head -c 300000 /dev/urandom > '%s/made/imagewoof2-320/train/n1/a.JPEG' && "
                              "echo b > '%s/made/imagewoof2-320/val/n1/b.JPEG' && "
                              "tar -czf '%s/archive.tgz' -C '%s/made' imagewoof2-320",
                              s.folder, s.folder, s.folder, s.folder, s.folder, s.folder);
    cr_assert_eq(system(command), 0);
    free(command);
    s.archive = test_folder_path(s.folder, "archive.tgz");
    s.log = test_folder_path(s.folder, "log");
    s.target = test_folder_path(s.folder, "data");
    cr_assert_eq(qd_file_read(NULL, s.archive, SIZE_MAX, &s.data, &s.bytes), QD_OK);
    qd_sha256 hash;
    qd_sha256_init(&hash);
    qd_sha256_update(&hash, s.data, s.bytes);
    qd_sha256_finish(&hash, s.sha256);
    return s;
}

static void stand_in_destroy(stand_in *s)
{
    free(s->script);
    free(s->archive);
    free(s->log);
    free(s->target);
    free(s->data);
    test_folder_remove(s->folder);
}

static outcome download(const stand_in *s, int port, const char *sha256)
{
    char *url = qd_format("IMAGEWOOF_URL=http://127.0.0.1:%d/imagewoof2-320.tgz", port);
    char *hash = qd_format("IMAGEWOOF_SHA256=%s", sha256);
    outcome result = program_run(NULL, (const char *const[]){"env", "-u", "http_proxy", "no_proxy=127.0.0.1", url,
                                                             hash, s->script, s->target, NULL});
    free(url);
    free(hash);
    return result;
}

static void expect_unpacked(const stand_in *s)
{
    char *made = test_folder_path(s->folder, "made/imagewoof2-320");
    char *got = test_folder_path(s->target, "imagewoof2-320");
    outcome same = program_run(NULL, (const char *const[]){"diff", "-r", made, got, NULL});
    expect_done(&same);
    outcome_free(&same);
    free(made);
    free(got);
}

Test(download, verifies_and_unpacks)
{
    stand_in s = stand_in_create();
    range_server server = range_server_start(s.data, s.bytes, 0, 0, s.log);
    outcome result = download(&s, server.port, s.sha256);
    expect_done(&result);
    cr_assert_not_null(strstr(result.out, "1 training and 1 validation images"), "%s", result.out);
    outcome_free(&result);
    expect_unpacked(&s);
    range_server_stop(&server);
    /* The server is gone: what is there is not fetched again. */
    result = download(&s, server.port, s.sha256);
    expect_done(&result);
    cr_assert_not_null(strstr(result.out, "there already"), "%s", result.out);
    outcome_free(&result);
    stand_in_destroy(&s);
}

Test(download, continues_where_it_stopped)
{
    stand_in s = stand_in_create();
    /* curl counts a broken connection as no reason to retry by itself: the first call ends, the second continues. */
    range_server server = range_server_start(s.data, s.bytes, 1, 100000, s.log);
    outcome result = download(&s, server.port, s.sha256);
    cr_assert_eq(result.code, 1, "%s", result.err);
    cr_assert_not_null(strstr(result.err, "run this again to continue"), "%s", result.err);
    outcome_free(&result);
    result = download(&s, server.port, s.sha256);
    expect_done(&result);
    outcome_free(&result);
    expect_unpacked(&s);
    range_server_stop(&server);
    char *log = NULL;
    cr_assert_eq(qd_file_read(NULL, s.log, SIZE_MAX, &log, &(size_t){0}), QD_OK);
    cr_assert_str_eq(log, "0\n100000\n", "the second request begins behind what was there: %s", log);
    free(log);
    stand_in_destroy(&s);
}

Test(download, refuses_other_bytes)
{
    stand_in s = stand_in_create();
    range_server server = range_server_start(s.data, s.bytes, 0, 0, s.log);
    static const char wrong[] = "0000000000000000000000000000000000000000000000000000000000000000";
    outcome result = download(&s, server.port, wrong);
    cr_assert_eq(result.code, 1);
    cr_assert_not_null(strstr(result.err, "has another SHA-256 than 0000"), "%s", result.err);
    cr_assert_eq(test_folder_count(s.target), 0, "nothing wrong is left behind");
    outcome_free(&result);
    range_server_stop(&server);
    stand_in_destroy(&s);
}
