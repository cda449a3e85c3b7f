/* What other programs follow a run by: metrics.csv, and event files for TensorBoard. */
#ifndef QD_EXPERIMENT_TRACKING_H
#define QD_EXPERIMENT_TRACKING_H

#include "experiment/results.h"
#include "graph/graph.h"

/*
 * <out>/metrics.csv: one row a model and epoch, models in the order in which they ran; cells that were not measured
 * are empty. `done` holds the rows of models that are complete: begin with NULL, free with free().
 */

/* Writes the file: the rows of complete models, then those of `results`; NULL: none. Atomic. Errors: QD_ERR_IO,
 * QD_ERR_MEMORY. */
enum qd_status qd_metrics_write(qd_context *ctx, const qd_config *config, const char *done,
                                const qd_results *results);

/* Adds the rows of a model that is complete now. Errors: QD_ERR_MEMORY. */
enum qd_status qd_metrics_add(qd_context *ctx, const qd_config *config, char **done, const qd_results *results);

/*
 * <out>/tensorboard/<model>/: curves an epoch, and the distribution of every parameter at logged epochs.
 */
typedef struct qd_event_file qd_event_file;

/* Opens an event file for epochs from `first_epoch` on; QD_OK and NULL when the configuration wants none. Errors:
 * QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_tracking_open(qd_context *ctx, const qd_config *config, const qd_model_info *model,
                                int64_t first_epoch, qd_event_file **out);

/* Adds the last epoch of the history; `state`: with its parameters, NULL: without. Nothing when `file` is NULL.
 * Errors: QD_ERR_IO, QD_ERR_MEMORY. */
enum qd_status qd_tracking_add(qd_event_file *file, const qd_config *config, const qd_results *results,
                               const qd_state *state);

#endif
