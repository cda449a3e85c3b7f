/*
 * Winograd's transforms (kernels/winograd.h) for every instruction set that defines `vec` (vec_<set>.h) and QD_NAME.
 * A vector is as many channels of one pixel; a transform of a tile is one of its lines, then one of its columns, and
 * the symmetry of the points ±a and ±b halves each: even and odd powers are summed once for both.
 */

#include "kernels/simd/unroll.h"
#include "kernels/winograd.h"

/* Written out whole, a transform of 36 vectors drowns in spilt registers; a line at a time stays in them. */
#if defined(__clang__)
#define ROLLED _Pragma("clang loop unroll(disable)")
#else
#define ROLLED _Pragma("GCC unroll 1")
#endif

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS vec constant(double value)
{
    const float single = (float)value;
    return vec_broadcast(&single);
}

ALWAYS vec load(const float *p, const bool whole, int64_t count)
{
    return whole ? vec_load(p) : vec_load_first(p, count);
}

ALWAYS void store(float *p, vec v, const bool whole, int64_t count)
{
    if (whole)
        vec_store(p, v);
    else
        vec_store_first(p, v, count);
}

/* ---- one dimension ---- */

/* Bt·d */
ALWAYS void input_1d(const vec *d, vec *out)
{
    const vec d1 = d[1], d2 = d[2], d3 = d[3], d4 = d[4];
    const vec sum = constant(-QD_WINOGRAD_SUM), product = constant(QD_WINOGRAD_PRODUCT);
    const vec even_a = vec_fma(d2, constant(-QD_WINOGRAD_B2), d4), odd_a = vec_fma(d1, constant(-QD_WINOGRAD_B2), d3);
    const vec even_b = vec_fma(d2, constant(-QD_WINOGRAD_A2), d4), odd_b = vec_fma(d1, constant(-QD_WINOGRAD_A2), d3);

    out[0] = vec_fma(d[0], product, vec_fma(d2, sum, d4));
    out[1] = vec_fma(odd_a, constant(QD_WINOGRAD_A1), even_a);
    out[2] = vec_fma(odd_a, constant(-QD_WINOGRAD_A1), even_a);
    out[3] = vec_fma(odd_b, constant(QD_WINOGRAD_B1), even_b);
    out[4] = vec_fma(odd_b, constant(-QD_WINOGRAD_B1), even_b);
    out[5] = vec_fma(d1, product, vec_fma(d3, sum, d[5]));
}

/* At·m */
ALWAYS void output_1d(const vec *m, vec *out)
{
    const vec even_a = vec_add(m[1], m[2]), odd_a = vec_sub(m[1], m[2]);
    const vec even_b = vec_add(m[3], m[4]), odd_b = vec_sub(m[3], m[4]);

    out[0] = vec_add(vec_add(m[0], even_a), even_b);
    out[1] = vec_fma(odd_b, constant(QD_WINOGRAD_B1), vec_mul(odd_a, constant(QD_WINOGRAD_A1)));
    out[2] = vec_fma(even_b, constant(QD_WINOGRAD_B2), vec_mul(even_a, constant(QD_WINOGRAD_A2)));
    out[3] = vec_fma(odd_b, constant(QD_WINOGRAD_B3), vec_fma(odd_a, constant(QD_WINOGRAD_A3), m[5]));
}

/* A·y */
ALWAYS void output_adjoint_1d(const vec *y, vec *out)
{
    const vec y0 = y[0], y1 = y[1], y2 = y[2], y3 = y[3];
    const vec even_a = vec_fma(y2, constant(QD_WINOGRAD_A2), y0), even_b = vec_fma(y2, constant(QD_WINOGRAD_B2), y0);
    const vec odd_a = vec_fma(y3, constant(QD_WINOGRAD_A2), y1), odd_b = vec_fma(y3, constant(QD_WINOGRAD_B2), y1);

    out[0] = y0;
    out[1] = vec_fma(odd_a, constant(QD_WINOGRAD_A1), even_a);
    out[2] = vec_fma(odd_a, constant(-QD_WINOGRAD_A1), even_a);
    out[3] = vec_fma(odd_b, constant(QD_WINOGRAD_B1), even_b);
    out[4] = vec_fma(odd_b, constant(-QD_WINOGRAD_B1), even_b);
    out[5] = y3;
}

