#include "experiment/grid_rows.h"
#include "base/error.h"
#include "base/file.h"
#include "experiment/grid_file.h"
#include <math.h>
#include <quantdrift/build_info.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT         "quantdrift-grid"
#define MAX_GRID_BYTES ((size_t)1 << 28)

static enum qd_status fail_memory(const qd_grid_rows *rows)
{
    return qd_fail(rows->ctx, QD_ERR_MEMORY, "grid '%s': out of memory", rows->path ? rows->path : "");
}

/* ---- the file ---- */

/* Adds an item, which may be NULL; false when memory is short. */
static bool put(cJSON *object, const char *key, cJSON *item)
{
    if (object && item && cJSON_AddItemToObject(object, key, item))
        return true;
    cJSON_Delete(item);
    return false;
}

static bool put_text(cJSON *object, const char *key, const char *text)
{
    return put(object, key, cJSON_CreateString(text));
}

static cJSON *header_json(const qd_grid_header *h)
{
    cJSON *root = cJSON_CreateObject();
    const bool done = put_text(root, "format", FORMAT) && put_text(root, "train_fingerprint", h->train_fingerprint) &&
                      put_text(root, "val_fingerprint", h->val_fingerprint) &&
                      put(root, "calibration_images", qd_json_int(h->calibration_images)) &&
                      put(root, "calibration_seed", qd_json_int(h->calibration_seed)) &&
                      put(root, "eval_images", qd_json_int(h->eval_images)) &&
                      put(root, "batch_size", qd_json_int(h->batch_size)) && put(root, "rows", cJSON_CreateArray());
    if (done)
        return root;
    cJSON_Delete(root);
    return NULL;
}

static bool is_text(const cJSON *object, const char *key)
{
    return cJSON_IsString(cJSON_GetObjectItemCaseSensitive(object, key));
}

/* Whether a row has all that the table says, each number finite. */
static bool is_row(const cJSON *row)
{
    static const char *const numbers[] = {"image_size", "float_accuracy", "accuracy",  "drop",
                                          "drop_low",   "drop_high",      "recovered", "seconds"};
    bool good = is_text(row, "model") && is_text(row, "checkpoint") && is_text(row, "checkpoint_sha256") &&
                is_text(row, "form") && cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(row, "recipe"));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        good = good && cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(row, numbers[i]));
    return good;
}

/* The recipe that a row's object holds. */
static enum qd_status read_recipe(qd_context *ctx, const char *source, const cJSON *row, qd_config *out)
{
    QD_TRY(qd_config_init(ctx, out));
    const enum qd_status status =
        qd_grid_recipe_apply(ctx, out, source, cJSON_GetObjectItemCaseSensitive(row, "recipe"));
    if (status != QD_OK)
        qd_config_free(out);
    return status;
}

/* Refuses a file of other measurements: the first key that differs is named. */
static enum qd_status check_header(const qd_grid_rows *rows, const cJSON *wanted)
{
    static const char *const keys[] = {"train_fingerprint", "val_fingerprint", "calibration_images",
                                       "calibration_seed",  "eval_images",     "batch_size"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const cJSON *there = cJSON_GetObjectItemCaseSensitive(rows->root, keys[i]);
        char *a = there ? qd_json_print_line(there) : NULL;
        char *b = qd_json_print_line(cJSON_GetObjectItemCaseSensitive(wanted, keys[i]));
        enum qd_status status = QD_OK;
        if (!a || !b || strcmp(a, b) != 0)
            status =
                qd_fail(rows->ctx, QD_ERR_USAGE,
                        "grid '%s': it was made with %s %.80s, not %.80s; rows would not compare: choose another "
                        "folder",
                        rows->path, keys[i], a ? a : "missing", b ? b : "missing");
        free(a);
        free(b);
        QD_TRY(status);
    }
    return QD_OK;
}

static enum qd_status check_rows(const qd_grid_rows *rows)
{
    const cJSON *row;
    int index = 0;
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(rows->root, "format");
    if (!cJSON_IsString(format) || strcmp(format->valuestring, FORMAT) != 0 || !cJSON_IsArray(rows->rows))
        return qd_fail(rows->ctx, QD_ERR_INPUT, "grid '%s': expected \"format\": \"" FORMAT "\" and rows; remove it",
                       rows->path);
    cJSON_ArrayForEach(row, rows->rows)
    {
        char source[64];
        qd_config recipe;
        index++;
        snprintf(source, sizeof source, "grid.json, row %d", index);
        if (!is_row(row))
            return qd_fail(rows->ctx, QD_ERR_INPUT,
                           "grid '%s': row %d lacks what rows have; remove the file or the row", rows->path, index);
        const enum qd_status status = read_recipe(rows->ctx, source, row, &recipe);
        if (status != QD_OK)
            return status == QD_ERR_USAGE ? QD_ERR_INPUT : status;
        qd_config_free(&recipe);
    }
    return QD_OK;
}

