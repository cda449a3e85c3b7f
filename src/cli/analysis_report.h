/* An analysis as text on the terminal. */
#ifndef QD_CLI_ANALYSIS_REPORT_H
#define QD_CLI_ANALYSIS_REPORT_H

#include <quantdrift/analysis.h>

/* One network, with the module table on request; then it and another one (NULL: none) over the same image side by
 * side: the widest modules on one axis, and like with like where values fall. */
void cli_analysis_print(const qd_analyzed *analyzed, const qd_analyzed *compared, bool modules);

#endif
