#include "formats/half.h"
#include <string.h>

static uint32_t float16_bits(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
    if (exponent == 0x1f) /* infinities and NaNs */
        return sign | 0x7f800000u | fraction << 13;
    if (exponent == 0) {
        if (fraction == 0)
            return sign;
        /* A denormal: shifted until its leading bit is the implied one of a normal float32. */
        exponent = 1;
        while (!(fraction & 0x400u)) {
            fraction <<= 1;
            exponent--;
        }
        fraction &= 0x3ffu;
    }
    return sign | (exponent + 127 - 15) << 23 | fraction << 13; /* the two formats' exponents of 1.0 */
}

float qd_half_value(enum qd_half_kind kind, uint16_t bits)
{
    const uint32_t wide = kind == QD_HALF_FLOAT16 ? float16_bits(bits) : (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

void qd_half_expand(enum qd_half_kind kind, void *data, int64_t count)
{
    char *bytes = data;
    /* Value i is read at 2·count + 2·i before it is written to 4·i, which never lies beyond what was read. */
    for (int64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, bytes + 2 * (count + i), sizeof bits);
        const float value = qd_half_value(kind, bits);
        memcpy(bytes + 4 * i, &value, sizeof value);
    }
}
