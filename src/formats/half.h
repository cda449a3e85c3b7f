/* 16-bit floats of files, which everything here computes with as float32: each of them is one exactly. */
#ifndef QD_FORMATS_HALF_H
#define QD_FORMATS_HALF_H

#include <stdint.h>

enum qd_half_kind {
    QD_HALF_FLOAT16, /* IEEE binary16 */
    QD_HALF_BFLOAT16 /* the upper half of a binary32 */
};

/* The float32 of equal value; NaNs keep their payload. */
float qd_half_value(enum qd_half_kind kind, uint16_t bits);

/* Expands `count` values in place: they stand in the second half of data[4 * count bytes], aligned to 4, and fill all
 * of it as float32 afterwards. */
void qd_half_expand(enum qd_half_kind kind, void *data, int64_t count);

#endif
