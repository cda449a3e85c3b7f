#include "formats/encodings.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Raised when a reader of an older file would misunderstand it. */
#define VERSION     1
#define VERSION_KEY "quantdrift_encodings"

/* A channel takes about 80 bytes in the file and its tree five times that: enough for 800,000 channels. */
#define MAX_FILE_BYTES ((size_t)64 << 20)

#define MIN_BITS 2
#define MAX_BITS 16

/* In place of a tensor's object. */
#define FLOAT_WORD "float"

/* Keys beside those of ranges: bits, symmetric, signed, calibrator. */
#define FIXED_KEY_COUNT 4

/* ---- memory ---- */

enum qd_status qd_encodings_allocate(qd_context *ctx, int count, qd_encoding_list *list)
{
    list->items = qd_calloc((size_t)count, sizeof *list->items);
    if (!list->items)
        return qd_fail(ctx, QD_ERR_MEMORY, "encodings: out of memory for %d tensors", count);
    list->count = count;
    return QD_OK;
}

enum qd_status qd_encoding_allocate(qd_context *ctx, int64_t range_count, qd_encoding *encoding)
{
    encoding->ranges = qd_calloc((size_t)range_count, sizeof *encoding->ranges);
    if (!encoding->ranges)
        return qd_fail(ctx, QD_ERR_MEMORY, "encodings: out of memory for %lld channels", (long long)range_count);
    encoding->range_count = range_count;
    return QD_OK;
}

static void free_list(qd_encoding_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->items[i].ranges);
    free(list->items);
}

void qd_encodings_free(qd_encodings *encodings)
{
    free_list(&encodings->activations);
    free_list(&encodings->weights);
    *encodings = (qd_encodings){0};
}

/* ---- the keys of a range ---- */

enum range_key { KEY_MIN, KEY_MAX, KEY_SCALE, KEY_ZERO_POINT };
#define RANGE_KEY_COUNT (KEY_ZERO_POINT + 1)

static bool is_there(const qd_encoding *encoding, enum range_key key)
{
    return key == KEY_MIN || key == KEY_MAX ? encoding->has_range : encoding->has_scale;
}

static const char *key_name(enum range_key key)
{
    switch (key) {
    case KEY_MIN:
        return "min";
    case KEY_MAX:
        return "max";
    case KEY_SCALE:
        return "scale";
    case KEY_ZERO_POINT:
        return "zero_point";
    }
    return "";
}

static void set_number(qd_encoding_range *range, enum range_key key, double value)
{
    switch (key) {
    case KEY_MIN:
        range->min = value;
        break;
    case KEY_MAX:
        range->max = value;
        break;
    case KEY_SCALE:
        range->scale = value;
        break;
    case KEY_ZERO_POINT:
        range->zero_point = (int64_t)value;
        break;
    }
}

/* ---- writing ---- */

static cJSON *make_number(const qd_encoding_range *range, enum range_key key)
{
    switch (key) {
    case KEY_MIN:
        return qd_json_double(range->min);
    case KEY_MAX:
        return qd_json_double(range->max);
    case KEY_SCALE:
        return qd_json_double(range->scale);
    case KEY_ZERO_POINT:
        return qd_json_int(range->zero_point);
    }
    return NULL;
}

static bool put(cJSON *object, const char *key, cJSON *value)
{
    if (object && value && cJSON_AddItemToObject(object, key, value))
        return true;
    cJSON_Delete(value);
    return false;
}

static cJSON *make_numbers(const qd_encoding *encoding, enum range_key key)
{
    if (!encoding->per_channel)
        return make_number(&encoding->ranges[0], key);
    cJSON *array = cJSON_CreateArray();
    for (int64_t i = 0; array && i < encoding->range_count; i++) {
        cJSON *item = make_number(&encoding->ranges[i], key);
        if (item && cJSON_AddItemToArray(array, item))
            continue;
        cJSON_Delete(item);
        cJSON_Delete(array);
        return NULL;
    }
    return array;
}

static bool put_list(cJSON *root, const char *key, const qd_encoding_list *list)
{
    cJSON *object = cJSON_AddObjectToObject(root, key);
    bool ok = object != NULL;
    for (int i = 0; ok && i < list->count; i++) {
        const qd_encoding *encoding = &list->items[i];
        if (encoding->is_float) {
            ok = put(object, encoding->name, cJSON_CreateString(FLOAT_WORD));
            continue;
        }
        cJSON *entry = cJSON_AddObjectToObject(object, encoding->name);
        ok = put(entry, "bits", qd_json_int(encoding->bits)) &&
             put(entry, "symmetric", cJSON_CreateBool(encoding->symmetric)) &&
             put(entry, "signed", cJSON_CreateBool(encoding->is_signed)) &&
             put(entry, "calibrator", cJSON_CreateString(encoding->calibrator));
        for (int k = 0; ok && k < RANGE_KEY_COUNT; k++)
            if (is_there(encoding, (enum range_key)k))
                ok = put(entry, key_name((enum range_key)k), make_numbers(encoding, (enum range_key)k));
    }
    return ok;
}

