/*
 * INT8 products in AMX tiles: a tile register holds 16 rows of 64 codes, 16 groups of four weights of 16 columns, or
 * their 16 x 16 sums; one instruction multiplies two of them. Two by two sums share what is loaded. The kernel's rows
 * are copied side by side first, unless they lie so already: every column of the output reads them again.
 */
#include "kernels/int8_pack.h"
#include "kernels/simd/unroll.h"

/* Small products are faster in vectors. Registers: as for avx512vnni. */
#define QD_NAME(x)   vector_##x
#define TILE_LAYOUT  QD_INT8_LAYOUT_AMX
#define TILE_VECTORS 4
#define TILE_ROWS(v) ((v) == 4 ? 6 : (v) == 3 ? 8 : 12)
static void vector_tile_rows(const qd_u8_rows_args *args);
#include "kernels/simd/int8_512_simd.h"
#include "kernels/simd/int8_finish_simd.h"
#include "kernels/simd/int8_tile_simd.h"

/* Below so many rows, or groups of depth, copying rows and filling tiles takes longer than a tile saves: measured on
 * squeeze-excite's layers, and on 9 groups (the first convolution of EfficientNet-B0, 1.4 times) and 10 (0.7 times).
 */
#define FEW_ROWS   4
#define FEW_GROUPS 10

/* Tiles of depth that weights, which come from beyond the second-level cache, are asked for ahead: the processor does
 * not foresee the lines of a tile. Saves 6 % of ResNet18. */
#define AHEAD 2

/* Of a tile register, all of it used. */
#define SIDE       16
#define LINE_BYTES 64

/* Sums of one block of rows and panel: values from a row to the next. */
#define SUMS_LINE (LINE_VECTORS * I8_LANES)

/* Intel SDM volume 1, section 18.3.1: palette 1. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

/* gcc's tile loads do not tell the compiler that they read memory: what was stored before must be there. */
static inline void settle_memory(void)
{
    __asm__ volatile("" ::: "memory");
}

static void configure_tiles(void)
{
    tile_config config = {.palette = 1};

    for (int i = 0; i < 8; i++) {
        config.row_bytes[i] = LINE_BYTES;
        config.rows[i] = SIDE;
    }
    settle_memory();
    _tile_loadconfig(&config);
}

/* A block of rows as the tiles read it: SIDE rows a tile, `line` bytes apart. */
typedef struct row_block {
    const uint8_t *rows;
    int64_t line;
    int64_t valid; /* rows that exist */
} row_block;

/* Whole vectors are stored: zeros behind the row, which the next one may overwrite. */
static void copy_row(const uint8_t *from, int64_t count, uint8_t *to)
{
    for (; count >= I8_BYTES; count -= I8_BYTES, from += I8_BYTES, to += I8_BYTES)
        _mm512_storeu_si512(to, i8_load(from));
    if (count > 0)
        _mm512_storeu_si512(to, i8_load_first(from, i8_first(count)));
}

/* Whether a whole block of one tap lies in memory as a tile wants it. */
static bool lies_ready(const qd_u8_rows_args *args, int64_t first, int64_t depth)
{
    const uint8_t *const *x = args->x + first;

    if (args->taps != 1 || args->depth != depth || args->rows - first < QD_U8_MATRIX_ROWS)
        return false;
    for (int64_t r = 1; r < QD_U8_MATRIX_ROWS; r++)
        if (x[r] - x[r - 1] != x[1] - x[0])
            return false;
    return true;
}

/* Rows first … of all taps, each followed by zeros up to `depth`, which fills whole tiles. */
static row_block gather_rows(const qd_u8_rows_args *args, int64_t first, int64_t depth)
{
    const int64_t left = args->rows - first, valid = left < QD_U8_MATRIX_ROWS ? left : QD_U8_MATRIX_ROWS;
    const int64_t tap_bytes = 4 * qd_u8_tap_groups(args->depth), line = depth + LINE_BYTES;

    if (lies_ready(args, first, depth))
        return (row_block){args->x[first], args->x[first + 1] - args->x[first], valid};
    for (int64_t r = 0; r < valid; r++) {
        uint8_t *to = args->scratch + r * line;
        _mm512_storeu_si512(to + args->taps * tap_bytes, i8_zero());
        for (int64_t tap = 0; tap < args->taps; tap++, to += tap_bytes)
            copy_row(args->x[tap * args->rows + first + r], args->depth, to);
    }
    settle_memory();
    return (row_block){args->scratch, line, valid};
}

/* Sums of one or two tiles of rows and of columns over `steps` tiles of depth. `fresh`: weights are read for the
 * first time. */
