/*
 * Products of codes and packed weights in register tiles, for every instruction set that defines `ivec`
 * (int8_256_simd.h, int8_512_simd.h), QD_NAME and
 *     TILE_LAYOUT    how weights are packed for it: TILE_VECTORS vectors a panel at most
 *     TILE_ROWS(v)   lines of a tile of v vectors
 * A tile's sums stay in registers for the whole depth: a vector of weights is loaded once for all lines, four bytes
 * of a line are broadcast once for all vectors.
 */

/* Bound of TILE_ROWS for arrays, which constant indices turn into registers. */
#define MAX_ROWS 12

/* Four bytes of a row at once. */
ALWAYS ivec broadcast_group(const uint8_t *row)
{
    uint32_t word;

    memcpy(&word, row, sizeof word);
    return i8_set_word(word);
}

/* The last bytes of a row, fewer than four: none behind them are read, zeros stand for them. */
ALWAYS ivec broadcast_tail(const uint8_t *row, int64_t count)
{
    uint32_t word = 0;

    for (int64_t i = 0; i < count; i++)
        word |= (uint32_t)row[i] << 8 * i;
    return i8_set_word(word);
}

/* sums += `count` (1 to 4) bytes of each line, from byte k, times a group of weights. */
ALWAYS void add_group(const int rows, const int vectors, const uint8_t *const line[MAX_ROWS], int64_t k,
                      int64_t count, const int8_t *w, ivec sums[MAX_ROWS][TILE_VECTORS])
{
    iweights right[TILE_VECTORS];

    UNROLL
    for (int v = 0; v < vectors; v++)
        right[v] = i8_weights(i8_load(w + v * I8_BYTES));
    UNROLL
    for (int r = 0; r < rows; r++) {
        const icodes left = i8_codes(count == 4 ? broadcast_group(line[r] + k) : broadcast_tail(line[r] + k, count));
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[r][v] = i8_dot(sums[r][v], left, right[v]);
    }
}

/* Output rows first … first + rows - 1, of which those below args->rows exist. */
ALWAYS void rows_tile(const int rows, const int vectors, const qd_u8_rows_args *args, const finish *f, int64_t first,
                      const int32_t *bias, const int8_t *w)
{
    const int64_t valid = args->rows - first < rows ? args->rows - first : rows;
    const int64_t whole = args->depth / 4 * 4;
    ivec sums[MAX_ROWS][TILE_VECTORS];

    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[r][v] = i8_load(bias + v * I8_LANES);
    }
    for (int64_t tap = 0; tap < args->taps; tap++) {
        const uint8_t *const *from = args->x + tap * args->rows + first;
        const uint8_t *line[MAX_ROWS];

        /* Rows that do not exist repeat the last one, and are not stored. */
        UNROLL
        for (int r = 0; r < rows; r++)
            line[r] = from[r < valid ? r : valid - 1];
        for (int64_t k = 0; k < whole; k += 4, w += vectors * I8_BYTES)
            add_group(rows, vectors, line, k, 4, w, sums);
        if (whole < args->depth) {
            add_group(rows, vectors, line, whole, args->depth - whole, w, sums);
            w += vectors * I8_BYTES;
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++)
        if (r < valid)
            finish_row(vectors, f, first + r, sums[r]);
}

ALWAYS void rows_panel(const int vectors, const qd_u8_rows_args *args, const qd_panel *panel)
{
    const int8_t *w = args->w + 4 * panel->first_width * qd_u8_panel_groups(TILE_LAYOUT, args->taps, args->depth);
    const int32_t *bias = args->out.bias + panel->first_width;
    const finish f = finish_of(args, panel);

    if (args->rows == 1) { /* squeeze-excite, classifiers */
        rows_tile(1, vectors, args, &f, 0, bias, w);
        return;
    }
    for (int64_t first = 0; first < args->rows; first += TILE_ROWS(vectors))
        rows_tile(TILE_ROWS(vectors), vectors, args, &f, first, bias, w);
}

void QD_NAME(tile_rows)(const qd_u8_rows_args *args)
{
    for (int64_t i = args->first_panel; i < args->first_panel + args->panel_count; i++) {
        const qd_panel panel = qd_panel_at(TILE_LAYOUT.panels, args->columns, i);
        switch (panel.width / I8_LANES) {
        case 1:
            rows_panel(1, args, &panel);
            break;
        case 2:
            rows_panel(2, args, &panel);
            break;
#if TILE_VECTORS > 2
        case 3:
            rows_panel(3, args, &panel);
            break;
        default:
            rows_panel(4, args, &panel);
            break;
#endif
        }
    }
}
