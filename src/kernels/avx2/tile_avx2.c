#include "kernels/avx2/avx2.h"
#include "kernels/avx2/vec_avx2.h"

/* 16 registers: 6 x 2 sums, 2 vectors and a broadcast; 12 x 1 sums, a vector and a broadcast. */
#define TILE_PANELS  QD_AVX2_PANELS
#define TILE_VECTORS 2
#define TILE_ROWS(v) ((v) == 2 ? 6 : 12)
#define QD_NAME(x)   qd_f32_##x##__avx2
#include "kernels/simd/tile_simd.h"