enum qd_status qd_grid_rows_open(qd_context *ctx, const char *folder, const qd_grid_header *header, qd_grid_rows *out)
{
    *out = (qd_grid_rows){
        .ctx = ctx, .path = qd_format("%s/grid.json", folder), .table_path = qd_format("%s/grid.md", folder)};
    cJSON *fresh = header_json(header);
    enum qd_status status = QD_OK;
    if (!out->path || !out->table_path || !fresh) {
        status = fail_memory(out);
        goto fail;
    }
    if (!qd_file_exists(out->path)) {
        out->root = fresh;
        out->rows = cJSON_GetObjectItemCaseSensitive(fresh, "rows");
        return QD_OK;
    }
    QD_TRY_GOTO(qd_json_read(ctx, out->path, MAX_GRID_BYTES, false, &out->root));
    out->rows = cJSON_GetObjectItemCaseSensitive(out->root, "rows");
    QD_TRY_GOTO(check_rows(out));
    QD_TRY_GOTO(check_header(out, fresh));
fail:
    cJSON_Delete(fresh);
    return status;
}

void qd_grid_rows_close(qd_grid_rows *rows)
{
    free(rows->path);
    free(rows->table_path);
    cJSON_Delete(rows->root);
    *rows = (qd_grid_rows){0};
}

/* ---- looking rows up ---- */

static const char *text_of(const cJSON *row, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(row, key)->valuestring;
}

static double number_of(const cJSON *row, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(row, key)->valuedouble;
}

bool qd_grid_rows_find(const qd_grid_rows *rows, const char *checkpoint_sha256, const qd_config *recipe,
                       double *accuracy)
{
    char *wanted = qd_grid_recipe_line(recipe);
    bool found = false;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows->rows)
    {
        qd_config known;
        if (found || !wanted || strcmp(text_of(row, "checkpoint_sha256"), checkpoint_sha256) != 0 ||
            read_recipe(rows->ctx, rows->path, row, &known) != QD_OK)
            continue;
        char *line = qd_grid_recipe_line(&known);
        found = line && strcmp(line, wanted) == 0;
        if (found && accuracy)
            *accuracy = number_of(row, "accuracy");
        free(line);
        qd_config_free(&known);
    }
    free(wanted);
    return found;
}

/* ---- adding one ---- */

static cJSON *row_json(qd_context *ctx, const qd_grid_record *r, double recovered)
{
    const qd_build_info build = qd_build_info_get();
    cJSON *row = cJSON_CreateObject();
    const bool done =
        put_text(row, "model", r->model) && put_text(row, "checkpoint", r->checkpoint) &&
        put_text(row, "checkpoint_sha256", r->checkpoint_sha256) &&
        put(row, "image_size", qd_json_int(r->image_size)) && put(row, "recipe", qd_grid_recipe_json(r->recipe)) &&
        put_text(row, "form", r->simulated ? "simulated" : "integer") &&
        put(row, "float_accuracy", qd_json_double(r->float_accuracy)) &&
        put(row, "accuracy", qd_json_double(r->accuracy)) && put(row, "drop", qd_json_double(r->comparison.drop)) &&
        put(row, "drop_low", qd_json_double(r->comparison.low)) &&
        put(row, "drop_high", qd_json_double(r->comparison.high)) &&
        put(row, "agree", qd_json_int(r->comparison.agree)) &&
        put(row, "only_float", qd_json_int(r->comparison.only_first)) &&
        put(row, "only_quantized", qd_json_int(r->comparison.only_second)) &&
        put(row, "recovered", qd_json_double(recovered)) && put(row, "seconds", qd_json_double(r->seconds)) &&
        put_text(row, "commit", build.commit) && put_text(row, "instruction_set", qd_isa_name(qd_context_isa(ctx)));
    if (done)
        return row;
    cJSON_Delete(row);
    return NULL;
}

enum qd_status qd_grid_rows_add(qd_grid_rows *rows, const qd_grid_record *record)
{
    qd_config plain;
    double reference = record->accuracy;
    QD_TRY(qd_config_init(rows->ctx, &plain));
    (void)qd_grid_rows_find(rows, record->checkpoint_sha256, &plain, &reference);
    qd_config_free(&plain);
    cJSON *row = row_json(rows->ctx, record, record->accuracy - reference);
    if (!row || !cJSON_AddItemToArray(rows->rows, row)) {
        cJSON_Delete(row);
        return fail_memory(rows);
    }
    QD_TRY(qd_json_write(rows->ctx, rows->path, rows->root));
    return qd_grid_rows_write_table(rows);
}

