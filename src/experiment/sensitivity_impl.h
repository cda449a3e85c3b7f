/* What the parts of a sensitivity analysis share. */
#ifndef QD_EXPERIMENT_SENSITIVITY_IMPL_H
#define QD_EXPERIMENT_SENSITIVITY_IMPL_H

#include "experiment/logit_tally.h"
#include "experiment/network_impl.h"
#include "quantize/layer_sensitivity.h"

typedef struct qd_sensitivity_memory {
    qd_qgraph *qgraph;      /* at the end with the kept layers in float32 */
    qd_quant_layer *layers; /* the same places as the public ones */
    const char *calibrator; /* that found the qgraph's ranges, static */
} qd_sensitivity_memory;

/* The images, decoded once, and what the float network says of them. */
typedef struct qd_sensitivity_stage {
    const qd_network *network;
    const qd_sensitivity_options *options;
    qd_sensitivity *out;
    int64_t count, pixels, width;
    float *images;            /* [count][pixels] */
    int64_t *labels;          /* [count], as all of the next */
    float *reference;         /* [width] a sample: the float network's logits */
    float *logits;            /* another one's */
    int64_t *float_predicted; /* the float network's classes */
    int64_t *predicted;       /* another one's */
} qd_sensitivity_stage;

/* Tells how far a phase is. */
void qd_sensitivity_tell(const qd_sensitivity_stage *stage, const char *phase, int64_t step, int64_t step_count);

/* Compares the logits of images first … first + n - 1 with the float network's; `logits` belong to the first. */
void qd_sensitivity_compare(const qd_sensitivity_stage *stage, int64_t first, int64_t n, const float *logits,
                            qd_logit_tally *tally);

/* The score of all images whose logits are in the stage. */
qd_sensitivity_score qd_sensitivity_score_all(const qd_sensitivity_stage *stage);

/* Everything that is told of the stage's images and the calibrated qgraph in its memory. Errors: QD_ERR_NUMERIC,
 * QD_ERR_MEMORY. */
enum qd_status qd_sensitivity_measure(qd_sensitivity_stage *stage);

/* sensitivity_search.c: fills what is kept in float32, and leaves the qgraph with it. Errors: QD_ERR_MEMORY. */
enum qd_status qd_sensitivity_search(const qd_sensitivity_stage *stage);

#endif
