/* The inside of a qd_network. */
#ifndef QD_EXPERIMENT_NETWORK_IMPL_H
#define QD_EXPERIMENT_NETWORK_IMPL_H

#include "graph/plan.h"
#include "quantize/quantize.h"
#include "train/checkpoint.h"
#include <quantdrift/network.h>

/* As many images as a run calibrates with, and as many at a time. */
#define QD_DEFAULT_CALIBRATION_IMAGES 1000
#define QD_CALIBRATION_BATCH          16

struct qd_network {
    qd_context *ctx;
    const qd_model_info *model;
    qd_model_config config;
    qd_checkpoint_info info; /* of the file; zeroed for weights from elsewhere */
    qd_graph *graph;
    qd_state *state; /* this and the next: NULL of a quantized network */
    qd_plan *plan;
    qd_qgraph *qgraph;      /* NULL of a float network */
    const char *calibrator; /* that found its ranges, static; NULL: read from a file, which has them */
    int64_t max_batch;
};

/* Refuses a quantized network; `purpose` begins the sentence: "exporting". Errors: QD_ERR_INPUT. */
enum qd_status qd_network_require_float(const qd_network *network, const char *purpose);

/* The scheme that options ask for, and what finds the ranges, as encodings call it: static. */
qd_quant_scheme qd_quantize_options_scheme(const qd_quantize_options *options);
const char *qd_quantize_options_calibrator(const qd_quantize_options *options);

/* What qd_quantize_options mean for one network. Errors: QD_ERR_USAGE. */
enum qd_status qd_network_calibrate(const qd_network *network, const qd_quantize_options *options, qd_qgraph **out);

#endif
