/* INT8 kernels for AVX-512 with VNNI and VBMI. */
#include "kernels/int8_pack.h"
#include "kernels/simd/unroll.h"

#define QD_NAME(x)   qd_u8_##x##__avx512vnni
#define TILE_LAYOUT  QD_INT8_LAYOUT_512
#define TILE_VECTORS 4
/* 32 registers: 6 x 4, 8 x 3 and 12 x 2 sums leave room for the weights and the broadcast; 12 x 1 because only so
 * many row addresses fit the general registers. */
#define TILE_ROWS(v) ((v) == 4 ? 6 : (v) == 3 ? 8 : 12)
#define DW_COLUMNS   4
#include "kernels/simd/int8_512_simd.h"
#include "kernels/simd/int8_finish_simd.h"
#include "kernels/simd/int8_tile_simd.h"
#include "kernels/simd/int8_dwconv_simd.h"
#include "kernels/simd/int8_elementwise_simd.h"
