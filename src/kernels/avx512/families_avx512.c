/* The portable templates, vectorised by the compiler for this folder's instruction set. */
#include "kernels/avx512/avx512.h"

#include <math.h>
#include <string.h>

#define QD_REAL    float
#define QD_NAME(x) qd_f32_##x##__avx512
#include "kernels/ref/conv_template.h"
#include "kernels/ref/elementwise_template.h"
#include "kernels/ref/pool_template.h"
#include "kernels/ref/sgd_template.h"
