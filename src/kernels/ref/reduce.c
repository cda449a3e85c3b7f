/* Reductions, reference: the template once for float32 and once for float64. */
#include "kernels/ref/ref.h"

#define QD_REAL    float
#define QD_NAME(x) qd_f32_##x##__ref
#include "kernels/ref/reduce_template.h"
#undef QD_REAL
#undef QD_NAME

#define QD_REAL    double
#define QD_NAME(x) qd_f64_##x##__ref
#include "kernels/ref/reduce_template.h"
#undef QD_REAL
#undef QD_NAME
