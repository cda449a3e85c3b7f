/*
 * From sums to codes, for the INT8 templates (after int8_256_simd.h or int8_512_simd.h). Section 3 of
 * docs/quantization.md: convert, multiply, limit, round. The upper limit is taken before rounding, so that nothing is
 * converted that int32 cannot hold; the lower one after packing, 64 codes at once: conversion makes -2^31 of whatever
 * lies below int32, and packing makes 0 of that.
 */
#define ALWAYS static inline __attribute__((always_inline))

/* Most vectors of a line: as many as bytes of one vector hold sums. */
#define LINE_VECTORS 4

/* Stands for a table where there is none. */
static const uint8_t no_table[256];

/* The constants of a code range in registers. */
typedef struct limits {
    fvec high;         /* above the zero point */
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

/* What finishing the rows of a panel needs, in registers where they suffice: stores of bytes may change anything a
 * pointer reaches, so the compiler would read it from memory again for every row. */
typedef struct finish {
    const qd_u8_rows_args *args;
    const float *multiplier;
    int64_t first_column, columns, stride;
    ifirst first; /* bytes of a line */
    uint8_t *y;
    const uint8_t *b; /* the addend's rows */
    limits limits;    /* of what is stored */
    bool has_table;
    itable table;
} finish;

ALWAYS finish finish_of(const qd_u8_rows_args *args, const qd_panel *panel)
{
    const qd_u8_addend *addend = &args->addend;

    return (finish){.args = args,
                    .multiplier = args->out.multiplier + panel->first_width,
                    .first_column = panel->first_column,
                    .columns = panel->columns,
                    .stride = args->stride,
                    .first = i8_first(panel->columns),
                    .y = args->y,
                    .b = addend->b,
                    .limits = limits_of(addend->b ? addend->range : args->out.range),
                    .has_table = args->out.table != NULL,
                    .table = i8_table(args->out.table ? args->out.table : no_table)};
}

/* Codes of a line less their zero point; those behind `count` are not read. */
ALWAYS void load_codes(const int vectors, const uint8_t *p, int64_t count, fvec zero, fvec v[LINE_VECTORS])
{
    if (count >= vectors * I8_LANES) {
        UNROLL
        for (int i = 0; i < vectors; i++)
            v[i] = f8_sub(f8_of(i8_load_widened(p + i * I8_LANES)), zero);
    } else {
        UNROLL
        for (int i = 0; i < vectors; i++)
            v[i] = f8_sub(f8_of(i8_load_widened_first(p + i * I8_LANES, count - i * I8_LANES)), zero);
    }
}

/* The result in its own range, rounded, plus the other tensor: a's code less its zero point is what was rounded. */
ALWAYS void add_other(const int vectors, const finish *f, const uint8_t *b, fvec v[LINE_VECTORS])
{
    const qd_u8_addend *addend = &f->args->addend;
    const qd_code_range range = f->args->out.range;
    const fvec low = f8_set((float)(range.low - range.zero)), high = f8_set((float)(range.high - range.zero));
    const fvec zero_b = f8_set((float)addend->zero_b);
    const fvec ma = f8_set(addend->multiplier_a), mb = f8_set(addend->multiplier_b);
    fvec other[LINE_VECTORS];

    load_codes(vectors, b, f->columns, zero_b, other);
    UNROLL
    for (int i = 0; i < vectors; i++) {
        const fvec own = f8_of(i8_of(f8_min(f8_max(v[i], low), high)));
        v[i] = f8_add(f8_mul(own, ma), f8_mul(other[i], mb));
    }
}

ALWAYS void store_logits(const int vectors, const finish *f, int64_t at, const fvec v[LINE_VECTORS])
{
    UNROLL
    for (int i = 0; i < vectors; i++) {
        const int64_t left = f->columns - i * I8_LANES;
        f8_store_first(f->args->logits + at + i * I8_LANES, v[i], left < I8_LANES ? left : I8_LANES);
    }
}

/* One row of a panel: sums to where they belong. */
ALWAYS void finish_row(const int vectors, const finish *f, int64_t row, const ivec *sums)
{
    const int64_t at = row * f->stride + f->first_column;
    fvec v[LINE_VECTORS];

    scale_sums(vectors, sums, f->multiplier, v);
    if (!f->y) {
        store_logits(vectors, f, at, v);
        return;
    }
    if (f->b)
        add_other(vectors, f, f->b + at, v);
    ivec bytes = i8_in_order(codes_of(v, &f->limits));
    if (f->has_table)
        bytes = i8_lookup(&f->table, bytes);
    i8_store_first(f->y + at, bytes, f->first);
}
