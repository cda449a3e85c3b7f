/*
 * Winograd's transforms, every instruction set against their matrices in double. The matrices are made here from the
 * points by interpolation's definitions; that they belong together is tested on whole convolutions, here in double
 * and in unit/test_conv_winograd.c in float32.
 */
#include "kernels/winograd.h"
#include "support/conv_oracle.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Each dimension sums at most six products, evenly and oddly numbered ones apart, of constants rounded once: 8
 * roundings, and as many for the other dimension; one more to accumulate. */
#define ROUNDINGS 17

static char label[160];

static const double points[5] = {0, QD_WINOGRAD_A1, -QD_WINOGRAD_A1, QD_WINOGRAD_B1, -QD_WINOGRAD_B1};

/* Π (x - point) over the points but one (5: over all of them): coefficients of x⁰ to x⁵. */
static void product_without(int without, double out[6])
{
    double p[7] = {1};
    for (int q = 0; q < 5; q++) {
        if (q == without)
            continue;
        for (int i = 6; i > 0; i--)
            p[i] = p[i - 1] - points[q] * p[i];
        p[0] *= -points[q];
    }
    for (int i = 0; i < 6; i++)
        out[i] = p[i];
}

typedef struct matrices {
    double bt[6][6], g[6][3], at[4][6];
} matrices;

static matrices make_matrices(void)
{
    matrices m = {.g = {[5] = {0, 0, 1}}, .at = {[3] = {[5] = 1}}};
    for (int p = 0; p < 6; p++)
        product_without(p, m.bt[p]);
    for (int p = 0; p < 5; p++) {
        double scale = 1;
        for (int q = 0; q < 5; q++)
            if (q != p)
                scale *= points[p] - points[q];
        for (int i = 0; i < 3; i++)
            m.g[p][i] = pow(points[p], i) / scale;
        for (int i = 0; i < 4; i++)
            m.at[i][p] = pow(points[p], i);
    }
    return m;
}

/* One side of a transform: `out` results of `in` values, m[result][value] or, transposed, m[value][result]. */
typedef struct side {
    int in, out;
    const double *m;
    int stride;
    bool transposed;
} side;

static double coefficient(const side *s, int result, int value)
{
    return s->transposed ? s->m[value * s->stride + result] : s->m[result * s->stride + value];
}

/* expected[result] += Σ over values, `from` at [value][offset]. */
static void transform(const side *s, const double *from, int64_t step, int64_t offset, oracle_sums *expected,
                      int64_t to_step, int64_t to)
{
    for (int r = 0; r < s->out * s->out; r++)
        for (int v = 0; v < s->in * s->in; v++)
            oracle_add(expected, r * to_step + to,
                       coefficient(s, r / s->out, v / s->in) * coefficient(s, r % s->out, v % s->in),
                       from[v * step + offset]);
}

static double *values_of(const kernel_array *array)
{
    double *values = malloc((size_t)array->count * sizeof *values);
    cr_assert_not_null(values);
    for (int64_t i = 0; i < array->count; i++)
        values[i] = kernel_array_get(array, i);
    return values;
}

static void *at(const kernel_array *array, int64_t index)
{
    return (char *)array->data + (size_t)index * qd_dtype_size(array->dtype);
}

/* Pixels of tile t begin at (i·tiles + t)·gap_channels, backwards, so that nothing relies on their order. */
static void **pixel_addresses(const kernel_array *pixels, int count, int64_t tiles, int64_t line)
{
    void **out = malloc((size_t)(count * tiles) * sizeof *out);
    cr_assert_not_null(out);
    for (int64_t i = 0; i < count * tiles; i++)
        out[i] = at(pixels, (count * tiles - 1 - i) * line);
    return out;
}

