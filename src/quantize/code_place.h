/* Where a single value falls on a quantization grid. */
#ifndef QD_QUANTIZE_CODE_PLACE_H
#define QD_QUANTIZE_CODE_PLACE_H

#include "quantize/scheme.h"

typedef struct qd_code_place {
    int32_t code;      /* in the signed form */
    double value_back; /* scale · (code − zero point) */
    double distance;   /* to the nearest border at which the code changes, in the value's unit */
    bool saturated;    /* beyond the outermost code's cell */
} qd_code_place;

/* The code of a finite value, as docs/quantization.md section 1 defines it, and how near it is to another one. The
 * outermost codes have one border only. */
qd_code_place qd_code_place_of(const qd_quant_params *params, float value);

#endif
