#include "kernels/avx512/avx512.h"
#include "kernels/avx512/vec_avx512.h"

/* 32 registers: 6 x 4, 8 x 3 and 12 x 2 sums leave room for the vectors and the broadcast; 12 x 1 because only so
 * many row addresses fit the general registers. */
#define TILE_PANELS  QD_AVX512_PANELS
#define TILE_VECTORS 4
#define TILE_ROWS(v) ((v) == 4 ? 6 : (v) == 3 ? 8 : 12)
#define QD_NAME(x)   qd_f32_##x##__avx512
#include "kernels/simd/tile_simd.h"
