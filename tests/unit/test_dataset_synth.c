/* The embedded data set: the same everywhere, of all kinds of files, and never mixed with other files. */
#include "base/file.h"
#include "base/sha256.h"
#include "dataset/image_io.h"
#include "dataset/synth.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>

static qd_synth_config small_config(void)
{
    return (qd_synth_config){.train_per_class = 20, .val_per_class = 3, .size = 24, .seed = 9};
}

/* Drawn with IEEE arithmetic only: the digest holds for every compiler and machine. */
Test(dataset_synth, pictures_are_the_same_everywhere)
{
    qd_context *ctx = test_context_create(1);
    qd_synth_config config = qd_synth_defaults();
    qd_sha256 hash;
    char digest[65];
    qd_sha256_init(&hash);
    for (int label = 0; label < QD_SYNTH_CLASS_COUNT; label++) {
        qd_image image;
        TEST_OK(ctx, qd_synth_draw_image(ctx, &config, label % 2 == 0, (enum qd_synth_class)label, label, &image));
        qd_sha256_update(&hash, image.rgb, (size_t)image.width * (size_t)image.height * 3);
        qd_image_free(&image);
    }
    qd_sha256_finish(&hash, digest);
    cr_expect_str_eq(digest, "efa3d377f5c95d0b45831d835b6ca50dee6d030c8539d65bf6b5db0f155828ce", "found %s", digest);
    qd_context_destroy(ctx);
}

Test(dataset_synth, no_two_pictures_are_alike)
{
    qd_context *ctx = test_context_create(1);
    qd_synth_config config = small_config(), other = small_config();
    qd_image a, b, c, d;
    other.seed++;
    TEST_OK(ctx, qd_synth_draw_image(ctx, &config, true, QD_SYNTH_DOTS, 0, &a));
    TEST_OK(ctx, qd_synth_draw_image(ctx, &config, true, QD_SYNTH_DOTS, 1, &b));
    TEST_OK(ctx, qd_synth_draw_image(ctx, &config, false, QD_SYNTH_DOTS, 0, &c));
    TEST_OK(ctx, qd_synth_draw_image(ctx, &other, true, QD_SYNTH_DOTS, 0, &d));
    /* The shorter side has the size asked for, so that as many bytes exist in all. */
    cr_expect_neq(memcmp(a.rgb, b.rgb, 24 * 24 * 3), 0);
    cr_expect_neq(memcmp(a.rgb, c.rgb, 24 * 24 * 3), 0);
    cr_expect_neq(memcmp(a.rgb, d.rgb, 24 * 24 * 3), 0);
    qd_image_free(&a);
    qd_image_free(&b);
    qd_image_free(&c);
    qd_image_free(&d);
    qd_context_destroy(ctx);
}

/* Each pattern covers a fair share of the plane, so that neither all nor nothing of a crop is foreground. */
Test(dataset_synth, patterns_cover_a_fair_share)
{
    qd_rng rng;
    qd_rng_seed(&rng, 4);
    for (int label = 0; label < QD_SYNTH_CLASS_COUNT; label++) {
        int64_t inside = 0, asked = 0;
        for (int round = 0; round < 20; round++) {
            qd_synth_pattern pattern = qd_synth_draw_pattern(&rng, (enum qd_synth_class)label, 88);
            for (int y = 0; y < 88; y += 2)
                for (int x = 0; x < 88; x += 2, asked++)
                    inside += qd_synth_is_inside(&pattern, x, y);
        }
        double share = (double)inside / (double)asked;
        cr_expect(share > 0.1 && share < 0.7, "%s: %f", qd_synth_class_name((enum qd_synth_class)label), share);
    }
}

static void write_set(qd_context *ctx, const char *folder, char fingerprint[QD_FINGERPRINT_BYTES])
{
    qd_synth_config config = small_config();
    TEST_OK(ctx, qd_synth_write(ctx, folder, &config));
    char *train = test_folder_path(folder, "train");
    qd_dataset *dataset;
    TEST_OK(ctx, qd_dataset_open(ctx, train, QD_BAD_IMAGE_SKIP, &dataset));
    cr_expect_eq(qd_dataset_class_count(dataset), 10);
    cr_expect_eq(qd_dataset_count(dataset), 200);
    cr_expect_eq(qd_dataset_skipped_count(dataset), 0);
    qd_dataset_fingerprint(dataset, fingerprint);
    qd_dataset_destroy(dataset);
    free(train);
}

