/*
 * BatchNorm's backward pass, fused with the activation behind it, for every instruction set that defines `vec`
 * (vec_<set>.h) and QD_NAME: z = x·scale + shift is recomputed instead of kept, dz = dy·activation'(z).
 */
#include "kernels/for_activation.h"
#include "kernels/simd/activation_functions_simd.h"
#include "kernels/simd/runs_simd.h"

/* Rows of a run of sums. Two inputs and an output at as many places of memory: with more of them the processor no
 * longer follows all, and maps that come from memory get slower than the shorter sums gain. */
#define BN_ROWS 4

/* The arrays of one block of channels; dz NULL: not kept. */
typedef struct bn_rows {
    const float *x, *dy, *mean, *invstd, *scale, *shift;
    int64_t channels;
    float *dz;
} bn_rows;

/* Adds Σdz and Σdz·(x - mean)·invstd of one vector of channels over a run; invstd once for the run's sum. */
RUN_INLINE void bn_sum_run(enum qd_activation activation, bool keep, int64_t rows, int64_t tail, const bn_rows *a,
                           int64_t at, int64_t c, double *sum_dz, double *sum_dz_xhat)
{
    const vec mean = run_load(a->mean + c, tail), scale = run_load(a->scale + c, tail);
    const vec shift = run_load(a->shift + c, tail);
    vec sum = vec_zero(), products = vec_zero();

    for (int64_t r = 0; r < rows; r++, at += a->channels) {
        const vec x = run_load(a->x + at, tail);
        const vec dz = act_gradient(activation, vec_fma(x, scale, shift), run_load(a->dy + at, tail));

        sum = vec_add(sum, dz);
        products = vec_fma(dz, vec_sub(x, mean), products);
        if (keep && tail)
            vec_store_first(a->dz + at, dz, tail);
        else if (keep)
            vec_store(a->dz + at, dz);
    }
    vec_add_to_doubles(sum_dz, sum);
    vec_add_to_doubles(sum_dz_xhat, vec_mul(products, run_load(a->invstd + c, tail)));
}

/* `width` channels from the arrays' start on. */
RUN_INLINE void bn_sum_block(enum qd_activation activation, bool keep, const bn_rows *a, int64_t rows, int64_t width,
                             double *sum_dz, double *sum_dz_xhat)
{
    double totals[2][RUN_CHANNELS] = {{0}};

    for (int64_t row = 0; row < rows; row += BN_ROWS) {
        const int64_t run = rows - row < BN_ROWS ? rows - row : BN_ROWS;
        int64_t c = 0;

        for (; c + VEC_LANES <= width; c += VEC_LANES)
            bn_sum_run(activation, keep, run, 0, a, row * a->channels + c, c, totals[0] + c, totals[1] + c);
        if (c < width)
            bn_sum_run(activation, keep, run, width - c, a, row * a->channels + c, c, totals[0] + c, totals[1] + c);
    }
    for (int64_t c = 0; c < width; c++) {
        sum_dz[c] += totals[0][c];
        sum_dz_xhat[c] += totals[1][c];
    }
}

void QD_NAME(bn_backward_sums)(const qd_bn_args *a, const void *x, const void *dy, int64_t rows, double *sum_dz,
                               double *sum_dz_xhat, void *dz)
{
    for (int64_t first = 0; first < a->channels; first += RUN_CHANNELS) {
        const int64_t width = a->channels - first < RUN_CHANNELS ? a->channels - first : RUN_CHANNELS;
        const bn_rows part = {.x = (const float *)x + first,
                              .dy = (const float *)dy + first,
                              .mean = (const float *)a->mean + first,
                              .invstd = (const float *)a->invstd + first,
                              .scale = (const float *)a->scale + first,
                              .shift = (const float *)a->shift + first,
                              .channels = a->channels,
                              .dz = dz ? (float *)dz + first : NULL};

        if (dz)
            QD_FOR_ACTIVATION(a->activation, bn_sum_block, true, &part, rows, width, sum_dz + first,
                              sum_dz_xhat + first);
        else
            QD_FOR_ACTIVATION(a->activation, bn_sum_block, false, &part, rows, width, sum_dz + first,
                              sum_dz_xhat + first);
    }
}

/* dx of one vector of channels in one row. */
RUN_INLINE void bn_apply_vector(enum qd_activation activation, bool accumulate, int64_t tail, const bn_rows *a,
                                const float *mean_dz, const float *mean_dz_xhat, int64_t at, int64_t c, float *dx)
{
    const vec x = run_load(a->x + at, tail), scale = run_load(a->scale + c, tail);
    const vec dz =
        act_gradient(activation, vec_fma(x, scale, run_load(a->shift + c, tail)), run_load(a->dy + at, tail));
    const vec xhat = vec_mul(vec_sub(x, run_load(a->mean + c, tail)), run_load(a->invstd + c, tail));
    vec result = vec_sub(vec_sub(dz, run_load(mean_dz + c, tail)), vec_mul(xhat, run_load(mean_dz_xhat + c, tail)));

    result = vec_mul(scale, result);
    if (accumulate)
        result = vec_add(result, run_load(dx + at, tail));
    if (tail)
        vec_store_first(dx + at, result, tail);
    else
        vec_store(dx + at, result);
}

RUN_INLINE void bn_apply_rows(enum qd_activation activation, bool accumulate, const bn_rows *a, const float *mean_dz,
                              const float *mean_dz_xhat, int64_t rows, float *dx)
{
    for (int64_t r = 0, at = 0; r < rows; r++, at += a->channels) {
        int64_t c = 0;

        for (; c + VEC_LANES <= a->channels; c += VEC_LANES)
            bn_apply_vector(activation, accumulate, 0, a, mean_dz, mean_dz_xhat, at + c, c, dx);
        if (c < a->channels)
            bn_apply_vector(activation, accumulate, a->channels - c, a, mean_dz, mean_dz_xhat, at + c, c, dx);
    }
}

void QD_NAME(bn_backward_apply)(const qd_bn_args *a, const void *x, const void *dy, const void *mean_dz,
                                const void *mean_dz_xhat, int64_t rows, bool accumulate, void *dx)
{
    const bn_rows all = {.x = x,
                         .dy = dy,
                         .mean = a->mean,
                         .invstd = a->invstd,
                         .scale = a->scale,
                         .shift = a->shift,
                         .channels = a->channels};

    if (accumulate)
        QD_FOR_ACTIVATION(a->activation, bn_apply_rows, true, &all, mean_dz, mean_dz_xhat, rows, dx);
    else
        QD_FOR_ACTIVATION(a->activation, bn_apply_rows, false, &all, mean_dz, mean_dz_xhat, rows, dx);
}
