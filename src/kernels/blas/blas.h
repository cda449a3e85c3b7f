/* GEMM through OpenBLAS, which picks its own kernels for the processor. */
#ifndef QD_KERNELS_BLAS_BLAS_H
#define QD_KERNELS_BLAS_BLAS_H

#include "kernels/kernels.h"

void qd_f32_gemm__openblas(const qd_gemm_args *args);
void qd_f64_gemm__openblas(const qd_gemm_args *args);

#endif
