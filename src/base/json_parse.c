/*
 * JSON text to cJSON trees. A parser of our own, because cJSON's gives no reason and no line, keeps the place of an
 * error in a global, accepts duplicate keys and cuts strings at \u0000.
 * Source: RFC 8259; comments as an extension.
 */
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deeper than any file of this program and shallow enough for the smallest thread stack. */
#define MAX_DEPTH 100

typedef struct parser {
    qd_context *ctx;
    const char *what; /* file name or description, for errors */
    const char *text;
    size_t length, at;
    bool allow_comments;
    int depth;
    locale_t c_locale; /* a host program may have chosen a decimal comma */
} parser;

/* ---- errors ---- */

static enum qd_status fail_at(const parser *p, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static enum qd_status fail_at(const parser *p, size_t offset, const char *format, ...)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < p->length; i++) {
        if (p->text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)p->text[i] & 0xC0) != 0x80) { /* continuation bytes are no columns */
            column++;
        }
    }
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    return qd_fail(p->ctx, QD_ERR_INPUT, "%s: line %zu, column %zu: %s", p->what, line, column, reason);
}

static enum qd_status fail_memory(const parser *p)
{
    return qd_fail(p->ctx, QD_ERR_MEMORY, "%s: memory is short", p->what);
}

static enum qd_status fail_expected(const parser *p, const char *expected)
{
    if (p->at >= p->length)
        return fail_at(p, p->at, "expected %s, found the end of the text", expected);
    const unsigned char byte = (unsigned char)p->text[p->at];
    size_t bytes = qd_utf8_length(p->text + p->at, p->length - p->at);
    if (bytes == 0 || byte < 0x20)
        return fail_at(p, p->at, "expected %s, found byte 0x%02X", expected, (unsigned)byte);
    return fail_at(p, p->at, "expected %s, found '%.*s'", expected, (int)bytes, p->text + p->at);
}

/* ---- words ---- */

static bool next_is(const parser *p, char c)
{
    return p->at < p->length && p->text[p->at] == c;
}

static bool starts_with(const parser *p, const char *word)
{
    size_t bytes = strlen(word);
    return p->length - p->at >= bytes && memcmp(p->text + p->at, word, bytes) == 0;
}

static enum qd_status skip_space(parser *p)
{
    while (p->at < p->length) {
        char c = p->text[p->at];
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            p->at++;
        } else if (p->allow_comments && starts_with(p, "//")) {
            while (p->at < p->length && p->text[p->at] != '\n')
                p->at++;
        } else if (p->allow_comments && starts_with(p, "/*")) {
            const char *end = memmem(p->text + p->at + 2, p->length - p->at - 2, "*/", 2);
            if (!end)
                return fail_at(p, p->at, "this comment is never closed");
            p->at = (size_t)(end - p->text) + 2;
        } else {
            break;
        }
    }
    return QD_OK;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The four digits behind \u. */
static bool parse_hex4(parser *p, unsigned *out)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = p->at < p->length ? hex_value(p->text[p->at]) : -1;
        if (digit < 0)
            return false;
        value = value * 16 + (unsigned)digit;
        p->at++;
    }
    *out = value;
    return true;
}

static size_t encode_utf8(unsigned code, char *out)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* The character behind a backslash, at most four bytes of UTF-8: never longer than its escape. */
static enum qd_status parse_escape(parser *p, char *out, size_t *bytes)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    const size_t start = p->at++;
    const char *name = p->at < p->length && p->text[p->at] != '\0' ? strchr(names, p->text[p->at]) : NULL;
    if (name) {
        p->at++;
        out[0] = values[name - names];
        *bytes = 1;
        return QD_OK;
    }
    if (!next_is(p, 'u'))
        return fail_at(p, start, "expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u after a backslash");
    p->at++;
    unsigned code, low;
    if (!parse_hex4(p, &code))
        return fail_at(p, start, "expected four hexadecimal digits after \\u");
    if (code == 0)
        return fail_at(p, start, "expected text without NUL characters, found \\u0000");
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code > 0xDBFF || !starts_with(p, "\\u"))
            return fail_at(p, start, "expected a pair of surrogates, found one half");
        p->at += 2;
        if (!parse_hex4(p, &low) || low < 0xDC00 || low > 0xDFFF)
            return fail_at(p, start, "expected a pair of surrogates, found one half");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *bytes = encode_utf8(code, out);
    return QD_OK;
}

