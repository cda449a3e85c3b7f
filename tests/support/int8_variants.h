/* Every INT8 kernel table of this machine, and memory for their tests. */
#ifndef TESTS_SUPPORT_INT8_VARIANTS_H
#define TESTS_SUPPORT_INT8_VARIANTS_H

#include "kernels/int8_pack.h"

#include <quantdrift/random.h>

/* Ends with an empty name; at most QD_TEST_CPU. */
typedef struct int8_variant {
    qd_int8_kernels k;
    const char *name;
} int8_variant;

const int8_variant *int8_variants(void);

/* Uniform in [low, high]. */
int64_t int8_draw(qd_rng *rng, int64_t low, int64_t high);

/* A stored code; one in four is an end of the range, where overflows live. */
uint8_t int8_draw_code(qd_rng *rng);

/* A range of codes in the stored form. */
qd_code_range int8_draw_range(qd_rng *rng);

/* An output between bytes that show writes outside it; release checks and frees it. */
void *int8_fenced(size_t bytes);
void int8_release_fenced(void *data, size_t bytes, const char *what);

/* docs/quantization.md in double: with 53 bits a product of two floats is exact, and a sum or quotient rounded to
 * double and then to float equals the float operation (2·24 + 2 bits are enough for that). Clamps after rounding. */
double int8_to_float(double v);
int32_t int8_expected_code(double v, qd_code_range range);
int32_t int8_expected_requantized(int64_t sum, float multiplier, qd_code_range range);

#endif
