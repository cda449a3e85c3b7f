/* The compiler's multiply-add peak. */

void QD_NAME(multiply_add_chain)(int64_t count, double out[2])
{
    enum { CHAINS = 32 }; /* eight vectors of four: enough to hide the latency of a multiplication and an addition */
    QD_REAL sums[CHAINS] = {0};
    const QD_REAL factor = (QD_REAL)0.5, term = (QD_REAL)1;

    for (int64_t n = 0; n < count; n++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = sums[i] * factor + term;
    out[0] = 2.0 * CHAINS * (double)count;
    out[1] = 0;
    for (int i = 0; i < CHAINS; i++)
        out[1] += (double)sums[i];
}
