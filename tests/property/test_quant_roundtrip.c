/* Properties of quantizing and dequantizing that hold for every range and every number of bits. */
#include "quantize/scheme.h"

#include <criterion/criterion.h>
#include <math.h>
#include <quantdrift/random.h>

static double draw_end(qd_rng *rng)
{
    return ldexp((double)qd_rng_uniform_f32(rng, -1.0f, 1.0f), (int)qd_rng_randint(rng, 60) - 30);
}

static qd_quant_scheme draw_scheme(qd_rng *rng)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    scheme.activation_bits = 2 + (int)qd_rng_randint(rng, 15);
    scheme.activation_symmetric = qd_rng_randint(rng, 2) == 0;
    return scheme;
}

/*
 * Inside the range the error is at most S/2. On top of it come three float roundings: of S, which moves the far end
 * of the range by 2^-24 of itself, of x/S and of S·(q − Z), each 2^-24 of |x|: together below 3·2^-24·(max − min).
 */
Test(quant_roundtrip, error_is_at_most_half_a_step)
{
    qd_rng rng;

    qd_rng_seed(&rng, 5);
    for (int round = 0; round < 20000; round++) {
        qd_quant_scheme scheme = draw_scheme(&rng);
        double a = draw_end(&rng), b = draw_end(&rng), min = fmin(fmin(a, b), 0.0), max = fmax(fmax(a, b), 0.0);
        qd_quant_params params = qd_quant_activation_params(&scheme, min, max);
        double limit = 0.5 * (double)params.scale + 3.0 * ldexp(max - min, -24);
        for (int i = 0; i < 20; i++) {
            double share = i == 0 ? 0.0 : i == 1 ? 1.0 : (double)qd_rng_uniform_f32(&rng, 0.0f, 1.0f);
            float x = (float)(min + share * (max - min)), y = x;
            qd_quant_simulate(&y, 1, &params);
            cr_assert_leq(fabs((double)x - (double)y), limit, "%d bits, [%g, %g]: %.9g became %.9g, step %g",
                          scheme.activation_bits, min, max, (double)x, (double)y, (double)params.scale);
        }
    }
}

Test(quant_roundtrip, zero_is_exact_and_codes_are_fixed_points)
{
    qd_rng rng;

    qd_rng_seed(&rng, 6);
    for (int round = 0; round < 2000; round++) {
        qd_quant_scheme scheme = draw_scheme(&rng);
        double a = draw_end(&rng), b = draw_end(&rng);
        qd_quant_params params = qd_quant_activation_params(&scheme, fmin(a, b), fmax(a, b));
        float zero = 0.0f;
        qd_quant_simulate(&zero, 1, &params);
        cr_assert_eq(zero, 0.0f);
        cr_assert_leq(params.range.low, params.range.zero);
        cr_assert_geq(params.range.high, params.range.zero);
        int32_t step = (params.range.high - params.range.low) / 255 + 1;
        for (int32_t q = params.range.low; q <= params.range.high; q += step) {
            float x = qd_dequantize_value(q, params.scale, params.range.zero);
            cr_assert_eq(qd_quantize_value(x, params.scale, params.range), q, "%d bits, code %d",
                         scheme.activation_bits, q);
        }
    }
}

/* Larger values never get smaller codes, saturation included. */
Test(quant_roundtrip, codes_are_monotone)
{
    qd_rng rng;

    qd_rng_seed(&rng, 7);
    for (int round = 0; round < 2000; round++) {
        qd_quant_scheme scheme = draw_scheme(&rng);
        double a = draw_end(&rng), b = draw_end(&rng), span = fabs(a) + fabs(b);
        qd_quant_params params = qd_quant_activation_params(&scheme, fmin(a, b), fmax(a, b));
        int32_t last = params.range.low;
        for (int i = -300; i <= 300; i++) {
            int32_t code = qd_quantize_value((float)(span * i / 200.0), params.scale, params.range);
            cr_assert_geq(code, last);
            last = code;
        }
        cr_assert_geq(last, params.range.zero);
    }
}
