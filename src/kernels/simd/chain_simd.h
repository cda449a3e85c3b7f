/* The processor's multiply-add peak; needs `vec`, QD_NAME. */
#include "kernels/simd/unroll.h"

void QD_NAME(multiply_add_chain)(int64_t count, double out[2])
{
    enum {
        CHAINS = 10
    }; /* two ports with a latency of four need eight; sixteen registers hold ten and two factors */
    const float half = 0.5f, one = 1.0f;
    const vec factor = vec_broadcast(&half), term = vec_broadcast(&one);
    vec sums[CHAINS];
    float lanes[VEC_LANES];

    UNROLL
    for (int i = 0; i < CHAINS; i++)
        sums[i] = vec_zero();
    for (int64_t n = 0; n < count; n++) {
        UNROLL
        for (int i = 0; i < CHAINS; i++)
            sums[i] = vec_fma(sums[i], factor, term);
    }
    UNROLL
    for (int i = 1; i < CHAINS; i++)
        sums[0] = vec_add(sums[0], sums[i]);
    vec_store(lanes, sums[0]);
    out[0] = 2.0 * CHAINS * VEC_LANES * (double)count;
    out[1] = (double)lanes[0];
}
