#include "kernels/int8.h"

#define FILL(name, set)                                                                                              \
    out->name = qd_u8_##name##__##set;                                                                               \
    out->name##_isa = #set;
#define FILL_REF(name, parameters)        FILL(name, ref)
#define FILL_AVX2(name, parameters)       FILL(name, avx2)
#define FILL_AVXVNNI(name, parameters)    FILL(name, avxvnni)
#define FILL_AVX512(name, parameters)     FILL(name, avx512)
#define FILL_AVX512VNNI(name, parameters) FILL(name, avx512vnni)
#define FILL_AMX(name, parameters)        FILL(name, amx)

void qd_int8_kernels_fill(enum qd_isa isa, qd_int8_kernels *out)
{
    switch (isa) {
#if defined(__x86_64__)
    case QD_ISA_AVX2:
        out->layout = QD_INT8_LAYOUT_256;
        QD_INT8_KERNEL_LIST(FILL_AVX2)
        return;
    case QD_ISA_AVXVNNI:
        out->layout = QD_INT8_LAYOUT_256;
        QD_INT8_KERNEL_LIST(FILL_AVXVNNI)
        return;
    case QD_ISA_AVX512:
        out->layout = QD_INT8_LAYOUT_512;
        QD_INT8_KERNEL_LIST(FILL_AVX512)
        return;
    case QD_ISA_AVX512VNNI:
        out->layout = QD_INT8_LAYOUT_512;
        QD_INT8_KERNEL_LIST(FILL_AVX512VNNI)
        return;
    case QD_ISA_AMX:
        out->layout = QD_INT8_LAYOUT_AMX;
        QD_INT8_PRODUCT_LIST(FILL_AMX)
        QD_INT8_OTHER_LIST(FILL_AVX512VNNI)
        return;
#endif
    default: /* other processors have the reference set alone */
        out->layout = QD_INT8_LAYOUT_REF;
        QD_INT8_KERNEL_LIST(FILL_REF)
        return;
    }
}
