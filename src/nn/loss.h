/* Losses: not graph nodes, but forward and backward stand side by side here too. */
#ifndef QD_NN_LOSS_H
#define QD_NN_LOSS_H

#include "kernels/kernels.h"

/*
 * Mean cross-entropy of softmax. logits [n][classes] (float or double by dtype), labels[n] in [0, classes).
 * *loss_sum = Σ over samples (not the mean); *correct = samples whose first largest logit is the label.
 * dlogits (may be NULL) = gradient of the mean. Computed in the logits' dtype as PyTorch does, the sum over
 * samples in double. Source: PyTorch nn.CrossEntropyLoss.
 */
void qd_loss_cross_entropy(enum qd_dtype dtype, const void *logits, const int64_t *labels, int64_t n, int64_t classes,
                           double *loss_sum, int64_t *correct, void *dlogits);

/* Mean binary cross-entropy with logits; logits [n][1]; label 1 is the second folder; threshold 0.5.
 * Source: PyTorch nn.BCEWithLogitsLoss. */
void qd_loss_bce_logits(enum qd_dtype dtype, const void *logits, const int64_t *labels, int64_t n, double *loss_sum,
                        int64_t *correct, void *dlogits);

#endif
