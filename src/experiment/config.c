/* Reading, changing, printing and hashing a configuration. */
#include "experiment/config.h"
#include "base/error.h"
#include "base/sha256.h"
#include "experiment/recipe_lists.h"
#include <limits.h>
#include <math.h>
#include <quantdrift/network.h>
#include <stdlib.h>
#include <string.h>

enum qd_status qd_config_init(qd_context *ctx, qd_config *config)
{
    *config = (qd_config){
        .data_dir = strdup("data/imagewoof2-320"),
        .output_dir = strdup("results/imagewoof_divergence"),
        .seed = 42,
        .batch_size = 64,
        .num_epochs = 25,
        .log_every = 5,
        .lr = 0.01,
        .momentum = 0.9,
        .weight_decay = 1e-4,
        .weight_decay_batchnorm = true,
        .image_size = 224,
        .num_classes = QD_CONFIG_NULL,
        .head = QD_HEAD_LINEAR,
        .max_steps = QD_CONFIG_NULL,
        .on_bad_image = QD_BAD_IMAGE_ERROR,
        .quantization = {.enabled = true,
                         .calibration_images = 1000,
                         .eval_images = QD_CONFIG_NULL,
                         .sqnr_images = 64,
                         .batch_size = 16,
                         .recipe = qd_quant_recipe_defaults()},
        .qat = {.from = strdup("last"), .lr = 0.001, .averaging = 0.01},
    };
    for (const qd_model_info *const *model = qd_model_list(); *model; model++)
        if (!(*model)->variant_of)
            config->models[config->model_count++] = *model;
    if (!config->data_dir || !config->output_dir || !config->qat.from) {
        qd_config_free(config);
        return qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");
    }
    return QD_OK;
}

void qd_config_free(qd_config *config)
{
    free(config->data_dir);
    free(config->output_dir);
    qd_recipe_free_lists(&config->quantization.recipe);
    free(config->qat.from);
    *config = (qd_config){0};
}

static void *field_of(qd_config *config, const qd_config_key *key)
{
    return (char *)config + key->offset;
}

static const void *const_field_of(const qd_config *config, const qd_config_key *key)
{
    return (const char *)config + key->offset;
}

/* What the key accepts, for error sentences. */
static void describe_expected(const qd_config_key *key, char *text, size_t size)
{
    switch (key->kind) {
    case QD_KEY_STRING:
        snprintf(text, size, "a string that is not empty");
        break;
    case QD_KEY_BOOL:
    case QD_KEY_NOT:
        snprintf(text, size, "true or false");
        break;
    case QD_KEY_INT:
    case QD_KEY_INT_OR_NULL:
    case QD_KEY_WORD:
        snprintf(text, size, "%sa whole number from %.0f to %.0f", key->kind == QD_KEY_INT_OR_NULL ? "null or " : "",
                 key->min, key->max);
        break;
    case QD_KEY_DOUBLE:
        snprintf(text, size, "a number from %g to %g", key->min, key->max);
        break;
    case QD_KEY_CHOICE:
    case QD_KEY_NAME: {
        size_t used = 0;
        for (int i = 0; key->choices[i] && used < size; i++)
            used += (size_t)snprintf(text + used, size - used, "%s\"%s\"", i ? " or " : "", key->choices[i]);
        break;
    }
    case QD_KEY_MODELS: {
        size_t used = (size_t)snprintf(text, size, "a list of different names out of");
        for (const qd_model_info *const *model = qd_model_list(); *model && used < size; model++)
            used += (size_t)snprintf(text + used, size - used, " \"%s\"", (*model)->name);
        break;
    }
    case QD_KEY_FORMATS: {
        size_t used = (size_t)snprintf(text, size, "a list of different names out of");
        for (int i = 0; i < QD_EXPORT_FORMAT_COUNT && used < size; i++)
            used += (size_t)snprintf(text + used, size - used, " \"%s\"",
                                     qd_export_format_name((enum qd_export_format)i));
        break;
    }
    case QD_KEY_EXCLUDED:
        snprintf(text, size, "a list of module paths");
        break;
    case QD_KEY_OVERRIDES:
        snprintf(text, size, QD_OVERRIDES_EXPECTED);
        break;
    }
}

