/* What follows a convolution, on every instruction set: y = activation(y + bias + residual), in place. */
#include "support/activation_truth.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

/* Around every vector width, and more than one vector. */
static const int64_t column_counts[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 64, 70};
static const int64_t row_counts[] = {0, 1, 2, 5};
static const enum qd_activation kinds[] = {QD_ACTIVATION_NONE, QD_ACTIVATION_RELU,      QD_ACTIVATION_RELU6,
                                           QD_ACTIVATION_SILU, QD_ACTIVATION_HARDSWISH, QD_ACTIVATION_SIGMOID};

#define COUNT(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* Rounding units: two sums, passed on by a slope of 1.5 at most, and those of the activation (exp up to 4, each
 * further operation 1). */
#define UNITS 20.0

static void check(const kernel_variant *v, int64_t rows, int64_t columns, int64_t gap, enum qd_activation kind,
                  bool sum, uint64_t *state)
{
    const int64_t stride = columns + gap, count = rows * stride;
    char label[128];
    kernel_array y = kernel_array_create(v->dtype, count, 1), before = kernel_array_create(v->dtype, count, 0);
    kernel_array residual = kernel_array_create(v->dtype, count, 2), bias = kernel_array_create(v->dtype, columns, 3);

    kernel_array_fill(&before, state, -6, 6);
    kernel_array_fill(&residual, state, -6, 6);
    kernel_array_fill(&bias, state, -6, 6);
    kernel_array_copy(&y, &before);
    snprintf(label, sizeof label, "%s finish_rows %s, %lld x %lld, residual %d", v->name, truth_activation_name(kind),
             (long long)rows, (long long)columns, sum);
    const qd_finish_rows_args args = {.rows = rows,
                                      .columns = columns,
                                      .stride = stride,
                                      .y = y.data,
                                      .bias = bias.data,
                                      .residual = sum ? residual.data : NULL,
                                      .activation = kind};
    v->k->finish_rows(&args);
    for (int64_t i = 0; i < count; i++) {
        const int64_t c = i % stride;
        const double was = kernel_array_get(&before, i), added = sum ? kernel_array_get(&residual, i) : 0;
        if (c >= columns) { /* between the rows nothing changes */
            cr_assert_eq(kernel_array_get(&y, i), was, "%s", label);
            continue;
        }
        const double b = kernel_array_get(&bias, c);
        kernel_array_check(&y, i, truth_activate(kind, was + b + added), UNITS, fabs(was) + fabs(b) + fabs(added),
                           label);
    }
    kernel_array_check_fences(&y, label);
    kernel_array_destroy(&y);
    kernel_array_destroy(&before);
    kernel_array_destroy(&residual);
    kernel_array_destroy(&bias);
}

Test(finish_kernels, bias_residual_and_activation)
{
    uint64_t state = 11;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (int i = 0; i < COUNT(column_counts) * COUNT(row_counts) * COUNT(kinds) * 2; i++)
            check(v, row_counts[i / COUNT(column_counts) % COUNT(row_counts)],
                  column_counts[i % COUNT(column_counts)], i % 3,
                  kinds[i / COUNT(column_counts) / COUNT(row_counts) % COUNT(kinds)], i % 2 == 0, &state);
}
