/* Decoding, resizing and the validation transform, byte for byte against Pillow and torchvision. */
#include "base/file.h"
#include "dataset/resize.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/pixel_facts.h"
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

static qd_image read_fact_image(qd_context *ctx, const char *file)
{
    qd_image image;
    char *path = pixel_facts_path(file);
    TEST_OK(ctx, qd_image_read(ctx, path, &image));
    free(path);
    return image;
}

static size_t image_bytes(const qd_image *image)
{
    return (size_t)image->width * (size_t)image->height * 3;
}

Test(dataset_pixels, every_kind_of_file_decodes_to_pillows_bytes)
{
    qd_context *ctx = test_context_create(1);
    pixel_facts facts = pixel_facts_read("image");
    for (size_t i = 0; i < facts.count; i++) {
        const pixel_fact *fact = &facts.facts[i];
        qd_image image = read_fact_image(ctx, fact->field[0]);
        cr_expect_eq(image.width, pixel_fact_number(fact, 1), "%s", fact->field[0]);
        cr_expect_eq(image.height, pixel_fact_number(fact, 2), "%s", fact->field[0]);
        pixel_expect_sha256(image.rgb, image_bytes(&image), fact->field[3], fact->field[0]);
        qd_image_free(&image);
    }
    pixel_facts_free(&facts);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, what_pillow_refuses_is_refused_by_name)
{
    qd_context *ctx = test_context_create(1);
    pixel_facts facts = pixel_facts_read("broken");
    for (size_t i = 0; i < facts.count; i++) {
        qd_image image;
        char *path = pixel_facts_path(facts.facts[i].field[0]);
        TEST_FAILS(ctx, qd_image_read(ctx, path, &image), QD_ERR_INPUT, path);
        free(path);
    }
    pixel_facts_free(&facts);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, refusals_say_what_is_wrong)
{
    static const struct {
        const char *file, *piece;
    } cases[] = {{"broken/empty.jpg", "empty (zero bytes)"},
                 {"broken/truncated.jpg", "truncated"},
                 {"broken/truncated_progressive.jpg", "truncated"},
                 {"broken/header_only.jpg", "truncated"},
                 {"broken/truncated.png", "truncated"},
                 {"broken/text.jpg", "this is no image: expected JPEG or PNG"}};
    qd_context *ctx = test_context_create(1);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        qd_image image;
        char *path = pixel_facts_path(cases[i].file);
        TEST_FAILS(ctx, qd_image_read(ctx, path, &image), QD_ERR_INPUT, cases[i].piece);
        free(path);
    }
    qd_context_destroy(ctx);
}

Test(dataset_pixels, formats_that_are_not_read_are_named)
{
    static const struct {
        const char *name, *content, *piece;
        size_t bytes;
    } cases[] = {{"a.ppm", "P6\n1 1\n255\nabc", "found PPM", 14},
                 {"a.bmp", "BM0123456789", "found BMP", 12},
                 {"a.webp", "RIFF\1\0\0\0WEBPVP8 ", "found WebP", 16},
                 {"a.tif", "II*\0abcd", "found TIFF", 8},
                 {"a.jpg", "GIF89a......", "found GIF", 12}};
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        qd_image image;
        char *path = test_folder_path(folder, cases[i].name);
        test_file_write(path, cases[i].content, cases[i].bytes);
        TEST_FAILS(ctx, qd_image_read(ctx, path, &image), QD_ERR_INPUT, cases[i].piece);
        free(path);
    }
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, what_is_no_regular_file_is_refused_without_waiting)
{
    qd_context *ctx = test_context_create(1);
    qd_image image;
    TEST_FAILS(ctx, qd_image_read(ctx, "/dev/zero", &image), QD_ERR_INPUT, "regular file");
    TEST_FAILS(ctx, qd_image_read(ctx, "/", &image), QD_ERR_INPUT, "regular file");
    TEST_FAILS(ctx, qd_image_read(ctx, "/no/such/file.jpg", &image), QD_ERR_INPUT, "/no/such/file.jpg");
    qd_context_destroy(ctx);
}

