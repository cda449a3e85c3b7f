/* The portable templates, vectorised by the compiler for this folder's instruction set. */
#include "kernels/avx512/avx512.h"
#include "kernels/ref/exp_f32.h"

#include <math.h>
#include <string.h>

#define QD_REAL    float
#define QD_NAME(x) qd_f32_##x##__avx512
#define QD_EXP     qd_exp_f32
#include "kernels/ref/activation_template.h"
#include "kernels/ref/batchnorm_template.h"
#include "kernels/ref/conv_template.h"
#include "kernels/ref/dwconv_template.h"
#include "kernels/ref/elementwise_template.h"
#include "kernels/ref/pool_template.h"
#include "kernels/ref/reduce_template.h"
#include "kernels/ref/sgd_template.h"
