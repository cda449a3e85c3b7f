/* The INT8 kernel table: like the float one, filled by instruction set. */
#ifndef QD_KERNELS_INT8_H
#define QD_KERNELS_INT8_H

#include "kernels/int8_scalar.h"
#include "kernels/kernels.h"

/* Depths of the widened matrices are padded to this many values: one 16-byte vector of int16. */
#define QD_INT8_DEPTH 8

#include "kernels/int8_list.h"

typedef struct qd_int8_kernels {
#define QD_INT8_FIELD(name, parameters)                                                                              \
    void(*name) parameters;                                                                                          \
    const char *name##_isa;
    QD_INT8_KERNEL_LIST(QD_INT8_FIELD)
#undef QD_INT8_FIELD
} qd_int8_kernels;

/* Fills `out`: reference first, then each instruction set up to `isa` replaces what it does better. */
void qd_int8_kernels_fill(enum qd_isa isa, qd_int8_kernels *out);

/* Portable C; they define the results. */
#define QD_INT8_DECLARE(name, parameters) void qd_s8_##name##__ref parameters;
QD_INT8_KERNEL_LIST(QD_INT8_DECLARE)
#undef QD_INT8_DECLARE

#endif
