/* Finding fixtures; making and removing temporary folders. */
#include "support/fixture.h"

#include "base/file.h"
#include <criterion/criterion.h>
#include <dirent.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *fixture_source_path(const char *relative)
{
    const char *root = getenv("QD_SOURCE_DIR");
    char *path = qd_format("%s/%s", root && *root ? root : ".", relative);
    cr_assert_not_null(path, "memory is short");
    return path;
}

char *fixture_path(const char *relative)
{
    char *below = qd_format("tests/fixtures/%s", relative);
    cr_assert_not_null(below, "memory is short");
    char *path = fixture_source_path(below);
    free(below);
    return path;
}

char *fixture_read(const char *relative, size_t *size)
{
    char *path = fixture_path(relative);
    char *data = NULL;
    size_t bytes = 0;
    cr_assert_eq(qd_file_read(NULL, path, SIZE_MAX, &data, &bytes), QD_OK,
                 "cannot read '%s': set QD_SOURCE_DIR or run from the top folder", path);
    free(path);
    if (size)
        *size = bytes;
    return data;
}

qd_safetensors *fixture_open(qd_context *ctx, const char *relative)
{
    char *path = fixture_path(relative);
    qd_safetensors *file = NULL;
    cr_assert_eq(qd_safetensors_open(ctx, path, &file), QD_OK, "%s", qd_context_error(ctx));
    free(path);
    return file;
}

const qd_tensor *fixture_tensor(const qd_safetensors *file, const char *name)
{
    const qd_tensor *tensor = qd_safetensors_find(file, name);
    cr_assert_not_null(tensor, "the fixture has no tensor '%s'", name);
    return tensor;
}

char *test_folder_create(void)
{
    const char *base = getenv("TMPDIR");
    char *folder = qd_format("%s/quantdrift-test-XXXXXX", base && *base ? base : "/tmp");
    cr_assert_not_null(folder, "memory is short");
    cr_assert_not_null(mkdtemp(folder), "cannot make '%s'", folder);
    return folder;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void test_folder_remove(char *folder)
{
    if (!folder)
        return;
    /* Depth first, never through a link. */
    cr_expect_eq(nftw(folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS), 0, "cannot remove '%s'", folder);
    free(folder);
}

char *test_folder_path(const char *folder, const char *name)
{
    char *path = qd_format("%s/%s", folder, name);
    cr_assert_not_null(path, "memory is short");
    return path;
}

void test_file_write(const char *path, const void *data, size_t bytes)
{
    FILE *stream = fopen(path, "wb");
    cr_assert_not_null(stream, "cannot create '%s'", path);
    cr_assert_eq(fwrite(data, 1, bytes, stream), bytes, "cannot write '%s'", path);
    cr_assert_eq(fclose(stream), 0, "cannot write '%s'", path);
}

int test_folder_count(const char *folder)
{
    DIR *stream = opendir(folder);
    int count = 0;
    cr_assert_not_null(stream, "cannot open '%s'", folder);
    for (const struct dirent *entry = readdir(stream); entry; entry = readdir(stream))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(stream);
    return count;
}
