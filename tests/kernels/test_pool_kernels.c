/* Max pooling of every instruction set against a naive search, with ties, NaN and padding. */
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int64_t n, channels, h, w, kernel, stride, pad;
} shapes[] = {
    {2, 5, 7, 9, 3, 2, 1},   {1, 64, 6, 6, 3, 2, 1},   {2, 65, 4, 5, 3, 2, 1},
    {1, 130, 3, 3, 2, 1, 0}, {3, 1, 5, 5, 2, 2, 0},    {1, 3, 1, 1, 3, 2, 1},
    {1, 7, 11, 8, 5, 3, 2},  {1, 4, 16, 16, 16, 1, 8}, {1, 17, 6, 7, 1, 1, 0},
};

static char label[128];

static qd_conv_shape pool_shape(size_t i)
{
    qd_conv_shape s = {.n = shapes[i].n,
                       .ih = shapes[i].h,
                       .iw = shapes[i].w,
                       .ic = shapes[i].channels,
                       .oc = shapes[i].channels,
                       .kh = shapes[i].kernel,
                       .kw = shapes[i].kernel,
                       .stride = shapes[i].stride,
                       .pad = shapes[i].pad,
                       .groups = shapes[i].channels};
    s.oh = (s.ih + 2 * s.pad - s.kh) / s.stride + 1;
    s.ow = (s.iw + 2 * s.pad - s.kw) / s.stride + 1;
    return s;
}

/* Small whole numbers make ties; every eleventh value is a NaN or an infinity when asked for. */
static void fill_with_ties(kernel_array *x, uint64_t *state, bool special)
{
    static const double specials[] = {NAN, -INFINITY, INFINITY};
    kernel_array_fill(x, state, 0, 4);
    for (int64_t j = 0; j < x->count; j++)
        kernel_array_put(x, j, floor(kernel_array_get(x, j)) - 2);
    for (int64_t j = 0; special && j < x->count; j += 11)
        kernel_array_put(x, j, specials[j / 11 % 3]);
}

/* The position that PyTorch's scan keeps: a later value wins when it is larger or a NaN. */
static int64_t naive_argmax(const qd_conv_shape *s, const kernel_array *x, int64_t n, int64_t oh, int64_t ow,
                            int64_t c)
{
    int64_t best_position = -1;
    double best = 0;
    for (int64_t position = 0; position < s->kh * s->kw; position++) {
        const int64_t ih = oh * s->stride - s->pad + position / s->kw,
                      iw = ow * s->stride - s->pad + position % s->kw;
        if (ih < 0 || ih >= s->ih || iw < 0 || iw >= s->iw)
            continue;
        const double value = kernel_array_get(x, ((n * s->ih + ih) * s->iw + iw) * s->ic + c);
        if (best_position < 0 || value > best || isnan(value)) {
            best = value;
            best_position = position;
        }
    }
    return best_position;
}