/* *out is allocated as cJSON frees it. */
static enum qd_status parse_string(parser *p, char **out)
{
    enum qd_status status;
    const size_t start = p->at++;
    size_t end = p->at;
    while (end < p->length && p->text[end] != '"')
        end += p->text[end] == '\\' ? 2 : 1;
    if (end >= p->length)
        return fail_at(p, start, "this string is never closed");
    char *text = cJSON_malloc(end - p->at + 1); /* decoding never makes text longer */
    size_t used = 0;
    if (!text)
        return fail_memory(p);
    while (p->at < end) {
        if (p->text[p->at] == '\\') {
            size_t bytes = 0;
            QD_TRY_GOTO(parse_escape(p, text + used, &bytes));
            used += bytes;
            continue;
        }
        size_t bytes = qd_utf8_length(p->text + p->at, end - p->at);
        if (bytes == 0 || (unsigned char)p->text[p->at] < 0x20) {
            status = fail_at(
                p, p->at, bytes == 0 ? "expected UTF-8, found byte 0x%02X" : "control character 0x%02X in a string",
                (unsigned)(unsigned char)p->text[p->at]);
            goto fail;
        }
        memcpy(text + used, p->text + p->at, bytes);
        used += bytes;
        p->at += bytes;
    }
    p->at = end + 1;
    text[used] = '\0';
    *out = text;
    return QD_OK;
fail:
    cJSON_free(text);
    return status;
}

static size_t skip_digits(parser *p)
{
    size_t start = p->at;
    while (p->at < p->length && p->text[p->at] >= '0' && p->text[p->at] <= '9')
        p->at++;
    return p->at - start;
}

static enum qd_status parse_number(parser *p, cJSON **out)
{
    const size_t start = p->at;
    bool whole = true;
    if (next_is(p, '-'))
        p->at++;
    if (next_is(p, '0'))
        p->at++;
    else if (skip_digits(p) == 0)
        return fail_expected(p, "a value");
    if (next_is(p, '.')) {
        whole = false;
        p->at++;
        if (skip_digits(p) == 0)
            return fail_expected(p, "a digit after the point");
    }
    if (next_is(p, 'e') || next_is(p, 'E')) {
        whole = false;
        p->at++;
        if (next_is(p, '+') || next_is(p, '-'))
            p->at++;
        if (skip_digits(p) == 0)
            return fail_expected(p, "a digit of the exponent");
    }
    char *literal = strndup(p->text + start, p->at - start);
    if (!literal)
        return fail_memory(p);
    double value = strtod_l(literal, NULL, p->c_locale);
    if (!isfinite(value)) {
        free(literal);
        return fail_at(p, start, "this number is too large for a double");
    }
    cJSON *node;
    errno = 0;
    long long integer = whole ? strtoll(literal, NULL, 10) : 0;
    if (whole && errno == 0)
        node = qd_json_int(integer);
    else if (value != floor(value))
        node = cJSON_CreateNumber(value); /* prints as qd_json_double()'s would; that text costs most of a parse */
    else
        node = qd_json_double(value);
    free(literal);
    if (!node)
        return fail_memory(p);
    *out = node;
    return QD_OK;
}

static enum qd_status parse_word(parser *p, cJSON **out)
{
    cJSON *node = NULL;
    if (starts_with(p, "true")) {
        p->at += 4;
        node = cJSON_CreateTrue();
    } else if (starts_with(p, "false")) {
        p->at += 5;
        node = cJSON_CreateFalse();
    } else if (starts_with(p, "null")) {
        p->at += 4;
        node = cJSON_CreateNull();
    } else {
        return fail_expected(p, "a value");
    }
    if (!node)
        return fail_memory(p);
    *out = node;
    return QD_OK;
}

/* ---- containers ---- */

static enum qd_status parse_value(parser *p, cJSON **out);

/* The keys of one object, to find a duplicate in n log n whatever a hostile file holds. */
typedef struct key_list {
    struct key_place {
        const char *key; /* borrowed from the tree */
        size_t offset;
    } * places;
    size_t count, capacity;
} key_list;

static enum qd_status key_list_add(const parser *p, key_list *keys, const char *key, size_t offset)
{
    if (keys->count == keys->capacity) {
        size_t capacity = keys->capacity > 0 ? keys->capacity * 2 : 16;
        struct key_place *places = realloc(keys->places, capacity * sizeof(*places));
        if (!places)
            return fail_memory(p);
        keys->places = places;
        keys->capacity = capacity;
    }
    keys->places[keys->count++] = (struct key_place){key, offset};
    return QD_OK;
}

static int compare_places(const void *left, const void *right)
{
    const struct key_place *a = left, *b = right;
    int order = strcmp(a->key, b->key);
    return order != 0 ? order : (a->offset > b->offset) - (a->offset < b->offset);
}

static enum qd_status check_duplicates(const parser *p, key_list *keys)
{
    if (keys->count < 2)
        return QD_OK;
    qsort(keys->places, keys->count, sizeof(*keys->places), compare_places);
    for (size_t i = 1; i < keys->count; i++)
        if (strcmp(keys->places[i - 1].key, keys->places[i].key) == 0)
            return fail_at(p, keys->places[i].offset, "key \"%s\" is given twice; keep one", keys->places[i].key);
    return QD_OK;
}

