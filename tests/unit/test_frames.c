/* Images without classes: the order of the list, both transforms, and what is refused. */
#include "base/file.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include "support/tiny_data.h"
#include <criterion/criterion.h>
#include <quantdrift/dataset.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SIZE = 32, VALUES = SIZE * SIZE * 3 };

/* The transforms by their definition, from the public functions. */
static void expected_frame(qd_context *ctx, const char *path, enum qd_frame_transform transform, float *out)
{
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    qd_image image = {0}, square = {0};
    TEST_OK(ctx, qd_image_read(ctx, path, &image));
    if (transform == QD_FRAME_VALIDATION) {
        TEST_OK(ctx, qd_image_eval_transform(ctx, &image, SIZE, out));
    } else {
        TEST_OK(ctx, qd_image_resize(ctx, &image, SIZE, SIZE, &square));
        for (int i = 0; i < VALUES; i++)
            out[i] = (float)((square.rgb[i] / 255.0 - mean[i % 3]) / std[i % 3]);
        qd_image_free(&square);
    }
    qd_image_free(&image);
}

Test(frames, are_loaded_in_order_and_begin_again)
{
    qd_context *ctx = test_context_create(2);
    char *folder = test_folder_create();
    tiny_data_write(folder);
    char *train = test_folder_path(folder, "data/train"), *class_a = test_folder_path(folder, "data/train/a");
    qd_frames *all = NULL, *some = NULL;
    qd_dataset *dataset = NULL;
    float *out = calloc(3 * VALUES, sizeof *out), *expected = calloc(VALUES, sizeof *expected);
    TEST_OK(ctx, qd_frames_open(ctx, train, &all));
    TEST_OK(ctx, qd_frames_open(ctx, class_a, &some));
    TEST_OK(ctx, qd_dataset_open(ctx, train, QD_BAD_IMAGE_ERROR, &dataset));
    const int64_t count = qd_frames_count(all);
    cr_assert_eq(count, qd_dataset_count(dataset));
    cr_assert_lt(qd_frames_count(some), count);
    for (int t = 0; t < QD_FRAME_TRANSFORM_COUNT; t++) {
        TEST_OK(ctx, qd_frames_load(all, count - 1, 3, (enum qd_frame_transform)t, SIZE, 2, out));
        const int64_t indices[3] = {count - 1, 0, 1};
        for (int i = 0; i < 3; i++) {
            expected_frame(ctx, qd_dataset_get(dataset, indices[i])->path, (enum qd_frame_transform)t, expected);
            for (int k = 0; k < VALUES; k++) /* normalised in float32: a few roundings of values up to 3 */
                cr_assert_float_eq(out[i * VALUES + k], expected[k], 2e-6, "%s, frame %d, value %d",
                                   qd_frame_transform_name((enum qd_frame_transform)t), i, k);
        }
    }
    qd_dataset_destroy(dataset);
    qd_frames_destroy(all);
    qd_frames_destroy(some);
    qd_frames_destroy(NULL);
    free(out);
    free(expected);
    free(train);
    free(class_a);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(frames, bad_folders_and_files_are_named)
{
    qd_context *ctx = test_context_create(1);
    char *folder = test_folder_create(), *missing = test_folder_path(folder, "missing"),
         *bad = test_folder_path(folder, "b.png"), *text = test_folder_path(folder, "notes.txt");
    qd_frames *frames = NULL;
    float *out = calloc(VALUES, sizeof *out);
    TEST_FAILS(ctx, qd_frames_open(ctx, missing, &frames), QD_ERR_INPUT, "missing");
    TEST_FAILS(ctx, qd_frames_open(ctx, folder, &frames), QD_ERR_INPUT, "no image found");
    test_file_write(text, "no image", 8);
    TEST_FAILS(ctx, qd_frames_open(ctx, text, &frames), QD_ERR_INPUT, "no such folder");
    TEST_FAILS(ctx, qd_frames_open(ctx, folder, &frames), QD_ERR_INPUT, "no image found");
    test_file_write(bad, "neither", 7);
    TEST_OK(ctx, qd_frames_open(ctx, folder, &frames));
    TEST_FAILS(ctx, qd_frames_load(frames, 0, 1, QD_FRAME_SQUASH, SIZE, 1, out), QD_ERR_INPUT, "b.png");
    TEST_FAILS(ctx, qd_frames_load(frames, 0, 1, QD_FRAME_SQUASH, 0, 1, out), QD_ERR_USAGE, "got 0");
    qd_frames_destroy(frames);
    free(out);
    free(missing);
    free(bad);
    free(text);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

Test(frames, transforms_have_names)
{
    enum qd_frame_transform found;
    for (int t = 0; t < QD_FRAME_TRANSFORM_COUNT; t++) {
        cr_assert(qd_frame_transform_parse(qd_frame_transform_name((enum qd_frame_transform)t), &found));
        cr_assert_eq((int)found, t);
    }
    cr_assert_null(qd_frame_transform_name(QD_FRAME_TRANSFORM_COUNT));
    cr_assert_not(qd_frame_transform_parse("stretch", &found));
}
