/* Views: strides, copies, comparisons. */
#include "support/test_context.h"
#include <math.h>
#include <quantdrift/random.h>
#include <quantdrift/tensor.h>
#include <string.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(1);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(tensor, .init = setup, .fini = teardown);

Test(tensor, dtypes_have_sizes_and_names)
{
    static const struct {
        enum qd_dtype dtype;
        size_t size;
        const char *name;
    } cases[] = {{QD_F32, sizeof(float), "float32"},
                 {QD_F64, sizeof(double), "float64"},
                 {QD_S8, 1, "int8"},
                 {QD_U8, 1, "uint8"},
                 {QD_S32, 4, "int32"},
                 {QD_S64, 8, "int64"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_expect_eq(qd_dtype_size(cases[i].dtype), cases[i].size);
        cr_expect_str_eq(qd_dtype_name(cases[i].dtype), cases[i].name);
    }
}

Test(tensor, strides_of_both_layouts)
{
    const int64_t shape[] = {2, 3, 4, 5};
    qd_tensor a = qd_tensor_contiguous(QD_F32, 4, shape, NULL);
    cr_expect_eq(a.stride[0], 60);
    cr_expect_eq(a.stride[1], 20);
    cr_expect_eq(a.stride[2], 5);
    cr_expect_eq(a.stride[3], 1);
    cr_expect_eq(qd_tensor_count(&a), 120);
    qd_tensor b = qd_tensor_nhwc(QD_F32, 2, 3, 4, 5, NULL);
    cr_expect_eq(b.shape[1], 3);
    cr_expect_eq(b.stride[0], 60);
    cr_expect_eq(b.stride[1], 1);
    cr_expect_eq(b.stride[2], 15);
    cr_expect_eq(b.stride[3], 3);
    qd_tensor scalar = qd_tensor_contiguous(QD_F64, 0, NULL, NULL);
    cr_expect_eq(qd_tensor_count(&scalar), 1);
    const int64_t none[] = {3, 0};
    qd_tensor empty = qd_tensor_contiguous(QD_F32, 2, none, NULL);
    cr_expect_eq(qd_tensor_count(&empty), 0);
}

Test(tensor, layouts_convert_and_come_back)
{
    enum { N = 2, C = 3, H = 4, W = 5, COUNT = N * C * H * W };
    float nchw[COUNT], nhwc[COUNT], again[COUNT];
    double wide[COUNT];
    const int64_t shape[] = {N, C, H, W};
    for (int i = 0; i < COUNT; i++)
        nchw[i] = (float)i + 0.1f;
    qd_tensor a = qd_tensor_contiguous(QD_F32, 4, shape, nchw), b = qd_tensor_nhwc(QD_F32, N, C, H, W, nhwc);
    qd_tensor c = qd_tensor_contiguous(QD_F32, 4, shape, again), d = qd_tensor_contiguous(QD_F64, 4, shape, wide);
    TEST_OK(ctx, qd_tensor_copy(ctx, &b, &a));
    for (int n = 0; n < N; n++)
        for (int ch = 0; ch < C; ch++)
            for (int h = 0; h < H; h++)
                for (int w = 0; w < W; w++)
                    cr_assert_eq(nhwc[((n * H + h) * W + w) * C + ch], nchw[((n * C + ch) * H + h) * W + w]);
    TEST_OK(ctx, qd_tensor_copy(ctx, &c, &b));
    cr_expect_eq(memcmp(nchw, again, sizeof(nchw)), 0);
    TEST_OK(ctx, qd_tensor_copy(ctx, &d, &b));
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(wide[i], (double)nchw[i]);
    memset(again, 0, sizeof(again));
    TEST_OK(ctx, qd_tensor_copy(ctx, &c, &d));
    cr_expect_eq(memcmp(nchw, again, sizeof(nchw)), 0);
}

Test(tensor, every_dtype_is_copied_through_strides)
{
    static const enum qd_dtype dtypes[] = {QD_F32, QD_F64, QD_S8, QD_U8, QD_S32, QD_S64};
    for (size_t t = 0; t < 6; t++) {
        unsigned char from[12 * 8], to[12 * 8];
        const size_t size = qd_dtype_size(dtypes[t]);
        for (size_t i = 0; i < sizeof(from); i++)
            from[i] = (unsigned char)(i + 1);
        qd_tensor a = qd_tensor_nhwc(dtypes[t], 1, 3, 2, 2, from);
        qd_tensor b = qd_tensor_contiguous(dtypes[t], 4, a.shape, to);
        TEST_OK(ctx, qd_tensor_copy(ctx, &b, &a));
        for (size_t c = 0; c < 3; c++)
            for (size_t p = 0; p < 4; p++)
                cr_assert_eq(memcmp(to + (c * 4 + p) * size, from + (p * 3 + c) * size, size), 0);
    }
}

Test(tensor, what_does_not_fit_is_refused_and_untouched)
{
    float a_data[6] = {0}, b_data[6] = {1, 2, 3, 4, 5, 6};
    int32_t c_data[6] = {0};
    const int64_t two_three[] = {2, 3}, three_two[] = {3, 2}, six[] = {6};
    qd_tensor a = qd_tensor_contiguous(QD_F32, 2, two_three, a_data),
              b = qd_tensor_contiguous(QD_F32, 2, three_two, b_data);
    qd_tensor flat = qd_tensor_contiguous(QD_F32, 1, six, b_data),
              c = qd_tensor_contiguous(QD_S32, 2, two_three, c_data);
    qd_tensor_difference difference = {.max_abs = 7.0};
    a.name = "conv1.weight";
    TEST_FAILS(ctx, qd_tensor_copy(ctx, &a, &b), QD_ERR_SHAPE, "'conv1.weight': expected shape [2, 3], got [3, 2]");
    TEST_FAILS(ctx, qd_tensor_copy(ctx, &a, &flat), QD_ERR_SHAPE, "got [6]");
    TEST_FAILS(ctx, qd_tensor_copy(ctx, &a, &c), QD_ERR_SHAPE, "expected float32 values, got int32");
    TEST_FAILS(ctx, qd_tensor_compare(ctx, &a, &b, &difference), QD_ERR_SHAPE, "expected shape [2, 3], got [3, 2]");
    TEST_FAILS(ctx, qd_tensor_compare(ctx, &a, &c, &difference), QD_ERR_SHAPE, "got float32 and int32");
    cr_expect_eq(difference.max_abs, 7.0);
    cr_expect_eq(a_data[0], 0.0f);
    const int64_t huge[] = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    qd_tensor large = {.dtype = QD_F32, .rank = 4};
    memcpy(large.shape, huge, sizeof(huge));
    TEST_FAILS(ctx, qd_tensor_copy(ctx, &large, &a), QD_ERR_SHAPE, "expected shape [9223372036854775807, ");
}

Test(tensor, differences_are_found)
{
    float a_data[24], b_data[24];
    const int64_t shape[] = {1, 2, 3, 4};
    for (int i = 0; i < 24; i++)
        a_data[i] = (float)i - 30.0f;
    qd_tensor a = qd_tensor_contiguous(QD_F32, 4, shape, a_data), b = qd_tensor_nhwc(QD_F32, 1, 2, 3, 4, b_data);
    TEST_OK(ctx, qd_tensor_copy(ctx, &b, &a));
    qd_tensor_difference difference;
    TEST_OK(ctx, qd_tensor_compare(ctx, &a, &b, &difference));
    cr_expect_eq(difference.max_abs, 0.0);
    cr_expect_eq(difference.max_abs_a, 30.0);
    b_data[2 * 4 + 1] += 0.5f; /* pixel (1, 0), channel 1: row-major logical index 12 + 4 */
    b_data[2 * 5] -= 0.25f;
    TEST_OK(ctx, qd_tensor_compare(ctx, &a, &b, &difference));
    cr_expect_eq(difference.max_abs, 0.5);
    cr_expect_eq(difference.worst_index, 16);
}

Test(tensor, differences_of_special_values)
{
    const float nan_f = NAN, inf = INFINITY;
    static const int64_t shape[] = {1};
    const struct {
        float a;
        double b;
        double expected;
    } cases[] = {
        {nan_f, (double)NAN, 0.0},
        {nan_f, 1.0, (double)INFINITY},
        {1.0f, (double)NAN, (double)INFINITY},
        {inf, (double)INFINITY, 0.0},
        {inf, -(double)INFINITY, (double)INFINITY},
        {1.0f, (double)INFINITY, (double)INFINITY},
        {-0.0f, 0.0, 0.0},
        {0.1f, 0.1, fabs((double)0.1f - 0.1)},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        float a_value = cases[i].a;
        double b_value = cases[i].b;
        qd_tensor a = qd_tensor_contiguous(QD_F32, 1, shape, &a_value),
                  b = qd_tensor_contiguous(QD_F64, 1, shape, &b_value);
        qd_tensor_difference difference;
        TEST_OK(ctx, qd_tensor_compare(ctx, &a, &b, &difference));
        cr_expect_eq(difference.max_abs, cases[i].expected, "case %zu", i);
    }
}