/* ---- the table ---- */

/* "8", or "8, per channel". */
static void print_weights(FILE *stream, const qd_quant_scheme *s)
{
    fprintf(stream, "S%d per %s", s->weight_bits, s->weight_per_channel ? "channel" : "tensor");
}

static void print_activations(FILE *stream, const qd_quant_scheme *s)
{
    fprintf(stream, "%c%d %s%s", s->activation_signed ? 'S' : 'U', s->activation_bits,
            s->activation_symmetric ? "symmetric" : "affine", s->fused_silu ? ", SiLU fused" : "");
}

static void print_calibrator(FILE *stream, const qd_config *recipe)
{
    const qd_quant_recipe *r = &recipe->quantization.recipe;
    if (recipe->qat.num_epochs > 0) {
        fputs("learnt", stream);
        return;
    }
    const qd_calibrator_settings defaults = qd_calibrator_settings_defaults(), *c = &r->calibrator;
    fputs(r->scheme.activation_dynamic ? "dynamic" : c->name, stream);
    if (!r->scheme.activation_dynamic && c->percentile != defaults.percentile)
        fprintf(stream, " %g", c->percentile);
    if (!r->scheme.activation_dynamic && c->moving_average != defaults.moving_average)
        fprintf(stream, " %g", c->moving_average);
}

/* What else a recipe does, each with the separator before it but the first; returns how many there are. */
static int print_rest(FILE *stream, const qd_config *recipe, const char *separator)
{
    const qd_quant_recipe *r = &recipe->quantization.recipe;
    const struct {
        bool used;
        const char *text;
    } parts[] = {{r->remedies.reestimate_batchnorm, "reestimate_batchnorm"},
                 {r->remedies.equalize, "equalize"},
                 {r->remedies.adaround, "adaround"},
                 {r->remedies.correct_bias, "correct_bias"},
                 {r->excluded_count > 0, "exclude"},
                 {r->tensor_count + r->weight_count > 0, "overrides"}};
    int count = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].used)
            fprintf(stream, "%s%s", count++ > 0 ? separator : "", parts[i].text);
    for (int i = 0; i < r->excluded_count; i++)
        fprintf(stream, " %s", r->excluded[i]);
    if (recipe->qat.num_epochs > 0)
        fprintf(stream, "%sqat for %lld epoch%s", count++ > 0 ? separator : "", (long long)recipe->qat.num_epochs,
                recipe->qat.num_epochs > 1 ? "s" : "");
    return count;
}

char *qd_grid_recipe_text(const qd_config *recipe)
{
    const qd_quant_recipe *r = &recipe->quantization.recipe;
    char *text = NULL, *rest = NULL;
    size_t size = 0, rest_size = 0;
    FILE *stream = open_memstream(&text, &size), *other = open_memstream(&rest, &rest_size);
    if (stream) {
        print_weights(stream, &r->scheme);
        fputs(", ", stream);
        print_activations(stream, &r->scheme);
        fputs(", ", stream);
        print_calibrator(stream, recipe);
    }
    if (other)
        print_rest(other, recipe, ", ");
    bool done = stream && other && fclose(other) == 0;
    if (done && rest_size > 0)
        fprintf(stream, ", %s", rest);
    done = stream && fclose(stream) == 0 && done;
    free(rest);
    if (done)
        return text;
    free(text);
    return NULL;
}

static void print_row(FILE *stream, const cJSON *row, const qd_config *recipe)
{
    const qd_quant_recipe *r = &recipe->quantization.recipe;
    fprintf(stream, "| %s | %s | ", text_of(row, "model"), text_of(row, "checkpoint"));
    print_weights(stream, &r->scheme);
    fputs(" | ", stream);
    print_activations(stream, &r->scheme);
    fputs(" | ", stream);
    print_calibrator(stream, recipe);
    fputs(" | ", stream);
    if (print_rest(stream, recipe, " + ") == 0)
        fputs("-", stream);
    fprintf(stream, " | %s | %.2f | %.2f | %.2f | %.2f to %.2f | %.2f | %.1f |\n", text_of(row, "form"),
            number_of(row, "float_accuracy"), number_of(row, "accuracy"), number_of(row, "drop"),
            number_of(row, "drop_low"), number_of(row, "drop_high"), number_of(row, "recovered"),
            number_of(row, "seconds"));
}

/* Whether an earlier row is of the same checkpoint. */
static bool is_later_row(const cJSON *rows, const cJSON *row)
{
    for (const cJSON *before = rows->child; before != row; before = before->next)
        if (strcmp(text_of(before, "checkpoint_sha256"), text_of(row, "checkpoint_sha256")) == 0)
            return true;
    return false;
}

