#include "experiment/experiment_file.h"
#include "base/error.h"
#include "base/file.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* An experiment file is written by hand. */
#define MAX_EXPERIMENT_BYTES ((size_t)1 << 20)
/* Beyond any night; a product that is larger was not meant. */
#define MAX_POINTS 1000
/* File systems take 255 bytes; something like ".tmp" may follow. */
#define MAX_POINT_NAME 200

/* ---- the chain of files ---- */

/* The path that `base` names in a file at `path`; NULL when memory is short. */
static char *resolve(const char *path, const char *base)
{
    const char *slash = strrchr(path, '/');
    if (base[0] == '/' || !slash)
        return strdup(base);
    return qd_format("%.*s/%s", (int)(slash - path), path, base);
}

static bool same_file(const char *a, const char *b)
{
    struct stat info_a, info_b;
    return stat(a, &info_a) == 0 && stat(b, &info_b) == 0 && info_a.st_dev == info_b.st_dev &&
           info_a.st_ino == info_b.st_ino;
}

/* What the file says becomes the caller's choice, not input data: a file that is no JSON is misuse as well. */
static enum qd_status read_object(qd_context *ctx, const char *path, cJSON **out)
{
    enum qd_status status = qd_json_read(ctx, path, MAX_EXPERIMENT_BYTES, true, out);
    if (status == QD_ERR_INPUT)
        return QD_ERR_USAGE;
    if (status == QD_OK && !cJSON_IsObject(*out))
        return qd_fail(ctx, QD_ERR_USAGE, "%s: expected a JSON object of configuration keys", path);
    return status;
}

/* Reads the file at `path` into the next layer; *base: what it is based on, owned by the caller; NULL: nothing. */
static enum qd_status read_layer(qd_context *ctx, qd_experiment_file *file, const char *path, char **base)
{
    if (file->layer_count == QD_MAX_FILE_LAYERS)
        return qd_fail(ctx, QD_ERR_USAGE,
                       "%s: more than %d files stand on one another by \"base\"; put some into one",
                       file->layers[0].path, QD_MAX_FILE_LAYERS);
    for (int i = 0; i < file->layer_count; i++)
        if (same_file(file->layers[i].path, path))
            return qd_fail(ctx, QD_ERR_USAGE,
                           "%s: \"base\" leads back to '%s', round and round; let one of them stand alone",
                           file->layers[file->layer_count - 1].path, path);
    qd_file_layer *layer = &file->layers[file->layer_count++];
    layer->path = strdup(path);
    if (!layer->path)
        return qd_fail(ctx, QD_ERR_MEMORY, "experiment: out of memory");
    QD_TRY(read_object(ctx, path, &layer->json));
    cJSON *grid = cJSON_DetachItemFromObjectCaseSensitive(layer->json, "grid");
    if (grid && !file->grid) { /* the first file that has one decides */
        file->grid = grid;
        file->grid_source = layer->path;
    } else {
        cJSON_Delete(grid);
    }
    cJSON *named = cJSON_DetachItemFromObjectCaseSensitive(layer->json, "base");
    const bool is_name = cJSON_IsString(named) && named->valuestring[0];
    *base = is_name ? resolve(path, named->valuestring) : NULL;
    const bool short_of_memory = is_name && !*base, wrong = named && !is_name;
    cJSON_Delete(named);
    if (wrong)
        return qd_fail(ctx, QD_ERR_USAGE, "%s, key 'base': expected the name of another experiment file", path);
    return short_of_memory ? qd_fail(ctx, QD_ERR_MEMORY, "experiment: out of memory") : QD_OK;
}

/* ---- the grid ---- */

static bool is_harmless(char c)
{
    return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '+' || c == '-';
}

