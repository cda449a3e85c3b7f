/* What the numbers say together: statistics, rules, and the sentences made of them. */
#ifndef QD_REPORT_ANSWERS_H
#define QD_REPORT_ANSWERS_H

#include "report/report_impl.h"
#include "report/statistics.h"

void qd_report_series_free(report_series *series);
void qd_report_sensitivity_free(report_sensitivity *sensitivity);
void qd_report_analysis_free(report_analysis *analysis);

/* Noise above 1 % of the signal's energy: where a tensor counts as noisy. */
#define REPORT_NOISY_DB 20.0

/* The widest module of a log; of equal ones the first. NULL: none has a range. */
const report_module *qd_report_widest(const report_log *log);

/* The first tensor in the order of computation whose accumulated signal-to-noise ratio is below REPORT_NOISY_DB;
 * NULL: none. */
const report_tensor *qd_report_first_noisy(const report_quantized *q);

/* The tensor with the smallest accumulated ratio, of equal ones the first; NULL: none was measured. */
const report_tensor *qd_report_noisiest(const report_quantized *q);

/* The earliest logged epoch whose drop's interval lies above 0; NULL: none. */
const report_quantized *qd_report_first_drop(const report_series *series);

/* The BatchNorm whose range grew by the largest factor from the first logged epoch to `epoch`; NULL: none is in both.
 * (Gates of squeeze-excite start at next to nothing and would always win.) *factor is set with it. */
const report_module *qd_report_most_grown(const qd_report *report, const report_series *series, int64_t epoch,
                                          double *factor);

/* A convolution and the BatchNorm behind it. */
typedef struct report_pair {
    int convolution, batchnorm; /* names */
} report_pair;

/* Pairs of a log's neighbours, only below the series' block prefixes when `of_blocks`; freed with free(). Errors:
 * QD_ERR_MEMORY. */
enum qd_status qd_report_find_pairs(const qd_report *report, const report_series *series, bool of_blocks,
                                    report_pair **pairs, int *count);

/* Range behind BatchNorm over the convolution's; NaN where one is not logged or 0. */
double qd_report_pair_ratio(const report_log *log, const report_pair *pair);

/* The series of a run that loses most at its last quantized epoch; NULL: none. With run -1 of all runs. */
/* The row of the grid that gains most for a model; NULL: none. */
const report_grid_row *qd_report_best_remedy(const qd_report *report, const report_series *series);

const report_series *qd_report_worst_series(const qd_report *report, int run);

/* Fills the answers of each run and of all together. Errors: QD_ERR_MEMORY. */
enum qd_status qd_report_find_answers(qd_report *report);

#endif
