/*
 * Convolutions with fixed weights and all that follows them, on every instruction set's kernels against the plain
 * sequence in double: product with a gate, convolution, bias, residual sum, activation, mean. Workspace and laid out
 * weights are as large as asked for, fenced, and full of NaN.
 */
#include "nn/conv_fixed.h"
#include "support/activation_truth.h"
#include "support/conv_oracle.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    int64_t n, h, w, ic, oc, kernel, stride, pad, groups;
    bool gate, pooled, exact;
} cases[] = {
    {1, 1, 1, 37, 5, 1, 1, 0, 1, false, false, false},     /* a linear layer */
    {3, 1, 1, 70, 130, 1, 1, 0, 1, false, false, false},   /* of several samples, several panels */
    {1, 9, 7, 24, 17, 1, 1, 0, 1, true, false, false},     /* one panel: threads share the rows */
    {1, 7, 7, 300, 200, 1, 1, 0, 1, true, false, false},   /* more weights than input: they share the panels */
    {3, 11, 9, 40, 70, 1, 1, 0, 1, true, false, false},    /* chunks of several images */
    {2, 20, 21, 33, 68, 1, 1, 0, 1, false, false, false},  /* several chunks and panels */
    {1, 23, 21, 3, 20, 3, 2, 1, 1, false, false, false},   /* few channels: bands */
    {2, 19, 17, 3, 70, 7, 2, 3, 1, false, false, false},   /* the other first layer's */
    {2, 9, 11, 20, 33, 3, 2, 1, 1, false, false, false},   /* stride 2 */
    {1, 8, 9, 16, 20, 5, 1, 2, 1, false, false, false},    /* a larger window */
    {1, 16, 16, 64, 70, 3, 1, 1, 1, false, false, false},  /* Winograd by blocks: one image */
    {3, 17, 19, 20, 16, 3, 1, 1, 1, false, false, false},  /* Winograd by chunks, edges and rests */
    {4, 26, 26, 18, 150, 3, 1, 1, 1, false, false, false}, /* Winograd by blocks that are cut */
    {3, 17, 19, 20, 16, 3, 1, 1, 1, false, false, true},   /* the same directly */
    {2, 6, 5, 12, 18, 3, 1, 1, 3, false, false, false},    /* groups */
    {2, 13, 9, 33, 33, 3, 1, 1, 33, false, true, false},   /* depthwise */
    {1, 15, 16, 70, 70, 5, 2, 2, 70, false, true, false},  /* depthwise with a stride */
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const enum qd_activation kinds[] = {QD_ACTIVATION_NONE, QD_ACTIVATION_RELU,      QD_ACTIVATION_RELU6,
                                           QD_ACTIVATION_SILU, QD_ACTIVATION_HARDSWISH, QD_ACTIVATION_SIGMOID};

/* Winograd's worst value, relative to the results' root mean square (test_conv_winograd.c). */
#define WINOGRAD_ERROR 4e-5
/* No activation is steeper than hard-swish: 1.5. */
#define STEEPEST 1.5
#define UNIT     0x1p-24

typedef struct problem {
    qd_conv_shape s;
    kernel_array x, gate, gated, w, bias, residual;
    oracle_sums sums; /* of the convolution */
    double *bound;    /* of the rounding of a sum */
} problem;

static problem problem_create(size_t index, uint64_t *state)
{
    const int64_t k = cases[index].kernel, stride = cases[index].stride, pad = cases[index].pad;
    problem p = {.s = {.n = cases[index].n,
                       .ih = cases[index].h,
                       .iw = cases[index].w,
                       .ic = cases[index].ic,
                       .oh = (cases[index].h + 2 * pad - k) / stride + 1,
                       .ow = (cases[index].w + 2 * pad - k) / stride + 1,
                       .oc = cases[index].oc,
                       .kh = k,
                       .kw = k,
                       .stride = stride,
                       .pad = pad,
                       .groups = cases[index].groups}};
    const qd_conv_shape *s = &p.s;
    const int64_t terms = k * k * s->ic / s->groups, results = s->n * s->oh * s->ow * s->oc;
    p.x = kernel_array_create(QD_F32, s->n * s->ih * s->iw * s->ic, 1);
    p.gated = kernel_array_create(QD_F32, p.x.count, 0);
    p.gate = kernel_array_create(QD_F32, s->n * s->ic, 2);
    p.w = kernel_array_create(QD_F32, s->oc * terms, 3);
    p.bias = kernel_array_create(QD_F32, s->oc, 1);
    p.residual = kernel_array_create(QD_F32, results, 2);
    kernel_array_fill(&p.x, state, -1, 1);
    kernel_array_fill(&p.gate, state, 0, 1);
    kernel_array_fill(&p.w, state, -1, 1);
    kernel_array_fill(&p.bias, state, -1, 1);
    kernel_array_fill(&p.residual, state, -1, 1);
    kernel_array_copy(&p.gated, &p.x);
    for (int64_t i = 0; cases[index].gate && i < p.x.count; i++) /* rounded as the kernels round it */
        kernel_array_put(&p.gated, i,
                         (double)((float)kernel_array_get(&p.x, i) *
                                  (float)kernel_array_get(&p.gate, i / (s->ih * s->iw * s->ic) * s->ic + i % s->ic)));
    p.sums = oracle_conv_forward(s, s->groups == s->ic && s->groups > 1, &p.gated, &p.w);
    double squares = 0;
    for (int64_t i = 0; i < results; i++)
        squares += p.sums.value[i] * p.sums.value[i];
    const bool winograd = k == 3 && stride == 1 && pad == 1 && s->groups == 1 && !cases[index].exact;
    p.bound = calloc((size_t)results, sizeof *p.bound);
    for (int64_t i = 0; i < results; i++)
        p.bound[i] = (double)terms * UNIT * p.sums.magnitude[i] +
                     (winograd ? WINOGRAD_ERROR * sqrt(squares / (double)results) : 0);
    return p;
}

static void problem_destroy(problem *p)
{
    kernel_array *arrays[] = {&p->x, &p->gate, &p->gated, &p->w, &p->bias, &p->residual};
    for (size_t i = 0; i < COUNT(arrays); i++)
        kernel_array_destroy(arrays[i]);
    oracle_sums_destroy(&p->sums);
    free(p->bound);
}

/* Lays out and runs with so many threads, the first n samples. */
static void run_fixed(const problem *p, const kernel_variant *v, size_t index, enum qd_activation kind, bool residual,
                      int threads, int64_t n, kernel_array *y, kernel_array *pooled, const char *label)
{
    qd_fixed_conv conv = {.shape = p->s, .exact = cases[index].exact, .weight = p->w.data, .bias = p->bias.data};
    const size_t bytes = qd_fixed_conv_workspace_bytes(v->k, threads, &conv);
    const size_t packed_bytes = qd_fixed_conv_packed_bytes(v->k, &conv);
    cr_assert(bytes % sizeof(float) == 0 && packed_bytes % sizeof(float) == 0);
    kernel_array workspace = kernel_array_create(QD_F32, (int64_t)(bytes / sizeof(float)), 0);
    kernel_array packed = kernel_array_create(QD_F32, (int64_t)(packed_bytes / sizeof(float)), 0);
    qd_fixed_conv_pack(v->k, threads, &conv, workspace.data, packed.data);
    conv.packed = packed.data;
    const qd_fixed_conv_run run = {.k = v->k,
                                   .threads = threads,
                                   .n = n,
                                   .x = p->x.data,
                                   .gate = cases[index].gate ? p->gate.data : NULL,
                                   .residual = residual ? p->residual.data : NULL,
                                   .activation = kind,
                                   .y = y->data,
                                   .pooled = cases[index].pooled ? pooled->data : NULL,
                                   .workspace = workspace.data};
    qd_fixed_conv_forward(&conv, &run);
    kernel_array_check_fences(&workspace, label);
    kernel_array_check_fences(&packed, label);
    kernel_array_check_fences(y, label);
    kernel_array_check_fences(pooled, label);
    kernel_array_destroy(&workspace);
    kernel_array_destroy(&packed);
}

static void check_case(size_t index, const kernel_variant *v, uint64_t *state)
{
    problem p = problem_create(index, state);
    const int64_t positions = p.s.oh * p.s.ow, results = p.s.n * positions * p.s.oc;
    for (size_t k = 0; k < COUNT(kinds); k++) {
        const bool residual = (k + index) % 2 == 0;
        char label[128];
        snprintf(label, sizeof label, "%s case %zu %s", v->name, index, truth_activation_name(kinds[k]));
        kernel_array y = kernel_array_create(QD_F32, results, 1), again = kernel_array_create(QD_F32, results, 2);
        kernel_array pooled = kernel_array_create(QD_F32, p.s.n * p.s.oc, 3);
        run_fixed(&p, v, index, kinds[k], residual, 2, p.s.n, &y, &pooled, label);
        for (int64_t i = 0; i < results; i++) {
            const double added = residual ? kernel_array_get(&p.residual, i) : 0;
            const double sum = p.sums.value[i] + kernel_array_get(&p.bias, i % p.s.oc) + added;
            const double expected = truth_activate(kinds[k], sum);
            /* two further sums of values below 3 each, and the activation's own 16 units */
            const double bound = STEEPEST * (p.bound[i] + 8 * UNIT) + 16 * UNIT * fabs(expected);
            cr_assert(fabs(kernel_array_get(&y, i) - expected) <= bound, "%s: value %lld is %.9g, expected %.9g",
                      label, (long long)i, kernel_array_get(&y, i), expected);
        }
        for (int64_t i = 0; cases[index].pooled && i < pooled.count; i++) {
            double sum = 0, magnitude = 0;
            for (int64_t at = 0; at < positions; at++) {
                const double value = kernel_array_get(&y, (i / p.s.oc * positions + at) * p.s.oc + i % p.s.oc);
                sum += value;
                magnitude += fabs(value);
            }
            /* sums of at most 16 values and three roundings to float32 */
            cr_assert(fabs(kernel_array_get(&pooled, i) - sum / (double)positions) <=
                          20 * UNIT * magnitude / (double)positions,
                      "%s: mean %lld", label, (long long)i);
        }
        const int other_threads[] = {1, 3};
        for (size_t t = 0; t < COUNT(other_threads); t++) {
            run_fixed(&p, v, index, kinds[k], residual, other_threads[t], p.s.n, &again, &pooled, label);
            cr_assert_arr_eq(again.data, y.data, (size_t)results * sizeof(float), "%s: %d threads", label,
                             other_threads[t]);
        }
        /* Smaller runs of the same convolution; OpenBLAS's order of summation depends on the rows. */
        if (p.s.n > 1 && v->k->own_tiles) {
            run_fixed(&p, v, index, kinds[k], residual, 2, 1, &again, &pooled, label);
            cr_assert_arr_eq(again.data, y.data, (size_t)(results / p.s.n) * sizeof(float), "%s: one sample", label);
        }
        kernel_array_destroy(&y);
        kernel_array_destroy(&again);
        kernel_array_destroy(&pooled);
    }
    problem_destroy(&p);
}

Test(conv_fixed, equals_the_plain_sequence)
{
    uint64_t state = 5;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t i = 0; v->dtype == QD_F32 && i < COUNT(cases); i++)
            check_case(i, v, &state);
}
