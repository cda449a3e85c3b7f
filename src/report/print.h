/* Writing names and numbers where Markdown, gnuplot or a URL would take them for something else. */
#ifndef QD_REPORT_PRINT_H
#define QD_REPORT_PRINT_H

#include <stdio.h>

/* Text inside a Markdown paragraph or table cell: what Markdown or HTML would interpret is escaped, control
 * characters and bytes that are no UTF-8 become \xNN. */
void qd_report_print_markdown(FILE *out, const char *text);

/* Text inside single quotes of a gnuplot script or a column of its data, without the quotes: letters, digits and
 * plain marks stay, everything else becomes '?'. At most 60 characters, of longer texts the end. */
void qd_report_print_gnuplot(FILE *out, const char *text);

/* Path as a relative URL: everything but letters, digits and -._~/ is percent-encoded. */
void qd_report_print_url(FILE *out, const char *path);

/* `value` with that many decimals; "-" for NaN. */
void qd_report_print_number(FILE *out, double value, int decimals);

/* A cell of a Markdown table and the bar behind it: such a number, or such a text. */
void qd_report_print_cell(FILE *out, double value, int decimals);
void qd_report_print_text_cell(FILE *out, const char *text);

/* Path of `file` as seen from `folder`, both as they are now; freed with free(). NULL: memory is short or one of them
 * is not there. */
char *qd_report_relative_path(const char *folder, const char *file);

#endif
