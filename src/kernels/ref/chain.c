#include "kernels/ref/ref.h"

#define QD_REAL       float
#define QD_NAME(name) qd_f32_##name##__ref
#include "kernels/ref/chain_template.h"
#undef QD_REAL
#undef QD_NAME

#define QD_REAL       double
#define QD_NAME(name) qd_f64_##name##__ref
#include "kernels/ref/chain_template.h"
#undef QD_REAL
#undef QD_NAME
