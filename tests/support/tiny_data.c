#include "support/tiny_data.h"
#include "support/test_context.h"
#include <math.h>
#include <png.h>
#include <quantdrift/random.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_SIDE 64

/* Stripes across (class 0) or down (class 1) the image, with noise that differs from image to image. */
static void write_image(const char *path, int label, unsigned number)
{
    unsigned char pixels[MAX_SIDE * MAX_SIDE * 3];
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = 36 + number % 3 * 5,
                       .height = 34 + number % 4 * 4,
                       .format = PNG_FORMAT_RGB};
    qd_rng rng;
    qd_rng_seed(&rng, number * 2 + (unsigned)label);
    for (unsigned y = 0; y < image.height; y++)
        for (unsigned x = 0; x < image.width; x++)
            for (unsigned c = 0; c < 3; c++)
                pixels[(y * image.width + x) * 3 + c] =
                    (unsigned char)((((label ? x : y) + number) / 4 % 2) * 120 + qd_rng_u32(&rng) % 100);
    cr_assert(png_image_write_to_file(&image, path, 0, pixels, 0, NULL), "%s: %s", path, image.message);
}

static void write_split(const char *folder, const char *split, unsigned count_a, unsigned count_b)
{
    const unsigned counts[2] = {count_a, count_b};
    char path[4096];
    for (int label = 0; label < 2; label++) {
        snprintf(path, sizeof path, "%s/data/%s", folder, split);
        mkdir(path, 0777);
        snprintf(path, sizeof path, "%s/data/%s/%c", folder, split, 'a' + label);
        mkdir(path, 0777);
        for (unsigned i = 0; i < counts[label]; i++) {
            snprintf(path, sizeof path, "%s/data/%s/%c/%u.png", folder, split, 'a' + label, i);
            write_image(path, label, i + (split[0] == 'v' ? 100 : 0));
        }
    }
}

void tiny_data_write(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/data", folder);
    cr_assert_eq(mkdir(path, 0777), 0, "%s", path);
    write_split(folder, "train", 6, 5);
    write_split(folder, "val", 3, 3);
}

void tiny_data_change(const char *folder)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/data/train/b/more.png", folder);
    write_image(path, 1, 55);
}

void tiny_experiment_set(qd_context *ctx, qd_experiment *experiment, const char *format, ...)
{
    char assignment[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(assignment, sizeof assignment, format, arguments);
    va_end(arguments);
    TEST_OK(ctx, qd_experiment_set(experiment, assignment));
}

qd_experiment *tiny_experiment_create(qd_context *ctx, const char *folder, const char *out)
{
    qd_experiment *experiment;
    TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
    tiny_experiment_set(ctx, experiment, "data_dir=%s/data", folder);
    tiny_experiment_set(ctx, experiment, "output_dir=%s/%s", folder, out);
    /* BatchNorm over 1x1 maps of four images divides by variances near 0: only small steps stay finite. */
    const char *const settings[] = {
        "lr=1e-4",          "image_size=32",
        "batch_size=4",     "num_epochs=1",
        "log_every=1",      "threads=1",
        "loader_threads=1", "quantization={\"calibration_images\": 5, \"sqnr_images\": 3, \"batch_size\": 3}"};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        tiny_experiment_set(ctx, experiment, "%s", settings[i]);
    return experiment;
}