static enum qd_status fail_value(qd_context *ctx, const char *place, const qd_config_key *key, const cJSON *value)
{
    char expected[512];
    describe_expected(key, expected, sizeof expected);
    char *got = qd_json_print_line(value);
    enum qd_status status =
        qd_fail(ctx, QD_ERR_USAGE, "%s: expected %s, got %.100s", place, expected, got ? got : "something else");
    free(got);
    return status;
}

static enum qd_status fail_unknown(qd_context *ctx, const char *source, const char *name)
{
    char nearest[QD_CONFIG_NAME_BYTES];
    qd_config_nearest_name(name, nearest);
    return qd_fail(ctx, QD_ERR_USAGE,
                   "%s: unknown key '%s'; did you mean '%s'? experiments/README.md documents every key", source, name,
                   nearest);
}

/* Adds one model to the list; false when there is no such model or it is listed already. */
static bool add_model(qd_config *config, const cJSON *name)
{
    const qd_model_info *model = cJSON_IsString(name) ? qd_model_find(name->valuestring) : NULL;
    if (!model || config->model_count == QD_CONFIG_MAX_MODELS)
        return false;
    for (int i = 0; i < config->model_count; i++)
        if (config->models[i] == model)
            return false;
    config->models[config->model_count++] = model;
    return true;
}

/* Takes a list of names, or one name. */
static bool set_models(qd_config *config, const cJSON *value)
{
    qd_config next = *config;
    next.model_count = 0;
    if (cJSON_IsArray(value)) {
        const cJSON *name;
        cJSON_ArrayForEach(name, value) if (!add_model(&next, name)) return false;
    } else if (!add_model(&next, value)) {
        return false;
    }
    if (next.model_count == 0)
        return false;
    *config = next;
    return true;
}

static bool set_formats(qd_config *config, const cJSON *value)
{
    unsigned formats = 0;
    const cJSON *name;
    if (!cJSON_IsArray(value))
        return false;
    cJSON_ArrayForEach(name, value)
    {
        enum qd_export_format format;
        if (!cJSON_IsString(name) || !qd_export_format_parse(name->valuestring, &format) || formats & 1u << format)
            return false;
        formats |= 1u << format;
    }
    config->export_formats = formats;
    return true;
}

static bool is_whole_in_range(const cJSON *value, const qd_config_key *key)
{
    return cJSON_IsNumber(value) && value->valuedouble >= key->min && value->valuedouble <= key->max &&
           floor(value->valuedouble) == value->valuedouble;
}

static enum qd_status set_string(qd_context *ctx, char **field, const cJSON *value)
{
    char *copy = strdup(value->valuestring);
    if (!copy)
        return qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");
    free(*field);
    *field = copy;
    return QD_OK;
}

/* Index of a value among a key's choices; -1: none of them. */
static int choice_of(const qd_config_key *key, const cJSON *value)
{
    for (int i = 0; cJSON_IsString(value) && key->choices[i]; i++)
        if (strcmp(key->choices[i], value->valuestring) == 0)
            return i;
    return -1;
}

