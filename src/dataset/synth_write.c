/* Writing the embedded data set. */
#include "base/error.h"
#include "base/file.h"
#include "dataset/image_io.h"
#include "dataset/synth.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every tenth picture is a PNG and every eighth is grey, some both: a set as mixed as one from the wild. */
#define PNG_EVERY  10
#define GREY_EVERY 8

/* Above any use of a demonstration; also keeps file names at their width. */
#define MAX_PER_CLASS 100000

qd_synth_config qd_synth_defaults(void)
{
    /* 88 pixels: the validation transform of a 64-pixel network resizes to 73, so that pictures are made smaller. */
    return (qd_synth_config){.train_per_class = 100, .val_per_class = 25, .size = 88, .seed = 1};
}

static bool is_png(int64_t index)
{
    return index % PNG_EVERY == PNG_EVERY - 1;
}

static bool is_grey(int64_t index)
{
    return index % GREY_EVERY == GREY_EVERY - 1;
}

/* "<class>_00042.jpg" */
static char *picture_name(enum qd_synth_class label, int64_t index)
{
    return qd_format("%s_%05lld.%s", qd_synth_class_name(label), (long long)index, is_png(index) ? "png" : "jpg");
}

/* The folder may hold pictures of an earlier run, which are written again; anything else would mix with the set. */
static enum qd_status check_folder(qd_context *ctx, const char *folder, enum qd_synth_class label, int64_t count)
{
    DIR *opened = opendir(folder);
    if (!opened)
        return qd_fail_errno(ctx, errno, "writing the embedded data set: opening '%s'", folder);
    enum qd_status status = QD_OK;
    for (const struct dirent *entry; status == QD_OK && (entry = readdir(opened));) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        const char *number = strrchr(entry->d_name, '_');
        int64_t index = number ? strtoll(number + 1, NULL, 10) : -1;
        char *expected = picture_name(label, index);
        if (!expected)
            status = qd_fail(ctx, QD_ERR_MEMORY, "writing the embedded data set: memory is short");
        else if (index < 0 || index >= count || strcmp(expected, entry->d_name) != 0)
            status =
                qd_fail(ctx, QD_ERR_USAGE,
                        "writing the embedded data set: '%s' already holds '%s', which is not of this set; choose "
                        "another folder or remove it",
                        folder, entry->d_name);
        free(expected);
    }
    closedir(opened);
    return status;
}

static bool is_class_name(const char *name)
{
    for (int label = 0; label < QD_SYNTH_CLASS_COUNT; label++)
        if (strcmp(name, qd_synth_class_name((enum qd_synth_class)label)) == 0)
            return true;
    return false;
}

/* Another folder beside the classes would be one more class. */
static enum qd_status check_split(qd_context *ctx, const char *folder, bool training)
{
    char *path = qd_format("%s/%s", folder, training ? "train" : "val");
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing the embedded data set: memory is short");
    enum qd_status status = QD_OK;
    DIR *opened = opendir(path); /* not there yet: nothing in the way */
    for (const struct dirent *entry; opened && status == QD_OK && (entry = readdir(opened));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !is_class_name(entry->d_name))
            status =
                qd_fail(ctx, QD_ERR_USAGE,
                        "writing the embedded data set: '%s' already holds '%s', which is not of this set; choose "
                        "another folder or remove it",
                        path, entry->d_name);
    if (opened)
        closedir(opened);
    free(path);
    return status;
}

static enum qd_status write_file(qd_context *ctx, const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return qd_fail_errno(ctx, errno, "writing '%s'", path);
    size_t written = fwrite(bytes, 1, size, file);
    int error = written == size ? 0 : errno;
    if (fclose(file) != 0 && error == 0)
        error = errno;
    return error == 0 ? QD_OK : qd_fail_errno(ctx, error, "writing '%s'", path);
}

static enum qd_status write_picture(qd_context *ctx, const qd_synth_config *config, const char *folder, bool training,
                                    enum qd_synth_class label, int64_t index)
{
    enum qd_status status;
    qd_image image = {0};
    uint8_t *bytes = NULL;
    size_t size = 0;
    char *name = picture_name(label, index);
    char *path = name ? qd_format("%s/%s", folder, name) : NULL;
    if (!path) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "writing the embedded data set: memory is short");
        goto fail;
    }
    QD_TRY_GOTO(qd_synth_draw_image(ctx, config, training, label, index, &image));
    QD_TRY_GOTO(
        (is_png(index) ? qd_image_encode_png : qd_image_encode_jpeg)(ctx, &image, is_grey(index), &bytes, &size));
    QD_TRY_GOTO(write_file(ctx, path, bytes, size));
fail:
    free(bytes);
    qd_image_free(&image);
    free(path);
    free(name);
    return status;
}

static enum qd_status write_class(qd_context *ctx, const qd_synth_config *config, const char *folder, bool training,
                                  enum qd_synth_class label)
{
    int64_t count = training ? config->train_per_class : config->val_per_class;
    char *path = qd_format("%s/%s/%s", folder, training ? "train" : "val", qd_synth_class_name(label));
    if (!path)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing the embedded data set: memory is short");
    enum qd_status status = qd_folder_create(ctx, path);
    if (status == QD_OK)
        status = check_folder(ctx, path, label, count);
    for (int64_t index = 0; status == QD_OK && index < count; index++)
        status = write_picture(ctx, config, path, training, label, index);
    free(path);
    return status;
}

enum qd_status qd_synth_write(qd_context *ctx, const char *folder, const qd_synth_config *config)
{
    if (config->train_per_class < 1 || config->train_per_class > MAX_PER_CLASS || config->val_per_class < 1 ||
        config->val_per_class > MAX_PER_CLASS)
        return qd_fail(
            ctx, QD_ERR_USAGE,
            "writing the embedded data set: expected 1 to %d images a class, got %lld for training and %lld "
            "for validation",
            MAX_PER_CLASS, (long long)config->train_per_class, (long long)config->val_per_class);
    /* Smaller ones show no pattern; larger ones are no demonstration. */
    if (config->size < 16 || config->size > 1024)
        return qd_fail(ctx, QD_ERR_USAGE,
                       "writing the embedded data set: expected a size of 16 to 1024 pixels, got %d", config->size);
    QD_TRY(check_split(ctx, folder, true));
    QD_TRY(check_split(ctx, folder, false));
    for (int training = 1; training >= 0; training--)
        for (int label = 0; label < QD_SYNTH_CLASS_COUNT; label++)
            QD_TRY(write_class(ctx, config, folder, training, (enum qd_synth_class)label));
    return QD_OK;
}
