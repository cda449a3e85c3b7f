/* INT8 kernels for AVX-512 without VNNI. */
#include "kernels/int8_pack.h"
#include "kernels/simd/unroll.h"

#define QD_NAME(x)   qd_u8_##x##__avx512
#define TILE_LAYOUT  QD_INT8_LAYOUT_512
#define TILE_VECTORS 4
/* 32 registers: sums beside the vectors of weights and one of codes, each as even and odd bytes. */
#define TILE_ROWS(v) ((v) == 4 ? 5 : (v) == 3 ? 7 : (v) == 2 ? 10 : 12)
#define DW_COLUMNS   4
#include "kernels/simd/int8_512_simd.h"
#include "kernels/simd/int8_finish_simd.h"
#include "kernels/simd/int8_tile_simd.h"
#include "kernels/simd/int8_dwconv_simd.h"
#include "kernels/simd/int8_elementwise_simd.h"
