/* The parts of an analysis. */
#ifndef QD_EXPERIMENT_ANALYSIS_IMPL_H
#define QD_EXPERIMENT_ANALYSIS_IMPL_H

#include "experiment/network_impl.h"
#include "observe/observe.h"
#include "quantize/attribution.h"
#include <quantdrift/analysis.h>

/* What an analysis borrows from. */
typedef struct qd_analysis_memory {
    float *image; /* [size][size][3] */
    qd_observation observation;
    qd_module_report *reports;
    qd_channel_view *channels; /* of all modules together */
    qd_qgraph *qgraph;
    qd_attribution *attribution;
} qd_analysis_memory;

/* Whether the user chose this module or tensor. */
bool qd_analysis_is_chosen(const qd_analysis_options *options, const char *name);

/* analysis_modules.c: what one image shows. Errors: QD_ERR_INPUT, QD_ERR_MEMORY. */
enum qd_status qd_analysis_add_modules(const qd_network *network, const qd_analysis_options *options,
                                       qd_analysis *analysis);

/* analysis_batchnorm.c: gammas, ranges before and behind, the ten values. Errors: QD_ERR_MEMORY. */
enum qd_status qd_analysis_add_batchnorms(const qd_network *network, qd_analysis *analysis);

/* y = gamma·(x − mean)/√(variance + eps) + beta of the post's ten values. */
qd_example_case qd_example_case_make(const qd_batchnorm_example *example, double gamma, double beta);

/* Mean, biased variance and normalised values of the post's ten; no case yet. */
qd_batchnorm_example qd_batchnorm_example_make(void);

/* analysis_tensors.c: the quantized network's tensors. Errors: as qd_network_analyze(). */
enum qd_status qd_analysis_add_tensors(const qd_network *network, const qd_analysis_options *options,
                                       qd_analysis *analysis);

#endif
