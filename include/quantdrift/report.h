/*
 * What the files of runs say, as tables, plots and one page. Nothing here loads a network: results files, manifests
 * and the files of `analyze`, `sensitivity` and the quantization grid are all there is, and what they lack is said.
 */
#ifndef QUANTDRIFT_REPORT_H
#define QUANTDRIFT_REPORT_H

#include <quantdrift/context.h>

typedef struct qd_report qd_report;

/*
 * Reads every JSON file at or below the given folders (links to folders are not followed), or the given files
 * themselves. Files are recognised by what they hold. Those that are damaged or of another kind are kept as skipped,
 * with the reason; so is what cannot be opened. Freed with qd_report_destroy(). Errors: QD_ERR_INPUT (a path that is
 * not there, nothing to report on below them), QD_ERR_MEMORY.
 */
enum qd_status qd_report_read(qd_context *ctx, const char *const *paths, int count, qd_report **out);
void qd_report_destroy(qd_report *report);

/* Files that were left out, each with a sentence that names it and says why. */
int qd_report_skipped_count(const qd_report *report);
const char *qd_report_skipped(const qd_report *report, int index);

/* What the files do not say, a sentence each. */
int qd_report_lack_count(const qd_report *report);
const char *qd_report_lack(const qd_report *report, int index);

/* The answers to the three questions of the page's first screen, a paragraph each, plain text. */
enum { QD_REPORT_ANSWERS = 3 };
const char *qd_report_question(int index);
const char *qd_report_answer(const qd_report *report, int index);

/* Numbers of runs with results and of model trainings in them. */
int qd_report_run_count(const qd_report *report);
int qd_report_series_count(const qd_report *report);

/* Writes <folder>/report.md. `plots`: refer to the pictures of qd_report_write_plots(). Errors: QD_ERR_IO,
 * QD_ERR_MEMORY. */
enum qd_status qd_report_write_markdown(const qd_report *report, const char *folder, bool plots);

/* Writes <folder>/report.html: one file that needs nothing else and asks nobody for anything. Below 10 MB: what does
 * not fit is left out, and the page says so. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_report_write_page(const qd_report *report, const char *folder);

/* Writes gnuplot scripts with their data, <folder>/<name>.gp, each of which draws <name>.png and <name>.svg beside
 * itself. *names gets their names ("accuracy.gp"), NULL-terminated, freed with qd_report_plots_free(). Errors:
 * QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_report_write_plots(const qd_report *report, const char *folder, char ***names);
void qd_report_plots_free(char **names);

/* Several runs or seeds: <folder>/compare.md, which refers to the picture of qd_report_write_compare_plot() when
 * `plots`. *text gets the table for a terminal, freed with free(). Errors: QD_ERR_INPUT (nothing was quantized in any
 * run), QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_report_write_compare(const qd_report *report, const char *folder, bool plots, char **text);

/* The script of its one chart, <folder>/compare.gp. Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_report_write_compare_plot(const qd_report *report, const char *folder);

#endif
