/* Every allocation of base/ and formats/ fails once: the call says so, frees what it had, and leaves old files alone.
 */
#include "base/arena.h"
#include "base/file.h"
#include "base/json.h"
#include "each_allocation.h"
#include "failing_memory.h"
#include "formats/safetensors.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void setup(void)
{
    if (!failing_memory_available())
        cr_skip_test("a sanitizer has an allocator of its own");
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "file");
}

static void teardown(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(memory_faults, .init = setup, .fini = teardown);

static void write_old_file(void)
{
    test_file_write(path, "old", 3);
}

static void expect_old_file_only(void)
{
    char *data;
    size_t size;
    TEST_OK(ctx, qd_file_read(ctx, path, 100, &data, &size));
    cr_expect_str_eq(data, "old");
    free(data);
    cr_expect_eq(test_folder_count(folder), 1);
}

static enum qd_status create_context(void)
{
    qd_context *created = NULL;
    enum qd_status status = qd_context_create(NULL, &created);
    qd_context_destroy(created);
    return status;
}

Test(memory_faults, context)
{
    cr_expect_geq(test_fail_each_allocation(ctx, create_context, NULL, NULL), 1);
}

static enum qd_status create_arena(void)
{
    qd_arena arena = {0};
    enum qd_status status = qd_arena_create(ctx, 1000, "a test", &arena);
    qd_arena_destroy(&arena);
    return status;
}

Test(memory_faults, arena)
{
    cr_expect_eq(test_fail_each_allocation(ctx, create_arena, NULL, NULL), 1);
}

static enum qd_status parse_json(void)
{
    cJSON *root = NULL;
    enum qd_status status = qd_json_parse(
        ctx, "test", "{\"a\": [1, 2.5, 12345678901234567890], \"b\": {\"c\": \"text\", \"d\": null}, \"e\": true}",
        true, &root);
    cJSON_Delete(root);
    return status;
}

Test(memory_faults, json_parse)
{
    cr_expect_geq(test_fail_each_allocation(ctx, parse_json, NULL, NULL), 20);
}

static cJSON *tree;

static enum qd_status write_json(void)
{
    return qd_json_write(ctx, path, tree);
}

Test(memory_faults, json_write)
{
    TEST_OK(ctx, qd_json_parse(ctx, "test", "{\"a\": [1, 2.5], \"b\": \"text\"}", false, &tree));
    cr_expect_geq(test_fail_each_allocation(ctx, write_json, write_old_file, expect_old_file_only), 4);
    cJSON_Delete(tree);
}

static enum qd_status read_json(void)
{
    cJSON *root = NULL;
    enum qd_status status = qd_json_read(ctx, path, 1000, false, &root);
    cJSON_Delete(root);
    return status;
}

Test(memory_faults, json_read)
{
    test_file_write(path, "[1, 2]", 6);
    cr_expect_geq(test_fail_each_allocation(ctx, read_json, NULL, NULL), 5);
}

static enum qd_status make_folder(void)
{
    return qd_folder_create(ctx, path);
}

Test(memory_faults, folder)
{
    cr_expect_eq(test_fail_each_allocation(ctx, make_folder, NULL, NULL), 1);
}

static enum qd_status write_safetensors(void)
{
    static float values[6] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
    static const int64_t shape[] = {2, 3};
    static const qd_metadata_entry metadata[] = {{"a", "b"}, {"c", "d"}};
    qd_tensor tensors[2] = {qd_tensor_contiguous(QD_F32, 2, shape, values),
                            qd_tensor_contiguous(QD_F32, 0, NULL, values)};
    tensors[0].name = "first";
    tensors[1].name = "second";
    return qd_safetensors_write(ctx, path, tensors, 2, metadata, 2);
}

Test(memory_faults, safetensors_write)
{
    cr_expect_geq(test_fail_each_allocation(ctx, write_safetensors, write_old_file, expect_old_file_only), 30);
}

static enum qd_status read_safetensors(void)
{
    qd_safetensors *file = NULL;
    enum qd_status status = qd_safetensors_open(ctx, path, &file);
    qd_safetensors_close(file);
    return status;
}

Test(memory_faults, safetensors_read)
{
    TEST_OK(ctx, write_safetensors());
    cr_expect_geq(test_fail_each_allocation(ctx, read_safetensors, NULL, NULL), 30);
}