/* Fills *field from a value of the kind that the key accepts; QD_ERR_USAGE without a sentence when it is none. */
static enum qd_status set_field(qd_context *ctx, qd_config *config, const qd_config_key *key, const cJSON *value)
{
    void *field = field_of(config, key);
    switch (key->kind) {
    case QD_KEY_STRING:
        if (!cJSON_IsString(value) || value->valuestring[0] == '\0')
            return QD_ERR_USAGE;
        return set_string(ctx, field, value);
    case QD_KEY_BOOL:
    case QD_KEY_NOT:
        if (!cJSON_IsBool(value))
            return QD_ERR_USAGE;
        *(bool *)field = cJSON_IsTrue(value) == (key->kind == QD_KEY_BOOL);
        return QD_OK;
    case QD_KEY_INT_OR_NULL:
        if (cJSON_IsNull(value)) {
            *(int64_t *)field = QD_CONFIG_NULL;
            return QD_OK;
        }
        /* fall through */
    case QD_KEY_INT:
        if (!is_whole_in_range(value, key))
            return QD_ERR_USAGE;
        *(int64_t *)field = (int64_t)value->valuedouble;
        return QD_OK;
    case QD_KEY_WORD:
        if (!is_whole_in_range(value, key))
            return QD_ERR_USAGE;
        *(int *)field = (int)value->valuedouble;
        return QD_OK;
    case QD_KEY_DOUBLE:
        if (!cJSON_IsNumber(value) || !(value->valuedouble >= key->min && value->valuedouble <= key->max))
            return QD_ERR_USAGE;
        *(double *)field = value->valuedouble;
        return QD_OK;
    case QD_KEY_CHOICE:
        if (choice_of(key, value) < 0)
            return QD_ERR_USAGE;
        *(int *)field = choice_of(key, value);
        return QD_OK;
    case QD_KEY_NAME:
        if (choice_of(key, value) < 0)
            return QD_ERR_USAGE;
        *(const char **)field = key->choices[choice_of(key, value)];
        return QD_OK;
    case QD_KEY_MODELS:
        return set_models(config, value) ? QD_OK : QD_ERR_USAGE;
    case QD_KEY_FORMATS:
        return set_formats(config, value) ? QD_OK : QD_ERR_USAGE;
    case QD_KEY_EXCLUDED:
        return qd_recipe_set_excluded(ctx, field, value);
    case QD_KEY_OVERRIDES:
        return qd_recipe_set_overrides(ctx, field, value);
    }
    return QD_ERR_USAGE;
}

enum qd_status qd_config_set(qd_context *ctx, qd_config *config, const char *place, const qd_config_key *key,
                             const cJSON *value)
{
    const enum qd_status status = set_field(ctx, config, key, value);
    return status == QD_ERR_USAGE ? fail_value(ctx, place, key, value) : status;
}

/* qd_config_set() of what a file or setting says. */
static enum qd_status set_key(qd_context *ctx, qd_config *config, const char *source, const qd_config_key *key,
                              const cJSON *value)
{
    char place[PATH_MAX + QD_CONFIG_NAME_BYTES];
    snprintf(place, sizeof place, "%s, key '%s'", source, key->name);
    return qd_config_set(ctx, config, place, key, value);
}

/* True when keys begin with `name` and a dot. */
static bool is_section(const char *name)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    size_t length = strlen(name);
    for (int i = 0; i < count; i++)
        if (strncmp(keys[i].name, name, length) == 0 && keys[i].name[length] == '.')
            return true;
    return false;
}

static enum qd_status fail_no_object(qd_context *ctx, const char *source, const char *name)
{
    return qd_fail(ctx, QD_ERR_USAGE, "%s, key '%s': expected an object of keys", source, name);
}

static enum qd_status apply_object(qd_context *ctx, qd_config *config, const char *source, const char *section,
                                   const cJSON *object)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, object)
    {
        char name[256];
        snprintf(name, sizeof name, "%s%s%s", section, section[0] ? "." : "", item->string);
        const qd_config_key *key = qd_config_find_key(name);
        if (key)
            QD_TRY(set_key(ctx, config, source, key, item));
        else if (!section[0] && is_section(name) && cJSON_IsObject(item))
            QD_TRY(apply_object(ctx, config, source, name, item));
        else if (!section[0] && is_section(name))
            return fail_no_object(ctx, source, name);
        else
            return fail_unknown(ctx, source, name);
    }
    return QD_OK;
}

enum qd_status qd_config_apply(qd_context *ctx, qd_config *config, const char *source, const cJSON *object)
{
    if (!cJSON_IsObject(object))
        return qd_fail(ctx, QD_ERR_USAGE, "%s: expected a JSON object of configuration keys", source);
    return apply_object(ctx, config, source, "", object);
}

