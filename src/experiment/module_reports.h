/* From what the observer saw to what the public API tells. */
#ifndef QD_EXPERIMENT_MODULE_REPORTS_H
#define QD_EXPERIMENT_MODULE_REPORTS_H

#include "observe/observe.h"
#include <quantdrift/network.h>

/* One report for each module of the observation, in its order; names are borrowed from the graph. *reports is freed
 * with free(). Errors: QD_ERR_MEMORY. */
enum qd_status qd_module_reports_create(qd_context *ctx, const qd_graph *graph, const qd_observation *observation,
                                        qd_module_report **reports);

#endif
