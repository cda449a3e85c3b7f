/*
 * Winograd's way through 3x3 convolutions: all passes on every instruction set's kernels against the definition in
 * double, and the same bits for any number of threads. Workspace is as large as asked for, fenced, and full of NaN.
 */
#include "nn/conv_passes.h"
#include "support/conv_oracle.h"
#include "support/kernel_memory.h"
#include "support/slow_build.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/*
 * Error of F(4x4, 3x3) in float32, relative to the results' root mean square, on values uniform in [-1, 1). Seen
 * here: at most 1.3e-6 on average and 1.2e-5 in the worst value, and 3.5e-6 and 1.9e-5 where the reference kernels
 * sum 4608 channels in one chain; the bounds leave room for compilers that round in other places. A value from a
 * wrong pixel, channel or tap is off by about 1.
 */
#define MEAN_ERROR  5e-6
#define WORST_ERROR 4e-5

static const struct {
    int64_t n, h, w, ic, oc;
} cases[] = {
    {1, 1, 1, 3, 2},       /* one tile, nearly all of it outside */
    {2, 4, 8, 16, 16},     /* whole tiles, whole vectors */
    {2, 9, 13, 17, 37},    /* edges and rests everywhere */
    {5, 14, 13, 20, 70},   /* several chunks, several blocks of columns */
    {12, 13, 15, 5, 6},    /* several partial sums of several chunks */
    {2, 6, 5, 200, 190},   /* by blocks */
    {140, 1, 1, 4608, 8},  /* by blocks, more tiles of many channels than are shared at once */
    {280, 1, 1, 150, 256}, /* by blocks, several chunks */
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

typedef struct pass {
    const char *name;
    size_t (*bytes)(const qd_layer_call *call, const qd_conv_shape *s);
    void (*run)(const qd_layer_call *call, const qd_conv_shape *s);
} pass;

static const pass passes[3] = {
    {"forward", qd_conv_winograd_forward_bytes, qd_conv_winograd_forward},
    {"backward data", qd_conv_winograd_backward_data_bytes, qd_conv_winograd_backward_data},
    {"backward weights", qd_conv_winograd_backward_weights_bytes, qd_conv_winograd_backward_weights},
};

static void check_errors(const kernel_array *found, const oracle_sums *expected, const char *label)
{
    double squares = 0, errors = 0, worst = 0;
    for (int64_t i = 0; i < expected->count; i++) {
        const double error = fabs(kernel_array_get(found, i) - expected->value[i]);
        squares += expected->value[i] * expected->value[i];
        errors += error * error;
        worst = error <= worst ? worst : error; /* NaN is the worst */
    }
    cr_assert(sqrt(errors / squares) <= MEAN_ERROR, "%s: mean error %.2g", label, sqrt(errors / squares));
    const double mean = sqrt(squares / (double)expected->count);
    cr_assert(worst <= WORST_ERROR * mean, "%s: worst error %.2g", label, worst / mean);
    kernel_array_check_fences(found, label);
}

/* Runs a pass with so many threads; `out` is overwritten, or added to. */
static void run_pass(const pass *p, qd_layer_call call, const qd_conv_shape *s, int threads, const kernel_array *out,
                     const char *label)
{
    call.threads = threads;
    call.y = call.dx[0] = call.grad[0] = out->data;
    const size_t bytes = p->bytes(&call, s);
    cr_assert(bytes % sizeof(float) == 0);
    kernel_array workspace = kernel_array_create(QD_F32, (int64_t)(bytes / sizeof(float)), 0);
    call.workspace = workspace.data;
    p->run(&call, s);
    kernel_array_check_fences(&workspace, label);
    kernel_array_destroy(&workspace);
}

static void check_case(size_t index, uint64_t *state)
{
    const qd_conv_shape s = {.n = cases[index].n,
                             .ih = cases[index].h,
                             .iw = cases[index].w,
                             .ic = cases[index].ic,
                             .oh = cases[index].h,
                             .ow = cases[index].w,
                             .oc = cases[index].oc,
                             .kh = 3,
                             .kw = 3,
                             .stride = 1,
                             .pad = 1,
                             .groups = 1};
    const int64_t pixels = s.n * s.ih * s.iw;
    kernel_array x = kernel_array_create(QD_F32, pixels * s.ic, 1);
    kernel_array dy = kernel_array_create(QD_F32, pixels * s.oc, 2);
    kernel_array w = kernel_array_create(QD_F32, s.oc * 9 * s.ic, 3);
    kernel_array before = kernel_array_create(QD_F32, pixels * s.ic, 0);
    kernel_array_fill(&x, state, -1, 1);
    kernel_array_fill(&dy, state, -1, 1);
    kernel_array_fill(&w, state, -1, 1);
    kernel_array_fill(&before, state, -1, 1);
    oracle_sums expected[3] = {oracle_conv_forward(&s, false, &x, &w), oracle_conv_backward_data(&s, false, &dy, &w),
                               oracle_conv_backward_weights(&s, false, &x, &dy)};
    const bool accumulate = index % 2 == 1;
    for (int64_t i = 0; accumulate && i < before.count; i++)
        oracle_add(&expected[1], i, kernel_array_get(&before, i), 1);

    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        if (v->dtype != QD_F32)
            continue;
        const qd_layer_call call = {.k = v->k,
                                    .dtype = QD_F32,
                                    .n = s.n,
                                    .x = {x.data},
                                    .dy = dy.data,
                                    .param = {w.data},
                                    .accumulate = {accumulate}};
        for (size_t p = 0; p < COUNT(passes); p++) {
            char label[120];
            kernel_array out[2];
            snprintf(label, sizeof label, "%s %s, %lldx%lldx%lldx%lld to %lld channels", v->name, passes[p].name,
                     (long long)s.n, (long long)s.ih, (long long)s.iw, (long long)s.ic, (long long)s.oc);
            for (int i = 0; i < 2; i++) {
                out[i] = kernel_array_create(QD_F32, expected[p].count, 1 + i);
                if (p == 1 && accumulate)
                    kernel_array_copy(&out[i], &before);
                run_pass(&passes[p], call, &s, 1 + 2 * i, &out[i], label);
            }
            check_errors(&out[0], &expected[p], label);
            cr_assert_eq(memcmp(out[0].data, out[1].data, (size_t)out[0].count * sizeof(float)), 0,
                         "%s: three threads give other bits than one", label);
            kernel_array_destroy(&out[0]);
            kernel_array_destroy(&out[1]);
        }
    }
    for (int p = 0; p < 3; p++)
        oracle_sums_destroy(&expected[p]);
    kernel_array_destroy(&x);
    kernel_array_destroy(&dy);
    kernel_array_destroy(&w);
    kernel_array_destroy(&before);
}

