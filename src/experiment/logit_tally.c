#include "experiment/logit_tally.h"
#include "train/trainer.h"
#include <math.h>

/* log Σ exp of a row, without overflow. */
static double log_sum(const float *row, int64_t width)
{
    double highest = (double)row[0];
    /* No fmax(): gcc 12 for aarch64 fails to compile this loop with it at -O3. */
    for (int64_t i = 1; i < width; i++)
        highest = (double)row[i] > highest ? (double)row[i] : highest;
    double sum = exp((double)row[0] - highest);
    for (int64_t i = 1; i < width; i++)
        sum += exp((double)row[i] - highest);
    return highest + log(sum);
}

double qd_logits_divergence(const float *p, const float *q, int64_t width)
{
    /* sigmoid(x) is the softmax of x and 0 */
    const float p_pair[2] = {p[0], 0.0f}, q_pair[2] = {q[0], 0.0f};
    if (width == 1)
        return qd_logits_divergence(p_pair, q_pair, 2);
    const double p_sum = log_sum(p, width), q_sum = log_sum(q, width);
    double divergence = 0.0;
    for (int64_t i = 0; i < width; i++) {
        const double log_p = (double)p[i] - p_sum, log_q = (double)q[i] - q_sum;
        divergence += exp(log_p) * (log_p - log_q);
    }
    return divergence;
}

void qd_logit_tally_add(qd_logit_tally *tally, const qd_logit_pair *pair)
{
    const int64_t shape[2] = {pair->n, pair->width};
    const qd_tensor logits = qd_tensor_contiguous(QD_F32, 2, shape, (void *)pair->logits); /* only read */
    qd_head_classes(pair->head, &logits, pair->classes);
    for (int64_t i = 0; i < pair->n; i++) {
        const float *p = pair->reference + i * pair->width, *q = pair->logits + i * pair->width;
        tally->correct += pair->classes[i] == pair->labels[i];
        tally->agree += pair->classes[i] == pair->reference_classes[i];
        tally->kl += qd_logits_divergence(p, q, pair->width);
        for (int64_t k = 0; k < pair->width; k++)
            tally->squares += ((double)p[k] - (double)q[k]) * ((double)p[k] - (double)q[k]);
    }
    tally->count += pair->n;
    tally->values += pair->n * pair->width;
}

qd_sensitivity_score qd_logit_tally_score(const qd_logit_tally *tally, double float_accuracy)
{
    const double accuracy = 100.0 * (double)tally->correct / (double)tally->count;
    return (qd_sensitivity_score){
        .accuracy = accuracy,
        .drop = float_accuracy - accuracy,
        .kl = tally->kl / (double)tally->count,
        .mse = tally->squares / (double)tally->values,
        .agree_pct = 100.0 * (double)tally->agree / (double)tally->count,
    };
}
