/* Elementwise kernels, reference: the template once for float32 and once for float64. */
#include "kernels/ref/ref.h"
#include "kernels/for_activation.h"
#include "kernels/ref/exp_f32.h"
#include <math.h>

#define QD_REAL    float
#define QD_NAME(x) qd_f32_##x##__ref
#define QD_EXP     qd_exp_f32
#include "kernels/ref/activation_template.h"
#include "kernels/ref/activate_template.h"
#include "kernels/ref/elementwise_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_EXP

#define QD_REAL    double
#define QD_NAME(x) qd_f64_##x##__ref
#define QD_EXP     exp
#include "kernels/ref/activation_template.h"
#include "kernels/ref/activate_template.h"
#include "kernels/ref/elementwise_template.h"
#undef QD_REAL
#undef QD_NAME
#undef QD_EXP
