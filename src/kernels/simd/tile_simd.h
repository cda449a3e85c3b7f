/*
 * Matrix products in register tiles, for every instruction set that defines `vec` (vec_<set>.h), QD_NAME and
 *     TILE_PANELS    how matrices are packed for it: TILE_VECTORS vectors a panel at most
 *     TILE_VECTORS   most vectors of a tile's line
 *     TILE_ROWS(v)   lines of a tile of v vectors
 * A tile's sums stay in registers for a whole run of the summed dimension: each vector of one side is loaded once for
 * all lines, each value of the other side is broadcast once for all vectors. TILE_ROWS is chosen so that sums, one
 * line of vectors and the broadcast fill the register file and at least eight sums hide a fused multiply-add's
 * latency of four cycles on two ports.
 */

#include "kernels/simd/unroll.h"

#define ALWAYS static inline __attribute__((always_inline))

/*
 * Values of the summed dimension a pass over the rows: the panel's part of that depth (64 KiB at 4 vectors of 16
 * floats) and the rows of a chunk share the second-level cache; sums are read and written again once a pass.
 */
#define PASS_DEPTH 256

/*
 * The processor foresees a panel, which is read front to back, but not rows that lie apart: those of the next tile
 * are asked for while this one is summed, a cache line of values at a time, and an outer product's AHEAD rows early.
 */
#define LINE_VALUES 16
#define AHEAD       8

/* Bound of TILE_ROWS for arrays, which constant indices turn into registers. */
#define MAX_ROWS 12

/*
 * Weights that a pass reads for the first time come from memory or a distant cache, at a third of the speed of the
 * arithmetic: while a pass goes on, its tiles ask for the weights of the next one in turn, each for its share.
 */

/* Taps [tap, tap_end) and values [k, k_end) of each: one pass. */
typedef struct pass {
    int64_t tap, tap_end, k, k_end;
    const float *ahead;   /* weights of the next pass that this tile asks for; NULL: none */
    int64_t ahead_values; /* for every LINE_VALUES of the depth */
} pass;

ALWAYS void tile_store(const int rows, const int vectors, vec sums[MAX_ROWS][TILE_VECTORS], bool accumulate,
                       float *const *y, int64_t valid, int64_t column, int64_t last)
{
    UNROLL
    for (int r = 0; r < rows; r++) {
        if (r >= valid)
            break;
        float *to = y[r] + column;
        UNROLL
        for (int v = 0; v < vectors; v++) {
            float *at = to + v * VEC_LANES;
            if (v < vectors - 1 || last == VEC_LANES)
                vec_store(at, accumulate ? vec_add(vec_load(at), sums[r][v]) : sums[r][v]);
            else
                vec_store_first(at, accumulate ? vec_add(vec_load_first(at, last), sums[r][v]) : sums[r][v], last);
        }
    }
}

/* One tile of tile_rows: output rows first … first + rows - 1, of which those below args->rows exist. */
ALWAYS void rows_tile(const int rows, const int vectors, const qd_tile_rows_args *args, const pass *p, int64_t first,
                      const qd_panel *panel, const float *w, bool accumulate)
{
    const int64_t valid = args->rows - first < rows ? args->rows - first : rows;
    const float *ahead = p->ahead;
    vec sums[MAX_ROWS][TILE_VECTORS];

    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[r][v] = vec_zero();
    }
    for (int64_t tap = p->tap; tap < p->tap_end; tap++) {
        const float *const *from = (const float *const *)args->x + tap * args->rows + first;
        const float *line[MAX_ROWS];
        const float *b = w + (tap * args->depth + p->k) * panel->width;

        const float *const *next = first + 2 * rows <= args->rows ? from + rows : from;

        /* Rows that do not exist repeat the last one, and are not stored. */
        UNROLL
        for (int r = 0; r < rows; r++)
            line[r] = from[r < valid ? r : valid - 1];
        for (int64_t k = p->k; k < p->k_end;) {
            const int64_t k_end = k + LINE_VALUES < p->k_end ? k + LINE_VALUES : p->k_end;
            UNROLL
            for (int r = 0; r < rows; r++)
                __builtin_prefetch(next[r < valid ? r : 0] + k, 0, 3);
            if (ahead) {
                for (int64_t i = 0; i < p->ahead_values; i += LINE_VALUES)
                    __builtin_prefetch(ahead + i, 0, 2);
                ahead += p->ahead_values;
            }
            for (; k < k_end; k++, b += vectors * VEC_LANES) {
                vec right[TILE_VECTORS];
                UNROLL
                for (int v = 0; v < vectors; v++)
                    right[v] = vec_load(b + v * VEC_LANES);
                UNROLL
                for (int r = 0; r < rows; r++) {
                    const vec left = vec_broadcast(line[r] + k);
                    UNROLL
                    for (int v = 0; v < vectors; v++)
                        sums[r][v] = vec_fma(left, right[v], sums[r][v]);
                }
            }
        }
    }
    tile_store(rows, vectors, sums, accumulate, (float *const *)args->y + first, valid, panel->first_column,
               panel->columns - (vectors - 1) * VEC_LANES);
}

