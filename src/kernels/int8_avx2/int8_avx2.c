/* INT8 kernels for AVX2. */
#include "kernels/int8_pack.h"
#include "kernels/simd/unroll.h"

#define QD_NAME(x)   qd_u8_##x##__avx2
#define TILE_LAYOUT  QD_INT8_LAYOUT_256
#define TILE_VECTORS 2
/* 16 registers: 4 x 2 sums beside two vectors of weights and one of codes, each as even and odd bytes. */
#define TILE_ROWS(v) 4
#define DW_COLUMNS   2
#include "kernels/simd/int8_256_simd.h"
#include "kernels/simd/int8_finish_simd.h"
#include "kernels/simd/int8_tile_simd.h"
#include "kernels/simd/int8_dwconv_simd.h"
#include "kernels/simd/int8_elementwise_simd.h"
