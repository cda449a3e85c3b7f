/* Opening a data folder: the list of files, their sizes, and the ones that cannot be used. */
#include "dataset/dataset_impl.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/text.h"
#include "dataset/image_io.h"
#include "dataset/work_pool.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the threads of a scan find out about one file. */
typedef struct examined_file {
    enum qd_status status;
    qd_image_header header;
    char *sentence; /* NULL when the file is fine, or when memory is too short even for the sentence */
} examined_file;

typedef struct examination {
    const qd_folder_list *list;
    enum qd_on_bad_image on_bad;
    examined_file *files;
} examination;

/* Reads one file's header, and under QD_BAD_IMAGE_SKIP its pixels too: only they tell whether it can be used. */
static void examine(void *user, int worker, int64_t index)
{
    (void)worker;
    examination *all = user;
    examined_file *file = &all->files[index];
    const char *path = all->list->files[index].path;
    qd_image_fault fault;
    file->status = qd_image_probe(path, &file->header, &fault);
    if (file->status == QD_OK && all->on_bad == QD_BAD_IMAGE_SKIP) {
        qd_image image;
        file->status = qd_image_load(path, &image, &fault);
        if (file->status == QD_OK)
            qd_image_free(&image);
    }
    if (file->status != QD_OK)
        file->sentence = strdup(fault.sentence);
}

/* A sentence that may be shown: file names are arbitrary bytes. */
static char *escape_sentence(const char *sentence)
{
    char text[QD_SENTENCE_BYTES];
    qd_text_escape(sentence, text, sizeof(text));
    return strdup(text);
}

/* Takes bad files out of the list, in order, and fills the items of those that stay. */
static enum qd_status keep_good_files(qd_context *ctx, qd_dataset *dataset, const examination *all)
{
    qd_folder_list *list = &dataset->list;
    int64_t bad_count = 0, kept = 0;
    for (int64_t i = 0; i < list->file_count; i++) {
        const examined_file *file = &all->files[i];
        if (file->status == QD_OK)
            continue;
        if (all->on_bad == QD_BAD_IMAGE_ERROR || file->status == QD_ERR_MEMORY || !file->sentence)
            return qd_fail(ctx, file->status, "%s%s", file->sentence ? file->sentence : "scanning: memory is short",
                           file->status == QD_ERR_MEMORY ? "" : QD_BAD_IMAGE_ADVICE);
        bad_count++;
    }
    dataset->skipped = qd_calloc((size_t)bad_count, sizeof(char *));
    dataset->items = qd_calloc((size_t)(list->file_count - bad_count), sizeof(*dataset->items));
    if (!dataset->skipped || !dataset->items)
        return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short for the list of files", dataset->folder);
    for (int64_t i = 0; i < list->file_count; i++) {
        const examined_file *file = &all->files[i];
        if (file->status != QD_OK) {
            free(list->files[i].path);
            list->files[i].path = NULL;
            char *sentence = escape_sentence(file->sentence);
            if (!sentence)
                return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short", dataset->folder);
            dataset->skipped[dataset->skipped_count++] = sentence;
            continue;
        }
        qd_scanned_file moved = list->files[i];
        list->files[i].path = NULL; /* the entry may stay behind; its path has one owner */
        list->files[kept] = moved;
        dataset->items[kept++] = (qd_dataset_item){.path = moved.path,
                                                   .label = moved.label,
                                                   .width = file->header.width,
                                                   .height = file->header.height,
                                                   .file_bytes = file->header.file_bytes};
    }
    list->file_count = kept;
    return QD_OK;
}

static enum qd_status examine_files(qd_context *ctx, qd_dataset *dataset, enum qd_on_bad_image on_bad)
{
    examination all = {.list = &dataset->list, .on_bad = on_bad};
    int64_t count = dataset->list.file_count;
    all.files = qd_calloc((size_t)count, sizeof(*all.files));
    if (!all.files)
        return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short for the list of files", dataset->folder);
    qd_work_run(qd_context_threads(ctx), count, examine, &all);
    enum qd_status status = keep_good_files(ctx, dataset, &all);
    for (int64_t i = 0; i < count; i++)
        free(all.files[i].sentence);
    free(all.files);
    return status;
}

/* Names of those of `names` that `present` does not mark, as "'a', 'b'"; NULL when memory is short. */
static char *quote_missing(char *const *names, const bool *present, int64_t count)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream)
        return NULL;
    const char *separator = "";
    for (int64_t i = 0; i < count; i++) {
        if (!present[i]) {
            fprintf(stream, "%s'%s'", separator, names[i]);
            separator = ", ";
        }
    }
    if (fclose(stream) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static enum qd_status check_no_empty_class(qd_context *ctx, const qd_dataset *dataset)
{
    const qd_folder_list *list = &dataset->list;
    bool *present = qd_calloc((size_t)list->class_count, sizeof(bool));
    if (!present)
        return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short", dataset->folder);
    int64_t filled = 0;
    for (int64_t i = 0; i < list->file_count; i++) {
        filled += !present[list->files[i].label];
        present[list->files[i].label] = true;
    }
    enum qd_status status = QD_OK;
    if (filled < list->class_count) {
        char *names = quote_missing(list->classes, present, list->class_count);
        status =
            qd_fail(ctx, names ? QD_ERR_INPUT : QD_ERR_MEMORY,
                    "scanning '%s': no readable image (.jpg, .jpeg or .png) in %s%s; add images or remove the folder",
                    dataset->folder, names ? names : "a class",
                    dataset->skipped_count > 0 ? " once unreadable files are left out" : "");
        free(names);
    }
    free(present);
    return status;
}

enum qd_status qd_dataset_open(qd_context *ctx, const char *folder, enum qd_on_bad_image on_bad, qd_dataset **out)
{
    enum qd_status status;
    qd_dataset *dataset = calloc(1, sizeof(*dataset));
    if (!dataset)
        return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short", folder);
    /* "train/" and "train" are the same folder and must give the same paths. */
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    dataset->folder = strndup(folder, length);
    if (!dataset->folder) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short", folder);
        goto fail;
    }
    QD_TRY_GOTO(qd_folder_scan(ctx, dataset->folder, &dataset->list));
    QD_TRY_GOTO(check_no_empty_class(ctx, dataset));
    QD_TRY_GOTO(examine_files(ctx, dataset, on_bad));
    QD_TRY_GOTO(check_no_empty_class(ctx, dataset));
    *out = dataset;
    return QD_OK;
fail:
    qd_dataset_destroy(dataset);
    return status;
}

