/* Files of `sensitivity`, of `analyze` and of the quantization grid. */
#include "base/error.h"
#include "report/report_impl.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The formats as they are documented; a higher version may mean other things by the same names. */
#define KNOWN_VERSION 1

static const cJSON *item_of(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static enum qd_status fail_memory(const qd_report *report, int file)
{
    return qd_fail(report->ctx, QD_ERR_MEMORY, "reading '%s': out of memory", report->files[file].path);
}

static enum qd_status check_version(const qd_report *report, int file, const cJSON *json)
{
    const double version = qd_report_number(json, "version");
    if (version > KNOWN_VERSION)
        return qd_fail(report->ctx, QD_ERR_INPUT, "'%s': version %g of its format, this program knows version %d",
                       report->files[file].path, version, KNOWN_VERSION);
    return QD_OK;
}

/* What every file of a kind has; one without is another program's, or was cut and mended by hand. */
static enum qd_status check_array(const qd_report *report, int file, const cJSON *json, const char *key)
{
    return cJSON_IsArray(item_of(json, key))
               ? QD_OK
               : qd_fail(report->ctx, QD_ERR_INPUT, "'%s': expected an array '%s'", report->files[file].path, key);
}

/* Both names of the head, as texts of our own. */
static enum qd_status read_model(const qd_report *report, int file, const cJSON *json, char **model, char **key)
{
    const char *shown = qd_report_text(json, "display_name"), *internal = qd_report_text(json, "model");
    if (!shown && !internal)
        return qd_fail(report->ctx, QD_ERR_INPUT, "'%s': names no model", report->files[file].path);
    *model = strdup(shown ? shown : internal);
    *key = strdup(internal ? internal : "");
    return *model && *key ? QD_OK : fail_memory(report, file);
}

/* Of the checkpoint; without memory the file is matched by its folder. */
static int hash_name(qd_report *report, const cJSON *object)
{
    bool ok = true;
    return qd_report_name(report, object, "checkpoint_sha256", &ok);
}

/* ---- sensitivity ---- */

static report_score read_score(const cJSON *object)
{
    return (report_score){
        .accuracy = qd_report_number(object, "accuracy"),
        .drop = qd_report_number(object, "drop"),
        .kl = qd_report_number(object, "kl"),
        .mse = qd_report_number(object, "mse"),
        .agree_pct = qd_report_number(object, "agree_pct"),
    };
}

/* Larger first, what is not known last. */
static int compare_descending(double a, double b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) - isnan(b);
    return (a < b) - (a > b);
}

static int compare_layers(const void *left, const void *right)
{
    const report_layer *a = left, *b = right;
    const int order = compare_descending(a->only.drop, b->only.drop);
    return order != 0 ? order : compare_descending(a->only.kl, b->only.kl);
}

static enum qd_status read_modes(qd_report *report, int file, const cJSON *json, report_sensitivity *s)
{
    const cJSON *item;
    bool ok = true;
    cJSON_ArrayForEach(item, item_of(json, "modes"))
    {
        report_mode *mode = qd_report_append(&s->modes, &s->mode_count, sizeof *mode);
        if (!mode)
            return fail_memory(report, file);
        mode->name = qd_report_name(report, item, "name", &ok);
        mode->score = read_score(item_of(item, "score"));
    }
    return ok ? QD_OK : fail_memory(report, file);
}

static enum qd_status read_layers(qd_report *report, int file, const cJSON *json, report_sensitivity *s)
{
    const cJSON *item;
    bool ok = true;
    cJSON_ArrayForEach(item, item_of(json, "layers"))
    {
        report_layer *layer = qd_report_append(&s->layers, &s->layer_count, sizeof *layer);
        if (!layer)
            return fail_memory(report, file);
        layer->name = qd_report_name(report, item, "name", &ok);
        layer->kind = qd_report_name(report, item, "kind", &ok);
        layer->only = read_score(item_of(item, "only"));
        layer->without = read_score(item_of(item, "without"));
    }
    if (s->layer_count > 1)
        qsort(s->layers, (size_t)s->layer_count, sizeof *s->layers, compare_layers);
    return ok ? QD_OK : fail_memory(report, file);
}

static enum qd_status read_kept(qd_report *report, int file, const cJSON *json, report_sensitivity *s)
{
    const cJSON *kept = item_of(json, "kept"), *item;
    s->kept_known = cJSON_IsObject(kept) && cJSON_IsArray(item_of(kept, "layers"));
    s->kept_reached = cJSON_IsTrue(item_of(kept, "reached"));
    s->kept_score = read_score(item_of(kept, "score"));
    cJSON_ArrayForEach(item, item_of(kept, "layers"))
    {
        const int name = cJSON_IsString(item) ? qd_names_add(&report->names, item->valuestring) : -1;
        int *place = qd_report_append(&s->kept, &s->kept_count, sizeof *place);
        if (!place)
            return fail_memory(report, file);
        *place = name;
    }
    return QD_OK;
}

