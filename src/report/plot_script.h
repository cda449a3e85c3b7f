/* Parts that all gnuplot scripts share. */
#ifndef QD_REPORT_PLOT_SCRIPT_H
#define QD_REPORT_PLOT_SCRIPT_H

#include <quantdrift/report.h>
#include <stdio.h>

/* Settings of every plot; `title` is a constant without quotes. */
void qd_plot_begin(FILE *out, const char *title);

/* From here to qd_plot_close() everything is drawn twice: as <name>.png and <name>.svg, of that many pixels. */
void qd_plot_open(FILE *out, const char *name, int width, int height);
void qd_plot_close(FILE *out);

/* A space and a number of a data block; what is not finite is missing. */
void qd_plot_value(FILE *out, double value);

/* Writes <folder>/<name> with what `write` prints. Errors: QD_ERR_IO, QD_ERR_MEMORY, those of `write`. */
typedef enum qd_status plot_writer(FILE *out, const qd_report *report);
enum qd_status qd_plot_write(const qd_report *report, const char *folder, const char *name, plot_writer *write);

#endif
