/*
 * Depthwise convolution of codes, for every instruction set that defines `ivec`, QD_NAME and
 *     DW_COLUMNS     output columns at once: their sums and four vectors of codes fill the registers
 * Channels of a block are summed together. Lines of the kernel are taken four at a time: their bytes of one input
 * column, interleaved, are the factors of a dot product, which every output column that sees this input column
 * shares.
 */

/* An input line of the window: where channel 0 of column 0 lies. */
typedef struct source_line {
    const uint8_t *first; /* or the padding */
    int64_t step;         /* bytes to the next column: 0 in the padding */
} source_line;

/* Sizes of a kernel: constants in the fast paths. */
typedef struct kernel_size {
    int64_t kh, kw, stride;
} kernel_size;

/* What a tile's calls share: an output line and a block of channels. */
typedef struct block {
    const qd_u8_dwconv_args *args;
    source_line lines[QD_U8_MOST_LINES]; /* those of the kernel */
    int64_t channel; /* the block's first: a multiple of its size, so its place in packed arrays */
    ifirst first;    /* channels that exist */
    limits limits;
    bool has_table;
    itable table;
} block;

/* Codes of input column iw in four lines of the kernel, interleaved. Lines that a group is filled up with have
 * weights of 0. */
ALWAYS void load_group(const block *b, int64_t kh, int64_t group, int64_t iw, ivec codes[4])
{
    const bool inside = iw >= 0 && iw < b->args->shape.iw;

    UNROLL
    for (int i = 0; i < 4; i++) {
        const source_line *line = &b->lines[4 * group + i];
        if (4 * group + i < kh)
            codes[i] =
                i8_load_first((inside ? line->first + iw * line->step : b->args->padding) + b->channel, b->first);
        else
            codes[i] = i8_zero();
    }
    i8_interleave(codes);
}

ALWAYS void add_products(const ivec codes[4], const int8_t *w, ivec sums[4])
{
    UNROLL
    for (int v = 0; v < 4; v++)
        sums[v] = i8_dot(sums[v], i8_codes(codes[v]), i8_weights(i8_load(w + v * I8_BYTES)));
}

ALWAYS void begin_sums(const block *b, ivec sums[4])
{
    UNROLL
    for (int v = 0; v < 4; v++)
        sums[v] = i8_load(b->args->out.bias + b->channel + v * I8_LANES);
}

ALWAYS void finish_sums(const block *b, const ivec sums[4], uint8_t *y)
{
    fvec scaled[LINE_VECTORS];

    scale_sums(4, sums, b->args->out.multiplier + b->channel, scaled);
    ivec bytes = codes_of(scaled, &b->limits);
    if (b->has_table)
        bytes = i8_lookup(&b->table, bytes);
    i8_store_first(y, bytes, b->first);
}

/* Output columns ow … ow + DW_COLUMNS - 1, of which those of the line exist. */
ALWAYS void dwconv_tile(const kernel_size size, const block *b, int64_t ow, uint8_t *y)
{
    const qd_conv_shape *s = &b->args->shape;
    const int64_t groups = (size.kh + 3) / 4;
    const int8_t *w = b->args->w + 4 * b->channel * size.kw * groups;
    ivec sums[DW_COLUMNS][4];

    UNROLL
    for (int t = 0; t < DW_COLUMNS; t++)
        begin_sums(b, sums[t]);
    UNROLL
    for (int64_t column = 0; column < (DW_COLUMNS - 1) * size.stride + size.kw; column++) {
        UNROLL
        for (int64_t g = 0; g < groups; g++) {
            ivec codes[4];
            load_group(b, size.kh, g, ow * size.stride - s->pad + column, codes);
            UNROLL
            for (int t = 0; t < DW_COLUMNS; t++) {
                const int64_t kx = column - t * size.stride;
                if (kx >= 0 && kx < size.kw)
                    add_products(codes, w + (kx * groups + g) * 4 * I8_BYTES, sums[t]);
            }
        }
    }
    UNROLL
    for (int t = 0; t < DW_COLUMNS; t++)
        if (ow + t < s->ow)
            finish_sums(b, sums[t], y + t * s->oc);
}

/* One output column of any kernel. */
static void dwconv_column(const block *b, int64_t ow, uint8_t *y)
{
    const qd_conv_shape *s = &b->args->shape;
    const int64_t groups = (s->kh + 3) / 4;
    const int8_t *w = b->args->w + 4 * b->channel * s->kw * groups;
    ivec sums[4];

    begin_sums(b, sums);
    for (int64_t kx = 0; kx < s->kw; kx++)
        for (int64_t g = 0; g < groups; g++, w += 4 * I8_BYTES) {
            ivec codes[4];
            load_group(b, s->kh, g, ow * s->stride - s->pad + kx, codes);
            add_products(codes, w, sums);
        }
    finish_sums(b, sums, y);
}

/* The input lines that an output line sees. */
static void find_lines(const qd_u8_dwconv_args *args, int64_t output_line, source_line *lines)
{
    const qd_conv_shape *s = &args->shape;
    const int64_t n = output_line / s->oh, top = output_line % s->oh * s->stride - s->pad;

    for (int64_t i = 0; i < s->kh; i++) {
        const int64_t ih = top + i;
        lines[i] = ih >= 0 && ih < s->ih ? (source_line){args->x + (n * s->ih + ih) * s->iw * s->ic, s->ic}
                                         : (source_line){args->padding, 0};
    }
}

/* All output lines; with a `size`, tile by tile. */
ALWAYS void dwconv_lines(const bool tiles, const kernel_size size, const qd_u8_dwconv_args *args)
{
    const qd_conv_shape *s = &args->shape;
    uint8_t *y = args->y;
    block b = {.args = args,
               .limits = limits_of(args->out.range),
               .has_table = args->out.table != NULL,
               .table = i8_table(args->out.table ? args->out.table : no_table)};

    for (int64_t line = args->first_line; line < args->first_line + args->line_count; line++, y += s->ow * s->oc) {
        find_lines(args, line, b.lines);
        for (b.channel = 0; b.channel < s->oc; b.channel += I8_BYTES) {
            b.first = i8_first(s->oc - b.channel < I8_BYTES ? s->oc - b.channel : I8_BYTES);
            for (int64_t ow = 0; ow < s->ow; ow += tiles ? DW_COLUMNS : 1) {
                uint8_t *to = y + ow * s->oc + b.channel;
                if (tiles)
                    dwconv_tile(size, &b, ow, to);
                else
                    dwconv_column(&b, ow, to);
            }
        }
    }
}

void QD_NAME(dwconv)(const qd_u8_dwconv_args *args)
{
    const qd_conv_shape *s = &args->shape;
    const bool three = s->kh == 3 && s->kw == 3, five = s->kh == 5 && s->kw == 5;

    if (three && s->stride == 1)
        dwconv_lines(true, (kernel_size){3, 3, 1}, args);
    else if (three && s->stride == 2)
        dwconv_lines(true, (kernel_size){3, 3, 2}, args);
    else if (five && s->stride == 1)
        dwconv_lines(true, (kernel_size){5, 5, 1}, args);
    else if (five && s->stride == 2)
        dwconv_lines(true, (kernel_size){5, 5, 2}, args);
    else
        dwconv_lines(false, (kernel_size){0}, args);
}