/* LINE_VALUES of the depth in a pass, or what is left of them. */
ALWAYS int64_t steps_of(const pass *p)
{
    return (p->tap_end - p->tap) * ((p->k_end - p->k + LINE_VALUES - 1) / LINE_VALUES);
}

/* Shares the next pass's weights, as many as this pass's, out among the tiles. They follow this pass's, in the next
 * panel if need be, but behind a call's last pass are those of another call. */
ALWAYS void look_ahead(const qd_tile_rows_args *args, const qd_panel *panel, bool last_panel, const float *w,
                       int64_t tile_count, pass *p)
{
    const int64_t values = (p->tap_end - p->tap) * (p->k_end - p->k) * panel->width;
    const int64_t end = ((p->tap_end - 1) * args->depth + p->k_end) * panel->width;
    const int64_t share = tile_count * (steps_of(p) > 0 ? steps_of(p) : 1);

    if (!args->next_w || tile_count < 2) /* a single tile reads no faster than memory gives */
        return;
    p->ahead = last_panel && end == args->taps * args->depth * panel->width ? args->next_w : w + end;
    p->ahead_values = (values + share - 1) / share;
    p->ahead_values = (p->ahead_values + LINE_VALUES - 1) / LINE_VALUES * LINE_VALUES;
}

ALWAYS void rows_panel(const int vectors, const qd_tile_rows_args *args, const qd_panel *panel, bool last_panel)
{
    const float *w = (const float *)args->w + panel->first_width * args->taps * args->depth;
    const bool whole_taps = args->depth <= PASS_DEPTH;
    const int64_t taps_a_pass = whole_taps ? PASS_DEPTH / args->depth : 1;
    const int64_t depth_a_pass = whole_taps ? args->depth : PASS_DEPTH;
    bool accumulate = args->accumulate;

    int64_t tap = 0;

    do { /* once even without taps: the sum is 0 then */
        for (int64_t k = 0; k < args->depth; k += depth_a_pass) {
            pass p = {.tap = tap,
                      .tap_end = tap + taps_a_pass < args->taps ? tap + taps_a_pass : args->taps,
                      .k = k,
                      .k_end = k + depth_a_pass < args->depth ? k + depth_a_pass : args->depth};
            int64_t first = 0;
            look_ahead(args, panel, last_panel, w, (args->rows + TILE_ROWS(vectors) - 1) / TILE_ROWS(vectors), &p);
            for (; args->rows - first > TILE_ROWS(vectors) / 2; first += TILE_ROWS(vectors)) {
                rows_tile(TILE_ROWS(vectors), vectors, args, &p, first, panel, w, accumulate);
                if (p.ahead)
                    p.ahead += steps_of(&p) * p.ahead_values;
            }
            /* Half a tile for what is left: 7 x 7 positions are 8 tiles of 6 rows and one more row. */
            if (first < args->rows)
                rows_tile(TILE_ROWS(vectors) / 2, vectors, args, &p, first, panel, w, accumulate);
            accumulate = true;
        }
        tap += taps_a_pass;
    } while (tap < args->taps);
}

