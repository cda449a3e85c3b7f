/* The reference kernels: portable C, one float32 and one float64 symbol for every kernel of the list. */
#ifndef QD_KERNELS_REF_REF_H
#define QD_KERNELS_REF_REF_H

#include "kernels/kernels.h"

#define QD_REF_DECLARE(name, parameters)   \
    void qd_f32_##name##__ref parameters; \
    void qd_f64_##name##__ref parameters;
QD_KERNEL_LIST(QD_REF_DECLARE)
#undef QD_REF_DECLARE

#endif
