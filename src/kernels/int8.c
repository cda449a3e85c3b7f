#include "kernels/int8.h"

void qd_int8_kernels_fill(enum qd_isa isa, qd_int8_kernels *out)
{
#define QD_INT8_FILL(name, parameters)                                                                               \
    out->name = qd_s8_##name##__ref;                                                                                 \
    out->name##_isa = "ref";
    QD_INT8_KERNEL_LIST(QD_INT8_FILL)
#undef QD_INT8_FILL
    (void)isa; /* the reference set is the only one so far */
}
