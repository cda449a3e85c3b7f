#include "kernels/winograd.h"

#include "kernels/ref/ref.h"

#define A1 QD_WINOGRAD_A1
#define A2 QD_WINOGRAD_A2
#define A3 QD_WINOGRAD_A3
#define B1 QD_WINOGRAD_B1
#define B2 QD_WINOGRAD_B2
#define B3 QD_WINOGRAD_B3
#define NA QD_WINOGRAD_AT_A
#define NB QD_WINOGRAD_AT_B

/* Of points 0, a, -a, b, -b, infinity: the rows of Bt and G, the columns of At. */
static const double bt[6][6] = {
    {A2 * B2, 0, -(A2 + B2), 0, 1, 0}, /* the product of (x - point) over the other points, lowest power first */
    {0, -A1 *B2, -B2, A1, 1, 0},       {0, A1 *B2, -B2, -A1, 1, 0},      {0, -A2 *B1, -A2, B1, 1, 0},
    {0, A2 *B1, -A2, -B1, 1, 0},       {0, A2 *B2, 0, -(A2 + B2), 0, 1},
};
static const double g[6][3] = {
    {QD_WINOGRAD_AT_0, 0, 0}, {NA, NA *A1, NA *A2},  {NA, -NA *A1, NA *A2},
    {NB, NB *B1, NB *B2},     {NB, -NB *B1, NB *B2}, {0, 0, 1},
};
static const double at[4][6] = {
    {1, 1, 1, 1, 1, 0},
    {0, A1, -A1, B1, -B1, 0},
    {0, A2, A2, B2, B2, 0},
    {0, A3, -A3, B3, -B3, 1},
};

#define QD_REAL       float
#define QD_NAME(name) qd_f32_##name##__ref
#include "kernels/ref/winograd_template.h"
#undef QD_REAL
#undef QD_NAME

#define QD_REAL       double
#define QD_NAME(name) qd_f64_##name##__ref
#include "kernels/ref/winograd_template.h"
#undef QD_REAL
#undef QD_NAME
