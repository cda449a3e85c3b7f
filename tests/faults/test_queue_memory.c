/* Every allocation of expanding experiment files fails once. */
#include "each_allocation.h"
#include "failing_memory.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <quantdrift/queue.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void write_file(const char *name, const char *text)
{
    char *file = test_folder_path(folder, name);
    test_file_write(file, text, strlen(text));
    free(file);
}

static void setup(void)
{
    if (!failing_memory_available())
        cr_skip_test("a sanitizer has an allocator of its own");
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "top.json");
    write_file("ground.json", "{\"lr\": 0.5}");
    write_file("top.json", "{\"base\": \"ground.json\", \"grid\": {\"quantization.enabled\": [true, false],"
                           " \"v\": [{\"name\": \"a\", \"models\": [\"resnet18\"]}]}}");
}

static void teardown(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(queue_memory, .init = setup, .fini = teardown);

static enum qd_status expand(void)
{
    qd_queue *queue = NULL;
    enum qd_status status = qd_queue_create(ctx, &queue);
    if (status == QD_OK)
        status = qd_queue_add(queue, path, NULL, NULL);
    qd_queue_destroy(queue);
    return status;
}

Test(queue_memory, a_grid_over_a_base)
{
    cr_expect_gt(test_fail_each_allocation(ctx, expand, NULL, NULL), 50);
}