static enum qd_status parse_member(parser *p, cJSON *object, key_list *keys)
{
    const size_t key_offset = p->at;
    char *key = NULL;
    cJSON *value = NULL;
    enum qd_status status;
    if (!next_is(p, '"'))
        return fail_expected(p, "a key in double quotes");
    QD_TRY(parse_string(p, &key));
    QD_TRY_GOTO(skip_space(p));
    if (!next_is(p, ':')) {
        status = fail_expected(p, "':' after a key");
        goto fail;
    }
    p->at++;
    QD_TRY_GOTO(parse_value(p, &value));
    QD_TRY_GOTO(key_list_add(p, keys, key, key_offset));
    value->string = key;
    cJSON_AddItemToArray(object, value); /* links the node, whatever the container */
    return QD_OK;
fail:
    cJSON_free(key);
    cJSON_Delete(value);
    return status;
}

static enum qd_status parse_container(parser *p, cJSON **out)
{
    const bool is_object = next_is(p, '{');
    const char close = is_object ? '}' : ']';
    const size_t start = p->at++;
    key_list keys = {0};
    enum qd_status status;
    cJSON *container = is_object ? cJSON_CreateObject() : cJSON_CreateArray();
    if (!container)
        return fail_memory(p);
    if (++p->depth > MAX_DEPTH) {
        status = fail_at(p, start, "more than %d containers inside each other", MAX_DEPTH);
        goto fail;
    }
    QD_TRY_GOTO(skip_space(p));
    if (!next_is(p, close)) {
        for (;;) {
            if (is_object) {
                QD_TRY_GOTO(parse_member(p, container, &keys));
            } else {
                cJSON *item = NULL;
                QD_TRY_GOTO(parse_value(p, &item));
                cJSON_AddItemToArray(container, item);
            }
            QD_TRY_GOTO(skip_space(p));
            if (!next_is(p, ','))
                break;
            p->at++;
            QD_TRY_GOTO(skip_space(p));
        }
        if (!next_is(p, close)) {
            status = fail_expected(p, is_object ? "',' or '}' after a member" : "',' or ']' after an item");
            goto fail;
        }
    }
    p->at++;
    QD_TRY_GOTO(check_duplicates(p, &keys));
    p->depth--;
    free(keys.places);
    *out = container;
    return QD_OK;
fail:
    free(keys.places);
    cJSON_Delete(container);
    return status;
}

/* One value with the space before it. */
static enum qd_status parse_value(parser *p, cJSON **out)
{
    QD_TRY(skip_space(p));
    if (next_is(p, '{') || next_is(p, '['))
        return parse_container(p, out);
    if (next_is(p, '"')) {
        char *text = NULL;
        QD_TRY(parse_string(p, &text));
        cJSON *node = cJSON_CreateNull();
        if (!node) {
            cJSON_free(text);
            return fail_memory(p);
        }
        node->type = cJSON_String;
        node->valuestring = text;
        *out = node;
        return QD_OK;
    }
    if (next_is(p, '-') || (p->at < p->length && p->text[p->at] >= '0' && p->text[p->at] <= '9'))
        return parse_number(p, out);
    return parse_word(p, out);
}

static enum qd_status parse_document(qd_context *ctx, const char *what, const char *text, size_t length,
                                     bool allow_comments, cJSON **out)
{
    parser p = {.ctx = ctx, .what = what, .text = text, .length = length, .allow_comments = allow_comments};
    cJSON *root = NULL;
    enum qd_status status;
    p.c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (p.c_locale == (locale_t)0)
        return fail_memory(&p);
    if (starts_with(&p, "\xEF\xBB\xBF")) /* some editors put a byte order mark first */
        p.at += 3;
    QD_TRY_GOTO(parse_value(&p, &root));
    QD_TRY_GOTO(skip_space(&p));
    if (p.at < p.length) {
        status = fail_expected(&p, "the end of the text");
        goto fail;
    }
    freelocale(p.c_locale);
    *out = root;
    return QD_OK;
fail:
    freelocale(p.c_locale);
    cJSON_Delete(root);
    return status;
}

enum qd_status qd_json_parse(qd_context *ctx, const char *what, const char *text, bool allow_comments, cJSON **out)
{
    return parse_document(ctx, what, text, strlen(text), allow_comments, out);
}

enum qd_status qd_json_read(qd_context *ctx, const char *path, size_t max_bytes, bool allow_comments, cJSON **out)
{
    char *text = NULL;
    size_t length = 0;
    QD_TRY(qd_file_read(ctx, path, max_bytes, &text, &length));
    enum qd_status status = parse_document(ctx, path, text, length, allow_comments, out);
    free(text);
    return status;
}