enum qd_status qd_config_assign(qd_context *ctx, qd_config *config, const char *assignment)
{
    enum qd_status status = QD_OK;
    cJSON *value = NULL;
    const char *equals = strchr(assignment, '=');
    char *name = equals ? strndup(assignment, (size_t)(equals - assignment)) : NULL;
    if (!equals)
        return qd_fail(ctx, QD_ERR_USAGE, "'%s': expected key=value", assignment);
    if (!name)
        return qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");

    /* What is no JSON is a string, and so is any value of a string key that is not quoted: a folder may be called
     * 2024. */
    (void)qd_json_parse(ctx, "setting", equals + 1, false, &value);
    const qd_config_key *key = qd_config_find_key(name);
    if (!value || (key && key->kind == QD_KEY_STRING && !cJSON_IsString(value))) {
        cJSON_Delete(value);
        value = cJSON_CreateString(equals + 1);
    }
    if (!value)
        status = qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");
    else if (key)
        status = set_key(ctx, config, "setting", key, value);
    else if (is_section(name) && cJSON_IsObject(value))
        status = apply_object(ctx, config, "setting", name, value);
    else if (is_section(name))
        status = fail_no_object(ctx, "setting", name);
    else
        status = fail_unknown(ctx, "setting", name);
    cJSON_Delete(value);
    free(name);
    return status;
}

cJSON *qd_config_key_json(const qd_config *config, const qd_config_key *key)
{
    const void *field = const_field_of(config, key);
    switch (key->kind) {
    case QD_KEY_STRING:
        return cJSON_CreateString(*(char *const *)field);
    case QD_KEY_BOOL:
    case QD_KEY_NOT:
        return cJSON_CreateBool(*(const bool *)field == (key->kind == QD_KEY_BOOL));
    case QD_KEY_WORD:
        return qd_json_int(*(const int *)field);
    case QD_KEY_INT:
        return qd_json_int(*(const int64_t *)field);
    case QD_KEY_INT_OR_NULL:
        return *(const int64_t *)field == QD_CONFIG_NULL ? cJSON_CreateNull() : qd_json_int(*(const int64_t *)field);
    case QD_KEY_DOUBLE:
        return qd_json_double(*(const double *)field);
    case QD_KEY_CHOICE:
        return cJSON_CreateString(key->choices[*(const int *)field]);
    case QD_KEY_NAME:
        return cJSON_CreateString(*(const char *const *)field);
    case QD_KEY_MODELS: {
        const char *names[QD_CONFIG_MAX_MODELS];
        for (int i = 0; i < config->model_count; i++)
            names[i] = config->models[i]->name;
        return cJSON_CreateStringArray(names, config->model_count);
    }
    case QD_KEY_FORMATS: {
        const char *names[QD_EXPORT_FORMAT_COUNT];
        int count = 0;
        for (int i = 0; i < QD_EXPORT_FORMAT_COUNT; i++)
            if (config->export_formats & 1u << i)
                names[count++] = qd_export_format_name((enum qd_export_format)i);
        return cJSON_CreateStringArray(names, count);
    }
    case QD_KEY_EXCLUDED:
        return qd_recipe_excluded_json(field);
    case QD_KEY_OVERRIDES:
        return qd_recipe_overrides_json(field);
    }
    return NULL;
}

/* The value of a key as one line; NULL when memory is short. */
static char *value_line(const qd_config *config, const qd_config_key *key)
{
    cJSON *value = qd_config_key_json(config, key);
    char *line = value ? qd_json_print_line(value) : NULL;
    cJSON_Delete(value);
    return line;
}

bool qd_config_same_value(const qd_config *a, const qd_config *b, const qd_config_key *key, bool *done)
{
    char *line_a = value_line(a, key), *line_b = value_line(b, key);
    *done = line_a && line_b;
    const bool same = *done && strcmp(line_a, line_b) == 0;
    free(line_a);
    free(line_b);
    return same;
}

