#include "experiment/grid_file.h"
#include "base/error.h"
#include <stdlib.h>
#include <string.h>

/* Written by hand. */
#define MAX_FILE_BYTES ((size_t)1 << 20)
/* Beyond what anybody reads; a product that is larger was not meant. */
#define MAX_RECIPES 1000
#define MAX_SOURCE  512

static enum qd_status fail_memory(qd_context *ctx)
{
    return qd_fail(ctx, QD_ERR_MEMORY, "grid: out of memory");
}

/* ---- a recipe as text ---- */

/* The keys of one kind under their names without the section's; NULL when memory is short. */
static cJSON *section_json(const qd_config *config, enum qd_decides decides, const char *section)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    cJSON *object = cJSON_CreateObject();
    for (int i = 0; object && i < count; i++) {
        if (keys[i].decides != decides || strcmp(keys[i].name, QD_QAT_SECTION "from") == 0)
            continue;
        cJSON *value = qd_config_key_json(config, &keys[i]);
        if (!cJSON_AddItemToObject(object, keys[i].name + strlen(section), value)) {
            cJSON_Delete(value);
            cJSON_Delete(object);
            return NULL;
        }
    }
    return object;
}

cJSON *qd_grid_recipe_json(const qd_config *config)
{
    cJSON *root = section_json(config, QD_DECIDES_RECIPE, QD_RECIPE_SECTION);
    if (!root || config->qat.num_epochs == 0)
        return root;
    cJSON *training = section_json(config, QD_DECIDES_QAT, QD_QAT_SECTION);
    if (training && cJSON_AddItemToObject(root, QD_GRID_QAT, training))
        return root;
    cJSON_Delete(training);
    cJSON_Delete(root);
    return NULL;
}

char *qd_grid_recipe_line(const qd_config *config)
{
    cJSON *json = qd_grid_recipe_json(config);
    char *line = json ? qd_json_print_line(json) : NULL;
    cJSON_Delete(json);
    return line;
}

/* ---- keys ---- */

static const qd_config_key *find_key(const char *name)
{
    char full[QD_CONFIG_NAME_BYTES];
    snprintf(full, sizeof full, QD_RECIPE_SECTION "%s", name);
    return qd_config_find_key(full);
}

enum qd_status qd_grid_recipe_apply(qd_context *ctx, qd_config *config, const char *source, const cJSON *object)
{
    cJSON *root = cJSON_CreateObject(), *copy = cJSON_Duplicate(object, true);
    cJSON *training = cJSON_DetachItemFromObjectCaseSensitive(copy, QD_GRID_QAT);
    bool done = root && copy;
    if (!root || !cJSON_AddItemToObject(root, "quantization", copy)) {
        cJSON_Delete(copy);
        done = false;
    }
    if (training && (!root || !cJSON_AddItemToObject(root, "qat", training))) {
        cJSON_Delete(training);
        done = false;
    }
    const enum qd_status status = done ? qd_config_apply(ctx, config, source, root) : fail_memory(ctx);
    cJSON_Delete(root);
    return status;
}

/* Training that begins with the checkpoint of the row, and takes place. */
static enum qd_status check_training(qd_context *ctx, const char *source, const cJSON *training)
{
    const cJSON *epochs = cJSON_GetObjectItemCaseSensitive(training, "num_epochs");
    if (cJSON_HasObjectItem(training, "from"))
        return qd_fail(ctx, QD_ERR_USAGE, "%s: 'qat.from' decides nothing here: each checkpoint is trained on",
                       source);
    if (!cJSON_IsObject(training) || !cJSON_IsNumber(epochs) || epochs->valuedouble < 1.0)
        return qd_fail(ctx, QD_ERR_USAGE, "%s: expected \"qat\" to be an object with at least 1 in \"num_epochs\"",
                       source);
    return QD_OK;
}

/* Keys that would be without effect. */
static enum qd_status check_keys(qd_context *ctx, const char *source, const cJSON *object, bool of_recipe)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        const qd_config_key *key = find_key(item->string);
        const bool idle = key && (strcmp(item->string, "enabled") == 0 || strcmp(item->string, "sqnr_images") == 0 ||
                                  (of_recipe && key->decides != QD_DECIDES_RECIPE));
        if (idle)
            return qd_fail(ctx, QD_ERR_USAGE, "%s: '%s' decides nothing here%s", source, item->string,
                           of_recipe ? "; what holds for all recipes stands beside \"recipes\"" : "");
        if (strcmp(item->string, QD_GRID_QAT) != 0)
            continue;
        if (!of_recipe)
            return qd_fail(ctx, QD_ERR_USAGE, "%s: '" QD_GRID_QAT "' belongs in an entry of \"recipes\"", source);
        QD_TRY(check_training(ctx, source, item));
    }
    return QD_OK;
}

/* ---- spreading ---- */

/* Whether a value is a list of values: a list's own values are lists themselves. */
static bool is_spread(const cJSON *item)
{
    const qd_config_key *key = find_key(item->string);
    if (!cJSON_IsArray(item) || !item->child)
        return false;
    return !key || key->kind != QD_KEY_EXCLUDED || cJSON_IsArray(item->child);
}

static int64_t point_count(const cJSON *entry)
{
    int64_t count = 1;
    const cJSON *item;
    cJSON_ArrayForEach(item, entry)
    {
        if (is_spread(item) && count <= MAX_RECIPES)
            count *= cJSON_GetArraySize(item);
    }
    return count;
}

