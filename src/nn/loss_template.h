/* Losses in one dtype: QD_REAL, QD_NAME, QD_EXP and QD_LOG come from loss.c. */

/*
 * Cross-entropy: l[i] = -log p[i][label], log p = z - max z - log Σ exp(z - max z).
 * Gradient of the mean: (exp(log p) - [c = label])/n.
 */
static void QD_NAME(cross_entropy)(const QD_REAL *logits, const int64_t *labels, int64_t n, int64_t classes,
                                   double *loss_sum, int64_t *correct, QD_REAL *dlogits)
{
    const QD_REAL per_sample = (QD_REAL)(1.0 / (double)n);
    *loss_sum = 0.0;
    *correct = 0;
    for (int64_t i = 0; i < n; i++) {
        const QD_REAL *z = logits + i * classes;
        /* As PyTorch's argmax: the first largest logit, or the first NaN. */
        int64_t best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (z[c] > z[best] || (z[c] != z[c] && z[best] == z[best]))
                best = c;
        *correct += best == labels[i];

        const QD_REAL largest = z[best];
        QD_REAL sum = QD_EXP(z[0] - largest);
        for (int64_t c = 1; c < classes; c++)
            sum += QD_EXP(z[c] - largest);
        const QD_REAL log_sum = QD_LOG(sum);
        *loss_sum -= (double)((z[labels[i]] - largest) - log_sum);
        for (int64_t c = 0; dlogits && c < classes; c++) {
            const QD_REAL p = QD_EXP((z[c] - largest) - log_sum);
            dlogits[i * classes + c] = (c == labels[i] ? p - (QD_REAL)1 : p) * per_sample;
        }
    }
}

/*
 * Binary cross-entropy of sigmoid(z) against t in {0, 1}: l = (1 - t)·z + m + log(exp(-m) + exp(-z - m)),
 * m = max(-z, 0), so that no exponential overflows. Gradient of the mean: (sigmoid(z) - t)/n.
 */
static void QD_NAME(bce_logits)(const QD_REAL *logits, const int64_t *labels, int64_t n, double *loss_sum,
                                int64_t *correct, QD_REAL *dlogits)
{
    const QD_REAL one = 1, per_sample = (QD_REAL)(1.0 / (double)n);
    *loss_sum = 0.0;
    *correct = 0;
    for (int64_t i = 0; i < n; i++) {
        const QD_REAL z = logits[i], t = (QD_REAL)labels[i];
        const QD_REAL m = -z < (QD_REAL)0 ? (QD_REAL)0 : -z;
        *loss_sum += (double)((one - t) * z + m + QD_LOG(QD_EXP(-m) + QD_EXP(-z - m)));
        *correct += (z > (QD_REAL)0) == (labels[i] == 1);
        if (dlogits)
            dlogits[i] = (one / (one + QD_EXP(-z)) - t) * per_sample;
    }
}