Test(conv_winograd, agrees_with_the_definition_for_any_number_of_threads)
{
    uint64_t state = 8;
    /* The first cases are small. */
    for (size_t i = 0; i < (TESTS_EMULATED ? 4 : COUNT(cases)); i++)
        check_case(i, &state);
}

/* Which calls go this way: the workspace is its own, larger than the direct way's. */
static bool goes_by_winograd(bool exact, int64_t n, int64_t size, int64_t channels, int64_t stride)
{
    const kernel_variant *v = kernel_variants();
    while (v[1].k && v[1].dtype == QD_F32)
        v++;
    const int64_t out = (size - 1) / stride + 1;
    const qd_conv_shape s = {.n = n,
                             .ih = size,
                             .iw = size,
                             .ic = channels,
                             .oh = out,
                             .ow = out,
                             .oc = channels,
                             .kh = 3,
                             .kw = 3,
                             .stride = stride,
                             .pad = 1,
                             .groups = 1};
    const qd_layer_call call = {.k = v->k, .dtype = QD_F32, .threads = 1, .exact = exact, .n = n};
    return qd_conv_dense_forward_bytes(&call, &s) == qd_conv_winograd_forward_bytes(&call, &s);
}

Test(conv_winograd, is_chosen_where_it_is_faster)
{
    const kernel_variant *v = kernel_variants();
    if (!v[1].k || v[1].dtype != QD_F32)
        cr_skip("the reference kernels have no tiles of their own");
    cr_expect(goes_by_winograd(false, 32, 56, 64, 1));
    cr_expect(goes_by_winograd(false, 32, 7, 512, 1));
    cr_expect_not(goes_by_winograd(true, 32, 56, 64, 1), "the observing plan keeps the direct way's digits");
    cr_expect_not(goes_by_winograd(false, 32, 56, 64, 2), "stride 2");
    cr_expect_not(goes_by_winograd(false, 32, 56, 8, 1), "channels of less than a vector");
    cr_expect_not(goes_by_winograd(false, 32, 2, 64, 1), "tiles mostly outside the image");
    cr_expect_not(goes_by_winograd(false, 1, 7, 64, 1), "few tiles");
}