/* Whether results name a key's value. */
static bool is_told(const qd_config *config, const qd_config *defaults, const qd_config_key *key, bool *done)
{
    switch (key->decides) {
    case QD_DECIDES_NOTHING:
    case QD_DECIDES_FILES:
        return false;
    case QD_DECIDES_TRAINING:
    case QD_DECIDES_QUANTIZATION:
        return true;
    case QD_DECIDES_RECIPE:
        return !qd_config_same_value(config, defaults, key, done);
    case QD_DECIDES_QAT:
        return config->qat.num_epochs > 0;
    }
    return true;
}

/* Adds one key's value to the object, nested keys below their section. False when memory is short. */
static bool add_key_json(cJSON *root, const qd_config *config, const qd_config_key *key)
{
    const char *dot = strchr(key->name, '.');
    cJSON *parent = root;
    if (dot) {
        char section[QD_CONFIG_NAME_BYTES];
        snprintf(section, sizeof section, "%.*s", (int)(dot - key->name), key->name);
        parent = cJSON_GetObjectItemCaseSensitive(root, section);
        if (!parent)
            parent = cJSON_AddObjectToObject(root, section);
    }
    cJSON *value = qd_config_key_json(config, key);
    if (parent && cJSON_AddItemToObject(parent, dot ? dot + 1 : key->name, value))
        return true;
    cJSON_Delete(value);
    return false;
}

cJSON *qd_config_json(const qd_config *config, bool deciding_only)
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    qd_config defaults;
    cJSON *root = cJSON_CreateObject();
    bool done = root && qd_config_init(NULL, &defaults) == QD_OK;
    if (!done) {
        cJSON_Delete(root);
        return NULL;
    }
    for (int i = 0; done && i < count; i++)
        if (!deciding_only || is_told(config, &defaults, &keys[i], &done))
            done = done && add_key_json(root, config, &keys[i]);
    qd_config_free(&defaults);
    if (done)
        return root;
    cJSON_Delete(root);
    return NULL;
}

/* "lr=0.02;" when that is not the default. */
static bool hash_key(const qd_config *config, const qd_config *defaults, const qd_config_key *key, qd_sha256 *hash)
{
    bool done;
    if (qd_config_same_value(config, defaults, key, &done))
        return true;
    char *line = done ? value_line(config, key) : NULL;
    if (!line)
        return false;
    qd_sha256_update(hash, key->name, strlen(key->name));
    qd_sha256_update(hash, "=", 1);
    qd_sha256_update(hash, line, strlen(line));
    qd_sha256_update(hash, ";", 1);
    free(line);
    return true;
}

/* Keys that decide something, of all kinds or the training alone, and the first models. */
static enum qd_status hash_config(qd_context *ctx, const qd_config *config, bool training_only, int model_count,
                                  char text[65])
{
    int count;
    const qd_config_key *keys = qd_config_keys(&count);
    qd_config defaults;
    qd_sha256 hash;
    bool done = true;
    QD_TRY(qd_config_init(ctx, &defaults));
    qd_sha256_init(&hash);
    for (int i = 0; done && i < count; i++)
        if (keys[i].decides == QD_DECIDES_TRAINING || (!training_only && keys[i].decides != QD_DECIDES_NOTHING))
            done = hash_key(config, &defaults, &keys[i], &hash);
    qd_config_free(&defaults);
    if (!done)
        return qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");
    for (int i = 0; i < model_count && i < config->model_count; i++) {
        qd_sha256_update(&hash, "/", 1);
        qd_sha256_update(&hash, config->models[i]->name, strlen(config->models[i]->name));
    }
    qd_sha256_finish(&hash, text);
    return QD_OK;
}

enum qd_status qd_config_hash(qd_context *ctx, const qd_config *config, int model_index, char text[65])
{
    return hash_config(ctx, config, true, model_index + 1, text);
}

enum qd_status qd_config_run_hash(qd_context *ctx, const qd_config *config, char text[65])
{
    return hash_config(ctx, config, false, config->model_count, text);
}
