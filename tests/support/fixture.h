/* Files of tests: what is committed under tests/fixtures/, and a temporary folder. Failures end the test. */
#ifndef TESTS_SUPPORT_FIXTURE_H
#define TESTS_SUPPORT_FIXTURE_H

#include "formats/safetensors.h"
#include <stddef.h>

/* Path of a file of the source tree, below the environment variable QD_SOURCE_DIR or the working folder.
 * Freed with free(). */
char *fixture_source_path(const char *relative);

/* Path of tests/fixtures/<relative>. Freed with free(). */
char *fixture_path(const char *relative);

/* Whole file of tests/fixtures/ with a NUL behind it; `size` may be NULL. Freed with free(). */
char *fixture_read(const char *relative, size_t *size);

/* A safetensors file of tests/fixtures/, checked; freed with qd_safetensors_close(). And one of its tensors, which
 * the test cannot do without. */
qd_safetensors *fixture_open(qd_context *ctx, const char *relative);
const qd_tensor *fixture_tensor(const qd_safetensors *file, const char *name);

/* A new empty folder below TMPDIR or /tmp. Removed with everything in it by test_folder_remove(), which also frees
 * the path and accepts NULL. */
char *test_folder_create(void);
void test_folder_remove(char *folder);

/* "<folder>/<name>". Freed with free(). */
char *test_folder_path(const char *folder, const char *name);

/* Writes a file of exactly these bytes, with plain stdio. */
void test_file_write(const char *path, const void *data, size_t bytes);

/* Number of entries of a folder, to see what is left behind. */
int test_folder_count(const char *folder);

#endif