enum qd_status qd_report_read_sensitivity(qd_report *report, int file, const cJSON *json)
{
    QD_TRY(check_version(report, file, json));
    QD_TRY(check_array(report, file, json, "modes"));
    QD_TRY(check_array(report, file, json, "layers"));
    report_sensitivity *s = qd_report_append(&report->sensitivities, &report->sensitivity_count, sizeof *s);
    if (!s)
        return fail_memory(report, file);
    s->file = file;
    s->run = report->files[file].run;
    s->epoch = qd_report_number(json, "epoch");
    s->images = qd_report_number(json, "images");
    s->max_drop = qd_report_number(json, "max_drop");
    s->real = read_score(item_of(json, "float"));
    s->int8 = read_score(item_of(json, "int8"));
    QD_TRY(read_model(report, file, json, &s->model, &s->key));
    QD_TRY(read_modes(report, file, json, s));
    QD_TRY(read_layers(report, file, json, s));
    s->sha256 = hash_name(report, json);
    return read_kept(report, file, json, s);
}

/* ---- analysis ---- */

enum qd_status qd_report_read_analysis(qd_report *report, int file, cJSON **json)
{
    QD_TRY(check_version(report, file, *json));
    QD_TRY(check_array(report, file, *json, "batchnorm"));
    report_analysis *a = qd_report_append(&report->analyses, &report->analysis_count, sizeof *a);
    if (!a)
        return fail_memory(report, file);
    a->file = file;
    a->run = report->files[file].run;
    a->epoch = qd_report_number(*json, "epoch");
    QD_TRY(read_model(report, file, *json, &a->model, &a->key));
    a->sha256 = hash_name(report, *json);
    a->json = *json;
    *json = NULL;
    return QD_OK;
}

/* ---- the grid ---- */

/* Appends "key value" to a list; a flag is its key alone. What does not fit is left out. */
static bool add_field(char *text, size_t size, const cJSON *item)
{
    const size_t used = strlen(text);
    const char *comma = used > 0 ? ", " : "";
    int written;
    if (cJSON_IsBool(item)) {
        written = snprintf(text + used, size - used, "%s%s%s", comma, cJSON_IsTrue(item) ? "" : "no ", item->string);
    } else if (cJSON_IsObject(item)) {
        const cJSON *key;
        bool done = true;
        cJSON_ArrayForEach(key, item)
        {
            done = done && add_field(text, size, key);
        }
        return done;
    } else {
        char *value = cJSON_IsString(item) ? strdup(item->valuestring) : qd_json_print_line(item);
        if (!value)
            return false;
        written = snprintf(text + used, size - used, "%s%s %s", comma, item->string, value);
        free(value);
    }
    if (written < 0 || (size_t)written >= size - used)
        text[used] = '\0';
    return true;
}

/* A recipe as one line: what differs from the file's first, which is the one that others are measured by. */
static int recipe_name(qd_report *report, const cJSON *recipe, const cJSON *reference, bool *ok)
{
    char text[240] = "";
    const cJSON *item, *fields = cJSON_IsObject(recipe) ? recipe : NULL;
    if (cJSON_IsString(recipe))
        snprintf(text, sizeof text, "%s", recipe->valuestring);
    cJSON_ArrayForEach(item, fields)
    {
        if (recipe == reference || !cJSON_Compare(item, item_of(reference, item->string), true))
            *ok = *ok && (recipe == reference || add_field(text, sizeof text, item));
    }
    const int name = qd_names_add(&report->names, text[0] != '\0' ? text : "reference");
    *ok = *ok && name >= 0;
    return name;
}

static enum qd_status read_grid_row(qd_report *report, int file, const cJSON *item, const cJSON *reference)
{
    bool ok = true;
    if (!cJSON_IsObject(item))
        return qd_fail(report->ctx, QD_ERR_INPUT, "'%s': expected rows that are objects", report->files[file].path);
    report_grid_row *row = qd_report_append(&report->grid, &report->grid_count, sizeof *row);
    if (!row)
        return fail_memory(report, file);
    *row = (report_grid_row){
        .file = file,
        .model = qd_report_name(report, item, "model", &ok),
        .checkpoint = qd_report_name(report, item, "checkpoint", &ok),
        .sha256 = hash_name(report, item),
        .form = qd_report_name(report, item, "form", &ok),
        .recipe = recipe_name(report, item_of(item, "recipe"), reference, &ok),
        .float_accuracy = qd_report_number(item, "float_accuracy"),
        .accuracy = qd_report_number(item, "accuracy"),
        .drop = qd_report_number(item, "drop"),
        .low = qd_report_number(item, "drop_low"),
        .high = qd_report_number(item, "drop_high"),
        .recovered = qd_report_number(item, "recovered"),
    };
    return ok ? QD_OK : fail_memory(report, file);
}

enum qd_status qd_report_read_grid(qd_report *report, int file, const cJSON *json)
{
    const cJSON *rows = item_of(json, "rows"), *item;
    QD_TRY(check_version(report, file, json));
    QD_TRY(check_array(report, file, json, "rows"));
    cJSON_ArrayForEach(item, rows)
    {
        QD_TRY(read_grid_row(report, file, item, item_of(rows->child, "recipe")));
    }
    return QD_OK;
}
