/* The corpora under tests/fuzz/corpus/, replayed without a fuzzer: files called good_… are accepted, all others
 * refused as bad input. What a fuzzer finds is added to them. */
#include "base/file.h"
#include "fuzz/fuzz_targets.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef enum qd_status target_fn(qd_context *ctx, const uint8_t *data, size_t size);

static void replay(const char *name, target_fn *target)
{
    qd_context *ctx = test_context_create(1);
    char *relative = qd_format("tests/fuzz/corpus/%s", name), *folder = fixture_source_path(relative);
    DIR *entries = opendir(folder);
    int accepted = 0, refused = 0;
    cr_assert_not_null(entries, "no folder %s", folder);
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = qd_format("%s/%s", folder, entry->d_name), *data = NULL;
        size_t size = 0;
        TEST_OK(ctx, qd_file_read(ctx, path, 1 << 20, &data, &size));
        const enum qd_status status = target(ctx, (const uint8_t *)data, size);
        const bool good = strncmp(entry->d_name, "good_", 5) == 0;
        cr_assert_eq(status, good ? QD_OK : QD_ERR_INPUT, "%s: %s, \"%s\"", path, qd_status_name(status),
                     qd_context_error(ctx));
        accepted += good;
        refused += !good;
        free(path);
        free(data);
    }
    cr_assert(accepted > 0 && refused > 0, "%s: %d files accepted, %d refused", folder, accepted, refused);
    closedir(entries);
    free(folder);
    free(relative);
    qd_context_destroy(ctx);
}

#define REPLAY_TEST(name)                                                                                            \
    Test(corpus, name)                                                                                               \
    {                                                                                                                \
        replay(#name, fuzz_##name);                                                                                  \
    }
FUZZ_TARGET_LIST(REPLAY_TEST)
