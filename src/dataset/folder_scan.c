/* Walking a data folder. */
#include "dataset/folder_scan.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* torchvision's IMG_EXTENSIONS. Those that cannot be decoded stay in the list, so that the file is named, not lost.
 */
static const char *const extensions[] = {".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"};

/* The folders above the one being read: a link back to one of them would never end. */
typedef struct parent_folder {
    dev_t device;
    ino_t inode;
    const char *path;
    const struct parent_folder *above;
} parent_folder;

typedef struct folder_walk {
    qd_context *ctx;
    qd_folder_list *list;
    int64_t label;
    int64_t class_capacity, file_capacity;
} folder_walk;

/* The next code point, as os.fsdecode() makes it: a byte that starts no valid character is U+DC00 plus the byte. */
static uint32_t next_code_point(const char **text, const char *end)
{
    const unsigned char *s = (const unsigned char *)*text;
    size_t length = qd_utf8_length(*text, (size_t)(end - *text));
    *text += length > 0 ? length : 1;
    switch (length) {
    case 1:
        return s[0];
    case 2:
        return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3F);
    case 3:
        return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3F);
    case 4:
        return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12 | (uint32_t)(s[2] & 0x3F) << 6 |
               (s[3] & 0x3F);
    default:
        return 0xDC00U + s[0];
    }
}

int qd_name_compare(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    const char *a_end = a + a_bytes, *b_end = b + b_bytes;
    while (a < a_end && b < b_end) {
        uint32_t left = next_code_point(&a, a_end), right = next_code_point(&b, b_end);
        if (left != right)
            return left < right ? -1 : 1;
    }
    return (a < a_end) - (b < b_end);
}

static int compare_classes(const void *left, const void *right)
{
    const char *a = *(const char *const *)left, *b = *(const char *const *)right;
    return qd_name_compare(a, strlen(a), b, strlen(b));
}

static int compare_files(const void *left, const void *right)
{
    const qd_scanned_file *a = left, *b = right;
    if (a->label != b->label)
        return a->label < b->label ? -1 : 1;
    int by_root = qd_name_compare(a->path, a->root_bytes, b->path, b->root_bytes);
    if (by_root != 0)
        return by_root;
    const char *a_name = a->path + a->root_bytes + 1, *b_name = b->path + b->root_bytes + 1;
    return qd_name_compare(a_name, strlen(a_name), b_name, strlen(b_name));
}

static bool has_image_extension(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof(extensions) / sizeof(extensions[0]); i++) {
        size_t bytes = strlen(extensions[i]);
        if (length >= bytes && strcasecmp(name + length - bytes, extensions[i]) == 0)
            return true;
    }
    return false;
}

static enum qd_status fail_memory(qd_context *ctx, const char *folder)
{
    return qd_fail(ctx, QD_ERR_MEMORY, "scanning '%s': memory is short for the list of files", folder);
}

/* `array` with room for one more element, moved if need be; NULL when memory is short, `array` is then as it was. */
static void *make_room(void *array, int64_t count, int64_t *capacity, size_t element_bytes)
{
    if (count < *capacity)
        return array;
    int64_t wanted = *capacity > 0 ? *capacity * 2 : 64;
    void *larger = reallocarray(array, (size_t)wanted, element_bytes);
    if (larger)
        *capacity = wanted;
    return larger;
}

/* True when the entry is a folder, links followed. */
static bool is_folder(const char *path, unsigned char type)
{
    if (type != DT_UNKNOWN && type != DT_LNK)
        return type == DT_DIR;
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Takes ownership of `path`. */
static enum qd_status add_file(folder_walk *walk, char *path, size_t root_bytes)
{
    qd_folder_list *list = walk->list;
    qd_scanned_file *files = make_room(list->files, list->file_count, &walk->file_capacity, sizeof(*files));
    if (!files) {
        enum qd_status status = fail_memory(walk->ctx, path);
        free(path);
        return status;
    }
    list->files = files;
    files[list->file_count++] = (qd_scanned_file){.path = path, .root_bytes = root_bytes, .label = walk->label};
    return QD_OK;
}

/* Takes ownership of `name`. */
static enum qd_status add_class(folder_walk *walk, char *name)
{
    qd_folder_list *list = walk->list;
    char **classes =
        name ? make_room(list->classes, list->class_count, &walk->class_capacity, sizeof(*classes)) : NULL;
    if (!classes) {
        enum qd_status status = fail_memory(walk->ctx, name ? name : "a class");
        free(name);
        return status;
    }
    list->classes = classes;
    classes[list->class_count++] = name;
    return QD_OK;
}

static enum qd_status walk_folder(folder_walk *walk, const char *path, const parent_folder *above);

/* One entry of a class's folder. */
static enum qd_status visit(folder_walk *walk, const char *root, const struct dirent *entry,
                            const parent_folder *self)
{
    char *path = qd_format("%s/%s", root, entry->d_name);
    if (!path)
        return fail_memory(walk->ctx, root);
    if (is_folder(path, entry->d_type)) {
        enum qd_status status = walk_folder(walk, path, self);
        free(path);
        return status;
    }
    if (has_image_extension(entry->d_name))
        return add_file(walk, path, strlen(root));
    free(path);
    return QD_OK;
}

/* A folder inside a class. */
static enum qd_status walk_folder(folder_walk *walk, const char *path, const parent_folder *above)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return qd_fail_errno(walk->ctx, errno, "scanning '%s'", path);
    for (const parent_folder *parent = above; parent; parent = parent->above)
        if (parent->device == info.st_dev && parent->inode == info.st_ino)
            return qd_fail(walk->ctx, QD_ERR_INPUT,
                           "scanning '%s': this link leads back to '%s', a folder above it; remove the link", path,
                           parent->path);
    parent_folder self = {.device = info.st_dev, .inode = info.st_ino, .path = path, .above = above};
    DIR *folder = opendir(path);
    if (!folder)
        return qd_fail_errno(walk->ctx, errno, "scanning '%s'", path);
    enum qd_status status = QD_OK;
    errno = 0;
    for (const struct dirent *entry; status == QD_OK && (entry = readdir(folder));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = visit(walk, path, entry, &self);
        errno = 0;
    }
    if (status == QD_OK && errno != 0)
        status = qd_fail_errno(walk->ctx, errno, "scanning '%s'", path);
    closedir(folder);
    return status;
}

