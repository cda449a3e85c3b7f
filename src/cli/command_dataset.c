#include "base/error.h"
#include "cli/options.h"
#include <inttypes.h>
#include <quantdrift/dataset.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct dataset_values {
    cli_common common;
    const char *folder;
} dataset_values;

static const char *check(void *values)
{
    const dataset_values *v = values;
    return v->folder ? NULL : "name a folder that holds train/ and val/, or one folder a class";
}

typedef struct span {
    int32_t low, high;
} span;

static void widen(span *s, int32_t value)
{
    s->low = value < s->low ? value : s->low;
    s->high = value > s->high ? value : s->high;
}

static void print_span(span s)
{
    char text[32];
    if (s.low == s.high)
        snprintf(text, sizeof text, "%" PRId32, s.low);
    else
        snprintf(text, sizeof text, "%" PRId32 "-%" PRId32, s.low, s.high);
    printf("  %11s", text);
}

/* One line of the table: class `label`, or all classes for a negative label. */
static void print_row(const qd_dataset *dataset, const char *name, int name_width, int64_t label)
{
    int64_t count = 0, bytes = 0;
    span width = {INT32_MAX, 0}, height = {INT32_MAX, 0};
    for (int64_t i = 0; i < qd_dataset_count(dataset); i++) {
        const qd_dataset_item *item = qd_dataset_get(dataset, i);
        if (label >= 0 && item->label != label)
            continue;
        count++;
        bytes += item->file_bytes;
        widen(&width, item->width);
        widen(&height, item->height);
    }
    printf("  ");
    cli_print_padded(name, name_width);
    printf("  %7" PRId64, count);
    print_span(width);
    print_span(height);
    printf("  %9.2f\n", (double)bytes / (1024.0 * 1024.0));
}

static void print_split(const char *title, const qd_dataset *dataset)
{
    int64_t classes = qd_dataset_class_count(dataset);
    int name_width = (int)strlen("class");
    for (int64_t c = 0; c < classes; c++) {
        int width = cli_text_width(qd_dataset_class_name(dataset, c));
        name_width = width > name_width ? width : name_width;
    }
    cli_print_padded(title, 0);
    printf(": %" PRId64 " images, %" PRId64 " classes\n  ", qd_dataset_count(dataset), classes);
    cli_print_padded("class", name_width);
    printf("  %7s  %11s  %11s  %9s\n", "images", "width", "height", "MiB");
    for (int64_t c = 0; c < classes; c++)
        print_row(dataset, qd_dataset_class_name(dataset, c), name_width, c);
    print_row(dataset, "all", name_width, -1);
    for (int64_t i = 0; i < qd_dataset_skipped_count(dataset); i++) {
        printf("  unreadable: ");
        cli_print_padded(qd_dataset_skipped_reason(dataset, i), 0);
        putchar('\n');
    }
    char fingerprint[QD_FINGERPRINT_BYTES];
    qd_dataset_fingerprint(dataset, fingerprint);
    printf("  fingerprint %s\n", fingerprint);
}

/* Scans and prints one split; *out stays open for comparing classes. */
static enum qd_status scan_split(qd_context *ctx, const char *folder, qd_dataset **out)
{
    QD_TRY(qd_dataset_open(ctx, folder, QD_BAD_IMAGE_SKIP, out));
    print_split(folder, *out);
    return QD_OK;
}

static enum qd_status scan(qd_context *ctx, const char *folder, int64_t *unreadable)
{
    enum qd_status status = QD_OK;
    char *train_folder = cli_subfolder(folder, "train"), *val_folder = cli_subfolder(folder, "val");
    qd_dataset *train = NULL, *val = NULL;
    if (train_folder)
        QD_TRY_GOTO(scan_split(ctx, train_folder, &train));
    if (val_folder)
        QD_TRY_GOTO(scan_split(ctx, val_folder, &val));
    if (!train_folder && !val_folder)
        QD_TRY_GOTO(scan_split(ctx, folder, &train));
    *unreadable = (train ? qd_dataset_skipped_count(train) : 0) + (val ? qd_dataset_skipped_count(val) : 0);
    if (train && val)
        QD_TRY_GOTO(qd_dataset_check_classes(ctx, train, val));
fail:
    qd_dataset_destroy(train);
    qd_dataset_destroy(val);
    free(train_folder);
    free(val_folder);
    return status;
}

static enum qd_status scan_folder(qd_context *ctx, void *values)
{
    const dataset_values *v = values;
    int64_t unreadable = 0;
    const enum qd_status status = scan(ctx, v->folder, &unreadable);
    /* The table is on its way to a file or terminal of its own: it comes before the sentence on standard error. */
    fflush(stdout);
    if (status != QD_OK || unreadable == 0)
        return status;
    return qd_fail(ctx, QD_ERR_INPUT,
                   "unreadable files: %" PRId64 ", listed above; mend or delete them, or train with on_bad_image "
                   "\"skip\"",
                   unreadable);
}

static const cli_command command = {
    .usage = "DIR",
    .argument = "folder",
    .argument_at = offsetof(dataset_values, folder),
    .doc = "Scans DIR/train and DIR/val, or DIR itself when it holds the class folders: decodes every image and "
           "prints classes, counts, sizes in pixels, unreadable files, and the fingerprint a run records. "
           "Unreadable files and classes that differ between train and val end with exit code 3."
           "\vExample: quantdrift dataset data/imagewoof2-320",
    .check = check,
    .run = scan_folder,
};

int cli_command_dataset(int argc, char **argv)
{
    dataset_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
