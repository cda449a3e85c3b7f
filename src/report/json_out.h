/* JSON written as it comes, for a <script> element: strings are escaped so that nothing in them ends it. */
#ifndef QD_REPORT_JSON_OUT_H
#define QD_REPORT_JSON_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json_out {
    FILE *stream;
    bool comma; /* something stands before the next item */
} json_out;

/* `key` is a constant, NULL inside arrays. */
void qd_json_out_open(json_out *out, const char *key, char bracket);
void qd_json_out_close(json_out *out, char bracket);
void qd_json_out_text(json_out *out, const char *key, const char *text);
void qd_json_out_int(json_out *out, const char *key, int64_t value);
void qd_json_out_bool(json_out *out, const char *key, bool value);

/* Five significant digits: more than a chart shows. What is not finite becomes null. */
void qd_json_out_number(json_out *out, const char *key, double value);

#endif
