/* Bytes that come from outside (file names, class names, headers) on their way to a terminal or a JSON file. */
#ifndef QD_BASE_TEXT_H
#define QD_BASE_TEXT_H

#include <stddef.h>

/* Length of the valid UTF-8 character at text[0 .. bytes), 1 to 4; 0 when there is none: overlong forms,
 * surrogates and values above U+10FFFF are not valid. Source: Unicode 15, table 3-7. */
size_t qd_utf8_length(const char *text, size_t bytes);

/* Copies NUL-terminated `in` to out[out_bytes] (at least 8), showing control characters (C0, DEL, C1) and bytes that
 * are not UTF-8 as \xNN; a text too long ends in "..." after a whole character. */
void qd_text_escape(const char *in, char *out, size_t out_bytes);

/* The moment as "2023-04-05T06:07:08Z". */
#define QD_TIME_BYTES 24
void qd_text_time(char text[QD_TIME_BYTES]);

#endif