/* One combination of an entry's lists, the last list going round fastest; NULL when memory is short. */
static cJSON *point_of(const cJSON *entry, int64_t count, int64_t point)
{
    cJSON *object = cJSON_CreateObject();
    const cJSON *item;
    cJSON_ArrayForEach(item, entry)
    {
        const cJSON *value = item;
        if (is_spread(item)) {
            const int size = cJSON_GetArraySize(item);
            count /= size;
            value = cJSON_GetArrayItem(item, (int)(point / count % size));
        }
        cJSON *copy = cJSON_Duplicate(value, true);
        if (!cJSON_AddItemToObject(object, item->string, copy)) {
            cJSON_Delete(copy);
            cJSON_Delete(object);
            return NULL;
        }
    }
    return object;
}

/* ---- the list ---- */

static bool is_listed(const qd_grid_file *file, const char *line, bool *done)
{
    for (int i = 0; i < file->count; i++) {
        char *known = qd_grid_recipe_line(&file->recipes[i]);
        const bool same = known && strcmp(known, line) == 0;
        *done = *done && known;
        free(known);
        if (same)
            return true;
    }
    return false;
}

/* Takes the configuration, unless its recipe is there already. */
static enum qd_status push(qd_context *ctx, qd_grid_file *file, qd_config *config)
{
    char *line = qd_grid_recipe_line(config);
    bool done = line != NULL;
    const bool listed = done && is_listed(file, line, &done);
    free(line);
    if (done && !listed) {
        qd_config *larger = realloc(file->recipes, ((size_t)file->count + 1) * sizeof *larger);
        if (larger) {
            file->recipes = larger;
            file->recipes[file->count++] = *config;
            return QD_OK;
        }
        done = false;
    }
    qd_config_free(config);
    return done ? QD_OK : fail_memory(ctx);
}

/* The recipe of the keys beside the list and one point of an entry. */
static enum qd_status add_point(qd_context *ctx, qd_grid_file *file, const char *path, const cJSON *common,
                                const char *source, const cJSON *point)
{
    enum qd_status status = QD_OK;
    qd_config config;
    QD_TRY(qd_config_init(ctx, &config));
    QD_TRY_GOTO(qd_grid_recipe_apply(ctx, &config, path, common));
    QD_TRY_GOTO(qd_grid_recipe_apply(ctx, &config, source, point));
    return push(ctx, file, &config);
fail:
    qd_config_free(&config);
    return status;
}

static enum qd_status add_entry(qd_context *ctx, qd_grid_file *file, const char *path, const cJSON *common,
                                const cJSON *entry, int index)
{
    char source[MAX_SOURCE];
    snprintf(source, sizeof source, "%s, entry %d of \"recipes\"", path, index + 1);
    if (!cJSON_IsObject(entry))
        return qd_fail(ctx, QD_ERR_USAGE, "%s: expected an object of keys, such as {\"calibrator\": \"mse\"}",
                       source);
    QD_TRY(check_keys(ctx, source, entry, true));
    const int64_t count = point_count(entry);
    for (int64_t p = 0; p < count; p++) {
        if (file->count >= MAX_RECIPES || count > MAX_RECIPES)
            return qd_fail(ctx, QD_ERR_USAGE, "%s: more than %d recipes; split the file", source, MAX_RECIPES);
        cJSON *point = point_of(entry, count, p);
        if (!point)
            return fail_memory(ctx);
        const enum qd_status status = add_point(ctx, file, path, common, source, point);
        cJSON_Delete(point);
        QD_TRY(status);
    }
    return QD_OK;
}

static enum qd_status add_recipes(qd_context *ctx, qd_grid_file *file, const char *path, const cJSON *common,
                                  const cJSON *list)
{
    const cJSON *entry;
    qd_config plain;
    int index = 0;
    if (!cJSON_IsArray(list) || !list->child)
        return qd_fail(ctx, QD_ERR_USAGE, "%s: expected \"recipes\", a list of objects of keys", path);
    QD_TRY(qd_config_init(ctx, &plain));
    QD_TRY(push(ctx, file, &plain));
    cJSON_ArrayForEach(entry, list)
    {
        QD_TRY(add_entry(ctx, file, path, common, entry, index++));
    }
    return QD_OK;
}

enum qd_status qd_grid_file_read(qd_context *ctx, const char *path, qd_grid_file *out)
{
    cJSON *root = NULL, *list = NULL;
    *out = (qd_grid_file){0};
    enum qd_status status = qd_json_read(ctx, path, MAX_FILE_BYTES, true, &root);
    if (status == QD_ERR_INPUT) /* the caller's choice, as with experiment files */
        status = QD_ERR_USAGE;
    if (status != QD_OK)
        goto fail;
    if (!cJSON_IsObject(root)) {
        status = qd_fail(ctx, QD_ERR_USAGE, "%s: expected a JSON object with \"recipes\"", path);
        goto fail;
    }
    list = cJSON_DetachItemFromObjectCaseSensitive(root, "recipes");
    QD_TRY_GOTO(qd_config_init(ctx, &out->settings));
    QD_TRY_GOTO(check_keys(ctx, path, root, false));
    QD_TRY_GOTO(qd_grid_recipe_apply(ctx, &out->settings, path, root));
    QD_TRY_GOTO(add_recipes(ctx, out, path, root, list));
fail:
    cJSON_Delete(list);
    cJSON_Delete(root);
    return status;
}

void qd_grid_file_free(qd_grid_file *file)
{
    for (int i = 0; i < file->count; i++)
        qd_config_free(&file->recipes[i]);
    free(file->recipes);
    qd_config_free(&file->settings);
    *file = (qd_grid_file){0};
}
