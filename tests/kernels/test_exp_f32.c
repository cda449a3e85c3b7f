/* The float32 exponential of the reference kernels against double exp, over all exponents. */
#include "kernels/ref/exp_f32.h"

#include <criterion/criterion.h>
#include <math.h>

/* The distance in units of the last place of a float32 near `exact`. */
static double ulp_error(float value, double exact)
{
    const double unit = exact < 0x1p-126 ? 0x1p-149 : ldexp(1.0, ilogb(exact) - 23);
    return fabs((double)value - exact) / unit;
}

static void check(float x)
{
    const double exact = exp((double)x);
    const float value = qd_exp_f32(x);
    if (isnan(x))
        cr_assert(isnan(value), "exp(NaN) is %g", (double)value);
    else if (isinf((float)exact))
        cr_assert(isinf(value) && value > 0, "exp(%a) is %g, expected overflow", (double)x, (double)value);
    else
        cr_assert(ulp_error(value, exact) <= 2.0, "exp(%a) is %a, %.3f ulp from %a", (double)x, (double)value,
                  ulp_error(value, exact), exact);
}

Test(exp_f32, all_exponents_within_two_ulp)
{
    /* Every 4099th float: all signs and exponents, 2046 mantissas each; the step is prime, so that they differ. */
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 4099)
        check(qd_f32_from_bits((uint32_t)bits));
}

Test(exp_f32, range_that_is_neither_zero_nor_infinity)
{
    for (double x = -104.5; x < 89.5; x += 0x1p-13)
        check((float)x);
}

Test(exp_f32, limits)
{
    cr_expect_eq(qd_exp_f32(0.0f), 1.0f);
    cr_expect_eq(qd_exp_f32(-0.0f), 1.0f);
    cr_expect_eq(qd_exp_f32(-INFINITY), 0.0f);
    cr_expect_eq(qd_exp_f32(INFINITY), INFINITY);
    cr_expect_eq(qd_exp_f32(3.4e38f), INFINITY);
    cr_expect_eq(qd_exp_f32(-3.4e38f), 0.0f);
    cr_expect(isnan(qd_exp_f32(NAN)));
    /* The last argument that does not overflow and the first that does. */
    cr_expect(isfinite(qd_exp_f32(0x1.62e42ep6f)));
    cr_expect(isinf(qd_exp_f32(0x1.62e430p6f)));
    /* The smallest subnormal and the zero below it. */
    cr_expect_eq(qd_exp_f32(-103.5f), 0x1p-149f);
    cr_expect_eq(qd_exp_f32(-104.0f), 0.0f);
}
