/* The float and the simulated network side by side, layer by layer: for remedies that mend one after the other. */
#ifndef QD_QUANTIZE_LAYER_WALK_H
#define QD_QUANTIZE_LAYER_WALK_H

#include "quantize/qgraph.h"

/*
 * Called at every convolution or linear layer before either network has run it: its input values are there in
 * QD_QMODE_FLOAT and QD_QMODE_SIMULATED. It may change what the simulated network makes of the layer.
 */
typedef enum qd_status qd_layer_visitor(void *user, qd_qgraph *q, qd_qstep *step, int64_t n);

/* Whether a walk over n images is possible. Errors: QD_ERR_USAGE (read from a file; not finalized; n not 1 to
 * max_batch: the values of all images are needed at once), beginning with `purpose`. */
enum qd_status qd_layer_walk_check(const qd_qgraph *q, const char *purpose, int64_t n);

/* One pass over n images, checked before. Errors: QD_ERR_MEMORY, QD_ERR_NUMERIC (dynamic ranges), the visitor's. */
enum qd_status qd_layer_walk(qd_qgraph *q, const float *images, int64_t n, qd_layer_visitor *visitor, void *user);

#endif
