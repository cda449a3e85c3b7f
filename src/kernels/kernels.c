#include "kernels/kernels.h"

#include "kernels/avx2/avx2.h"
#include "kernels/avx512/avx512.h"
#include "kernels/blas/blas.h"
#include "kernels/ref/ref.h"

void qd_kernels_fill(enum qd_isa isa, enum qd_dtype dtype, qd_kernels *out)
{
    bool f64 = dtype == QD_F64;

    out->gemm = f64 ? qd_f64_gemm__openblas : qd_f32_gemm__openblas;
    out->gemm_isa = "openblas";
    out->panels = QD_REFERENCE_PANELS;
    out->own_tiles = false;
#define QD_FILL_REFERENCE(name, parameters)                                                                          \
    out->name = f64 ? qd_f64_##name##__ref : qd_f32_##name##__ref;                                                   \
    out->name##_isa = "ref";
    QD_REFERENCE_KERNEL_LIST(QD_FILL_REFERENCE)
#undef QD_FILL_REFERENCE
    if (f64)
        return;
#if defined(__x86_64__)
#define QD_FILL_SET(set, name)                                                                                       \
    out->name = qd_f32_##name##__##set;                                                                              \
    out->name##_isa = #set;
#define QD_FILL_AVX2(name, parameters)   QD_FILL_SET(avx2, name)
#define QD_FILL_AVX512(name, parameters) QD_FILL_SET(avx512, name)
    if (isa >= QD_ISA_AVX2) {
        out->panels = QD_AVX2_PANELS;
        out->own_tiles = true;
        QD_REFERENCE_KERNEL_LIST(QD_FILL_AVX2)
    }
    if (isa >= QD_ISA_AVX512) {
        out->panels = QD_AVX512_PANELS;
        QD_REFERENCE_KERNEL_LIST(QD_FILL_AVX512)
    }
#undef QD_FILL_AVX512
#undef QD_FILL_AVX2
#undef QD_FILL_SET
#else
    (void)isa; /* other processors have the reference set alone */
#endif
}