static const int64_t tile_counts[] = {1, 2, 5};
static const int64_t channel_counts[] = {1, 3, 7, 8, 9, 15, 16, 17, 33, 64};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Pixels to planes. */
static void check_planes(const kernel_variant *v, const side *s, int64_t tiles, int64_t channels, uint64_t *state,
                         void (*kernel)(const qd_winograd_planes_args *args), const char *name)
{
    const int64_t line = channels + 3, plane = tiles * line + 5;
    const int count = s->in * s->in;
    kernel_array pixels = kernel_array_create(v->dtype, count * tiles * line, 1);
    kernel_array planes = kernel_array_create(v->dtype, QD_WINOGRAD_PLANES * plane, 2);
    oracle_sums expected = oracle_sums_create(planes.count);

    kernel_array_fill(&pixels, state, -1, 1);
    kernel_array_fill(&planes, state, -1, 1);
    for (int64_t i = 0; i < planes.count; i++) { /* what lies between is left alone */
        const int64_t t = i % plane / line, c = i % plane % line;
        if (t >= tiles || c >= channels)
            oracle_add(&expected, i, kernel_array_get(&planes, i), 1);
    }
    double *from = values_of(&pixels);
    for (int64_t t = 0; t < tiles; t++)
        for (int64_t c = 0; c < channels; c++)
            transform(s, from, -tiles * line, (count * tiles - 1 - t) * line + c, &expected, plane, t * line + c);

    void **addresses = pixel_addresses(&pixels, count, tiles, line);
    snprintf(label, sizeof label, "%s %s, %lld tiles of %lld channels", v->name, name, (long long)tiles,
             (long long)channels);
    const qd_winograd_planes_args args = {.tiles = tiles,
                                          .channels = channels,
                                          .pixels = (const void *const *)addresses,
                                          .planes = planes.data,
                                          .plane = plane,
                                          .line = line};
    kernel(&args);
    oracle_check(&planes, &expected, ROUNDINGS, label);
    kernel_array_check_fences(&planes, label);
    free(addresses);
    free(from);
    oracle_sums_destroy(&expected);
    kernel_array_destroy(&pixels);
    kernel_array_destroy(&planes);
}

Test(winograd_kernels, pixels_to_planes)
{
    const matrices m = make_matrices();
    const side input = {.in = 6, .out = 6, .m = m.bt[0], .stride = 6};
    const side adjoint = {.in = 4, .out = 6, .m = m.at[0], .stride = 6, .transposed = true};
    uint64_t state = 5;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t t = 0; t < COUNT(tile_counts); t++)
            for (size_t c = 0; c < COUNT(channel_counts); c++) {
                check_planes(v, &input, tile_counts[t], channel_counts[c], &state, v->k->winograd_input,
                             "winograd_input");
                check_planes(v, &adjoint, tile_counts[t], channel_counts[c], &state, v->k->winograd_output_adjoint,
                             "winograd_output_adjoint");
            }
}

static void check_output(const kernel_variant *v, const side *s, int64_t tiles, int64_t channels, bool accumulate,
                         uint64_t *state)
{
    const int64_t line = channels + 2, plane = tiles * line + 1;
    const int count = QD_WINOGRAD_PIXELS;
    kernel_array pixels = kernel_array_create(v->dtype, count * tiles * line, 1);
    kernel_array planes = kernel_array_create(v->dtype, QD_WINOGRAD_PLANES * plane, 2);
    oracle_sums expected = oracle_sums_create(pixels.count);

    kernel_array_fill(&pixels, state, -1, 1);
    kernel_array_fill(&planes, state, -1, 1);
    for (int64_t i = 0; i < pixels.count; i++)
        if (accumulate || i % line >= channels)
            oracle_add(&expected, i, kernel_array_get(&pixels, i), 1);
    double *from = values_of(&planes);
    for (int64_t t = 0; t < tiles; t++)
        for (int64_t c = 0; c < channels; c++)
            transform(s, from, plane, t * line + c, &expected, -tiles * line, (count * tiles - 1 - t) * line + c);

    void **addresses = pixel_addresses(&pixels, count, tiles, line);
    snprintf(label, sizeof label, "%s winograd_output, %lld tiles of %lld channels", v->name, (long long)tiles,
             (long long)channels);
    const qd_winograd_pixels_args args = {.tiles = tiles,
                                          .channels = channels,
                                          .planes = planes.data,
                                          .plane = plane,
                                          .line = line,
                                          .pixels = addresses,
                                          .accumulate = accumulate};
    v->k->winograd_output(&args);
    oracle_check(&pixels, &expected, ROUNDINGS, label);
    kernel_array_check_fences(&pixels, label);
    free(addresses);
    free(from);
    oracle_sums_destroy(&expected);
    kernel_array_destroy(&pixels);
    kernel_array_destroy(&planes);
}

