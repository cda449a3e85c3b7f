#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec_avx512.h"

#define QD_NAME(x) qd_f32_##x##__avx512
#include "kernels/simd/winograd_simd.h"