void qd_dataset_destroy(qd_dataset *dataset)
{
    if (!dataset)
        return;
    for (int64_t i = 0; i < dataset->skipped_count; i++)
        free(dataset->skipped[i]);
    free(dataset->skipped);
    free(dataset->items);
    qd_folder_list_free(&dataset->list);
    free(dataset->folder);
    free(dataset);
}

/* Marks the classes of `a` that `b` has too; returns how many are missing. Both are sorted by code point. */
static int64_t mark_common(const qd_folder_list *a, const qd_folder_list *b, bool *present)
{
    int64_t missing = 0, j = 0;
    for (int64_t i = 0; i < a->class_count; i++) {
        const char *name = a->classes[i];
        while (j < b->class_count && qd_name_compare(b->classes[j], strlen(b->classes[j]), name, strlen(name)) < 0)
            j++;
        present[i] = j < b->class_count && strcmp(b->classes[j], name) == 0;
        missing += !present[i];
    }
    return missing;
}

enum qd_status qd_dataset_check_classes(qd_context *ctx, const qd_dataset *training, const qd_dataset *validation)
{
    const qd_folder_list *train = &training->list, *val = &validation->list;
    enum qd_status status = QD_OK;
    bool *in_val = qd_calloc((size_t)train->class_count, sizeof(bool));
    bool *in_train = qd_calloc((size_t)val->class_count, sizeof(bool));
    char *missing_names = NULL, *extra_names = NULL;
    if (!in_val || !in_train) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "comparing classes: memory is short");
        goto done;
    }
    int64_t missing = mark_common(train, val, in_val), extra = mark_common(val, train, in_train);
    if (missing == 0 && extra == 0)
        goto done;
    missing_names = quote_missing(train->classes, in_val, train->class_count);
    extra_names = quote_missing(val->classes, in_train, val->class_count);
    if (!missing_names || !extra_names) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "comparing classes: memory is short");
        goto done;
    }
    status = qd_fail(ctx, QD_ERR_INPUT, "'%s' must have the classes of '%s'%s%s%s%s: labels would not fit",
                     validation->folder, training->folder, missing > 0 ? "; missing " : "", missing_names,
                     extra > 0 ? "; extra " : "", extra_names);
done:
    free(missing_names);
    free(extra_names);
    free(in_val);
    free(in_train);
    return status;
}

/* ---- asking ---- */

const char *qd_dataset_folder(const qd_dataset *dataset)
{
    return dataset->folder;
}

int64_t qd_dataset_count(const qd_dataset *dataset)
{
    return dataset->list.file_count;
}

int64_t qd_dataset_class_count(const qd_dataset *dataset)
{
    return dataset->list.class_count;
}

const char *qd_dataset_class_name(const qd_dataset *dataset, int64_t label)
{
    return dataset->list.classes[label];
}

const qd_dataset_item *qd_dataset_get(const qd_dataset *dataset, int64_t index)
{
    return &dataset->items[index];
}

int64_t qd_dataset_skipped_count(const qd_dataset *dataset)
{
    return dataset->skipped_count;
}

const char *qd_dataset_skipped_reason(const qd_dataset *dataset, int64_t index)
{
    return dataset->skipped[index];
}

void qd_dataset_fingerprint(const qd_dataset *dataset, char text[QD_FINGERPRINT_BYTES])
{
    qd_sha256 hash;
    char numbers[128];
    qd_sha256_init(&hash);
    /* Names end in their NUL, which no name contains: two different lists never give the same bytes. */
    for (int64_t i = 0; i < dataset->list.class_count; i++)
        qd_sha256_update(&hash, dataset->list.classes[i], strlen(dataset->list.classes[i]) + 1);
    qd_sha256_update(&hash, "", 1);
    for (int64_t i = 0; i < dataset->list.file_count; i++) {
        const qd_dataset_item *item = &dataset->items[i];
        const char *name = item->path + strlen(dataset->folder) + 1;
        int length = snprintf(numbers, sizeof(numbers), "%lld %lld %d %d\n", (long long)item->label,
                              (long long)item->file_bytes, item->width, item->height);
        qd_sha256_update(&hash, name, strlen(name) + 1);
        qd_sha256_update(&hash, numbers, (size_t)length);
    }
    qd_sha256_finish(&hash, text);
}
