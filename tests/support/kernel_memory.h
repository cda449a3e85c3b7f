/*
 * Arrays for kernel tests: float32 or float64, as unaligned as asked for, fenced by canaries on both sides, filled
 * from a generator of their own. Values are exact in float32, so that one double loop serves as the truth for both.
 */
#ifndef TESTS_SUPPORT_KERNEL_MEMORY_H
#define TESTS_SUPPORT_KERNEL_MEMORY_H

#include "kernels/kernels.h"

typedef struct kernel_array {
    enum qd_dtype dtype;
    int64_t count;
    unsigned char *base;
    void *data; /* what the kernel gets */
} kernel_array;

/* `offset` elements past a 64-byte boundary. Filled with NaN, as the canaries are. */
kernel_array kernel_array_create(enum qd_dtype dtype, int64_t count, int64_t offset);
void kernel_array_destroy(kernel_array *array);

/* Uniform in [low, high), rounded to float32. */
void kernel_array_fill(kernel_array *array, uint64_t *state, double low, double high);

double kernel_array_get(const kernel_array *array, int64_t index);
void kernel_array_put(kernel_array *array, int64_t index, double value);

/* Copies element by element; counts must be equal. */
void kernel_array_copy(kernel_array *to, const kernel_array *from);

/* Fails the test when something was written outside the array. */
void kernel_array_check_fences(const kernel_array *array, const char *what);

/* Fails unless |value - expected| <= bound (in the array's own rounding unit: 2^-24 or 2^-53, times scale), or both
 * are NaN, or equal infinities. */
void kernel_array_check(const kernel_array *array, int64_t index, double expected, double units, double scale,
                        const char *what);

/* One table a dtype and instruction set of this machine; ends with k == NULL. */
typedef struct kernel_variant {
    const qd_kernels *k;
    enum qd_dtype dtype;
    const char *name; /* "float32 avx2" */
} kernel_variant;

const kernel_variant *kernel_variants(void);

#endif