static enum qd_status check_label_entry(qd_context *ctx, const char *source, const char *label, const cJSON *entry)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(entry, "name");
    if (!cJSON_IsObject(entry) || !cJSON_IsString(name) || !name->valuestring[0]) {
        char nearest[QD_CONFIG_NAME_BYTES];
        qd_config_nearest_name(label, nearest);
        return qd_fail(ctx, QD_ERR_USAGE,
                       "%s, grid: '%s' is no configuration key (the nearest is '%s'), so its list must hold objects "
                       "like {\"name\": \"relu\", \"models\": \"efficientnet_b0_relu\"}",
                       source, label, nearest);
    }
    for (const char *c = name->valuestring; *c; c++)
        if (!is_harmless(*c) || name->valuestring[0] == '.')
            return qd_fail(ctx, QD_ERR_USAGE,
                           "%s, grid: '%s' names a folder: letters, digits, '_', '+', '-', and '.' behind the first",
                           source, name->valuestring);
    if (cJSON_GetObjectItemCaseSensitive(entry, "output_dir"))
        return qd_fail(ctx, QD_ERR_USAGE, "%s, grid, '%s': each point has its own folder below output_dir already",
                       source, name->valuestring);
    return QD_OK;
}

/* Whether an entry of a list changes a key, whose name is dotted where it is nested. */
static bool changes_key(const cJSON *list, const cJSON *entry, const char *key)
{
    const char *dot = strchr(key, '.');
    char section[QD_CONFIG_NAME_BYTES];
    if (qd_config_find_key(list->string))
        return strcmp(list->string, key) == 0;
    if (!dot)
        return cJSON_GetObjectItemCaseSensitive(entry, key) != NULL;
    snprintf(section, sizeof section, "%.*s", (int)(dot - key), key);
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(entry, section), dot + 1) != NULL;
}

static bool list_changes_key(const cJSON *list, const char *key)
{
    const cJSON *entry;
    cJSON_ArrayForEach(entry, list)
    {
        if (changes_key(list, entry, key))
            return true;
    }
    return false;
}

/* Of two lists that change one key, one would be without effect under a folder's name that tells of it. */
static enum qd_status check_overlaps(qd_context *ctx, const qd_experiment_file *file)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    for (int i = 0; i < count; i++) {
        const cJSON *list, *first = NULL;
        cJSON_ArrayForEach(list, file->grid)
        {
            if (!list_changes_key(list, keys[i].name))
                continue;
            if (first)
                return qd_fail(
                    ctx, QD_ERR_USAGE,
                    "%s, grid: the lists '%s' and '%s' both change '%s', and one would undo the other; leave "
                    "the key to one of them",
                    file->grid_source, first->string, list->string, keys[i].name);
            first = list;
        }
    }
    return QD_OK;
}

static enum qd_status check_grid(qd_context *ctx, qd_experiment_file *file)
{
    const char *source = file->grid_source;
    const cJSON *list;
    file->point_count = 1;
    if (!file->grid)
        return QD_OK;
    if (!cJSON_IsObject(file->grid))
        return qd_fail(ctx, QD_ERR_USAGE, "%s, key 'grid': expected an object of lists", source);
    cJSON_ArrayForEach(list, file->grid)
    {
        const int count = cJSON_GetArraySize(list);
        if (!cJSON_IsArray(list) || count == 0)
            return qd_fail(ctx, QD_ERR_USAGE, "%s, grid, '%s': expected a list of one value or more", source,
                           list->string);
        if (strcmp(list->string, "output_dir") == 0)
            return qd_fail(ctx, QD_ERR_USAGE, "%s, grid: each point has its own folder below output_dir already",
                           source);
        const cJSON *entry;
        cJSON_ArrayForEach(entry, list)
        {
            if (!qd_config_find_key(list->string))
                QD_TRY(check_label_entry(ctx, source, list->string, entry));
        }
        file->point_count *= count;
        if (file->point_count > MAX_POINTS)
            return qd_fail(ctx, QD_ERR_USAGE,
                           "%s, grid: the lists make more than %d runs; split it into several files", source,
                           MAX_POINTS);
    }
    QD_TRY(check_overlaps(ctx, file));
    if (!file->grid->child) { /* {}: not the grid of the base */
        cJSON_Delete(file->grid);
        file->grid = NULL;
    }
    return QD_OK;
}