void QD_NAME(tile_rows)(const qd_tile_rows_args *args)
{
    const qd_panels panels = TILE_PANELS;

    for (int64_t i = args->first_panel; i < args->first_panel + args->panel_count; i++) {
        const qd_panel panel = qd_panel_at(panels, args->columns, i);
        const bool last = i == args->first_panel + args->panel_count - 1;
        switch (panel.width / VEC_LANES) {
        case 1:
            rows_panel(1, args, &panel, last);
            break;
        case 2:
            rows_panel(2, args, &panel, last);
            break;
#if TILE_VECTORS > 2
        case 3:
            rows_panel(3, args, &panel, last);
            break;
        default:
            rows_panel(4, args, &panel, last);
            break;
#endif
        }
    }
}

/* c[lines][vectors] of one tile, summed over all rows. last: values of the tile's last vector. */
ALWAYS void outer_tile(const int lines, const int vectors, const bool partial, const qd_tile_outer_args *args,
                       int64_t first_line, int64_t first_column, int64_t last)
{
    const int64_t valid = args->lines - first_line < lines ? args->lines - first_line : lines;
    const float *left = (const float *)args->a + first_line;
    vec sums[MAX_ROWS][TILE_VECTORS];
    float *to[MAX_ROWS];

    UNROLL
    for (int m = 0; m < lines; m++) {
        UNROLL
        for (int v = 0; v < vectors; v++)
            sums[m][v] = vec_zero();
    }
    for (int64_t r = 0; r < args->rows; r++, left += args->lda) {
        const float *from = (const float *)args->b[r] + first_column;
        const float *ahead = (const float *)args->b[r + AHEAD < args->rows ? r + AHEAD : r] + first_column;
        vec right[TILE_VECTORS];
        UNROLL
        for (int v = 0; v < vectors; v++)
            right[v] = partial && v == vectors - 1 ? vec_load_first(from + v * VEC_LANES, last)
                                                   : vec_load(from + v * VEC_LANES);
        UNROLL
        for (int v = 0; v < vectors; v++)
            __builtin_prefetch(ahead + v * VEC_LANES, 0, 3);
        UNROLL
        for (int m = 0; m < lines; m++) {
            const vec value = vec_broadcast(left + (m < valid ? m : 0));
            UNROLL
            for (int v = 0; v < vectors; v++)
                sums[m][v] = vec_fma(value, right[v], sums[m][v]);
        }
    }
    UNROLL
    for (int m = 0; m < lines; m++)
        to[m] = (float *)args->c + (first_line + (m < valid ? m : 0)) * args->ldc;
    tile_store(lines, vectors, sums, args->accumulate, to, valid, first_column, last);
}

ALWAYS void outer_panel(const int vectors, const qd_tile_outer_args *args, const qd_panel *panel)
{
    const int64_t last = panel->columns - (vectors - 1) * VEC_LANES;

    for (int64_t line = 0; line < args->lines; line += TILE_ROWS(vectors)) {
        if (last < VEC_LANES)
            outer_tile(TILE_ROWS(vectors), vectors, true, args, line, panel->first_column, last);
        else
            outer_tile(TILE_ROWS(vectors), vectors, false, args, line, panel->first_column, last);
    }
}

void QD_NAME(tile_outer)(const qd_tile_outer_args *args)
{
    const qd_panels panels = TILE_PANELS;
    const int64_t count = qd_panel_count(panels, args->columns);

    for (int64_t i = 0; i < count; i++) {
        const qd_panel panel = qd_panel_at(panels, args->columns, i);
        switch (panel.width / VEC_LANES) {
        case 1:
            outer_panel(1, args, &panel);
            break;
        case 2:
            outer_panel(2, args, &panel);
            break;
#if TILE_VECTORS > 2
        case 3:
            outer_panel(3, args, &panel);
            break;
        default:
            outer_panel(4, args, &panel);
            break;
#endif
        }
    }
}

#undef ALWAYS
#undef PASS_DEPTH
#undef LINE_VALUES
#undef AHEAD
#undef MAX_ROWS
