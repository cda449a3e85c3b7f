#include <quantdrift/recipe_settings.h>

#include "base/error.h"
#include "base/file.h"
#include "experiment/config.h"
#include <stdlib.h>
#include <string.h>

struct qd_recipe_settings {
    qd_context *ctx;
    qd_config config; /* of which the recipe alone is used */
};

static const char *placeholder_of(enum qd_key_kind kind)
{
    switch (kind) {
    case QD_KEY_BOOL:
    case QD_KEY_NOT:
        return NULL;
    case QD_KEY_INT:
    case QD_KEY_INT_OR_NULL:
    case QD_KEY_WORD:
        return "N";
    case QD_KEY_DOUBLE:
        return "X";
    case QD_KEY_EXCLUDED:
        return "MODULE";
    case QD_KEY_OVERRIDES:
        return "JSON";
    case QD_KEY_STRING:
    case QD_KEY_CHOICE:
    case QD_KEY_NAME:
    case QD_KEY_MODELS:
    case QD_KEY_FORMATS:
        break;
    }
    return "NAME";
}

bool qd_recipe_key_get(int index, qd_recipe_key *out)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    for (int i = 0; i < count; i++) {
        if (keys[i].decides != QD_DECIDES_RECIPE || index-- > 0)
            continue;
        *out = (qd_recipe_key){.name = keys[i].name + strlen(QD_RECIPE_SECTION),
                               .placeholder = placeholder_of(keys[i].kind),
                               .doc = keys[i].doc,
                               .is_list = keys[i].kind == QD_KEY_EXCLUDED};
        return true;
    }
    return false;
}

static const qd_config_key *find_key(const char *name)
{
    char full[QD_CONFIG_NAME_BYTES];
    snprintf(full, sizeof full, QD_RECIPE_SECTION "%s", name);
    const qd_config_key *key = qd_config_find_key(full);
    return key && key->decides == QD_DECIDES_RECIPE ? key : NULL;
}

enum qd_status qd_recipe_settings_create(qd_context *ctx, qd_recipe_settings **out)
{
    qd_recipe_settings *settings = calloc(1, sizeof *settings);
    if (!settings)
        return qd_fail(ctx, QD_ERR_MEMORY, "recipe: out of memory");
    settings->ctx = ctx;
    const enum qd_status status = qd_config_init(ctx, &settings->config);
    if (status != QD_OK) {
        free(settings);
        return status;
    }
    *out = settings;
    return QD_OK;
}

void qd_recipe_settings_destroy(qd_recipe_settings *settings)
{
    if (!settings)
        return;
    qd_config_free(&settings->config);
    free(settings);
}

/* What a text means for a key: a list has it added to what is there. NULL when memory is short. */
static cJSON *value_of(const qd_config *config, const qd_config_key *key, const char *text)
{
    cJSON *value = NULL;
    if (!text)
        return cJSON_CreateTrue();
    if (key->kind == QD_KEY_EXCLUDED) {
        cJSON *list = qd_config_key_json(config, key), *item = cJSON_CreateString(text);
        if (list && cJSON_AddItemToArray(list, item))
            return list;
        cJSON_Delete(item);
        cJSON_Delete(list);
        return NULL;
    }
    (void)qd_json_parse(NULL, "setting", text, false, &value);
    return value ? value : cJSON_CreateString(text);
}

enum qd_status qd_recipe_settings_set(qd_recipe_settings *settings, const char *place, const char *name,
                                      const char *text)
{
    const qd_config_key *key = find_key(name);
    if (!key)
        return qd_fail(settings->ctx, QD_ERR_USAGE, "%s: a recipe has no key '%s'", place, name);
    cJSON *value = value_of(&settings->config, key, text);
    if (!value)
        return qd_fail(settings->ctx, QD_ERR_MEMORY, "recipe: out of memory");
    const enum qd_status status = qd_config_set(settings->ctx, &settings->config, place, key, value);
    cJSON_Delete(value);
    return status;
}

char *qd_recipe_settings_print(const qd_recipe_settings *settings, const char *name)
{
    const qd_config_key *key = find_key(name);
    cJSON *value = key ? qd_config_key_json(&settings->config, key) : NULL;
    char *line = value ? qd_json_print_line(value) : NULL;
    cJSON_Delete(value);
    return line;
}

const qd_quant_recipe *qd_recipe_settings_get(const qd_recipe_settings *settings)
{
    return &settings->config.quantization.recipe;
}