enum qd_status qd_experiment_file_open(qd_context *ctx, const char *path, qd_experiment_file *out)
{
    enum qd_status status = QD_OK;
    qd_experiment_file file = {0};
    char *base = NULL;
    QD_TRY_GOTO(read_layer(ctx, &file, path, &base));
    while (base) {
        char *next = NULL;
        status = read_layer(ctx, &file, base, &next);
        free(base);
        base = next;
        if (status != QD_OK)
            goto fail;
    }
    QD_TRY_GOTO(check_grid(ctx, &file));
    *out = file;
    return QD_OK;
fail:
    qd_experiment_file_close(&file);
    return status;
}

void qd_experiment_file_close(qd_experiment_file *file)
{
    for (int i = 0; i < file->layer_count; i++) {
        free(file->layers[i].path);
        cJSON_Delete(file->layers[i].json);
    }
    cJSON_Delete(file->grid);
    *file = (qd_experiment_file){0};
}

/* ---- applying ---- */

enum qd_status qd_experiment_file_apply(qd_context *ctx, const qd_experiment_file *file, qd_config *config)
{
    for (int i = file->layer_count - 1; i >= 0; i--)
        QD_TRY(qd_config_apply(ctx, config, file->layers[i].path, file->layers[i].json));
    return QD_OK;
}

/* The entry of a list at a point, and *rest: the point among the lists before it. */
static const cJSON *entry_at(const cJSON *list, int64_t *rest)
{
    const int count = cJSON_GetArraySize(list);
    const cJSON *entry = cJSON_GetArrayItem(list, (int)(*rest % count));
    *rest /= count;
    return entry;
}

static const cJSON *last_list(const qd_experiment_file *file)
{
    const cJSON *last = file->grid ? file->grid->child : NULL;
    while (last && last->next)
        last = last->next;
    return last;
}

/* The list before one; NULL: it was the first. (cJSON links the first child back to the last one.) */
static const cJSON *list_before(const qd_experiment_file *file, const cJSON *list)
{
    return list == file->grid->child ? NULL : list->prev;
}

/* {"quantization": {"enabled": false}} of a dotted key and a value; NULL when memory is short. */
static cJSON *nested(const char *name, const cJSON *value)
{
    cJSON *root = cJSON_CreateObject(), *parent = root, *copy = cJSON_Duplicate(value, true);
    const char *dot = strchr(name, '.');
    char section[QD_CONFIG_NAME_BYTES];
    if (dot) {
        snprintf(section, sizeof section, "%.*s", (int)(dot - name), name);
        parent = root ? cJSON_AddObjectToObject(root, section) : NULL;
    }
    if (!parent || !copy || !cJSON_AddItemToObject(parent, dot ? dot + 1 : name, copy)) {
        cJSON_Delete(copy);
        cJSON_Delete(root);
        return NULL;
    }
    return root;
}

/* What one entry of a list changes; NULL when memory is short. */
static cJSON *changes_of(const cJSON *list, const cJSON *entry)
{
    if (qd_config_find_key(list->string))
        return nested(list->string, entry);
    cJSON *changes = cJSON_Duplicate(entry, true);
    cJSON_DeleteItemFromObjectCaseSensitive(changes, "name");
    return changes;
}

