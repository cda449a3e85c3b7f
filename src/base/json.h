/* cJSON trees in and out: reading with limits and good errors, printing as Python's json.dump(indent=2) does. */
#ifndef QD_BASE_JSON_H
#define QD_BASE_JSON_H

#include <cjson/cJSON.h>
#include <quantdrift/context.h>

/* Parses a file of at most `max_bytes`. `allow_comments`: // and block comments are skipped. Errors: QD_ERR_IO,
 * QD_ERR_INPUT (line and column of the problem, duplicate keys). The caller frees *out with cJSON_Delete(). */
enum qd_status qd_json_read(qd_context *ctx, const char *path, size_t max_bytes, bool allow_comments, cJSON **out);

/* Parses a string; `what` names it in errors. */
enum qd_status qd_json_parse(qd_context *ctx, const char *what, const char *text, bool allow_comments, cJSON **out);

/* Text with an indent of 2, doubles in the shortest form that reads back equal ("1.0" for whole doubles made by
 * qd_json_double(), integers without point), non-ASCII as UTF-8, bytes that are no UTF-8 as U+FFFD. NULL when
 * memory is short; freed with free(). */
char *qd_json_print(const cJSON *json);

/* One line without spaces after separators: for step logs and hashes. */
char *qd_json_print_line(const cJSON *json);

/* Writes qd_json_print() and a newline atomically. */
enum qd_status qd_json_write(qd_context *ctx, const char *path, const cJSON *json);

/* The same with qd_json_print_line(): for large files of many numbers. */
enum qd_status qd_json_write_line(qd_context *ctx, const char *path, const cJSON *json);

/* Numbers made here, and whole ones read from a file, are cJSON_IsNumber() and keep their text in valuestring:
 * replace such a node, do not change its value. */

/* A number that prints like Python's float (with ".0" when whole); NaN and infinities become null. */
cJSON *qd_json_double(double value);
/* A number that prints like Python's int; the text is exact, valuedouble to 2^53. */
cJSON *qd_json_int(int64_t value);

#endif
