/* The float32 kernels of this folder: qd_f32_<name>__avx512 exists for every name of QD_REFERENCE_KERNEL_LIST. */
#ifndef QD_KERNELS_AVX512_AVX512_H
#define QD_KERNELS_AVX512_AVX512_H

#include "kernels/kernels.h"

/* 4 vectors of 16 floats: see tile_avx512.c. */
#define QD_AVX512_PANELS ((qd_panels){.lanes = 16, .vectors = 4})

#define QD_AVX512_DECLARE(name, parameters) void qd_f32_##name##__avx512 parameters;
QD_REFERENCE_KERNEL_LIST(QD_AVX512_DECLARE)
#undef QD_AVX512_DECLARE

#endif
