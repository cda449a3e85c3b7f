/*
 * The reference kernels: portable C, compiled for float and double from one template a family
 * (<family>_template.h, included twice by <family>.c with QD_REAL and QD_NAME defined).
 * qd_f32_<name>__ref and qd_f64_<name>__ref exist for every name of QD_REFERENCE_KERNEL_LIST.
 */
#ifndef QD_KERNELS_REF_REF_H
#define QD_KERNELS_REF_REF_H

#include "kernels/kernels.h"

/* Small and uneven, so that tests of what lies above meet every kind of panel. */
#define QD_REFERENCE_PANELS ((qd_panels){.lanes = 4, .vectors = 3})

#define QD_REF_DECLARE(name, parameters)                                                                             \
    void qd_f32_##name##__ref parameters;                                                                            \
    void qd_f64_##name##__ref parameters;
QD_REFERENCE_KERNEL_LIST(QD_REF_DECLARE)
#undef QD_REF_DECLARE

#endif
