#include "support/int8_variants.h"

#include "base/cpu.h"
#include "support/test_context.h"

#include <math.h>
#include <stdlib.h>

/* A cache line: as wide as any vector register's store. */
#define FENCE_BYTES 64
#define CANARY      0x5A

const int8_variant *int8_variants(void)
{
    static int8_variant variants[QD_ISA_COUNT + 1];
    qd_context *ctx = test_context_create(1);
    int count = 0;

    for (int isa = 0; isa <= (int)qd_context_isa(ctx); isa++) {
        if (!qd_cpu_has_isa((enum qd_isa)isa))
            continue;
        qd_int8_kernels_fill((enum qd_isa)isa, &variants[count].k);
        variants[count++].name = qd_isa_name((enum qd_isa)isa);
    }
    variants[count].name = NULL;
    qd_context_destroy(ctx);
    return variants;
}

int64_t int8_draw(qd_rng *rng, int64_t low, int64_t high)
{
    return low + qd_rng_randint(rng, high - low + 1);
}

uint8_t int8_draw_code(qd_rng *rng)
{
    int64_t kind = int8_draw(rng, 0, 7);
    return (uint8_t)(kind == 0 ? 0 : kind == 1 ? 255 : int8_draw(rng, 0, 255));
}

qd_code_range int8_draw_range(qd_rng *rng)
{
    int64_t half = 1 << int8_draw(rng, 1, 7);
    return (qd_code_range){.zero = (int32_t)int8_draw(rng, 128 - half, 127 + half),
                           .low = (int32_t)(128 - half),
                           .high = (int32_t)(127 + half)};
}

void *int8_fenced(size_t bytes)
{
    unsigned char *block = malloc(bytes + 2 * FENCE_BYTES);
    cr_assert_not_null(block);
    memset(block, CANARY, bytes + 2 * FENCE_BYTES);
    return block + FENCE_BYTES;
}

void int8_release_fenced(void *data, size_t bytes, const char *what)
{
    unsigned char *block = (unsigned char *)data - FENCE_BYTES;
    for (size_t i = 0; i < FENCE_BYTES; i++) {
        cr_assert_eq(block[i], CANARY, "%s wrote before its output", what);
        cr_assert_eq(block[FENCE_BYTES + bytes + i], CANARY, "%s wrote behind its output", what);
    }
    free(block);
}

double int8_to_float(double v)
{
    return (double)(float)v;
}

int32_t int8_expected_code(double v, qd_code_range range)
{
    if (isnan(v))
        return range.low;
    double code = rint(v) + range.zero;
    return (int32_t)fmin(fmax(code, range.low), range.high);
}

int32_t int8_expected_requantized(int64_t sum, float multiplier, qd_code_range range)
{
    return int8_expected_code(int8_to_float(int8_to_float((double)sum) * (double)multiplier), range);
}