/* Applies the point's entries of configuration keys, or of the other lists. */
static enum qd_status apply_entries(qd_context *ctx, const qd_experiment_file *file, int64_t point, bool keys,
                                    qd_config *config)
{
    char source[512];
    snprintf(source, sizeof source, "%s, grid", file->grid_source ? file->grid_source : "");
    for (const cJSON *list = last_list(file); list; list = list_before(file, list)) {
        const cJSON *entry = entry_at(list, &point);
        if ((qd_config_find_key(list->string) != NULL) != keys)
            continue;
        cJSON *changes = changes_of(list, entry);
        if (!changes)
            return qd_fail(ctx, QD_ERR_MEMORY, "experiment: out of memory");
        const enum qd_status status = qd_config_apply(ctx, config, source, changes);
        cJSON_Delete(changes);
        QD_TRY(status);
    }
    return QD_OK;
}

enum qd_status qd_experiment_file_apply_point(qd_context *ctx, const qd_experiment_file *file, int64_t point,
                                              qd_config *config)
{
    QD_TRY(apply_entries(ctx, file, point, false, config));
    return apply_entries(ctx, file, point, true, config);
}

enum qd_status qd_experiment_file_check_point(qd_context *ctx, const qd_experiment_file *file, int64_t point,
                                              const qd_config *config)
{
    qd_config of_grid;
    const cJSON *list;
    if (!file->grid)
        return QD_OK;
    QD_TRY(qd_config_init(ctx, &of_grid));
    enum qd_status status = apply_entries(ctx, file, point, true, &of_grid);
    cJSON_ArrayForEach(list, file->grid)
    {
        const qd_config_key *key = qd_config_find_key(list->string);
        bool done = true;
        if (status != QD_OK || !key || qd_config_same_value(config, &of_grid, key, &done))
            continue;
        status = done ? qd_fail(ctx, QD_ERR_USAGE,
                                "'%s' is given although the grid of '%s' spreads it: all its runs would be the same; "
                                "leave it out, or change the grid",
                                key->name, file->grid_source)
                      : qd_fail(ctx, QD_ERR_MEMORY, "experiment: out of memory");
    }
    qd_config_free(&of_grid);
    return status;
}

/* ---- names ---- */

/* The text of a value: of a list its entries, joined by '+'; what is not harmless becomes '_'. False when memory is
 * short. */
static bool print_value(FILE *stream, const cJSON *value)
{
    if (cJSON_IsArray(value)) {
        const cJSON *item;
        bool done = true;
        cJSON_ArrayForEach(item, value)
        {
            fputs(item == value->child ? "" : "+", stream);
            done = print_value(stream, item) && done;
        }
        return done;
    }
    char *line = cJSON_IsString(value) ? strdup(value->valuestring) : qd_json_print_line(value);
    for (const char *c = line; c && *c; c++)
        fputc(is_harmless(*c) ? *c : '_', stream);
    const bool done = line != NULL;
    free(line);
    return done;
}

/* Lists in the order of the file, though points are counted from the last one. False when memory is short. */
static bool print_point(FILE *stream, const qd_experiment_file *file, const cJSON *list, int64_t point)
{
    const cJSON *entry = entry_at(list, &point), *before = list_before(file, list);
    bool done = true;
    if (before) {
        done = print_point(stream, file, before, point);
        fputc('-', stream);
    }
    if (qd_config_find_key(list->string)) {
        fprintf(stream, "%s_", list->string);
        return print_value(stream, entry) && done;
    }
    fputs(cJSON_GetObjectItemCaseSensitive(entry, "name")->valuestring, stream);
    return done;
}

char *qd_experiment_file_point_name(const qd_experiment_file *file, int64_t point)
{
    char *text = NULL;
    size_t size = 0;
    const cJSON *last = last_list(file);
    FILE *stream = open_memstream(&text, &size);
    bool done = stream && last && print_point(stream, file, last, point) && !ferror(stream);
    if (stream && fclose(stream) != 0)
        done = false;
    if (!done) {
        free(text);
        return NULL;
    }
    if (size > MAX_POINT_NAME)
        text[MAX_POINT_NAME] = '\0'; /* names that differ beyond it are found equal, and refused */
    return text;
}
