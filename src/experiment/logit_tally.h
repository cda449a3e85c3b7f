/* How far a network's logits are from the float network's, summed up over images. */
#ifndef QD_EXPERIMENT_LOGIT_TALLY_H
#define QD_EXPERIMENT_LOGIT_TALLY_H

#include "models/models.h"
#include <quantdrift/sensitivity.h>

typedef struct qd_logit_tally {
    int64_t count, correct, agree;
    double kl, squares; /* sums */
    int64_t values;
} qd_logit_tally;

/* Logits [n][width] of n images: the float network's, the other one's. */
typedef struct qd_logit_pair {
    enum qd_head head;
    int64_t n, width;
    const float *reference, *logits;
    const int64_t *labels, *reference_classes; /* [n] */
    int64_t *classes;                          /* [n], written: what the other network takes each image for */
} qd_logit_pair;

void qd_logit_tally_add(qd_logit_tally *tally, const qd_logit_pair *pair);

/* Against the float network's accuracy in percent. */
qd_sensitivity_score qd_logit_tally_score(const qd_logit_tally *tally, double float_accuracy);

/* KL(p || q) in nats of the softmax of two rows of logits; a row of one logit stands for two classes. */
double qd_logits_divergence(const float *p, const float *q, int64_t width);

#endif
