/*
 * cJSON trees to text as Python's json.dump writes it, so that a results file does not tell which program wrote it.
 * A number made by qd_json_double() or qd_json_int() carries its text in valuestring: cJSON copies and frees that
 * string with the node, and takes the node for an ordinary number.
 */
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sign, 17 digits, point, exponent, NUL: 25 bytes; four leading or one trailing zero fit too. */
#define NUMBER_BYTES   40
#define EXPONENT_BYTES 13 /* e, sign, an int's digits */

/* ---- numbers ---- */

/* A positive decimal: digits[0].digits[1…] times ten to the exponent. */
typedef struct decimal {
    char digits[18];
    int count;
    int exponent;
} decimal;

static decimal round_to_digits(double value, int count)
{
    decimal d = {.count = count};
    char text[NUMBER_BYTES];
    snprintf(text, sizeof(text), "%.*e", count - 1, value);
    int used = 0;
    const char *c = text;
    for (; *c != 'e'; c++) /* whatever the locale's point is, it is no digit */
        if (*c >= '0' && *c <= '9' && used < count)
            d.digits[used++] = *c;
    d.exponent = atoi(c + 1);
    return d;
}

static bool reads_back(const decimal *d, double value)
{
    char text[NUMBER_BYTES]; /* no point, so no locale either */
    snprintf(text, sizeof(text), "%.*se%d", d->count, d->digits, d->exponent - (d->count - 1));
    return strtod(text, NULL) == value;
}

/* Adds one to the last digit; false when a carry would run out of the first. */
static bool step_up(decimal *d)
{
    for (int i = d->count - 1; i >= 0; i--) {
        if (d->digits[i] != '9') {
            d->digits[i]++;
            return true;
        }
        d->digits[i] = '0';
    }
    return false;
}

/* The shortest decimal that reads back as the finite value > 0. */
static decimal shortest_decimal(double value)
{
    /* Every decimal of DBL_DIG digits survives a normal double, so that shorter ones show as trailing zeros; a
     * subnormal has fewer good digits and is searched from 1. */
    for (int count = value < DBL_MIN ? 1 : DBL_DIG; count < DBL_DECIMAL_DIG; count++) {
        decimal d = round_to_digits(value, count);
        if (!reads_back(&d, value)) {
            /* Above a power of two the gap is twice the one below it: there the nearest decimal may fail and the next
             * one up succeed. */
            decimal up = d;
            if (!step_up(&up) || !reads_back(&up, value))
                continue;
            d = up;
        }
        while (d.count > 1 && d.digits[d.count - 1] == '0')
            d.count--;
        return d;
    }
    return round_to_digits(value, DBL_DECIMAL_DIG);
}

/* Python's repr(float) of a finite value: always with a point or an exponent. */
static void format_double(double value, char *out)
{
    if (signbit(value))
        *out++ = '-';
    if (value == 0.0) {
        memcpy(out, "0.0", 4);
        return;
    }
    decimal d = shortest_decimal(fabs(value));
    if (d.exponent < -4 || d.exponent >= 16) { /* repr's limits for plain notation */
        *out++ = d.digits[0];
        if (d.count > 1) {
            *out++ = '.';
            memcpy(out, d.digits + 1, (size_t)d.count - 1);
            out += d.count - 1;
        }
        snprintf(out, EXPONENT_BYTES, "e%c%02d", d.exponent < 0 ? '-' : '+', abs(d.exponent));
        return;
    }
    int before_point = d.exponent + 1; /* digits; zeros behind the point when negative */
    if (before_point <= 0)
        *out++ = '0';
    for (int i = 0; i < before_point; i++)
        *out++ = i < d.count ? d.digits[i] : '0';
    *out++ = '.';
    for (int i = before_point; i < 0; i++)
        *out++ = '0';
    int first = before_point > 0 ? before_point : 0;
    for (int i = first; i < d.count; i++)
        *out++ = d.digits[i];
    if (first >= d.count)
        *out++ = '0';
    *out = '\0';
}

static cJSON *number_with_text(double value, const char *text)
{
    cJSON *node = cJSON_CreateNumber(value);
    size_t bytes = strlen(text) + 1;
    char *copy = cJSON_malloc(bytes);
    if (!node || !copy) {
        cJSON_Delete(node);
        cJSON_free(copy);
        return NULL;
    }
    memcpy(copy, text, bytes);
    node->valuestring = copy;
    return node;
}

cJSON *qd_json_double(double value)
{
    char text[NUMBER_BYTES];
    if (!isfinite(value))
        return cJSON_CreateNull();
    format_double(value, text);
    return number_with_text(value, text);
}

cJSON *qd_json_int(int64_t value)
{
    char text[NUMBER_BYTES];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return number_with_text((double)value, text);
}

