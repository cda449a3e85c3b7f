/* Depthwise kernels of every instruction set against a direct convolution. */
#include "support/conv_oracle.h"
#include "support/guard_page.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

static const struct {
    int64_t n, channels, h, w, kernel, stride, pad;
} shapes[] = {
    {1, 1, 1, 1, 3, 1, 1},  {2, 32, 7, 9, 3, 1, 1}, {3, 5, 8, 6, 3, 2, 1},  {1, 33, 9, 7, 5, 1, 2},
    {2, 16, 7, 8, 5, 2, 2}, {1, 7, 3, 2, 3, 1, 4},  {2, 3, 11, 8, 3, 3, 0}, {1, 15, 4, 5, 1, 1, 0},
    {1, 4, 5, 6, 7, 1, 3},  {2, 67, 2, 3, 5, 1, 2}, {1, 9, 9, 9, 2, 3, 1},
};
enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0] };

static char label[128];

static qd_conv_shape shape_at(size_t i)
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

typedef struct arrays {
    qd_conv_shape s;
    kernel_array x, w, y;
} arrays;

/* The three tensors of shape i, every one with another alignment. */
static arrays arrays_create(const kernel_variant *v, size_t i, uint64_t *state)
{
    qd_conv_shape s = shape_at(i);
    arrays a = {.s = s,
                .x = kernel_array_create(v->dtype, s.n * s.ih * s.iw * s.ic, (int64_t)i % 4),
                .w = kernel_array_create(v->dtype, s.kh * s.kw * s.ic, (int64_t)(i + 1) % 4),
                .y = kernel_array_create(v->dtype, s.n * s.oh * s.ow * s.ic, (int64_t)(i + 3) % 4)};

    kernel_array_fill(&a.x, state, -1, 1);
    kernel_array_fill(&a.w, state, -1, 1);
    kernel_array_fill(&a.y, state, -1, 1);
    return a;
}

static void arrays_destroy(arrays *a)
{
    kernel_array_check_fences(&a->x, label);
    kernel_array_check_fences(&a->w, label);
    kernel_array_check_fences(&a->y, label);
    kernel_array_destroy(&a->x);
    kernel_array_destroy(&a->w);
    kernel_array_destroy(&a->y);
}

static void fill_with_nan(kernel_array *array)
{
    for (int64_t i = 0; i < array->count; i++)
        kernel_array_put(array, i, NAN);
}

Test(dwconv_kernels, forward)
{
    uint64_t state = 1;

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            arrays a = arrays_create(v, i, &state);
            int64_t lines = a.s.n * a.s.oh, first = lines / 2;
            oracle_sums expected = oracle_conv_forward(&a.s, true, &a.x, &a.w);

            snprintf(label, sizeof label, "%s dwconv_forward, shape %zu", v->name, i);
            fill_with_nan(&a.y);
            v->k->dwconv_forward(&a.s, a.x.data, a.w.data, first, lines - first, a.y.data);
            for (int64_t j = 0; j < first * a.s.ow * a.s.oc; j++)
                cr_assert(isnan(kernel_array_get(&a.y, j)), "%s: wrote a line that was not asked for", label);
            v->k->dwconv_forward(&a.s, a.x.data, a.w.data, 0, first, a.y.data);
            oracle_check(&a.y, &expected, a.s.kh * a.s.kw + 1, label);
            oracle_sums_destroy(&expected);
            arrays_destroy(&a);
        }
    }
}

Test(dwconv_kernels, backward_data)
{
    uint64_t state = 2;

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < 2 * SHAPE_COUNT; i++) {
            arrays a = arrays_create(v, i / 2, &state);
            bool accumulate = i % 2 == 1;
            int64_t lines = a.s.n * a.s.ih, first = lines / 3;
            oracle_sums expected = oracle_conv_backward_data(&a.s, true, &a.y, &a.w);

            snprintf(label, sizeof label, "%s dwconv_backward_data, shape %zu%s", v->name, i / 2,
                     accumulate ? ", accumulating" : "");
            for (int64_t j = 0; accumulate && j < a.x.count; j++)
                oracle_add(&expected, j, kernel_array_get(&a.x, j), 1);
            if (!accumulate)
                fill_with_nan(&a.x);
            v->k->dwconv_backward_data(&a.s, a.y.data, a.w.data, 0, first, accumulate, a.x.data);
            v->k->dwconv_backward_data(&a.s, a.y.data, a.w.data, first, lines - first, accumulate, a.x.data);
            oracle_check(&a.x, &expected, a.s.kh * a.s.kw + 2, label);
            oracle_sums_destroy(&expected);
            arrays_destroy(&a);
        }
    }
}

/* Adds to dw, so two halves in either order give the whole. */
Test(dwconv_kernels, backward_weights)
{
    uint64_t state = 3;

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            arrays a = arrays_create(v, i, &state);
            int64_t lines = a.s.n * a.s.oh, first = lines / 2;
            oracle_sums expected = oracle_conv_backward_weights(&a.s, true, &a.x, &a.y);

            snprintf(label, sizeof label, "%s dwconv_backward_weights, shape %zu", v->name, i);
            for (int64_t j = 0; j < a.w.count; j++)
                oracle_add(&expected, j, kernel_array_get(&a.w, j), 1);
            v->k->dwconv_backward_weights(&a.s, a.x.data, a.y.data, first, lines - first, a.w.data);
            v->k->dwconv_backward_weights(&a.s, a.x.data, a.y.data, 0, first, a.w.data);
            oracle_check(&a.w, &expected, lines * a.s.ow + 1, label);
            oracle_sums_destroy(&expected);
            arrays_destroy(&a);
        }
    }
}

Test(dwconv_kernels, read_and_write_nothing_beyond)
{
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            qd_conv_shape s = shape_at(i);
            size_t size = qd_dtype_size(v->dtype);
            guard_page x = guard_page_create((size_t)(s.n * s.ih * s.iw * s.ic) * size);
            guard_page w = guard_page_create((size_t)(s.kh * s.kw * s.ic) * size);
            guard_page y = guard_page_create((size_t)(s.n * s.oh * s.ow * s.ic) * size);

            v->k->dwconv_forward(&s, x.data, w.data, 0, s.n * s.oh, y.data);
            v->k->dwconv_backward_data(&s, y.data, w.data, 0, s.n * s.ih, false, x.data);
            v->k->dwconv_backward_weights(&s, x.data, y.data, 0, s.n * s.oh, w.data);
            guard_page_destroy(&x);
            guard_page_destroy(&w);
            guard_page_destroy(&y);
        }
    }
}
