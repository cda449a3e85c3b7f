#include "kernels/kernels.h"

#include "kernels/blas/blas.h"
#include "kernels/ref/ref.h"

void qd_kernels_fill(enum qd_isa isa, enum qd_dtype dtype, qd_kernels *out)
{
    bool f64 = dtype == QD_F64;

    out->gemm = f64 ? qd_f64_gemm__openblas : qd_f32_gemm__openblas;
    out->gemm_isa = "openblas";
#define QD_FILL_REFERENCE(name, parameters)                                                                          \
    out->name = f64 ? qd_f64_##name##__ref : qd_f32_##name##__ref;                                                   \
    out->name##_isa = "ref";
    QD_REFERENCE_KERNEL_LIST(QD_FILL_REFERENCE)
#undef QD_FILL_REFERENCE
    (void)isa; /* the reference set is the only one so far */
}
