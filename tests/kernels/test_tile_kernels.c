/* Products on packed panels and row addresses, every instruction set against the definition in double. */
#include "support/conv_oracle.h"
#include "support/kernel_memory.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

static char label[160];

/* Every tile height and width with its remainders: rows around 6, 8 and 12; columns around the vectors of a panel;
 * depths around a pass (256), in one tap and over several. */
static const int64_t row_counts[] = {1, 5, 6, 7, 8, 12, 13, 25};
static const int64_t column_counts[] = {1, 3, 8, 15, 16, 17, 24, 33, 40, 48, 63, 64, 65, 80, 112};
static const struct {
    int64_t taps, depth;
} depths[] = {{0, 4}, {1, 1}, {1, 7}, {9, 3}, {3, 100}, {1, 300}, {2, 257}};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Rows that overlap and repeat, as a window's do, out of one array of values. */
static const void **addresses(const kernel_array *from, int64_t count, int64_t length, uint64_t *state)
{
    const void **out = malloc((size_t)(count + 1) * sizeof *out);
    cr_assert_not_null(out);
    for (int64_t i = 0; i < count; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        int64_t start = (int64_t)(*state >> 33) % (from->count - length + 1);
        out[i] = (const char *)from->data + (size_t)start * qd_dtype_size(from->dtype);
    }
    return out;
}

static int64_t element_of(const kernel_array *array, const void *address)
{
    return ((const char *)address - (const char *)array->data) / (int64_t)qd_dtype_size(array->dtype);
}

static void check_rows(const kernel_variant *v, int64_t rows, int64_t columns, int64_t taps, int64_t depth,
                       bool accumulate, uint64_t *state)
{
    const qd_panels panels = v->k->panels;
    const int64_t width = qd_panel_total_width(panels, columns), count = qd_panel_count(panels, columns);
    const int64_t first_panel = count / 3, panel_count = count - first_panel, gap = 3;
    kernel_array x = kernel_array_create(v->dtype, depth * 4 + 9, 1);
    kernel_array w = kernel_array_create(v->dtype, taps * depth * width, 0);
    kernel_array y = kernel_array_create(v->dtype, rows * (columns + gap), 3);
    oracle_sums expected = oracle_sums_create(y.count);
    void **to = malloc((size_t)rows * sizeof *to);

    kernel_array_fill(&x, state, -1, 1);
    kernel_array_fill(&w, state, -1, 1);
    kernel_array_fill(&y, state, -1, 1);
    const void **from = addresses(&x, taps * rows, depth, state);
    for (int64_t r = 0; r < rows; r++) /* backwards: rows need not lie in order */
        to[r] = (char *)y.data + (size_t)((rows - 1 - r) * (columns + gap)) * qd_dtype_size(v->dtype);
    for (int64_t i = first_panel; i < count; i++) {
        const qd_panel panel = qd_panel_at(panels, columns, i);
        for (int64_t c = 0; c < panel.columns; c++) {
            for (int64_t r = 0; r < rows; r++) {
                const int64_t at = (rows - 1 - r) * (columns + gap) + panel.first_column + c;
                if (accumulate)
                    oracle_add(&expected, at, kernel_array_get(&y, at), 1);
                for (int64_t t = 0; t < taps; t++)
                    for (int64_t k = 0; k < depth; k++)
                        oracle_add(&expected, at, kernel_array_get(&x, element_of(&x, from[t * rows + r]) + k),
                                   kernel_array_get(&w, panel.first_width * taps * depth +
                                                            (t * depth + k) * panel.width + c));
            }
        }
    }
    /* What the call must leave alone stays as it is: gaps between rows, columns of the other panels. */
    const int64_t first_column = qd_panel_at(panels, columns, first_panel).first_column;
    for (int64_t i = 0; i < y.count; i++) {
        const int64_t column = i % (columns + gap);
        if (column < first_column || column >= columns)
            oracle_add(&expected, i, kernel_array_get(&y, i), 1);
    }

    snprintf(label, sizeof label, "%s tile_rows, %lld rows, %lld columns, %lld taps of %lld", v->name,
             (long long)rows, (long long)columns, (long long)taps, (long long)depth);
    const qd_tile_rows_args args = {.rows = rows,
                                    .columns = columns,
                                    .taps = taps,
                                    .depth = depth,
                                    .x = from,
                                    .w = w.data,
                                    .first_panel = first_panel,
                                    .panel_count = panel_count,
                                    .accumulate = accumulate,
                                    .y = to,
                                    .next_w = accumulate ? w.data : NULL}; /* changes nothing */
    v->k->tile_rows(&args);
    oracle_check(&y, &expected, taps * depth + 1, label);
    kernel_array_check_fences(&y, label);
    oracle_sums_destroy(&expected);
    free(to);
    free(from);
    kernel_array_destroy(&x);
    kernel_array_destroy(&w);
    kernel_array_destroy(&y);
}

