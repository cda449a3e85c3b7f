/* The data of report.html as JSON, packed: names once, numbers in columns. */
#ifndef QD_REPORT_PAGE_DATA_H
#define QD_REPORT_PAGE_DATA_H

#include "report/answers.h"
#include <stdio.h>

/* What is left out so that the page stays small; each includes those before it. */
enum page_detail {
    PAGE_ALL,
    PAGE_NO_TENSOR_CHANNELS, /* ranges by channel of every tensor; chosen layers keep theirs */
    PAGE_NO_HISTOGRAMS,
    PAGE_NO_MIXED,   /* statistics of the mixed batch; means and deviations */
    PAGE_NO_MODULES, /* everything by module and tensor */
    PAGE_DETAIL_COUNT
};

/* Prints the data; `folder` is where the page will stand, for links. Errors: QD_ERR_MEMORY. */
enum qd_status qd_page_print_data(FILE *out, const qd_report *report, const char *folder, enum page_detail detail);

struct json_out;

/* "runs": those that a finding belongs to, by qd_report_belongs(). */
void qd_page_print_runs(struct json_out *out, const qd_report *report, int file_run, int sha256);

/* Files of `analyze`, as far as the page draws them (page_analysis.c). */
void qd_page_print_analyses(struct json_out *out, const qd_report *report, enum page_detail detail);

#endif
