/* INT8 kernels for AVX-VNNI: dot products of bytes in the registers of AVX2. */
#include "kernels/int8_pack.h"
#include "kernels/simd/unroll.h"

#define QD_NAME(x)   qd_u8_##x##__avxvnni
#define TILE_LAYOUT  QD_INT8_LAYOUT_256
#define TILE_VECTORS 2
/* 16 registers: 6 x 2 or 10 x 1 sums, the vectors of weights and the broadcast. */
#define TILE_ROWS(v) ((v) == 2 ? 6 : 10)
#define DW_COLUMNS   2
#include "kernels/simd/int8_256_simd.h"
#include "kernels/simd/int8_finish_simd.h"
#include "kernels/simd/int8_tile_simd.h"
#include "kernels/simd/int8_dwconv_simd.h"
#include "kernels/simd/int8_elementwise_simd.h"
