/* Files: whole or not at all. */
#include "base/file.h"
#include "base/error.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static qd_context *ctx;
static char *folder, *path;

static void setup(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "a.txt");
}

static void teardown(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(file, .init = setup, .fini = teardown);

static void expect_content(const char *expected)
{
    char *data;
    size_t size;
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 20, &data, &size));
    cr_expect_str_eq(data, expected);
    cr_expect_eq(size, strlen(expected));
    free(data);
}

/* ---- atomic writes ---- */

Test(file, a_commit_replaces_the_file)
{
    for (int i = 0; i < 3; i++) {
        qd_atomic_file file = {0};
        char text[32];
        snprintf(text, sizeof(text), "round %d", i);
        TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
        fputs(text, file.stream);
        if (i > 0)
            expect_content(i == 1 ? "round 0" : "round 1"); /* until the commit */
        TEST_OK(ctx, qd_atomic_commit(&file));
        cr_expect_null(file.stream);
        qd_atomic_abort(&file);
        expect_content(text);
        cr_expect_eq(test_folder_count(folder), 1);
    }
}

Test(file, an_abort_leaves_nothing)
{
    qd_atomic_file file = {0};
    test_file_write(path, "old", 3);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("new", file.stream);
    qd_atomic_abort(&file);
    qd_atomic_abort(&file);
    qd_atomic_abort(NULL);
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 1);
    TEST_FAILS(ctx, qd_atomic_commit(&(qd_atomic_file){.ctx = ctx}), QD_ERR_INTERNAL, "not open");
}

Test(file, a_relative_name_works)
{
    cr_assert_eq(chdir(folder), 0);
    qd_atomic_file file = {0};
    TEST_OK(ctx, qd_atomic_open(ctx, "a.txt", &file));
    fputs("here", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    expect_content("here");
    cr_assert_eq(chdir("/"), 0);
}

Test(file, permissions_follow_the_umask)
{
    qd_atomic_file file = {0};
    struct stat info;
    umask(027);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    TEST_OK(ctx, qd_atomic_commit(&file));
    cr_assert_eq(stat(path, &info), 0);
    cr_expect_eq(info.st_mode & 0777, 0640u);
}

/* What a killed writer left is taken over, however long it was. */
Test(file, a_left_over_is_taken_over)
{
    qd_atomic_file file = {0};
    char *temporary = test_folder_path(folder, "a.txt.tmp");
    test_file_write(temporary, "left over by another run", 24);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("new", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    expect_content("new");
    cr_expect_eq(test_folder_count(folder), 1);
    free(temporary);
}

Test(file, a_killed_writer_does_no_harm)
{
    test_file_write(path, "old", 3);
    const pid_t child = fork();
    if (child == 0) {
        qd_atomic_file file = {0};
        if (qd_atomic_open(ctx, path, &file) != QD_OK)
            _exit(1);
        fputs("half", file.stream);
        fflush(file.stream);
        raise(SIGKILL);
    }
    int outcome;
    cr_assert_eq(waitpid(child, &outcome, 0), child);
    cr_assert(WIFSIGNALED(outcome));
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 2, "the killed one's file");
    qd_atomic_file file = {0};
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("new", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    expect_content("new");
    cr_expect_eq(test_folder_count(folder), 1);
}

Test(file, two_writers_notice_each_other)
{
    qd_atomic_file first = {0}, second = {0};
    TEST_OK(ctx, qd_atomic_open(ctx, path, &first));
    TEST_FAILS(ctx, qd_atomic_open(ctx, path, &second), QD_ERR_IO, "another writer is at work");
    cr_expect_null(second.stream);
    fputs("first", first.stream);
    TEST_OK(ctx, qd_atomic_commit(&first));
    TEST_OK(ctx, qd_atomic_open(ctx, path, &second));
    qd_atomic_abort(&second);
    expect_content("first");
}

/* /dev/full fails a write as a full disk does: with ENOSPC, when the stream is flushed. */
Test(file, a_full_disk_at_the_flush_leaves_the_old_file)
{
    qd_atomic_file file = {0};
    test_file_write(path, "old", 3);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    file.stream = freopen("/dev/full", "wb", file.stream);
    cr_assert_not_null(file.stream);
    fputs("new", file.stream);
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "No space left on device");
    cr_expect_null(file.stream);
    cr_expect_null(file.path);
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 1);
}