Test(winograd_kernels, planes_to_pixels)
{
    const matrices m = make_matrices();
    const side output = {.in = 6, .out = 4, .m = m.at[0], .stride = 6};
    uint64_t state = 6;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t t = 0; t < COUNT(tile_counts); t++)
            for (size_t c = 0; c < COUNT(channel_counts); c++)
                check_output(v, &output, tile_counts[t], channel_counts[c], (t + c) % 2 == 1, &state);
}

/* Kernels to planes, or back. */
static void check_weights(const kernel_variant *v, const side *s, bool adjoint, int64_t values, bool accumulate,
                          uint64_t *state)
{
    const int64_t tap = values + 3, plane = values + 5;
    kernel_array w = kernel_array_create(v->dtype, 9 * tap, 1);
    kernel_array planes = kernel_array_create(v->dtype, QD_WINOGRAD_PLANES * plane, 3);
    kernel_array *out = adjoint ? &w : &planes;
    const int64_t in_step = adjoint ? plane : tap, out_step = adjoint ? tap : plane;
    oracle_sums expected = oracle_sums_create(out->count);

    kernel_array_fill(&w, state, -1, 1);
    kernel_array_fill(&planes, state, -1, 1);
    for (int64_t i = 0; i < out->count; i++)
        if (accumulate || i % out_step >= values)
            oracle_add(&expected, i, kernel_array_get(out, i), 1);
    double *from = values_of(adjoint ? &planes : &w);
    for (int64_t i = 0; i < values; i++)
        transform(s, from, in_step, i, &expected, out_step, i);

    snprintf(label, sizeof label, "%s winograd_weights%s, %lld values", v->name, adjoint ? "_adjoint" : "",
             (long long)values);
    if (adjoint)
        v->k->winograd_weights_adjoint(planes.data, plane, values, accumulate, w.data, tap);
    else
        v->k->winograd_weights(w.data, tap, values, planes.data, plane);
    oracle_check(out, &expected, ROUNDINGS, label);
    kernel_array_check_fences(out, label);
    free(from);
    oracle_sums_destroy(&expected);
    kernel_array_destroy(&w);
    kernel_array_destroy(&planes);
}

Test(winograd_kernels, kernels_to_planes_and_back)
{
    const matrices m = make_matrices();
    const side weights = {.in = 3, .out = 6, .m = m.g[0], .stride = 3};
    const side adjoint = {.in = 6, .out = 3, .m = m.g[0], .stride = 3, .transposed = true};
    uint64_t state = 7;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t c = 0; c < COUNT(channel_counts); c++) {
            check_weights(v, &weights, false, channel_counts[c], false, &state);
            check_weights(v, &adjoint, true, channel_counts[c], c % 2 == 1, &state);
        }
}

/* The matrices' reason: y = At·[(G·w·Gt) ⊙ (Bt·d·B)]·A is the correlation of d with w. */
Test(winograd_kernels, a_tile_is_a_correlation)
{
    double d[36], w[9], y[16], v[36], u[36];
    const void *from[36];
    void *to[16];
    qd_kernels k;

    qd_kernels_fill(QD_ISA_REF, QD_F64, &k);
    for (int i = 0; i < 36; i++) {
        d[i] = sin(3.0 + i * i);
        from[i] = &d[i];
    }
    for (int i = 0; i < 9; i++)
        w[i] = cos(1.0 + i * i);
    for (int i = 0; i < 16; i++)
        to[i] = &y[i];
    k.winograd_input(
        &(qd_winograd_planes_args){.tiles = 1, .channels = 1, .pixels = from, .planes = v, .plane = 1, .line = 1});
    k.winograd_weights(w, 1, 1, u, 1);
    for (int i = 0; i < 36; i++)
        v[i] *= u[i];
    k.winograd_output(
        &(qd_winograd_pixels_args){.tiles = 1, .channels = 1, .planes = v, .plane = 1, .line = 1, .pixels = to});
    for (int i = 0; i < 16; i++) {
        double expected = 0;
        for (int t = 0; t < 9; t++)
            expected += d[(i / 4 + t / 3) * 6 + i % 4 + t % 3] * w[t];
        cr_expect(fabs(y[i] - expected) < 1e-13, "result %d is %.17g, expected %.17g", i, y[i], expected);
    }
}