Test(tile_kernels, rows_by_address_times_panels)
{
    uint64_t state = 3;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t r = 0; r < COUNT(row_counts); r++)
            for (size_t c = 0; c < COUNT(column_counts); c++) {
                const size_t d = (r + c) % COUNT(depths);
                check_rows(v, row_counts[r], column_counts[c], depths[d].taps, depths[d].depth, (r + c) % 2 == 1,
                           &state);
            }
}

static void check_outer(const kernel_variant *v, int64_t rows, int64_t lines, int64_t columns, bool accumulate,
                        uint64_t *state)
{
    const int64_t gap = 2;
    kernel_array a = kernel_array_create(v->dtype, rows * (lines + gap) - gap, 1);
    kernel_array b = kernel_array_create(v->dtype, columns * 3 + 5, 2);
    kernel_array c = kernel_array_create(v->dtype, lines * (columns + gap) - gap, 3);
    oracle_sums expected = oracle_sums_create(c.count);

    kernel_array_fill(&a, state, -1, 1);
    kernel_array_fill(&b, state, -1, 1);
    kernel_array_fill(&c, state, -1, 1);
    const void **from = addresses(&b, rows, columns, state);
    for (int64_t i = 0; i < c.count; i++) {
        const int64_t line = i / (columns + gap), column = i % (columns + gap);
        if (accumulate || column >= columns)
            oracle_add(&expected, i, kernel_array_get(&c, i), 1);
        for (int64_t r = 0; column < columns && r < rows; r++)
            oracle_add(&expected, i, kernel_array_get(&a, r * (lines + gap) + line),
                       kernel_array_get(&b, element_of(&b, from[r]) + column));
    }
    snprintf(label, sizeof label, "%s tile_outer, %lld rows, %lld lines, %lld columns", v->name, (long long)rows,
             (long long)lines, (long long)columns);
    const qd_tile_outer_args args = {.rows = rows,
                                     .lines = lines,
                                     .columns = columns,
                                     .a = a.data,
                                     .lda = lines + gap,
                                     .b = from,
                                     .accumulate = accumulate,
                                     .c = c.data,
                                     .ldc = columns + gap};
    v->k->tile_outer(&args);
    oracle_check(&c, &expected, rows + 1, label);
    kernel_array_check_fences(&c, label);
    oracle_sums_destroy(&expected);
    free(from);
    kernel_array_destroy(&a);
    kernel_array_destroy(&b);
    kernel_array_destroy(&c);
}

Test(tile_kernels, outer_products_summed_over_rows)
{
    uint64_t state = 4;
    for (const kernel_variant *v = kernel_variants(); v->k; v++)
        for (size_t r = 0; r < COUNT(row_counts); r++)
            for (size_t c = 0; c < COUNT(column_counts); c++)
                check_outer(v, 1 + (int64_t)c * 5, row_counts[r], column_counts[c], (r + c) % 2 == 1, &state);
}

/* x → x/2 + 1 tends to 2 in every chain; only the counts say how many there were. */
Test(tile_kernels, chains_count_their_operations)
{
    for (const kernel_variant *v = kernel_variants(); v->k; v++) {
        double one[2], many[2];
        v->k->multiply_add_chain(1, one);
        v->k->multiply_add_chain(100, many);
        cr_assert_gt(one[0], 0, "%s", v->name);
        cr_assert_eq(many[0], 100 * one[0], "%s", v->name);
        cr_assert_eq(many[1], 2 * one[1], "%s: %g after 100 rounds, %g after one", v->name, many[1], one[1]);
    }
}