Test(file, a_full_disk_before_the_commit_is_not_forgotten)
{
    qd_atomic_file file = {0};
    test_file_write(path, "old", 3);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    file.stream = freopen("/dev/full", "wb", file.stream);
    cr_assert_not_null(file.stream);
    fputs("new", file.stream);
    cr_assert_neq(fflush(file.stream), 0, "the caller looks away");
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "an earlier write failed");
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 1);
}

/* A pipe takes every byte and has no fsync(). */
Test(file, a_failed_sync_leaves_the_old_file)
{
    qd_atomic_file file = {0};
    int ends[2];
    test_file_write(path, "old", 3);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(dup2(ends[1], fileno(file.stream)), fileno(file.stream));
    fputs("new", file.stream);
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "syncing to disk: Invalid argument");
    close(ends[0]);
    close(ends[1]);
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 1);
}

/* A real file that may grow no further. */
Test(file, a_size_limit_leaves_the_old_file)
{
    const struct rlimit limit = {.rlim_cur = 1000, .rlim_max = RLIM_INFINITY};
    qd_atomic_file file = {0};
    test_file_write(path, "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int i = 0; i < 2000; i++)
        fputc('x', file.stream);
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "File too large");
    expect_content("old");
    cr_expect_eq(test_folder_count(folder), 1);
}

Test(file, a_failed_rename_leaves_nothing_behind)
{
    qd_atomic_file file = {0};
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("new", file.stream);
    cr_assert_eq(mkdir(path, 0777), 0); /* a folder appears where the file should stand */
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "Is a directory");
    cr_expect_eq(test_folder_count(folder), 1);
    TEST_FAILS(ctx, qd_atomic_open(ctx, path, &file), QD_ERR_IO, "found a folder");
    cr_expect_eq(test_folder_count(folder), 1);
}

/* Renaming over a link would replace the link, and over /dev/stdout take it from every program. */
Test(file, links_are_written_through)
{
    qd_atomic_file file = {0};
    struct stat info;
    char *link = test_folder_path(folder, "link"), *nowhere = test_folder_path(folder, "nowhere");
    test_file_write(path, "old", 3);
    cr_assert_eq(symlink(path, link), 0);
    TEST_OK(ctx, qd_atomic_open(ctx, link, &file));
    fputs("new", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    cr_assert_eq(lstat(link, &info), 0);
    cr_expect(S_ISLNK(info.st_mode));
    expect_content("new");
    cr_assert_eq(unlink(link), 0);
    cr_assert_eq(symlink(nowhere, link), 0);
    TEST_OK(ctx, qd_atomic_open(ctx, link, &file));
    TEST_OK(ctx, qd_atomic_commit(&file));
    cr_assert_eq(lstat(link, &info), 0);
    cr_expect(S_ISREG(info.st_mode), "a link to nowhere gives way");
    cr_expect_eq(test_folder_count(folder), 2);
    free(nowhere);
    free(link);
}

Test(file, pipes_and_devices_are_written_to_as_they_are)
{
    qd_atomic_file file = {0};
    struct stat info;
    char got[8] = "";
    cr_assert_eq(mkfifo(path, 0666), 0);
    const int reader = open(path, O_RDONLY | O_NONBLOCK);
    cr_assert_geq(reader, 0);
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("new", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    cr_expect_eq(read(reader, got, sizeof got), 3);
    cr_expect_str_eq(got, "new");
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    qd_atomic_abort(&file);
    cr_assert_eq(stat(path, &info), 0);
    cr_expect(S_ISFIFO(info.st_mode), "the pipe is still there");
    cr_expect_eq(test_folder_count(folder), 1);
    close(reader);
    TEST_OK(ctx, qd_atomic_open(ctx, "/dev/full", &file));
    fputs("new", file.stream);
    TEST_FAILS(ctx, qd_atomic_commit(&file), QD_ERR_IO, "No space left on device");
}

Test(file, links_are_not_followed_to_the_temporary_name)
{
    qd_atomic_file file = {0};
    char *temporary = test_folder_path(folder, "a.txt.tmp"), *victim = test_folder_path(folder, "victim");
    test_file_write(victim, "precious", 8);
    cr_assert_eq(symlink(victim, temporary), 0);
    TEST_FAILS(ctx, qd_atomic_open(ctx, path, &file), QD_ERR_IO, "cannot create");
    cr_expect_null(file.stream);
    struct stat info;
    cr_assert_eq(stat(victim, &info), 0);
    cr_expect_eq(info.st_size, 8);
    free(temporary);
    free(victim);
}

Test(file, a_missing_folder_is_named)
{
    qd_atomic_file file = {0};
    char *nowhere = test_folder_path(folder, "no\nsuch/a.txt");
    TEST_FAILS(ctx, qd_atomic_open(ctx, nowhere, &file), QD_ERR_IO, "no\\x0Asuch/a.txt.tmp': No such file");
    cr_expect_null(file.path);
    free(nowhere);
}

/* ---- reading ---- */

Test(file, whole_files_are_read)
{
    char *data;
    size_t size;
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000};
    char *bytes = malloc(100000);
    cr_assert_not_null(bytes);
    for (size_t i = 0; i < 100000; i++)
        bytes[i] = (char)(i * 7);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        test_file_write(path, bytes, sizes[i]);
        TEST_OK(ctx, qd_file_read(ctx, path, sizes[i], &data, &size));
        cr_expect_eq(size, sizes[i]);
        cr_expect_eq(memcmp(data, bytes, size), 0);
        cr_expect_eq(data[size], '\0');
        free(data);
        TEST_OK(ctx, qd_file_read(ctx, path, SIZE_MAX, &data, &size));
        free(data);
        if (sizes[i] > 0)
            TEST_FAILS(ctx, qd_file_read(ctx, path, sizes[i] - 1, &data, &size), QD_ERR_INPUT, "expected at most");
    }
    free(bytes);
}

