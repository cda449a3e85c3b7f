/* The optimizer over flat blocks of parameters: SGD with momentum and coupled weight decay, and the squared norm. */

/*
 * g' = g + decay·w; m = first ? g' : momentum·m + g'; w -= lr·m. The hyperparameters are rounded to the block's
 * dtype, as PyTorch rounds the scalars of torch.optim.SGD.
 */
void QD_NAME(sgd_step)(const qd_sgd_args *args, void *w, const void *g, void *m, int64_t count)
{
    const QD_REAL lr = (QD_REAL)args->lr, decay = (QD_REAL)args->weight_decay;
    const QD_REAL momentum = (QD_REAL)args->momentum;
    const QD_REAL *gv = g;
    QD_REAL *wv = w, *mv = m;
    if (args->first_step) { /* m is written without being read: it may be uninitialised */
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            mv[i] = gv[i] + decay * wv[i];
            wv[i] -= lr * mv[i];
        }
    } else {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            mv[i] = momentum * mv[i] + (gv[i] + decay * wv[i]);
            wv[i] -= lr * mv[i];
        }
    }
}

void QD_NAME(sum_squares)(const void *x, int64_t count, double *sum)
{
    /* Eight independent sums hide the latency of addition and fix the order of the result. */
    enum { lanes = 8 };
    const QD_REAL *xv = x;
    double total[lanes] = {0};
    int64_t i = 0;
    for (; i + lanes <= count; i += lanes)
        for (int l = 0; l < lanes; l++)
            total[l] += (double)xv[i + l] * (double)xv[i + l];
    for (; i < count; i++)
        total[0] += (double)xv[i] * (double)xv[i];
    *sum += ((total[0] + total[1]) + (total[2] + total[3])) + ((total[4] + total[5]) + (total[6] + total[7]));
}