/* G·w */
ALWAYS void weights_1d(const vec *w, vec *out)
{
    const vec w0 = w[0], w1 = w[1], w2 = w[2];
    const vec even_a = vec_mul(vec_fma(w2, constant(QD_WINOGRAD_A2), w0), constant(QD_WINOGRAD_AT_A));
    const vec even_b = vec_mul(vec_fma(w2, constant(QD_WINOGRAD_B2), w0), constant(QD_WINOGRAD_AT_B));

    out[0] = vec_mul(w0, constant(QD_WINOGRAD_AT_0));
    out[1] = vec_fma(w1, constant(QD_WINOGRAD_AT_A * QD_WINOGRAD_A1), even_a);
    out[2] = vec_fma(w1, constant(-QD_WINOGRAD_AT_A * QD_WINOGRAD_A1), even_a);
    out[3] = vec_fma(w1, constant(QD_WINOGRAD_AT_B * QD_WINOGRAD_B1), even_b);
    out[4] = vec_fma(w1, constant(-QD_WINOGRAD_AT_B * QD_WINOGRAD_B1), even_b);
    out[5] = w2;
}

/* Gt·u */
ALWAYS void weights_adjoint_1d(const vec *u, vec *out)
{
    const vec even_a = vec_mul(vec_add(u[1], u[2]), constant(QD_WINOGRAD_AT_A));
    const vec even_b = vec_mul(vec_add(u[3], u[4]), constant(QD_WINOGRAD_AT_B));
    const vec odd_a = vec_sub(u[1], u[2]), odd_b = vec_sub(u[3], u[4]);

    out[0] = vec_fma(u[0], constant(QD_WINOGRAD_AT_0), vec_add(even_a, even_b));
    out[1] = vec_fma(odd_b, constant(QD_WINOGRAD_AT_B * QD_WINOGRAD_B1),
                     vec_mul(odd_a, constant(QD_WINOGRAD_AT_A * QD_WINOGRAD_A1)));
    out[2] = vec_fma(even_b, constant(QD_WINOGRAD_B2), vec_fma(even_a, constant(QD_WINOGRAD_A2), u[5]));
}

/*
 * ---- two dimensions ----
 * Each transform reads from `from[rows·rows]`, plus `at`, and writes to `to`: columns of the source first, as they
 * are loaded, then lines, as they are stored. `middle` holds [line of the target][column of the source].
 */

#define TRANSFORM_2D(name, rows, results)                                                                            \
    ALWAYS void name##_2d(const float *const *from, float *const *to, int64_t at, const bool whole, int64_t count,   \
                          const bool accumulate)                                                                     \
    {                                                                                                                \
        vec middle[(results) * (rows)];                                                                              \
        ROLLED                                                                                                       \
        for (int column = 0; column < (rows); column++) {                                                            \
            vec in[rows], out[results];                                                                              \
            UNROLL                                                                                                   \
            for (int line = 0; line < (rows); line++)                                                                \
                in[line] = load(from[line * (rows) + column] + at, whole, count);                                    \
            name##_1d(in, out);                                                                                      \
            UNROLL                                                                                                   \
            for (int line = 0; line < (results); line++)                                                             \
                middle[line * (rows) + column] = out[line];                                                          \
        }                                                                                                            \
        ROLLED                                                                                                       \
        for (int line = 0; line < (results); line++) {                                                               \
            vec out[results];                                                                                        \
            name##_1d(middle + line * (rows), out);                                                                  \
            UNROLL                                                                                                   \
            for (int column = 0; column < (results); column++) {                                                     \
                float *p = to[line * (results) + column] + at;                                                       \
                store(p, accumulate ? vec_add(load(p, whole, count), out[column]) : out[column], whole, count);      \
            }                                                                                                        \
        }                                                                                                            \
    }