/* Sizes that stat() does not tell. */
Test(file, streams_are_read_to_their_end)
{
    char *data;
    size_t size;
    TEST_OK(ctx, qd_file_read(ctx, "/proc/self/status", 1 << 20, &data, &size));
    cr_expect_not_null(strstr(data, "Name:"));
    free(data);
    TEST_FAILS(ctx, qd_file_read(ctx, "/dev/zero", 100000, &data, &size), QD_ERR_INPUT, "at most 100000 bytes");
    int ends[2];
    char name[64];
    char *bytes = calloc(1, 50000);
    cr_assert_not_null(bytes);
    cr_assert_eq(pipe(ends), 0);
    snprintf(name, sizeof(name), "/dev/fd/%d", ends[0]);
    cr_assert_eq(write(ends[1], bytes, 50000), 50000);
    close(ends[1]);
    TEST_OK(ctx, qd_file_read(ctx, name, 50000, &data, &size));
    cr_expect_eq(size, 50000u);
    free(data);
    free(bytes);
    close(ends[0]);
}

Test(file, what_cannot_be_read_is_named)
{
    char *data = NULL;
    size_t size = 7;
    TEST_FAILS(ctx, qd_file_read(ctx, path, 100, &data, &size), QD_ERR_INPUT, "a.txt': No such file or directory");
    TEST_FAILS(ctx, qd_file_read(ctx, folder, 100, &data, &size), QD_ERR_INPUT, "expected a file, found a folder");
    cr_expect_null(data);
    cr_expect_eq(size, 7u, "results are set only on success");
}

/* ---- folders, text ---- */

Test(file, folders_are_made_with_their_parents)
{
    char *deep = test_folder_path(folder, "x//y/z/"), *below = test_folder_path(folder, "x/y/z");
    TEST_OK(ctx, qd_folder_create(ctx, deep));
    TEST_OK(ctx, qd_folder_create(ctx, deep));
    TEST_OK(ctx, qd_folder_create(ctx, "/"));
    cr_expect(qd_file_exists(below));
    cr_expect_not(qd_file_exists(path));
    test_file_write(path, "", 0);
    cr_expect(qd_file_exists(path));
    TEST_FAILS(ctx, qd_folder_create(ctx, path), QD_ERR_IO, "a.txt' is there and is no folder");
    char *through = test_folder_path(folder, "a.txt/b");
    TEST_FAILS(ctx, qd_folder_create(ctx, through), QD_ERR_IO, "a.txt' is there and is no folder");
    TEST_FAILS(ctx, qd_folder_create(ctx, ""), QD_ERR_IO, "No such file");
    free(through);
    free(deep);
    free(below);
}

Test(file, format_makes_text_of_any_length)
{
    char *text = qd_format("%0*d", 10000, 7);
    cr_assert_not_null(text);
    cr_expect_eq(strlen(text), 10000u);
    cr_expect_eq(text[9999], '7');
    free(text);
}