/* ---- text ---- */

typedef struct printer {
    char *text;
    size_t used, capacity;
    bool failed;
    bool pretty;
} printer;

static void put_bytes(printer *p, const char *bytes, size_t count)
{
    if (p->failed)
        return;
    if (count >= p->capacity - p->used) {
        size_t capacity = (p->used + count + 1) * 2;
        char *text = realloc(p->text, capacity);
        if (!text) {
            p->failed = true;
            return;
        }
        p->text = text;
        p->capacity = capacity;
    }
    memcpy(p->text + p->used, bytes, count);
    p->used += count;
    p->text[p->used] = '\0';
}

static void put_text(printer *p, const char *text)
{
    put_bytes(p, text, strlen(text));
}

static void put_string(printer *p, const char *text)
{
    static const char escaped[] = "\"\\\b\f\n\r\t";
    static const char names[] = "\"\\bfnrt";
    size_t left = strlen(text);
    put_text(p, "\"");
    while (left > 0) {
        size_t bytes = qd_utf8_length(text, left);
        const char *escape = strchr(escaped, *text);
        if (bytes == 0) {
            put_text(p, "\xEF\xBF\xBD"); /* U+FFFD */
            bytes = 1;
        } else if (escape) {
            put_text(p, "\\");
            put_bytes(p, &names[escape - escaped], 1);
        } else if ((unsigned char)*text < 0x20) {
            char code[8];
            snprintf(code, sizeof(code), "\\u%04x", (unsigned)(unsigned char)*text);
            put_text(p, code);
        } else {
            put_bytes(p, text, bytes);
        }
        text += bytes;
        left -= bytes;
    }
    put_text(p, "\"");
}

static void put_number(printer *p, const cJSON *node)
{
    char text[NUMBER_BYTES];
    const double value = node->valuedouble;
    if (!isfinite(value)) {
        put_text(p, "null");
    } else if (node->valuestring) {
        put_text(p, node->valuestring);
    } else if (value == floor(value) && fabs(value) < 9007199254740992.0) { /* made by cJSON_CreateNumber() */
        snprintf(text, sizeof(text), "%lld", (long long)value);
        put_text(p, text);
    } else {
        format_double(value, text);
        put_text(p, text);
    }
}

static void put_line_break(printer *p, int depth)
{
    if (!p->pretty)
        return;
    put_text(p, "\n");
    for (int i = 0; i < depth; i++)
        put_text(p, "  ");
}

static void put_value(printer *p, const cJSON *node, int depth)
{
    if (cJSON_IsObject(node) || cJSON_IsArray(node)) {
        const bool is_object = cJSON_IsObject(node);
        put_text(p, is_object ? "{" : "[");
        for (const cJSON *child = node->child; child; child = child->next) {
            put_line_break(p, depth + 1);
            if (is_object) {
                put_string(p, child->string ? child->string : "");
                put_text(p, p->pretty ? ": " : ":");
            }
            put_value(p, child, depth + 1);
            if (child->next)
                put_text(p, ",");
            else
                put_line_break(p, depth);
        }
        put_text(p, is_object ? "}" : "]");
    } else if (cJSON_IsString(node)) {
        put_string(p, node->valuestring ? node->valuestring : "");
    } else if (cJSON_IsNumber(node)) {
        put_number(p, node);
    } else if (cJSON_IsBool(node)) {
        put_text(p, cJSON_IsTrue(node) ? "true" : "false");
    } else {
        put_text(p, "null");
    }
}

static char *print_tree(const cJSON *json, bool pretty)
{
    printer p = {.pretty = pretty};
    p.capacity = 256;
    p.text = malloc(p.capacity);
    p.failed = !p.text;
    put_value(&p, json, 0);
    if (p.failed) {
        free(p.text);
        return NULL;
    }
    return p.text;
}

char *qd_json_print(const cJSON *json)
{
    return print_tree(json, true);
}

char *qd_json_print_line(const cJSON *json)
{
    return print_tree(json, false);
}

/* Writes a printed tree and frees it. */
static enum qd_status write_text(qd_context *ctx, const char *path, char *text)
{
    qd_atomic_file file = {0};
    if (!text)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    enum qd_status status = qd_atomic_open(ctx, path, &file);
    if (status == QD_OK) {
        /* Failures of these two show at the commit. */
        fputs(text, file.stream);
        fputc('\n', file.stream);
        status = qd_atomic_commit(&file);
    }
    free(text);
    return status;
}

enum qd_status qd_json_write(qd_context *ctx, const char *path, const cJSON *json)
{
    return write_text(ctx, path, qd_json_print(json));
}

enum qd_status qd_json_write_line(qd_context *ctx, const char *path, const cJSON *json)
{
    return write_text(ctx, path, qd_json_print_line(json));
}
