/*
 * Winograd's minimal filtering F(4x4, 3x3): a tile of 4x4 results of a 3x3 correlation from 6x6 values with 36
 * multiplications instead of 144,
 *     y = At·[(G·w·Gt) ⊙ (Bt·d·B)]·A,
 * where ⊙ multiplies element by element and, with channels, is 36 matrix products. The adjoint in w gives the
 * weights' gradient from the same transformed tiles: dw = Gt·[(A·dy·At) ⊙ (Bt·d·B)]·G.
 *
 * The matrices interpolate polynomials at 0, ±a, ±b and infinity (Toom-Cook); every choice of a and b is exact in
 * real numbers, rounding differs. a = 5/8 and b = 3/2, near 1/b, keep the powers near 1: the root mean square error
 * of float32 is half of the usual ±1, ±2's, and all constants of A and B are exact (docs/winograd.md has the
 * figures). Source: Lavin, Gray: Fast Algorithms for Convolutional Neural Networks (2015), with other points.
 */
#ifndef QD_KERNELS_WINOGRAD_H
#define QD_KERNELS_WINOGRAD_H

#define QD_WINOGRAD_TILE   4  /* results a side */
#define QD_WINOGRAD_WINDOW 6  /* values a side */
#define QD_WINOGRAD_PLANES 36 /* of a window */
#define QD_WINOGRAD_PIXELS 16 /* of a tile */

#define QD_WINOGRAD_A1 0.625
#define QD_WINOGRAD_A2 (QD_WINOGRAD_A1 * QD_WINOGRAD_A1)
#define QD_WINOGRAD_A3 (QD_WINOGRAD_A2 * QD_WINOGRAD_A1)
#define QD_WINOGRAD_B1 1.5
#define QD_WINOGRAD_B2 (QD_WINOGRAD_B1 * QD_WINOGRAD_B1)
#define QD_WINOGRAD_B3 (QD_WINOGRAD_B2 * QD_WINOGRAD_B1)

/* Coefficients of (x² - a²)(x² - b²) = x⁴ - SUM·x² + PRODUCT. */
#define QD_WINOGRAD_SUM     (QD_WINOGRAD_A2 + QD_WINOGRAD_B2)
#define QD_WINOGRAD_PRODUCT (QD_WINOGRAD_A2 * QD_WINOGRAD_B2)

/* One over the product of a point's distances from the other finite points. */
#define QD_WINOGRAD_AT_0 (1 / QD_WINOGRAD_PRODUCT)
#define QD_WINOGRAD_AT_A (1 / (2 * QD_WINOGRAD_A2 * (QD_WINOGRAD_A2 - QD_WINOGRAD_B2)))
#define QD_WINOGRAD_AT_B (1 / (2 * QD_WINOGRAD_B2 * (QD_WINOGRAD_B2 - QD_WINOGRAD_A2)))

#endif