/* All rows of one checkpoint, whenever they were added. */
static enum qd_status print_checkpoint(const qd_grid_rows *rows, FILE *stream, const char *sha256)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, rows->rows)
    {
        qd_config recipe;
        if (strcmp(text_of(row, "checkpoint_sha256"), sha256) != 0)
            continue;
        QD_TRY(read_recipe(rows->ctx, rows->path, row, &recipe));
        print_row(stream, row, &recipe);
        qd_config_free(&recipe);
    }
    return QD_OK;
}

/* What a table of many rows is read for: the post's recipe, and the one that comes out first (of equals, the
 * earlier). */
typedef struct leaders {
    const cJSON *post, *best; /* NULL: there is none */
    int count;                /* rows of the checkpoint */
} leaders;

static enum qd_status find_leaders(const qd_grid_rows *rows, const char *sha256, leaders *out)
{
    qd_config plain;
    const cJSON *row;
    *out = (leaders){0};
    QD_TRY(qd_config_init(rows->ctx, &plain));
    char *wanted = qd_grid_recipe_line(&plain);
    enum qd_status status = wanted ? QD_OK : fail_memory(rows);
    cJSON_ArrayForEach(row, rows->rows)
    {
        qd_config recipe;
        if (status != QD_OK || strcmp(text_of(row, "checkpoint_sha256"), sha256) != 0)
            continue;
        status = read_recipe(rows->ctx, rows->path, row, &recipe);
        if (status != QD_OK)
            continue;
        char *line = qd_grid_recipe_line(&recipe);
        if (!line)
            status = fail_memory(rows);
        else if (strcmp(line, wanted) == 0)
            out->post = row;
        if (!out->best || number_of(row, "accuracy") > number_of(out->best, "accuracy"))
            out->best = row;
        out->count++;
        free(line);
        qd_config_free(&recipe);
    }
    free(wanted);
    qd_config_free(&plain);
    return status;
}

/* One leader in words: what it is, its accuracy, what it loses. */
static enum qd_status print_leader(const qd_grid_rows *rows, FILE *stream, const char *title, const cJSON *row)
{
    qd_config recipe;
    QD_TRY(read_recipe(rows->ctx, rows->path, row, &recipe));
    char *text = qd_grid_recipe_text(&recipe);
    qd_config_free(&recipe);
    if (!text)
        return fail_memory(rows);
    fprintf(stream, "  - %s: %s: %.2f %%, %.2f points below float (%.2f to %.2f)\n", title, text,
            number_of(row, "accuracy"), number_of(row, "drop"), number_of(row, "drop_low"),
            number_of(row, "drop_high"));
    free(text);
    return QD_OK;
}

static enum qd_status print_leaders(const qd_grid_rows *rows, FILE *stream, const cJSON *first)
{
    leaders found;
    QD_TRY(find_leaders(rows, text_of(first, "checkpoint_sha256"), &found));
    fprintf(stream, "- %s, `%s`, %.2f %% in float\n", text_of(first, "model"), text_of(first, "checkpoint"),
            number_of(first, "float_accuracy"));
    if (found.post)
        QD_TRY(print_leader(rows, stream, "the post's recipe", found.post));
    char title[32];
    snprintf(title, sizeof title, "best of %d", found.count);
    return print_leader(rows, stream, title, found.best);
}

enum qd_status qd_grid_rows_write_table(const qd_grid_rows *rows)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file;
    const cJSON *row;
    QD_TRY(qd_atomic_open(rows->ctx, rows->table_path, &file));
    cJSON_ArrayForEach(row, rows->rows)
    {
        if (!is_later_row(rows->rows, row))
            QD_TRY_GOTO(print_leaders(rows, file.stream, row));
    }
    if (rows->rows->child)
        fputs("\nThe best of many recipes is the best on these images: part of its lead is luck of the choice, and "
              "other "
              "images would show less.\n\n",
              file.stream);
    fputs("| model | checkpoint | weights | activations | ranges | remedies and differences | form | float acc % | "
          "acc % | drop | 95 % interval | recovered | s |\n|---|---|---|---|---|---|---|--:|--:|--:|---|--:|--:|\n",
          file.stream);
    cJSON_ArrayForEach(row, rows->rows)
    {
        if (!is_later_row(rows->rows, row))
            QD_TRY_GOTO(print_checkpoint(rows, file.stream, text_of(row, "checkpoint_sha256")));
    }
    return qd_atomic_commit(&file);
fail:
    qd_atomic_abort(&file);
    return status;
}
