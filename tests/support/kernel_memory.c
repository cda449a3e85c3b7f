#include "support/kernel_memory.h"
#include "support/test_context.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FENCE_BYTES 64   /* a cache line: wider than any vector register's store */
#define FENCE       0xFF /* four or eight of them are a NaN: reading past the end shows in the result */

kernel_array kernel_array_create(enum qd_dtype dtype, int64_t count, int64_t offset)
{
    const size_t size = qd_dtype_size(dtype);
    const size_t total = 2 * FENCE_BYTES + (size_t)(count + offset) * size;
    kernel_array array = {.dtype = dtype, .count = count};
    array.base = aligned_alloc(FENCE_BYTES, (total + FENCE_BYTES - 1) / FENCE_BYTES * FENCE_BYTES);
    cr_assert_not_null(array.base);
    memset(array.base, FENCE, total);
    array.data = array.base + FENCE_BYTES + (size_t)offset * size;
    return array;
}

void kernel_array_destroy(kernel_array *array)
{
    free(array->base);
    *array = (kernel_array){0};
}

void kernel_array_fill(kernel_array *array, uint64_t *state, double low, double high)
{
    for (int64_t i = 0; i < array->count; i++) {
        /* Knuth's 64-bit linear congruential generator (MMIX); its high bits are good enough for test data. */
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        kernel_array_put(array, i, (double)(float)(low + (high - low) * (double)(*state >> 40) * 0x1p-24));
    }
}

double kernel_array_get(const kernel_array *array, int64_t index)
{
    return array->dtype == QD_F64 ? ((const double *)array->data)[index]
                                  : (double)((const float *)array->data)[index];
}

void kernel_array_put(kernel_array *array, int64_t index, double value)
{
    if (array->dtype == QD_F64)
        ((double *)array->data)[index] = value;
    else
        ((float *)array->data)[index] = (float)value;
}

void kernel_array_copy(kernel_array *to, const kernel_array *from)
{
    cr_assert_eq(to->count, from->count);
    for (int64_t i = 0; i < to->count; i++)
        kernel_array_put(to, i, kernel_array_get(from, i));
}

void kernel_array_check_fences(const kernel_array *array, const char *what)
{
    const unsigned char *first = array->data;
    const unsigned char *end = first + (size_t)array->count * qd_dtype_size(array->dtype);
    for (const unsigned char *p = array->base; p < first; p++)
        cr_assert_eq(*p, FENCE, "%s: wrote %td bytes before the array", what, first - p);
    for (int i = 0; i < FENCE_BYTES; i++)
        cr_assert_eq(end[i], FENCE, "%s: wrote %d bytes behind the array", what, i);
}

void kernel_array_check(const kernel_array *array, int64_t index, double expected, double units, double scale,
                        const char *what)
{
    const double value = kernel_array_get(array, index);
    const double bound = units * scale * (array->dtype == QD_F64 ? 0x1p-53 : 0x1p-24);
    if (isnan(expected) || isinf(expected))
        cr_assert(isnan(expected) ? isnan(value) : value == expected, "%s: element %lld is %g, expected %g", what,
                  (long long)index, value, expected);
    else
        cr_assert(fabs(value - expected) <= bound, "%s: element %lld of %lld is %.17g, expected %.17g (bound %.2g)",
                  what, (long long)index, (long long)array->count, value, expected, bound);
}

const kernel_variant *kernel_variants(void)
{
    static qd_kernels tables[QD_ISA_COUNT + 1];
    static char names[QD_ISA_COUNT + 1][32];
    static kernel_variant variants[QD_ISA_COUNT + 2];
    qd_context *ctx = test_context_create(1);
    int count = 0;

    for (int isa = 0; isa <= (int)qd_context_isa(ctx); isa++) {
        if (!qd_kernels_know_isa((enum qd_isa)isa))
            continue;
        qd_kernels_fill((enum qd_isa)isa, QD_F32, &tables[count]);
        snprintf(names[count], sizeof names[count], "float32 %s", qd_isa_name((enum qd_isa)isa));
        variants[count] = (kernel_variant){&tables[count], QD_F32, names[count]};
        count++;
    }
    qd_kernels_fill(QD_ISA_REF, QD_F64, &tables[count]);
    variants[count] = (kernel_variant){&tables[count], QD_F64, "float64 ref"};
    variants[count + 1] = (kernel_variant){0};
    qd_context_destroy(ctx);
    return variants;
}