/* NULL when memory is short. */
static cJSON *make_root(const qd_encodings *encodings)
{
    cJSON *root = cJSON_CreateObject();
    if (put(root, VERSION_KEY, qd_json_int(VERSION)) && put(root, "model", cJSON_CreateString(encodings->model)) &&
        put_list(root, "activations", &encodings->activations) && put_list(root, "weights", &encodings->weights))
        return root;
    cJSON_Delete(root);
    return NULL;
}

enum qd_status qd_encodings_write(qd_context *ctx, const char *path, const qd_encodings *encodings)
{
    cJSON *root = make_root(encodings);
    if (!root)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    const enum qd_status status = qd_json_write(ctx, path, root);
    cJSON_Delete(root);
    return status;
}

char *qd_encodings_print(const qd_encodings *encodings)
{
    cJSON *root = make_root(encodings);
    char *text = root ? qd_json_print_line(root) : NULL;
    cJSON_Delete(root);
    return text;
}

/* ---- reading ---- */

typedef struct reader {
    qd_context *ctx;
    const char *path;
    const char *tensor; /* under way */
    bool bare;          /* no ranges and scales in the list under way */
} reader;

static enum qd_status refuse(const reader *r, const char *key, const char *expected)
{
    return qd_fail(r->ctx, QD_ERR_INPUT, "encodings '%s': tensor '%.160s', key '%s': expected %s", r->path, r->tensor,
                   key, expected);
}

static enum qd_status read_text(const reader *r, const cJSON *item, const char *key, char *out, size_t size)
{
    if (!cJSON_IsString(item) || item->valuestring[0] == '\0' || strlen(item->valuestring) >= size)
        return qd_fail(r->ctx, QD_ERR_INPUT, "encodings '%s': key '%s': expected a text of 1 to %zu bytes", r->path,
                       key, size - 1);
    memcpy(out, item->valuestring, strlen(item->valuestring) + 1);
    return QD_OK;
}

static enum qd_status read_bool(const reader *r, const cJSON *entry, const char *key, bool *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, key);
    if (!cJSON_IsBool(item))
        return refuse(r, key, "true or false");
    *out = cJSON_IsTrue(item);
    return QD_OK;
}

static enum qd_status read_number(const reader *r, const qd_encoding *encoding, const cJSON *item, enum range_key key,
                                  qd_encoding_range *out)
{
    const double codes = ldexp(1.0, encoding->bits);
    const double low = encoding->is_signed ? -codes / 2.0 : 0.0, high = low + codes - 1.0;
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble))
        return refuse(r, key_name(key), "a finite number");
    const double value = item->valuedouble;
    if (key == KEY_SCALE && !(value > 0.0))
        return refuse(r, key_name(key), "a number above 0");
    if (key == KEY_ZERO_POINT && (floor(value) != value || value < low || value > high))
        return refuse(r, key_name(key), "a whole number among the codes of its bits");
    set_number(out, key, value);
    return QD_OK;
}

static enum qd_status read_numbers(const reader *r, const cJSON *entry, enum range_key key, qd_encoding *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(entry, key_name(key));
    if (!out->per_channel)
        return read_number(r, out, item, key, &out->ranges[0]);
    if (!cJSON_IsArray(item) || cJSON_GetArraySize(item) != out->range_count)
        return refuse(r, key_name(key), "a list as long as that of 'min'");
    int64_t i = 0;
    const cJSON *number;
    cJSON_ArrayForEach(number, item) QD_TRY(read_number(r, out, number, key, &out->ranges[i++]));
    return QD_OK;
}

/* Both or none of two keys. */
static bool find_pair(const cJSON *entry, enum range_key first, enum range_key second, bool *there)
{
    *there = cJSON_GetObjectItemCaseSensitive(entry, key_name(first)) != NULL;
    return *there == (cJSON_GetObjectItemCaseSensitive(entry, key_name(second)) != NULL);
}

/* Which numbers an entry brings: every key of it is known, and there are enough. */
static enum qd_status find_keys(const reader *r, const cJSON *entry, qd_encoding *out)
{
    const bool paired = cJSON_IsObject(entry) && find_pair(entry, KEY_MIN, KEY_MAX, &out->has_range) &&
                        find_pair(entry, KEY_SCALE, KEY_ZERO_POINT, &out->has_scale);
    const int pairs = out->has_range + out->has_scale;
    if (!paired || cJSON_GetArraySize(entry) != FIXED_KEY_COUNT + 2 * pairs || r->bare != (pairs == 0))
        return refuse(r, "bits",
                      r->bare ? "an object of bits, symmetric, signed and calibrator, or the text \"" FLOAT_WORD "\""
                              : "an object of bits, symmetric, signed, calibrator, min and max, scale and zero_point "
                                "(or one of these pairs), or the text \"" FLOAT_WORD "\"");
    return QD_OK;
}

