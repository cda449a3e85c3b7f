/*
 * PyTorch's normal_() takes logarithm, sine and cosine from single-precision polynomials, not from libm: libm's would
 * differ by an ulp or two in most values. These are the same polynomials, one value at a time, with fmaf() where the
 * compiler of PyTorch's AVX2 build contracted a product and a sum: initial weights are equal to the bit.
 * Source: Cephes, single precision logf.c and sinf.c (S. Moshier); the order of operations is that of avx_mathfun.h
 * in PyTorch 1.13, aten/src/ATen/native/cpu.
 */
#include "random/box_muller.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Natural logarithm of a normal x in (0, 1]. */
static float cephes_log(float x)
{
    static const float p[9] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                               -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                               2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    const float ln2_low = -2.12194440e-4f, ln2_high = 0.693359375f;
    const float sqrt_half = 0.707106781186547524f;

    /* x = m·2^e with m in [0.5, 1) */
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    float e = (float)((int32_t)(bits >> 23) - 126);
    bits = (bits & 0x007fffffu) | 0x3f000000u;
    float m;
    memcpy(&m, &bits, sizeof(m));

    /* t = m − 1, or 2m − 1 and one less in e, so that t lies around 0 */
    float t = m - 1.0f;
    if (m < sqrt_half) {
        e -= 1.0f;
        t += m;
    }
    const float z = t * t;
    float y = p[0];
    for (int i = 1; i < 9; i++)
        y = fmaf(y, t, p[i]);
    y *= t;
    y = fmaf(y, z, e * ln2_low);
    y = fmaf(-0.5f, z, y);
    return fmaf(e, ln2_high, t + y);
}

/* Sine and cosine of x in [0, 2π]. */
static void cephes_sincos(float x, float *sine, float *cosine)
{
    /* π/4 in three parts, so that the product with a small integer loses nothing. */
    const float pi4_high = 0.78515625f, pi4_middle = 2.4187564849853515625e-4f, pi4_low = 3.77489497744594108e-8f;
    const float four_over_pi = 1.27323954473516f;

    /* The octant, made even: x − j·π/4 then lies in [−π/4, π/4]. */
    const int32_t j = ((int32_t)(x * four_over_pi) + 1) & ~1;
    const float y = (float)j;
    x = fmaf(y, -pi4_high, x);
    x = fmaf(y, -pi4_middle, x);
    x = fmaf(y, -pi4_low, x);

    const float z = x * x;
    float c = fmaf(2.443315711809948e-5f, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f);
    c *= z;
    c = fmaf(c, z, -0.5f * z);
    c += 1.0f;
    float s = fmaf(-1.9515295891e-4f, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f);
    s *= z;
    s = fmaf(s, x, x);

    const int swapped = (j & 2) != 0;
    const float sine_size = swapped ? c : s;
    const float cosine_size = swapped ? s : c;
    *sine = (j & 4) ? -sine_size : sine_size;
    *cosine = ((j - 2) & 4) ? cosine_size : -cosine_size;
}

void qd_box_muller_16(float values[16], float mean, float std)
{
    const float two_pi = 6.28318530717958647692f;
    for (int j = 0; j < 8; j++) {
        const float u1 = 1.0f - values[j]; /* (0, 1], for the logarithm */
        const float radius = sqrtf(-2.0f * cephes_log(u1));
        float sine, cosine;
        cephes_sincos(two_pi * values[j + 8], &sine, &cosine);
        values[j] = fmaf(radius * cosine, std, mean);
        values[j + 8] = fmaf(radius * sine, std, mean);
    }
}
