/*
 * The INT8 kernel table: like the float one, filled by instruction set.
 *
 * Stored codes. Memory holds the unsigned form of a code, the signed one plus 128, because the processors' products
 * of bytes take one unsigned and one signed factor. Ranges and zero points that a kernel is given are in the same
 * form. With u = q_x + 128 and U = Z_x + 128
 *     Σ (q_x − Z_x)·q_w = Σ u·q_w − U·Σ q_w,
 * so kernels multiply what is stored, padding is the byte U, and the last term is part of the bias they are given.
 */
#ifndef QD_KERNELS_INT8_H
#define QD_KERNELS_INT8_H

#include "kernels/int8_scalar.h"
#include "kernels/kernels.h"

/* What the unsigned form adds to a signed code. */
#define QD_STORED_OFFSET 128

/* How weights are packed for a kernel table; int8_pack.h has the formats. */
typedef struct qd_u8_layout {
    qd_panels panels; /* lanes: int32 sums of a vector */
    int64_t groups;   /* a panel's groups of four weights are filled up to a multiple of this */
} qd_u8_layout;

/* From sums to codes. The arrays are packed as the weights are, zeros behind the last channel. */
typedef struct qd_u8_output {
    const int32_t *bias; /* what a sum begins with: the bias less U·Σ q_w */
    const float *multiplier;
    qd_code_range range;
    const uint8_t *table; /* of 256 codes, applied to the result; NULL: none */
} qd_u8_output;

/* A tensor that is added to a result before it is stored: a is the result in its own range. */
typedef struct qd_u8_addend {
    const uint8_t *b; /* NULL: none; rows as far apart as those of y */
    int32_t zero_b;
    float multiplier_a, multiplier_b;
    qd_code_range range; /* of the sum */
} qd_u8_addend;

/* A product whose left-hand rows are given by their addresses: a convolution names the rows its window sees. */
typedef struct qd_u8_rows_args {
    int64_t rows, columns;
    int64_t taps, depth;              /* left-hand rows an output row, bytes of each */
    const uint8_t *const *x;          /* [taps][rows] */
    const int8_t *w;                  /* packed panels */
    int64_t first_panel, panel_count; /* columns to compute */
    qd_u8_output out;
    qd_u8_addend addend; /* not together with a table */
    uint8_t *y;          /* codes: row 0, column 0 */
    float *logits;       /* instead of y: float(sum)·multiplier */
    int64_t stride;      /* values from a row of y or logits to the next */
    uint8_t *scratch;    /* qd_u8_scratch_bytes(), aligned to 64 */
} qd_u8_rows_args;

typedef struct qd_u8_dwconv_args {
    qd_conv_shape shape;
    const uint8_t *x, *padding; /* padding: [channels] of the byte U */
    const int8_t *w;            /* packed blocks */
    qd_u8_output out;
    int64_t first_line, line_count; /* output lines (image, oh) */
    uint8_t *y;                     /* of the first of them */
} qd_u8_dwconv_args;

#include "kernels/int8_list.h"

typedef struct qd_int8_kernels {
    qd_u8_layout layout;
#define QD_INT8_FIELD(name, parameters)                                                                              \
    void(*name) parameters;                                                                                          \
    const char *name##_isa;
    QD_INT8_KERNEL_LIST(QD_INT8_FIELD)
#undef QD_INT8_FIELD
} qd_int8_kernels;

/* Fills `out` with the kernels of `isa`, which the processor must have (qd_cpu_has_isa()). */
void qd_int8_kernels_fill(enum qd_isa isa, qd_int8_kernels *out);

/* Portable C; they define the results. */
#define QD_INT8_DECLARE(name, parameters) void qd_u8_##name##__ref parameters;
QD_INT8_KERNEL_LIST(QD_INT8_DECLARE)
#undef QD_INT8_DECLARE

/* Of the folders int8_<set>; AMX has products only. */
#define QD_INT8_DECLARE(name, parameters)                                                                            \
    void qd_u8_##name##__avx2 parameters;                                                                            \
    void qd_u8_##name##__avxvnni parameters;                                                                         \
    void qd_u8_##name##__avx512 parameters;                                                                          \
    void qd_u8_##name##__avx512vnni parameters;
QD_INT8_KERNEL_LIST(QD_INT8_DECLARE)
#undef QD_INT8_DECLARE
#define QD_INT8_DECLARE(name, parameters) void qd_u8_##name##__amx parameters;
QD_INT8_PRODUCT_LIST(QD_INT8_DECLARE)
#undef QD_INT8_DECLARE

/* Small and uneven, so that tests of what lies above meet every kind of panel. */
#define QD_INT8_LAYOUT_REF ((qd_u8_layout){.panels = {.lanes = 4, .vectors = 3}, .groups = 1})
/* Vectors of 8 and of 16 sums. */
#define QD_INT8_LAYOUT_256 ((qd_u8_layout){.panels = {.lanes = 8, .vectors = 2}, .groups = 1})
#define QD_INT8_LAYOUT_512 ((qd_u8_layout){.panels = {.lanes = 16, .vectors = 4}, .groups = 1})
/* A tile register holds 16 groups of 16 columns. */
#define QD_INT8_LAYOUT_AMX ((qd_u8_layout){.panels = {.lanes = 16, .vectors = 4}, .groups = 16})

#endif
