/* im2col, col2im and GEMM of every instruction set against their definitions. */
#include "support/conv_oracle.h"
#include "support/guard_page.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

static const struct {
    int64_t n, ic, h, w, oc, kernel, stride, pad, groups;
} shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 0, 1}, {2, 3, 7, 9, 4, 3, 1, 1, 1},  {1, 3, 8, 8, 2, 7, 2, 3, 1},
    {3, 5, 6, 5, 6, 1, 2, 0, 1}, {2, 6, 5, 7, 4, 3, 2, 1, 2},  {1, 4, 3, 2, 4, 3, 1, 4, 2},
    {2, 2, 6, 5, 2, 5, 1, 0, 1}, {1, 17, 4, 6, 3, 2, 3, 1, 1}, {2, 9, 5, 5, 9, 5, 1, 2, 3},
};
enum { SHAPE_COUNT = sizeof shapes / sizeof shapes[0] };

static char label[128];

static qd_conv_shape shape_at(size_t i)
{
    qd_conv_shape s = {.n = shapes[i].n,
                       .ih = shapes[i].h,
                       .iw = shapes[i].w,
                       .ic = shapes[i].ic,
                       .oc = shapes[i].oc,
                       .kh = shapes[i].kernel,
                       .kw = shapes[i].kernel,
                       .stride = shapes[i].stride,
                       .pad = shapes[i].pad,
                       .groups = shapes[i].groups};

    s.oh = (s.ih + 2 * s.pad - s.kh) / s.stride + 1;
    s.ow = (s.iw + 2 * s.pad - s.kw) / s.stride + 1;
    return s;
}

/* Index in x of column `column` of row `row` of a group, -1 outside the image. */
static int64_t source_of(const qd_conv_shape *s, int64_t group, int64_t row, int64_t column)
{
    int64_t channels = s->ic / s->groups;
    int64_t ih = row / s->ow % s->oh * s->stride - s->pad + column / channels / s->kw;
    int64_t iw = row % s->ow * s->stride - s->pad + column / channels % s->kw;

    if (ih < 0 || ih >= s->ih || iw < 0 || iw >= s->iw)
        return -1;
    return ((row / s->ow / s->oh * s->ih + ih) * s->iw + iw) * s->ic + group * channels + column % channels;
}

Test(conv_kernels, im2col_copies_what_the_window_sees)
{
    uint64_t state = 1;

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            qd_conv_shape s = shape_at(i);
            int64_t columns = s.kh * s.kw * s.ic / s.groups, rows = s.n * s.oh * s.ow;
            int64_t first = rows / 3, count = rows - first - rows / 5; /* neither the first nor the last rows */
            kernel_array x = kernel_array_create(v->dtype, s.n * s.ih * s.iw * s.ic, (int64_t)i % 4);
            kernel_array col = kernel_array_create(v->dtype, count * columns, (int64_t)(i + 1) % 4);

            kernel_array_fill(&x, &state, -1, 1);
            for (int64_t group = 0; group < s.groups; group++) {
                snprintf(label, sizeof label, "%s im2col, shape %zu group %lld", v->name, i, (long long)group);
                v->k->im2col(&s, group, x.data, first, count, col.data);
                for (int64_t j = 0; j < col.count; j++) {
                    int64_t source = source_of(&s, group, first + j / columns, j % columns);

                    kernel_array_check(&col, j, source < 0 ? 0 : kernel_array_get(&x, source), 0, 0, label);
                }
                kernel_array_check_fences(&col, label);
            }
            kernel_array_destroy(&x);
            kernel_array_destroy(&col);
        }
    }
}

/* <im2col(x), c> = <x, col2im(c)> for all x means: each value of dx gains the columns that copied it. */
Test(conv_kernels, col2im_is_the_adjoint_and_accumulates)
{
    uint64_t state = 2;

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            qd_conv_shape s = shape_at(i);
            int64_t columns = s.kh * s.kw * s.ic / s.groups, rows = s.n * s.oh * s.ow;
            int64_t first = rows / 4, count = rows - first;
            kernel_array col = kernel_array_create(v->dtype, count * columns, (int64_t)(i + 3) % 4);
            kernel_array dx = kernel_array_create(v->dtype, s.n * s.ih * s.iw * s.ic, (int64_t)i % 4);
            oracle_sums expected = oracle_sums_create(dx.count);

            snprintf(label, sizeof label, "%s col2im, shape %zu", v->name, i);
            kernel_array_fill(&dx, &state, -1, 1);
            for (int64_t j = 0; j < dx.count; j++)
                oracle_add(&expected, j, kernel_array_get(&dx, j), 1);
            for (int64_t group = 0; group < s.groups; group++) {
                kernel_array_fill(&col, &state, -1, 1);
                for (int64_t j = 0; j < col.count; j++) {
                    int64_t target = source_of(&s, group, first + j / columns, j % columns);

                    if (target >= 0)
                        oracle_add(&expected, target, kernel_array_get(&col, j), 1);
                }
                v->k->col2im(&s, group, col.data, first, count, dx.data);
            }
            oracle_check(&dx, &expected, s.kh * s.kw + 1, label);
            kernel_array_check_fences(&dx, label);
            oracle_sums_destroy(&expected);
            kernel_array_destroy(&col);
            kernel_array_destroy(&dx);
        }
    }
}

