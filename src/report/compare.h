/* Several runs: repetitions put together, models set against each other within the same repetition. */
#ifndef QD_REPORT_COMPARE_H
#define QD_REPORT_COMPARE_H

#include "report/answers.h"

/* One model under one configuration, over the runs that differ in seed alone. */
typedef struct report_cell {
    const char *model; /* borrowed */
    char *label;       /* what its configuration has that others have otherwise, "lr 0.1, drop_last true"; "" */
    int64_t epoch;     /* the last one that all of them quantized; -1: none */
    int *series;       /* numbers of its series */
    int series_count;
    qd_spread float_accuracy, int8_accuracy, drop, widest;
} report_cell;

/* Two models of one configuration in the same repetitions: drop of the first minus that of the second. */
typedef struct report_paired {
    int first, second; /* cells */
    qd_spread difference;
} report_paired;

typedef struct report_comparison {
    report_cell *cells;
    int cell_count;
    report_paired *pairs;
    int pair_count;
} report_comparison;

/* Errors: QD_ERR_MEMORY. Freed with qd_report_comparison_free(). */
enum qd_status qd_report_compare(const qd_report *report, report_comparison *out);
void qd_report_comparison_free(report_comparison *comparison);

#endif
