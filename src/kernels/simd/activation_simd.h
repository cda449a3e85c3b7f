/*
 * Kernels that apply activations, for every instruction set that defines `vec` (vec_<set>.h) and QD_NAME. Outputs may
 * be the very input array: every vector is read before it is written.
 */
#include "kernels/for_activation.h"
#include "kernels/simd/activation_functions_simd.h"

ACT_INLINE void scale_shift_rows(enum qd_activation kind, const float *x, int64_t rows, int64_t channels,
                                 const float *scale, const float *shift, float *y)
{
    const int64_t whole = channels - channels % VEC_LANES, tail = channels - whole;

    for (int64_t r = 0; r < rows; r++, x += channels, y += channels) {
        for (int64_t c = 0; c < whole; c += VEC_LANES)
            vec_store(y + c, act_apply(kind, vec_fma(vec_load(x + c), vec_load(scale + c), vec_load(shift + c))));
        if (tail)
            vec_store_first(
                y + whole,
                act_apply(kind, vec_fma(vec_load_first(x + whole, tail), vec_load_first(scale + whole, tail),
                                        vec_load_first(shift + whole, tail))),
                tail);
    }
}

void QD_NAME(scale_shift)(const void *x, int64_t rows, int64_t channels, const void *scale, const void *shift,
                          enum qd_activation activation, void *y)
{
    QD_FOR_ACTIVATION(activation, scale_shift_rows, x, rows, channels, scale, shift, y);
}

ACT_INLINE void apply_all(enum qd_activation kind, const float *x, int64_t count, float *y)
{
    int64_t i = 0;

    for (; i + VEC_LANES <= count; i += VEC_LANES)
        vec_store(y + i, act_apply(kind, vec_load(x + i)));
    if (i < count)
        vec_store_first(y + i, act_apply(kind, vec_load_first(x + i, count - i)), count - i);
}

void QD_NAME(activation_forward)(enum qd_activation activation, const void *x, int64_t count, void *y)
{
    QD_FOR_ACTIVATION(activation, apply_all, x, count, y);
}

ACT_INLINE void finish_all(enum qd_activation kind, bool sum, const qd_finish_rows_args *args)
{
    const int64_t whole = args->columns - args->columns % VEC_LANES, tail = args->columns - whole;
    const float *bias = args->bias, *residual = args->residual;
    float *y = args->y;

    for (int64_t r = 0; r < args->rows; r++, y += args->stride) {
        for (int64_t c = 0; c < whole; c += VEC_LANES) {
            const vec value = vec_add(vec_load(y + c), vec_load(bias + c));
            vec_store(y + c, act_apply(kind, sum ? vec_add(value, vec_load(residual + c)) : value));
        }
        if (tail) {
            const vec value = vec_add(vec_load_first(y + whole, tail), vec_load_first(bias + whole, tail));
            vec_store_first(y + whole,
                            act_apply(kind, sum ? vec_add(value, vec_load_first(residual + whole, tail)) : value),
                            tail);
        }
        if (sum)
            residual += args->stride;
    }
}

void QD_NAME(finish_rows)(const qd_finish_rows_args *args)
{
    if (args->residual)
        QD_FOR_ACTIVATION(args->activation, finish_all, true, args);
    else
        QD_FOR_ACTIVATION(args->activation, finish_all, false, args);
}

ACT_INLINE void gradient_all(enum qd_activation kind, bool accumulate, const float *x, const float *dy, int64_t count,
                             float *dx)
{
    int64_t i = 0;

    for (; i + VEC_LANES <= count; i += VEC_LANES) {
        const vec gradient = act_gradient(kind, vec_load(x + i), vec_load(dy + i));
        vec_store(dx + i, accumulate ? vec_add(vec_load(dx + i), gradient) : gradient);
    }
    if (i < count) {
        const int64_t tail = count - i;
        const vec gradient = act_gradient(kind, vec_load_first(x + i, tail), vec_load_first(dy + i, tail));
        vec_store_first(dx + i, accumulate ? vec_add(vec_load_first(dx + i, tail), gradient) : gradient, tail);
    }
}

void QD_NAME(activation_backward)(enum qd_activation activation, const void *x, const void *dy, int64_t count,
                                  bool accumulate, void *dx)
{
    if (accumulate)
        QD_FOR_ACTIVATION(activation, gradient_all, true, x, dy, count, dx);
    else
        QD_FOR_ACTIVATION(activation, gradient_all, false, x, dy, count, dx);
}
