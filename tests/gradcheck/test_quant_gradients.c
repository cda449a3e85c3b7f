/* Fake quantization: its gradient is by definition that of a clamp, 1 where a value has a code of its own and 0 where
 * it was clamped to the first or last. */
#include "kernels/quant_params.h"
#include "support/gradcheck.h"

/* Of inputs in [-1, 1], some at each end are clamped. */
#define RANGE_MIN (-0.7)
#define RANGE_MAX 0.8

static void set_range(const gradcheck_case *c, double *const x[], double *const param[], double *const buffer[])
{
    (void)c;
    (void)x;
    (void)param;
    buffer[0][0] = RANGE_MIN;
    buffer[1][0] = RANGE_MAX;
}

/* Values that round to the first and last code are inside: half a step beyond their values. */
static double clamp(const gradcheck_case *c, double x)
{
    const qd_fake_quant_config *config = c->config;
    const qd_quant_params p =
        qd_quant_params_of_range(config->bits, config->symmetric, (double)(float)RANGE_MIN, (double)(float)RANGE_MAX);
    const double low = (double)p.scale * (p.range.low - p.range.zero - 0.5);
    const double high = (double)p.scale * (p.range.high - p.range.zero + 0.5);

    return x < low ? low : x > high ? high : x;
}

static const qd_fake_quant_config eight_bits = {.bits = 8, .averaging = 0.01};
static const qd_fake_quant_config three_bits = {.bits = 3, .averaging = 0.01};
static const qd_fake_quant_config symmetric = {.bits = 4, .symmetric = true, .averaging = 0.01};

#define CASE(label, quant, n_, channels, height, width)                                                              \
    {                                                                                                                \
        .name = label, .config = &(quant), .n = (n_), .prepare = set_range, .surrogate = clamp, .in = {              \
            {.rank = 4, .c = (channels), .h = (height), .w = (width)}                                                \
        }                                                                                                            \
    }

static const gradcheck_case cases[] = {
    CASE("8 bits, odd map", eight_bits, 2, 5, 3, 7),
    CASE("3 bits, one value", three_bits, 1, 1, 1, 1),
    CASE("3 bits, odd map", three_bits, 2, 5, 3, 7),
    CASE("symmetric, several pieces", symmetric, 3, 9, 41, 37),
};

GRADCHECK_CASES(fake_quant, all, cases)
