/*
 * Which classes and image files a folder holds, in ImageFolder's order. Nothing is opened but folders.
 * Source: torchvision 0.14.1, datasets/folder.py.
 */
#ifndef QD_DATASET_FOLDER_SCAN_H
#define QD_DATASET_FOLDER_SCAN_H

#include <quantdrift/context.h>

typedef struct qd_scanned_file {
    char *path;        /* as opened: folder/class/…/name */
    size_t root_bytes; /* length of its folder's path, without the last '/' */
    int64_t label;
} qd_scanned_file;

typedef struct qd_folder_list {
    char **classes; /* sorted by code point */
    int64_t class_count;
    qd_scanned_file *files; /* by class, then folder, then name */
    int64_t file_count;
} qd_folder_list;

/*
 * Lists `folder`. Errors: QD_ERR_INPUT (missing, no folder, no class, a single one, a class without images, a
 * symbolic link to a parent), QD_ERR_IO, QD_ERR_MEMORY. The caller frees with qd_folder_list_free().
 */
enum qd_status qd_folder_scan(qd_context *ctx, const char *folder, qd_folder_list *out);

/* Lists all images in `folder` and the folders below it, without classes. Errors: as above (missing, no folder, no
 * image). */
enum qd_status qd_folder_images(qd_context *ctx, const char *folder, qd_folder_list *out);
void qd_folder_list_free(qd_folder_list *list);

/* strcmp() by code point as Python orders file names: bytes that are no UTF-8 count as U+DC80 … U+DCFF. */
int qd_name_compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes);

#endif
