/* UNROLL before a loop with a constant bound: written out whole, so that arrays indexed by it become registers. */
#ifndef QD_KERNELS_SIMD_UNROLL_H
#define QD_KERNELS_SIMD_UNROLL_H

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#endif
