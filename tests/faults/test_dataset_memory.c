/* Every allocation of dataset/ in the calling thread fails once: the call says so and frees what it had. */
#include "base/file.h"
#include "dataset/image_io.h"
#include "dataset/synth.h"
#include "each_allocation.h"
#include "failing_memory.h"
#include "support/fixture.h"
#include "support/pixel_facts.h"
#include "support/test_context.h"
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *image_path;
static enum qd_on_bad_image on_bad;
static qd_dataset *opened;

/* A small folder: each kind of file twice is enough for every path of the code. */
static void fill_folder(void)
{
    static const char *const names[] = {"cat/a.jpg", "cat/b.png", "dog/sub/a.jpg", "dog/b.png"};
    static const char *const sources[] = {"pixels/train/jpeg/444_progressive.jpeg", "pixels/train/png/palette4.png",
                                          "pixels/train/inks/cmyk_adobe.jpg", "pixels/train/png/rgb8_interlaced.PNG"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        size_t bytes;
        char *data = fixture_read(sources[i], &bytes);
        char *path = test_folder_path(folder, names[i]);
        char *slash = strrchr(path, '/');
        *slash = '\0';
        TEST_OK(ctx, qd_folder_create(ctx, path));
        *slash = '/';
        test_file_write(path, data, bytes);
        free(path);
        free(data);
    }
}

static void setup(void)
{
    if (!failing_memory_available())
        cr_skip_test("a sanitizer has an allocator of its own");
    ctx = test_context_create(1);
    folder = test_folder_create();
    fill_folder();
    TEST_OK(ctx, qd_dataset_open(ctx, folder, QD_BAD_IMAGE_ERROR, &opened));
}

static void teardown(void)
{
    qd_dataset_destroy(opened);
    free(image_path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(dataset_memory, .init = setup, .fini = teardown);

static enum qd_status open_dataset(void)
{
    qd_dataset *dataset;
    QD_TRY(qd_dataset_open(ctx, folder, on_bad, &dataset));
    cr_assert_eq(qd_dataset_count(dataset), 4, "short memory must not look like an unreadable file");
    qd_dataset_destroy(dataset);
    return QD_OK;
}

Test(dataset_memory, scanning)
{
    on_bad = QD_BAD_IMAGE_ERROR;
    cr_expect_geq(test_fail_each_allocation(ctx, open_dataset, NULL, NULL), 20);
    on_bad = QD_BAD_IMAGE_SKIP;
    cr_expect_geq(test_fail_each_allocation(ctx, open_dataset, NULL, NULL), 40);
}

static enum qd_status read_image(void)
{
    qd_image image, resized;
    QD_TRY(qd_image_read(ctx, image_path, &image));
    enum qd_status status = qd_image_resize(ctx, &image, 9, 7, &resized);
    if (status == QD_OK)
        qd_image_free(&resized);
    qd_image_free(&image);
    return status;
}

Test(dataset_memory, reading_and_resizing)
{
    static const char *const files[] = {"train/jpeg/420_odd.jpg", "train/jpeg/444_progressive.jpeg",
                                        "train/inks/ycck.jpg", "train/png/palette_short.png", "train/png/rgba16.png"};
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        free(image_path);
        image_path = pixel_facts_path(files[i]);
        cr_expect_geq(test_fail_each_allocation(ctx, read_image, NULL, NULL), 5);
    }
}

static enum qd_status load_images(void)
{
    const int64_t indices[] = {3, 0, 1, 2};
    static float out[4 * 16 * 16 * 3];
    return qd_dataset_load_eval(ctx, opened, indices, 4, 16, 1, out, NULL);
}

Test(dataset_memory, loading_for_evaluation)
{
    cr_expect_geq(test_fail_each_allocation(ctx, load_images, NULL, NULL), 20);
}

static enum qd_status make_loader(void)
{
    qd_loader_config config = {.dataset = opened,
                               .batch_size = 2,
                               .image_size = 16,
                               .training = true,
                               .loader_threads = 2,
                               .prefetch_batches = 1,
                               .cache_images = true,
                               .keep_bytes = true};
    qd_loader *loader;
    QD_TRY(qd_loader_create(ctx, &config, &loader));
    qd_loader_destroy(loader);
    return QD_OK;
}

Test(dataset_memory, making_a_loader)
{
    /* The C library keeps what it allocates for a thread to give it to the next one: not a leak, once it is there. */
    TEST_OK(ctx, make_loader());
    cr_expect_geq(test_fail_each_allocation(ctx, make_loader, NULL, NULL), 8);
}

static enum qd_status encode_pictures(void)
{
    qd_synth_config config = qd_synth_defaults();
    qd_image image;
    uint8_t *bytes;
    size_t size;
    config.size = 16;
    QD_TRY(qd_synth_draw_image(ctx, &config, true, QD_SYNTH_STARS, 0, &image));
    enum qd_status status = qd_image_encode_jpeg(ctx, &image, true, &bytes, &size);
    if (status == QD_OK) {
        free(bytes);
        status = qd_image_encode_png(ctx, &image, false, &bytes, &size);
    }
    if (status == QD_OK)
        free(bytes);
    qd_image_free(&image);
    return status;
}

Test(dataset_memory, drawing_and_encoding)
{
    cr_expect_geq(test_fail_each_allocation(ctx, encode_pictures, NULL, NULL), 10);
}

static enum qd_status check_classes(void)
{
    return qd_dataset_check_classes(ctx, opened, opened);
}

Test(dataset_memory, comparing_classes)
{
    cr_expect_geq(test_fail_each_allocation(ctx, check_classes, NULL, NULL), 2);
}
