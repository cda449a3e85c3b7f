/* The float32 kernels of this folder: qd_f32_<name>__avx2 exists for every name of QD_REFERENCE_KERNEL_LIST. */
#ifndef QD_KERNELS_AVX2_AVX2_H
#define QD_KERNELS_AVX2_AVX2_H

#include "kernels/kernels.h"

/* 2 vectors of 8 floats: see tile_avx2.c. */
#define QD_AVX2_PANELS ((qd_panels){.lanes = 8, .vectors = 2})

#define QD_AVX2_DECLARE(name, parameters) void qd_f32_##name##__avx2 parameters;
QD_REFERENCE_KERNEL_LIST(QD_AVX2_DECLARE)
#undef QD_AVX2_DECLARE

#endif