Test(pool_kernels, forward_and_backward)
{
    uint64_t state = 1;
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < 2 * sizeof shapes / sizeof shapes[0]; i++) {
            const qd_conv_shape s = pool_shape(i / 2);
            const int64_t in_image = s.ih * s.iw * s.ic, out_image = s.oh * s.ow * s.ic;
            kernel_array x = kernel_array_create(v->dtype, s.n * in_image, (int64_t)i % 4);
            kernel_array y = kernel_array_create(v->dtype, s.n * out_image, (int64_t)(i + 1) % 4);
            kernel_array dy = kernel_array_create(v->dtype, out_image, (int64_t)(i + 2) % 4);
            kernel_array dx = kernel_array_create(v->dtype, in_image, (int64_t)(i + 3) % 4);
            uint8_t *argmax = malloc((size_t)y.count + 1);
            double *expected_dx = malloc((size_t)in_image * sizeof *expected_dx);
            cr_assert(argmax && expected_dx);
            argmax[y.count] = 0xA5;
            snprintf(label, sizeof label, "%s maxpool, shape %zu%s", v->name, i / 2, i % 2 ? " with NaN" : "");
            fill_with_ties(&x, &state, i % 2 == 1);

            /* Two calls: lines are counted over all images, and a call writes its own lines only. */
            const int64_t lines = s.n * s.oh, first = lines / 2;
            v->k->maxpool_forward(&s, x.data, first, lines - first, y.data, argmax);
            for (int64_t j = 0; j < first * s.ow * s.ic; j++)
                cr_assert(isnan(kernel_array_get(&y, j)), "%s: wrote element %lld of a line not asked for", label,
                          (long long)j);
            v->k->maxpool_forward(&s, x.data, 0, first, y.data, argmax);
            for (int64_t j = 0; j < y.count; j++) {
                const int64_t c = j % s.ic, ow = j / s.ic % s.ow, oh = j / s.ic / s.ow % s.oh, n = j / out_image;
                const int64_t position = naive_argmax(&s, &x, n, oh, ow, c);
                const int64_t ih = oh * s.stride - s.pad + position / s.kw;
                const int64_t iw = ow * s.stride - s.pad + position % s.kw;
                cr_assert_eq(argmax[j], position, "%s: argmax %lld is %d, expected %lld", label, (long long)j,
                             argmax[j], (long long)position);
                kernel_array_check(&y, j, kernel_array_get(&x, ((n * s.ih + ih) * s.iw + iw) * s.ic + c), 0, 0,
                                   label);
            }
            kernel_array_check_fences(&y, label);
            cr_assert_eq(argmax[y.count], 0xA5, "%s: argmax written past its end", label);
            kernel_array alone = kernel_array_create(v->dtype, y.count, 1);
            v->k->maxpool_forward(&s, x.data, 0, lines, alone.data, NULL);
            cr_assert_arr_eq(alone.data, y.data, (size_t)y.count * qd_dtype_size(v->dtype), "%s: without positions",
                             label);
            kernel_array_check_fences(&alone, label);
            kernel_array_destroy(&alone);

            /* The last image's gradient, added to what is there. */
            const uint8_t *last = argmax + (s.n - 1) * out_image;
            kernel_array_fill(&dy, &state, -2, 2);
            kernel_array_fill(&dx, &state, -2, 2);
            for (int64_t j = 0; j < in_image; j++)
                expected_dx[j] = kernel_array_get(&dx, j);
            for (int64_t j = 0; j < out_image; j++) {
                const int64_t c = j % s.ic, ow = j / s.ic % s.ow, oh = j / s.ic / s.ow;
                const int64_t ih = oh * s.stride - s.pad + last[j] / s.kw,
                              iw = ow * s.stride - s.pad + last[j] % s.kw;
                expected_dx[(ih * s.iw + iw) * s.ic + c] += kernel_array_get(&dy, j);
            }
            v->k->maxpool_backward(&s, dy.data, last, dx.data);
            /* At most 81 windows meet in one pixel (the 16x16 case): a rounding for each of values of order 2. */
            for (int64_t j = 0; j < in_image; j++)
                kernel_array_check(&dx, j, expected_dx[j], 81, 20, label);
            kernel_array_check_fences(&dx, label);
            free(argmax);
            free(expected_dx);
            kernel_array_destroy(&x);
            kernel_array_destroy(&y);
            kernel_array_destroy(&dy);
            kernel_array_destroy(&dx);
        }
    }
}

/* PyTorch, max_pool2d(..., 2, 1, return_indices=True) of [[1, NaN, 3], [NaN, -inf, -inf], [5, 5, 5]]: the last NaN of
 * a window; and of a 2x2 map of -inf with padding 1: index 0, the first that is no padding. */
Test(pool_kernels, nan_and_infinity_as_pytorch)
{
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        static const double map[9] = {1, NAN, 3, NAN, -INFINITY, -INFINITY, 5, 5, 5};
        static const int positions[4] = {2, 0, 0, 2}; /* PyTorch's indices 3 1 3 7 within their windows */
        const qd_conv_shape s = {
            .n = 1, .ih = 3, .iw = 3, .ic = 1, .oh = 2, .ow = 2, .oc = 1, .kh = 2, .kw = 2, .stride = 1, .groups = 1};
        kernel_array x = kernel_array_create(v->dtype, 9, 0), y = kernel_array_create(v->dtype, 4, 0);
        uint8_t argmax[4];
        for (int j = 0; j < 9; j++)
            kernel_array_put(&x, j, map[j]);
        v->k->maxpool_forward(&s, x.data, 0, 2, y.data, argmax);
        for (int j = 0; j < 4; j++)
            cr_expect_eq(argmax[j], positions[j], "%s: position %d is %d", v->name, j, argmax[j]);
        cr_expect_eq(kernel_array_get(&y, 3), 5.0);

        const qd_conv_shape padded = {.n = 1,
                                      .ih = 2,
                                      .iw = 2,
                                      .ic = 1,
                                      .oh = 1,
                                      .ow = 1,
                                      .oc = 1,
                                      .kh = 3,
                                      .kw = 3,
                                      .stride = 2,
                                      .pad = 1,
                                      .groups = 1};
        for (int j = 0; j < 4; j++)
            kernel_array_put(&x, j, -INFINITY);
        v->k->maxpool_forward(&padded, x.data, 0, 1, y.data, argmax);
        cr_expect_eq(argmax[0], 4, "%s: position %d, expected the centre", v->name, argmax[0]);
        cr_expect_eq(kernel_array_get(&y, 0), -INFINITY);
        kernel_array_destroy(&x);
        kernel_array_destroy(&y);
    }
}