Test(conv_kernels, im2col_reads_and_writes_nothing_beyond)
{
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        for (size_t i = 0; i < SHAPE_COUNT; i++) {
            qd_conv_shape s = shape_at(i);
            size_t size = qd_dtype_size(v->dtype);
            int64_t columns = s.kh * s.kw * s.ic / s.groups, rows = s.n * s.oh * s.ow;
            guard_page x = guard_page_create((size_t)(s.n * s.ih * s.iw * s.ic) * size);
            guard_page col = guard_page_create((size_t)(rows * columns) * size);

            for (int64_t group = 0; group < s.groups; group++) {
                v->k->im2col(&s, group, x.data, 0, rows, col.data);
                v->k->col2im(&s, group, col.data, 0, rows, x.data);
            }
            guard_page_destroy(&x);
            guard_page_destroy(&col);
        }
    }
}

static void check_gemm(const kernel_variant *v, bool transpose_a, bool transpose_b, double beta, int64_t m, int64_t n,
                       int64_t k, uint64_t *state)
{
    enum { PADDING = 3 }; /* between lines: must be skipped in A and B, kept in C */
    int64_t lda = (transpose_a ? m : k) + PADDING, ldb = (transpose_b ? k : n) + PADDING, ldc = n + PADDING;
    kernel_array a = kernel_array_create(v->dtype, (transpose_a ? k : m) * lda - PADDING, 1);
    kernel_array b = kernel_array_create(v->dtype, (transpose_b ? n : k) * ldb - PADDING, 2);
    kernel_array c = kernel_array_create(v->dtype, m * ldc - PADDING, 3);
    kernel_array dense = kernel_array_create(v->dtype, m * n, 0);
    qd_gemm_args args = {.transpose_a = transpose_a,
                         .transpose_b = transpose_b,
                         .m = m,
                         .n = n,
                         .k = k,
                         .a = a.data,
                         .lda = lda,
                         .b = b.data,
                         .ldb = ldb,
                         .beta = beta,
                         .c = c.data,
                         .ldc = ldc};
    oracle_sums expected;

    snprintf(label, sizeof label, "%s gemm%s%s beta %g, %lld x %lld x %lld", v->name, transpose_a ? " At" : "",
             transpose_b ? " Bt" : "", beta, (long long)m, (long long)n, (long long)k);
    kernel_array_fill(&a, state, -1, 1);
    kernel_array_fill(&b, state, -1, 1);
    if (beta != 0) /* otherwise C stays NaN: it must not be read */
        kernel_array_fill(&c, state, -1, 1);
    expected = oracle_gemm(&args, &a, &b, beta != 0 ? &c : NULL);
    for (int64_t i = 0; i + 1 < m; i++)
        for (int64_t j = n; j < ldc; j++)
            kernel_array_put(&c, i * ldc + j, 7);
    v->k->gemm(&args);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++)
            kernel_array_put(&dense, i * n + j, kernel_array_get(&c, i * ldc + j));
        for (int64_t j = n; i + 1 < m && j < ldc; j++)
            cr_assert_eq(kernel_array_get(&c, i * ldc + j), 7.0, "%s: wrote between lines", label);
    }
    oracle_check(&dense, &expected, k + 1, label);
    kernel_array_check_fences(&c, label);
    oracle_sums_destroy(&expected);
    kernel_array_destroy(&a);
    kernel_array_destroy(&b);
    kernel_array_destroy(&c);
    kernel_array_destroy(&dense);
}

Test(conv_kernels, gemm)
{
    static const int64_t sizes[][3] = {{1, 1, 1},   {5, 3, 7},    {16, 8, 32},  {17, 33, 5},
                                       {64, 1, 64}, {1, 40, 100}, {33, 65, 129}};
    uint64_t state = 3;

    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t i = 0; i < 8 * sizeof sizes / sizeof sizes[0]; i++)
            check_gemm(v, i % 2 == 1, i / 2 % 2 == 1, i / 4 % 2 ? 1.0 : 0.0, sizes[i / 8][0], sizes[i / 8][1],
                       sizes[i / 8][2], &state);
}