TRANSFORM_2D(input, 6, 6)
TRANSFORM_2D(output, 6, 4)
TRANSFORM_2D(output_adjoint, 4, 6)
TRANSFORM_2D(weights, 3, 6)
TRANSFORM_2D(weights_adjoint, 6, 3)

/* All channels, in vectors and a rest. */
#define EVERY_CHANNEL(name, from, to, channels, accumulate)                                                          \
    do {                                                                                                             \
        int64_t at = 0;                                                                                              \
        for (; at + VEC_LANES <= (channels); at += VEC_LANES)                                                        \
            name##_2d(from, to, at, true, VEC_LANES, accumulate);                                                    \
        if (at < (channels))                                                                                         \
            name##_2d(from, to, at, false, (channels)-at, accumulate);                                               \
    } while (0)

/* Neighbouring tiles' pixels lie in six lines of an image, which the processor does not foresee. */
ALWAYS void prefetch_pixels(const qd_winograd_planes_args *args, int64_t tile)
{
    for (int i = 0; i < 36; i++) {
        const float *pixel = args->pixels[i * args->tiles + tile];
        for (int64_t c = 0; c < args->channels; c += 16) /* a cache line */
            __builtin_prefetch(pixel + c, 0, 3);
    }
}

void QD_NAME(winograd_input)(const qd_winograd_planes_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++) {
        const float *from[36];
        float *to[36];
        for (int i = 0; i < 36; i++) {
            from[i] = args->pixels[i * args->tiles + tile];
            to[i] = (float *)args->planes + i * args->plane + tile * args->line;
        }
        if (tile + 1 < args->tiles)
            prefetch_pixels(args, tile + 1);
        EVERY_CHANNEL(input, from, to, args->channels, false);
    }
}

void QD_NAME(winograd_output)(const qd_winograd_pixels_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++) {
        const float *from[36];
        float *to[16];
        for (int i = 0; i < 36; i++)
            from[i] = (const float *)args->planes + i * args->plane + tile * args->line;
        for (int i = 0; i < 16; i++)
            to[i] = args->pixels[i * args->tiles + tile];
        if (args->accumulate)
            EVERY_CHANNEL(output, from, to, args->channels, true);
        else
            EVERY_CHANNEL(output, from, to, args->channels, false);
    }
}

void QD_NAME(winograd_output_adjoint)(const qd_winograd_planes_args *args)
{
    for (int64_t tile = 0; tile < args->tiles; tile++) {
        const float *from[16];
        float *to[36];
        for (int i = 0; i < 16; i++)
            from[i] = args->pixels[i * args->tiles + tile];
        for (int i = 0; i < 36; i++)
            to[i] = (float *)args->planes + i * args->plane + tile * args->line;
        EVERY_CHANNEL(output_adjoint, from, to, args->channels, false);
    }
}

void QD_NAME(winograd_weights)(const void *w, int64_t tap, int64_t count, void *planes, int64_t plane)
{
    const float *from[9];
    float *to[36];
    for (int i = 0; i < 9; i++)
        from[i] = (const float *)w + i * tap;
    for (int i = 0; i < 36; i++)
        to[i] = (float *)planes + i * plane;
    EVERY_CHANNEL(weights, from, to, count, false);
}

void QD_NAME(winograd_weights_adjoint)(const void *planes, int64_t plane, int64_t count, bool accumulate, void *w,
                                       int64_t tap)
{
    const float *from[36];
    float *to[9];
    for (int i = 0; i < 36; i++)
        from[i] = (const float *)planes + i * plane;
    for (int i = 0; i < 9; i++)
        to[i] = (float *)w + i * tap;
    if (accumulate)
        EVERY_CHANNEL(weights_adjoint, from, to, count, true);
    else
        EVERY_CHANNEL(weights_adjoint, from, to, count, false);
}

#undef ALWAYS
#undef ROLLED
#undef TRANSFORM_2D
#undef EVERY_CHANNEL