static bool is_grey(const qd_image *image)
{
    for (size_t i = 0; i < (size_t)image->width * (size_t)image->height; i++)
        if (image->rgb[3 * i] != image->rgb[3 * i + 1] || image->rgb[3 * i] != image->rgb[3 * i + 2])
            return false;
    return true;
}

Test(dataset_synth, a_written_set_is_a_data_set_of_all_kinds)
{
    qd_context *ctx = test_context_create(2);
    char *folder = test_folder_create();
    char first[QD_FINGERPRINT_BYTES], second[QD_FINGERPRINT_BYTES];
    write_set(ctx, folder, first);
    write_set(ctx, folder, second); /* over itself */
    cr_expect_str_eq(first, second);
    char *train_path = test_folder_path(folder, "train"), *val_path = test_folder_path(folder, "val");
    qd_dataset *train, *val;
    TEST_OK(ctx, qd_dataset_open(ctx, train_path, QD_BAD_IMAGE_ERROR, &train));
    TEST_OK(ctx, qd_dataset_open(ctx, val_path, QD_BAD_IMAGE_ERROR, &val));
    TEST_OK(ctx, qd_dataset_check_classes(ctx, train, val));
    cr_expect_eq(qd_dataset_count(val), 30);
    int grey = 0, png = 0;
    for (int64_t i = 0; i < 20; i++) {
        const qd_dataset_item *item = qd_dataset_get(train, i);
        qd_image image;
        TEST_OK(ctx, qd_image_read(ctx, item->path, &image));
        cr_expect_eq(image.width < image.height ? image.width : image.height, 24);
        grey += is_grey(&image);
        png += strstr(item->path, ".png") != NULL;
        qd_image_free(&image);
    }
    cr_expect_eq(grey, 2);
    cr_expect_eq(png, 2);
    qd_dataset_destroy(train);
    qd_dataset_destroy(val);
    free(train_path);
    free(val_path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

/* PNG keeps the pixels, so that what is drawn is what the network sees. */
Test(dataset_synth, a_png_reads_back_as_drawn)
{
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create();
    char *path = test_folder_path(folder, "a.png");
    qd_synth_config config = small_config();
    qd_image drawn, found;
    uint8_t *bytes;
    size_t size;
    TEST_OK(ctx, qd_synth_draw_image(ctx, &config, true, QD_SYNTH_STARS, 5, &drawn));
    TEST_OK(ctx, qd_image_encode_png(ctx, &drawn, false, &bytes, &size));
    test_file_write(path, bytes, size);
    TEST_OK(ctx, qd_image_read(ctx, path, &found));
    cr_expect_eq(found.width, drawn.width);
    cr_expect_arr_eq(found.rgb, drawn.rgb, (size_t)drawn.width * (size_t)drawn.height * 3);
    qd_image_free(&drawn);
    qd_image_free(&found);
    free(bytes);
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(dataset_synth, other_files_are_not_mixed_in)
{
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create();
    char *class_folder = test_folder_path(folder, "train/dots");
    char *path = test_folder_path(class_folder, "dots_00021.jpg");
    qd_synth_config config = small_config();
    TEST_OK(ctx, qd_folder_create(ctx, class_folder));
    test_file_write(path, "x", 1); /* as a larger set would have left it */
    TEST_FAILS(ctx, qd_synth_write(ctx, folder, &config), QD_ERR_USAGE, "dots_00021.jpg");
    char *other_class = test_folder_path(folder, "val/dogs");
    TEST_OK(ctx, qd_folder_create(ctx, other_class));
    TEST_FAILS(ctx, qd_synth_write(ctx, folder, &config), QD_ERR_USAGE, "already holds 'dogs'");
    free(other_class);
    config.size = 8;
    TEST_FAILS(ctx, qd_synth_write(ctx, folder, &config), QD_ERR_USAGE, "size");
    config = small_config();
    config.val_per_class = 0;
    TEST_FAILS(ctx, qd_synth_write(ctx, folder, &config), QD_ERR_USAGE, "images a class");
    config = small_config();
    TEST_FAILS(ctx, qd_synth_write(ctx, "/proc/no-folder-here", &config), QD_ERR_IO, "/proc/no-folder-here");
    free(path);
    free(class_folder);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}