/* A PNG of 20000 x 20000 pixels in 41 bytes: refused before any memory is asked for. */
Test(dataset_pixels, decompression_bombs_are_refused)
{
    static const unsigned char bomb[] = {0x89, 'P',  'N', 'G', '\r', '\n', 0x1A, '\n', 0,    0,    0,
                                         13,   'I',  'H', 'D', 'R',  0,    0,    0x4E, 0x20, 0,    0,
                                         0x4E, 0x20, 8,   2,   0,    0,    0,    0x6C, 0x12, 0xD1, 0x6E,
                                         0,    0,    0,   4,   'I',  'D',  'A',  'T'};
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create();
    char *path = test_folder_path(folder, "bomb.png");
    qd_image image;
    test_file_write(path, bomb, sizeof(bomb));
    TEST_FAILS(ctx, qd_image_read(ctx, path, &image), QD_ERR_INPUT, "20000 x 20000");
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, resizing_gives_pillows_bytes)
{
    qd_context *ctx = test_context_create(1);
    pixel_facts facts = pixel_facts_read("resize");
    for (size_t i = 0; i < facts.count; i++) {
        const pixel_fact *fact = &facts.facts[i];
        qd_image resized, image = read_fact_image(ctx, fact->field[0]);
        TEST_OK(ctx, qd_image_resize(ctx, &image, (int32_t)pixel_fact_number(fact, 1),
                                     (int32_t)pixel_fact_number(fact, 2), &resized));
        char *what = qd_format("%s to %s x %s", fact->field[0], fact->field[1], fact->field[2]);
        pixel_expect_sha256(resized.rgb, image_bytes(&resized), fact->field[3], what);
        free(what);
        qd_image_free(&resized);
        qd_image_free(&image);
    }
    pixel_facts_free(&facts);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, a_window_equals_that_part_of_the_whole)
{
    qd_context *ctx = test_context_create(1);
    qd_image whole, image = read_fact_image(ctx, "train/jpeg/420_odd.jpg");
    TEST_OK(ctx, qd_image_resize(ctx, &image, 50, 90, &whole));
    qd_resize_target target = {
        .width = 50, .height = 90, .window_left = 7, .window_top = 33, .window_width = 31, .window_height = 40};
    qd_resize_scratch scratch = {0};
    qd_pixel_view view = qd_pixel_view_of(&image, 0, 0, image.width, image.height);
    uint8_t window[40][31][3];
    cr_assert_eq(qd_resize_window(&scratch, &view, &target, &window[0][0][0]), QD_OK);
    for (int y = 0; y < 40; y++)
        cr_expect_arr_eq(window[y], whole.rgb + ((size_t)(33 + y) * 50 + 7) * 3, sizeof(window[y]), "row %d", y);
    qd_resize_scratch_free(&scratch);
    qd_image_free(&whole);
    qd_image_free(&image);
    qd_context_destroy(ctx);
}

Test(dataset_pixels, resizing_to_nothing_is_refused)
{
    qd_context *ctx = test_context_create(1);
    qd_image resized, image = read_fact_image(ctx, "train/jpeg/420_odd.jpg");
    TEST_FAILS(ctx, qd_image_resize(ctx, &image, 0, 5, &resized), QD_ERR_SHAPE, "0 x 5");
    TEST_FAILS(ctx, qd_image_resize(ctx, &image, 1 << 20, 1 << 20, &resized), QD_ERR_SHAPE, "pixels");
    qd_image_free(&image);
    qd_context_destroy(ctx);
}

/* The floats are compared by hash too: value/255, minus mean, divided by std are single IEEE operations. */
Test(dataset_pixels, validation_transform_gives_torchvisions_floats)
{
    qd_context *ctx = test_context_create(1);
    pixel_facts facts = pixel_facts_read("eval");
    for (size_t i = 0; i < facts.count; i++) {
        const pixel_fact *fact = &facts.facts[i];
        int32_t size = (int32_t)pixel_fact_number(fact, 1);
        size_t values = (size_t)size * (size_t)size * 3;
        qd_image image = read_fact_image(ctx, fact->field[0]);
        float *floats = malloc(values * sizeof(float));
        TEST_OK(ctx, qd_image_eval_transform(ctx, &image, size, floats));
        char *what = qd_format("%s at %s", fact->field[0], fact->field[1]);
        pixel_expect_sha256(floats, values * sizeof(float), fact->field[3], what);
        free(what);
        free(floats);
        qd_image_free(&image);
    }
    pixel_facts_free(&facts);
    qd_context_destroy(ctx);
}