ALWAYS void multiply(const int row_tiles, const int column_tiles, const bool fresh, const row_block *block,
                     const int8_t *w, const int32_t *bias, int64_t group_bytes, int64_t steps, int32_t *sums)
{
    const uint8_t *a = block->rows, *lower = a + SIDE * block->line;
    const size_t line = (size_t)block->line, group = (size_t)group_bytes, sums_line = SUMS_LINE * sizeof *sums;

    /* every row of sums begins with the biases: lines 0 bytes apart */
    _tile_loadd(0, bias, 0);
    if (column_tiles > 1)
        _tile_loadd(1, bias + SIDE, 0);
    if (row_tiles > 1) {
        _tile_loadd(2, bias, 0);
        if (column_tiles > 1)
            _tile_loadd(3, bias + SIDE, 0);
    }
    for (int64_t step = 0; step < steps; step++, a += LINE_BYTES, lower += LINE_BYTES, w += SIDE * group_bytes) {
        if (fresh) { /* all columns of the panel */
            UNROLL
            for (int i = 0; i < SIDE; i++) {
                for (int64_t byte = 0; byte < group_bytes; byte += LINE_BYTES)
                    __builtin_prefetch(w + (AHEAD * SIDE + i) * group_bytes + byte);
            }
        }
        _tile_loadd(4, a, line);
        _tile_loadd(6, w, group);
        _tile_dpbusd(0, 4, 6);
        if (column_tiles > 1) {
            _tile_loadd(7, w + LINE_BYTES, group);
            _tile_dpbusd(1, 4, 7);
        }
        if (row_tiles > 1) {
            _tile_loadd(5, lower, line);
            _tile_dpbusd(2, 5, 6);
            if (column_tiles > 1)
                _tile_dpbusd(3, 5, 7);
        }
    }
    _tile_stored(0, sums, sums_line);
    if (column_tiles > 1)
        _tile_stored(1, sums + SIDE, sums_line);
    if (row_tiles > 1) {
        _tile_stored(2, sums + SIDE * SUMS_LINE, sums_line);
        if (column_tiles > 1)
            _tile_stored(3, sums + SIDE * SUMS_LINE + SIDE, sums_line);
    }
}

ALWAYS void panel_sums(const int row_tiles, const bool fresh, const row_block *block, const qd_panel *panel,
                       const int8_t *w, const int32_t *bias, int64_t steps, int32_t *sums)
{
    for (int64_t column = 0; column < panel->width; column += 2 * SIDE) {
        if (panel->width - column > SIDE)
            multiply(row_tiles, 2, fresh && column == 0, block, w + 4 * column, bias + column, 4 * panel->width,
                     steps, sums + column);
        else
            multiply(row_tiles, 1, fresh && column == 0, block, w + 4 * column, bias + column, 4 * panel->width,
                     steps, sums + column);
    }
}

ALWAYS void finish_block(const int vectors, const qd_u8_rows_args *args, const qd_panel *panel, int64_t first,
                         int64_t count, const int32_t *sums)
{
    const finish f = finish_of(args, panel);

    for (int64_t r = 0; r < count; r++, sums += SUMS_LINE) {
        ivec line[LINE_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            line[v] = i8_load(sums + v * I8_LANES);
        finish_row(vectors, &f, first + r, line);
    }
}

static void block_of_panel(const qd_u8_rows_args *args, const row_block *block, int64_t first, int64_t index,
                           int64_t groups)
{
    const qd_panel panel = qd_panel_at(TILE_LAYOUT.panels, args->columns, index);
    const int8_t *w = args->w + 4 * panel.first_width * groups;
    const int32_t *bias = args->out.bias + panel.first_width;
    _Alignas(64) int32_t sums[QD_U8_MATRIX_ROWS * SUMS_LINE];

    if (block->valid > SIDE)
        panel_sums(2, first == 0, block, &panel, w, bias, groups / SIDE, sums);
    else
        panel_sums(1, first == 0, block, &panel, w, bias, groups / SIDE, sums);
    switch (panel.width / I8_LANES) {
    case 1:
        finish_block(1, args, &panel, first, block->valid, sums);
        break;
    case 2:
        finish_block(2, args, &panel, first, block->valid, sums);
        break;
    case 3:
        finish_block(3, args, &panel, first, block->valid, sums);
        break;
    default:
        finish_block(4, args, &panel, first, block->valid, sums);
        break;
    }
}

void qd_u8_tile_rows__amx(const qd_u8_rows_args *args)
{
    const int64_t groups = qd_u8_panel_groups(TILE_LAYOUT, args->taps, args->depth);

    if (args->rows < FEW_ROWS || args->taps * qd_u8_tap_groups(args->depth) < FEW_GROUPS) {
        vector_tile_rows(args);
        return;
    }
    configure_tiles();
    for (int64_t first = 0; first < args->rows; first += QD_U8_MATRIX_ROWS) {
        const row_block block = gather_rows(args, first, 4 * groups);
        for (int64_t i = 0; i < args->panel_count; i++)
            block_of_panel(args, &block, first, args->first_panel + i, groups);
    }
    _tile_release();
}
