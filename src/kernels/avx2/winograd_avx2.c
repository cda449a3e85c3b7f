#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec_avx2.h"

#define QD_NAME(x) qd_f32_##x##__avx2
#include "kernels/simd/winograd_simd.h"