static enum qd_status read_ranges(const reader *r, const cJSON *entry, qd_encoding *out)
{
    const enum range_key first = out->has_range ? KEY_MIN : KEY_SCALE;
    const cJSON *sample = cJSON_GetObjectItemCaseSensitive(entry, key_name(first));
    out->per_channel = cJSON_IsArray(sample);
    const int64_t count = out->per_channel ? cJSON_GetArraySize(sample) : 1;
    if (count == 0)
        return refuse(r, key_name(first), "a number, or one a channel");
    QD_TRY(qd_encoding_allocate(r->ctx, count, out));
    for (int k = 0; k < RANGE_KEY_COUNT; k++)
        if (is_there(out, (enum range_key)k))
            QD_TRY(read_numbers(r, entry, (enum range_key)k, out));
    for (int64_t i = 0; i < count; i++)
        if (out->ranges[i].min > out->ranges[i].max)
            return refuse(r, key_name(KEY_MAX), "a number that is not below 'min'");
    return QD_OK;
}

static enum qd_status read_encoding(reader *r, const cJSON *entry, qd_encoding *out)
{
    r->tensor = entry->string;
    if (strlen(entry->string) >= sizeof out->name)
        return refuse(r, "name", "a shorter name");
    memcpy(out->name, entry->string, strlen(entry->string) + 1);
    out->is_float = cJSON_IsString(entry) && strcmp(entry->valuestring, FLOAT_WORD) == 0;
    if (out->is_float)
        return QD_OK;
    QD_TRY(find_keys(r, entry, out));
    const cJSON *bits = cJSON_GetObjectItemCaseSensitive(entry, "bits");
    if (!cJSON_IsNumber(bits) || !(bits->valuedouble >= MIN_BITS && bits->valuedouble <= MAX_BITS) ||
        floor(bits->valuedouble) != bits->valuedouble)
        return refuse(r, "bits", "a whole number from 2 to 16");
    out->bits = (int)bits->valuedouble;
    QD_TRY(read_bool(r, entry, "symmetric", &out->symmetric));
    QD_TRY(read_bool(r, entry, "signed", &out->is_signed));
    QD_TRY(read_text(r, cJSON_GetObjectItemCaseSensitive(entry, "calibrator"), "calibrator", out->calibrator,
                     sizeof out->calibrator));
    return r->bare ? QD_OK : read_ranges(r, entry, out);
}

static enum qd_status read_list(reader *r, const cJSON *root, const char *key, qd_encoding_list *out)
{
    const cJSON *object = cJSON_GetObjectItemCaseSensitive(root, key), *entry;
    int i = 0;
    if (!cJSON_IsObject(object))
        return qd_fail(r->ctx, QD_ERR_INPUT, "encodings '%s': expected an object '%s'", r->path, key);
    QD_TRY(qd_encodings_allocate(r->ctx, cJSON_GetArraySize(object), out));
    cJSON_ArrayForEach(entry, object) QD_TRY(read_encoding(r, entry, &out->items[i++]));
    return QD_OK;
}

static enum qd_status read_root(reader *r, const cJSON *root, bool bare_weights, qd_encodings *out)
{
    enum qd_status status = QD_OK;
    qd_encodings read = {0};
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(root, VERSION_KEY);
    if (!cJSON_IsNumber(version) || version->valuedouble != VERSION || cJSON_GetArraySize(root) != 4) {
        status = qd_fail(r->ctx, QD_ERR_INPUT,
                         "encodings '%s': expected an object of '" VERSION_KEY
                         "' (%d), 'model', 'activations' and 'weights'; make one with quantdrift quantize",
                         r->path, VERSION);
        goto fail;
    }
    QD_TRY_GOTO(
        read_text(r, cJSON_GetObjectItemCaseSensitive(root, "model"), "model", read.model, sizeof read.model));
    QD_TRY_GOTO(read_list(r, root, "activations", &read.activations));
    r->bare = bare_weights;
    QD_TRY_GOTO(read_list(r, root, "weights", &read.weights));
    *out = read;
    read = (qd_encodings){0};
fail:
    qd_encodings_free(&read);
    return status;
}

enum qd_status qd_encodings_read(qd_context *ctx, const char *path, qd_encodings *out)
{
    cJSON *root = NULL;
    reader r = {.ctx = ctx, .path = path};
    QD_TRY(qd_json_read(ctx, path, MAX_FILE_BYTES, true, &root));
    const enum qd_status status = read_root(&r, root, false, out);
    cJSON_Delete(root);
    return status;
}

enum qd_status qd_encodings_parse(qd_context *ctx, const char *path, const char *text, qd_encodings *out)
{
    cJSON *root = NULL;
    reader r = {.ctx = ctx, .path = path};
    QD_TRY(qd_json_parse(ctx, path, text, false, &root));
    const enum qd_status status = read_root(&r, root, true, out);
    cJSON_Delete(root);
    return status;
}
