/*
 * From sums to codes, for the INT8 templates (after int8_256_simd.h or int8_512_simd.h). Section 3 of
 * docs/quantization.md: convert, multiply, limit, round. The upper limit is taken before rounding, so that nothing is
 * converted that int32 cannot hold; the lower one after packing, 64 codes at once: conversion makes -2^31 of whatever
 * lies below int32, and packing makes 0 of that.
 */
#define ALWAYS static inline __attribute__((always_inline))

/* Most vectors of a line: as many as bytes of one vector hold sums. */
#define LINE_VECTORS 4

/* The constants of a code range in registers. */
typedef struct limits {
    fvec high;        /* above the zero point */
    ivec zero, lowest; /* shorts, bytes */
} limits;

ALWAYS limits limits_of(qd_code_range range)
{
    return (limits){f8_set((float)(range.high - range.zero)), i8_set_shorts(range.zero), i8_set_bytes(range.low)};
}

/* Values that are to be rounded, in units of the code, to interleaved bytes. */
ALWAYS ivec codes_of(const fvec v[LINE_VECTORS], const limits *l)
{
    const ivec bytes = i8_pack(i8_of(f8_min(v[0], l->high)), i8_of(f8_min(v[1], l->high)),
                               i8_of(f8_min(v[2], l->high)), i8_of(f8_min(v[3], l->high)), l->zero);
    return i8_max_bytes(bytes, l->lowest);
}

/* Sums of one line of up to four vectors, scaled. */
ALWAYS void scale_sums(const int vectors, const ivec *sums, const float *multiplier, fvec v[LINE_VECTORS])
{
    UNROLL
    for (int i = 0; i < LINE_VECTORS; i++)
        v[i] = i < vectors ? f8_mul(f8_of(sums[i]), f8_load(multiplier + i * I8_LANES)) : f8_set(0.0f);
}

/* The result in its own range, rounded, plus the other tensor: a's code less its zero point is what was rounded. */
ALWAYS void add_other(const int vectors, const qd_u8_addend *addend, qd_code_range range, const uint8_t *b,
                      int64_t count, fvec v[LINE_VECTORS])
{
    const fvec low = f8_set((float)(range.low - range.zero)), high = f8_set((float)(range.high - range.zero));
    const fvec zero_b = f8_set((float)addend->zero_b);

    UNROLL
    for (int i = 0; i < vectors; i++) {
        const fvec own = f8_of(i8_of(f8_min(f8_max(v[i], low), high)));
        const fvec other = f8_sub(f8_of(i8_load_widened(b + i * I8_LANES, count - i * I8_LANES)), zero_b);
        v[i] = f8_add(f8_mul(own, f8_set(addend->multiplier_a)), f8_mul(other, f8_set(addend->multiplier_b)));
    }
}

/* One row of a panel: sums to where they belong. */
ALWAYS void finish_row(const int vectors, const qd_u8_rows_args *args, const qd_panel *panel, int64_t row,
                       const ivec *sums)
{
    const int64_t at = row * args->stride + panel->first_column;
    fvec v[LINE_VECTORS];

    scale_sums(vectors, sums, args->out.multiplier + panel->first_width, v);
    if (args->logits) {
        UNROLL
        for (int i = 0; i < vectors; i++) {
            const int64_t left = panel->columns - i * I8_LANES;
            f8_store_first(args->logits + at + i * I8_LANES, v[i], left < I8_LANES ? left : I8_LANES);
        }
        return;
    }
    if (args->addend.b)
        add_other(vectors, &args->addend, args->out.range, args->addend.b + at, panel->columns, v);
    const limits l = limits_of(args->addend.b ? args->addend.range : args->out.range);
    ivec bytes = i8_in_order(codes_of(v, &l));
    if (args->out.table)
        bytes = i8_lookup(args->out.table, bytes);
    i8_store_first(args->y + at, bytes, i8_first(panel->columns));
}
