/* A module's statistics as the commands write them to JSON files. */
#ifndef QD_CLI_MODULE_JSON_H
#define QD_CLI_MODULE_JSON_H

#include "base/json.h"
#include <quantdrift/network.h>

double cli_module_range(const qd_module_report *report);

/* Adds one object keyed by the module's path to `parent`: shape, min, max, mean, std, range, zeros_pct, layer_type,
 * and outlier_ratio before the last on request. False when memory is short. */
bool cli_module_add_json(cJSON *parent, const qd_module_report *report, bool with_outliers);

#endif
