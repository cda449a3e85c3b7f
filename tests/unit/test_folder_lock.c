/* Locks on folders, hashes of files, second names. */
#include "base/file.h"
#include "base/folder_lock.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static qd_context *ctx;
static char *folder;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
}

static void tear_down(void)
{
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(folder_lock, .init = set_up, .fini = tear_down);

Test(folder_lock, the_second_is_refused_and_told_who_is_first)
{
    qd_folder_lock first = {0}, second = {0};
    int64_t pid;
    char who[64];
    cr_assert_not(qd_folder_lock_is_held(folder, &pid));
    TEST_OK(ctx, qd_folder_lock_take(ctx, folder, &first));
    snprintf(who, sizeof who, "process %lld is at work", (long long)getpid());
    TEST_FAILS(ctx, qd_folder_lock_take(ctx, folder, &second), QD_ERR_IO, who);
    cr_assert(qd_folder_lock_is_held(folder, &pid));
    cr_assert_eq(pid, getpid());
    qd_folder_lock_release(&second); /* holds nothing */
    cr_assert(qd_folder_lock_is_held(folder, &pid));
    qd_folder_lock_release(&first);
    cr_assert_not(qd_folder_lock_is_held(folder, &pid));
    cr_assert_eq(test_folder_count(folder), 0, "nothing is left behind");
    TEST_OK(ctx, qd_folder_lock_take(ctx, folder, &second));
    qd_folder_lock_release(&second);
    TEST_FAILS(ctx, qd_folder_lock_take(ctx, "no/such/folder", &second), QD_ERR_IO, "no/such/folder");
}

Test(folder_lock, a_killed_holder_holds_nothing)
{
    int ready[2];
    int64_t pid;
    char byte = 0;
    qd_folder_lock lock = {0};
    cr_assert_eq(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        const bool taken = qd_folder_lock_take(ctx, folder, &lock) == QD_OK;
        if (write(ready[1], taken ? "y" : "n", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(byte, 'y');
    cr_assert(qd_folder_lock_is_held(folder, &pid));
    cr_assert_eq(pid, child);
    cr_assert_eq(kill(child, SIGKILL), 0);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_not(qd_folder_lock_is_held(folder, &pid));
    cr_assert_eq(test_folder_count(folder), 1, "its file is still there");
    TEST_OK(ctx, qd_folder_lock_take(ctx, folder, &lock));
    qd_folder_lock_release(&lock);
    cr_assert_eq(test_folder_count(folder), 0);
    close(ready[0]);
    close(ready[1]);
}

Test(folder_lock, hashes_are_those_of_sha256sum)
{
    char *path = test_folder_path(folder, "abc"), hash[65];
    test_file_write(path, "abc", 3);
    TEST_OK(ctx, qd_file_sha256(ctx, path, hash));
    cr_assert_str_eq(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); /* FIPS 180-2, B.1 */
    TEST_FAILS(ctx, qd_file_sha256(ctx, "no/such/file", hash), QD_ERR_INPUT, "no/such/file");
    TEST_FAILS(ctx, qd_file_sha256(ctx, folder, hash), QD_ERR_IO, folder);
    free(path);
}

Test(folder_lock, a_second_name_follows_its_file_once)
{
    char *path = test_folder_path(folder, "last"), *name = test_folder_path(folder, "best"), *text;
    size_t size;
    test_file_write(path, "one", 3);
    TEST_OK(ctx, qd_file_name_too(ctx, path, name));
    TEST_OK(ctx, qd_file_name_too(ctx, path, name)); /* it is that already */
    cr_assert_eq(test_folder_count(folder), 2);
    qd_atomic_file file;
    TEST_OK(ctx, qd_atomic_open(ctx, path, &file));
    fputs("two", file.stream);
    TEST_OK(ctx, qd_atomic_commit(&file));
    TEST_OK(ctx, qd_file_read(ctx, name, 10, &text, &size));
    cr_assert_str_eq(text, "one", "what replaces the file leaves the other name alone");
    free(text);
    TEST_OK(ctx, qd_file_name_too(ctx, path, name));
    TEST_OK(ctx, qd_file_read(ctx, name, 10, &text, &size));
    cr_assert_str_eq(text, "two");
    free(text);
    TEST_FAILS(ctx, qd_file_name_too(ctx, "no/such/file", name), QD_ERR_INPUT, "no/such/file");
    cr_assert_eq(test_folder_count(folder), 2);
    free(path);
    free(name);
}