static enum qd_status list_classes(folder_walk *walk, const char *folder)
{
    DIR *opened = opendir(folder);
    if (!opened) {
        if (errno == ENOENT || errno == ENOTDIR)
            return qd_fail(walk->ctx, QD_ERR_INPUT,
                           "scanning '%s': there is no such folder; expected one with a subfolder of images for each "
                           "class",
                           folder);
        return qd_fail_errno(walk->ctx, errno, "scanning '%s'", folder);
    }
    enum qd_status status = QD_OK;
    errno = 0;
    for (const struct dirent *entry; status == QD_OK && (entry = readdir(opened));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char *path = qd_format("%s/%s", folder, entry->d_name);
            if (!path)
                status = fail_memory(walk->ctx, folder);
            else if (is_folder(path, entry->d_type))
                status = add_class(walk, strdup(entry->d_name));
            free(path);
        }
        errno = 0;
    }
    if (status == QD_OK && errno != 0)
        status = qd_fail_errno(walk->ctx, errno, "scanning '%s'", folder);
    closedir(opened);
    if (status != QD_OK)
        return status;
    if (walk->list->class_count == 0)
        return qd_fail(walk->ctx, QD_ERR_INPUT,
                       "scanning '%s': no class found; expected a subfolder of images for each class", folder);
    qsort(walk->list->classes, (size_t)walk->list->class_count, sizeof(char *), compare_classes);
    if (walk->list->class_count == 1)
        return qd_fail(
            walk->ctx, QD_ERR_INPUT,
            "scanning '%s': a single class found ('%s'); expected at least two subfolders, there is nothing "
            "to tell apart otherwise",
            folder, walk->list->classes[0]);
    return QD_OK;
}

enum qd_status qd_folder_scan(qd_context *ctx, const char *folder, qd_folder_list *out)
{
    enum qd_status status;
    qd_folder_list list = {0};
    folder_walk walk = {.ctx = ctx, .list = &list};
    QD_TRY_GOTO(list_classes(&walk, folder));
    for (int64_t label = 0; label < list.class_count; label++) {
        char *path = qd_format("%s/%s", folder, list.classes[label]);
        walk.label = label;
        status = path ? walk_folder(&walk, path, NULL) : fail_memory(ctx, folder);
        free(path);
        if (status != QD_OK)
            goto fail;
    }
    qsort(list.files, (size_t)list.file_count, sizeof(*list.files), compare_files);
    *out = list;
    return QD_OK;
fail:
    qd_folder_list_free(&list);
    return status;
}

enum qd_status qd_folder_images(qd_context *ctx, const char *folder, qd_folder_list *out)
{
    enum qd_status status = QD_OK;
    qd_folder_list list = {0};
    folder_walk walk = {.ctx = ctx, .list = &list};
    if (!is_folder(folder, DT_UNKNOWN))
        return qd_fail(ctx, QD_ERR_INPUT, "scanning '%s': there is no such folder; expected one with images", folder);
    QD_TRY_GOTO(walk_folder(&walk, folder, NULL));
    if (list.file_count == 0) {
        status = qd_fail(ctx, QD_ERR_INPUT, "scanning '%s': no image found, there and in the folders below", folder);
        goto fail;
    }
    qsort(list.files, (size_t)list.file_count, sizeof(*list.files), compare_files);
    *out = list;
    return QD_OK;
fail:
    qd_folder_list_free(&list);
    return status;
}

void qd_folder_list_free(qd_folder_list *list)
{
    for (int64_t i = 0; i < list->class_count; i++)
        free(list->classes[i]);
    for (int64_t i = 0; i < list->file_count; i++)
        free(list->files[i].path);
    free(list->classes);
    free(list->files);
    *list = (qd_folder_list){0};
}
