#include "experiment/recipe_lists.h"
#include "base/arena.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_BITS = 2, MOST_BITS = 16 };

/* ---- ownership ---- */

static void free_name(const char *name)
{
    free((void *)(uintptr_t)name);
}

static void free_excluded(qd_quant_recipe *recipe)
{
    for (int i = 0; i < recipe->excluded_count; i++)
        free_name(recipe->excluded[i]);
    free((void *)(uintptr_t)recipe->excluded);
    recipe->excluded = NULL;
    recipe->excluded_count = 0;
}

static void free_overrides(qd_quant_recipe *recipe)
{
    for (int i = 0; i < recipe->tensor_count; i++)
        free_name(recipe->tensors[i].name);
    for (int i = 0; i < recipe->weight_count; i++)
        free_name(recipe->weights[i].name);
    free((void *)(uintptr_t)recipe->tensors);
    free((void *)(uintptr_t)recipe->weights);
    recipe->tensors = NULL;
    recipe->weights = NULL;
    recipe->tensor_count = recipe->weight_count = 0;
}

void qd_recipe_free_lists(qd_quant_recipe *recipe)
{
    free_excluded(recipe);
    free_overrides(recipe);
}

static enum qd_status fail_memory(qd_context *ctx)
{
    return qd_fail(ctx, QD_ERR_MEMORY, "configuration: out of memory");
}

/* ---- exclusions ---- */

enum qd_status qd_recipe_set_excluded(qd_context *ctx, qd_quant_recipe *recipe, const cJSON *value)
{
    const cJSON *item;
    if (!cJSON_IsArray(value))
        return QD_ERR_USAGE;
    cJSON_ArrayForEach(item, value)
    {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
            return QD_ERR_USAGE;
    }
    qd_quant_recipe set = {0};
    const char **names = qd_calloc((size_t)cJSON_GetArraySize(value), sizeof *names);
    set.excluded = names;
    bool done = names != NULL;
    cJSON_ArrayForEach(item, value)
    {
        if (done && !(names[set.excluded_count++] = strdup(item->valuestring)))
            done = false;
    }
    if (!done) {
        free_excluded(&set);
        return fail_memory(ctx);
    }
    free_excluded(recipe);
    recipe->excluded = set.excluded;
    recipe->excluded_count = set.excluded_count;
    return QD_OK;
}

cJSON *qd_recipe_excluded_json(const qd_quant_recipe *recipe)
{
    /* cJSON makes no array of no names. */
    return recipe->excluded_count > 0 ? cJSON_CreateStringArray(recipe->excluded, recipe->excluded_count)
                                      : cJSON_CreateArray();
}

/* ---- overrides ---- */

static bool is_weight(const char *name)
{
    static const char suffix[] = ".weight";
    const size_t length = strlen(name), end = strlen(suffix);
    return length > end && strcmp(name + length - end, suffix) == 0;
}

/* What both kinds have in common. */
typedef struct override_form {
    int bits, flag;
    bool is_float;
} override_form;

/* False when the value is of another form; `flag` is the key of the property that is true or false. */
static bool read_form(const cJSON *value, const char *flag, override_form *out)
{
    override_form form = {.flag = QD_AS_SCHEME};
    const cJSON *item;
    *out = form;
    if (cJSON_IsString(value)) {
        out->is_float = true;
        return strcmp(value->valuestring, "float") == 0;
    }
    if (!cJSON_IsObject(value) || !value->child)
        return false;
    cJSON_ArrayForEach(item, value)
    {
        const double bits = cJSON_IsNumber(item) ? item->valuedouble : 0.0;
        if (strcmp(item->string, "bits") == 0 && bits >= LEAST_BITS && bits <= MOST_BITS && floor(bits) == bits)
            form.bits = (int)bits;
        else if (strcmp(item->string, flag) == 0 && cJSON_IsBool(item))
            form.flag = cJSON_IsTrue(item);
        else
            return false;
    }
    *out = form;
    return true;
}

static const char *flag_of(const char *name)
{
    return is_weight(name) ? "per_channel" : "symmetric";
}

/* Adds what was found to be well formed; false when memory is short. */
static bool add_override(const cJSON *item, qd_tensor_override *tensors, qd_weight_override *weights,
                         qd_quant_recipe *recipe)
{
    override_form form;
    char *name = strdup(item->string);
    (void)read_form(item, flag_of(item->string), &form);
    if (!name)
        return false;
    if (is_weight(name))
        weights[recipe->weight_count++] = (qd_weight_override){
            .name = name, .bits = form.bits, .per_channel = form.flag, .is_float = form.is_float};
    else
        tensors[recipe->tensor_count++] =
            (qd_tensor_override){.name = name, .bits = form.bits, .symmetric = form.flag, .is_float = form.is_float};
    return true;
}

enum qd_status qd_recipe_set_overrides(qd_context *ctx, qd_quant_recipe *recipe, const cJSON *value)
{
    const cJSON *item;
    override_form form;
    if (!cJSON_IsObject(value))
        return QD_ERR_USAGE;
    cJSON_ArrayForEach(item, value)
    {
        if (!read_form(item, flag_of(item->string), &form))
            return QD_ERR_USAGE;
    }
    qd_quant_recipe set = {0};
    qd_tensor_override *tensors = qd_calloc((size_t)cJSON_GetArraySize(value), sizeof *tensors);
    qd_weight_override *weights = qd_calloc((size_t)cJSON_GetArraySize(value), sizeof *weights);
    set.tensors = tensors;
    set.weights = weights;
    bool done = tensors && weights;
    cJSON_ArrayForEach(item, value)
    {
        done = done && add_override(item, tensors, weights, &set);
    }
    if (!done) {
        free_overrides(&set);
        return fail_memory(ctx);
    }
    free_overrides(recipe);
    recipe->tensors = set.tensors;
    recipe->tensor_count = set.tensor_count;
    recipe->weights = set.weights;
    recipe->weight_count = set.weight_count;
    return QD_OK;
}

static bool add_form_json(cJSON *root, const char *name, const override_form *form)
{
    if (form->is_float)
        return cJSON_AddStringToObject(root, name, "float") != NULL;
    cJSON *object = cJSON_AddObjectToObject(root, name);
    bool done = object != NULL;
    if (done && form->bits != 0)
        done = cJSON_AddItemToObject(object, "bits", qd_json_int(form->bits));
    if (done && form->flag != QD_AS_SCHEME)
        done = cJSON_AddBoolToObject(object, flag_of(name), form->flag != 0) != NULL;
    return done;
}

cJSON *qd_recipe_overrides_json(const qd_quant_recipe *recipe)
{
    cJSON *root = cJSON_CreateObject();
    bool done = root != NULL;
    for (int i = 0; done && i < recipe->tensor_count; i++) {
        const qd_tensor_override *t = &recipe->tensors[i];
        done = add_form_json(root, t->name, &(override_form){t->bits, t->symmetric, t->is_float});
    }
    for (int i = 0; done && i < recipe->weight_count; i++) {
        const qd_weight_override *w = &recipe->weights[i];
        done = add_form_json(root, w->name, &(override_form){w->bits, w->per_channel, w->is_float});
    }
    if (done)
        return root;
    cJSON_Delete(root);
    return NULL;
}
