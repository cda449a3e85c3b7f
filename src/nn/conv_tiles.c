/*
 * Dense convolution through the tile kernels, float32: no columns are copied, the kernels read the rows that the
 * window sees where they lie (conv_window.h), against weights packed once a call. Per group, K = taps·depth: forward
 * y[rows][oc]  = rows of x [rows][K] · w[K][oc] backward data     dx[rows][ic] = rows of dy [rows][K] · w[K][ic], a
 * product for each phase of the stride backward weights  dw[oc][K]    = Σ_rows dy[row][oc] · rows of x [row][K]
 */
#include "nn/conv_pack.h"
#include "nn/conv_passes.h"
#include "nn/deferred.h"

#include "base/arena.h"

#include <omp.h>
#include <string.h>

/* Rows of one kernel call. A multiple of every tile's lines; 192 rows of up to 512 channels stay in the second-level
 * cache while all panels of the weights pass by. Fewer where a product has few rows: eight chunks, to share out. */
#define CHUNK_ROWS     192
#define CHUNK_ROWS_MIN 24
#define CHUNKS_WANTED  8

/* Rows of one step of the weights' gradient: as above, for the addresses of all taps and the rows behind them. */
#define GRADIENT_ROWS 256

/* Weights' gradients of this many values or more are cut into blocks of output channels, which all threads sum over
 * all rows; smaller ones are summed from partials over rows. 15 further buffers of the larger ones take 10 MB up. */
#define BLOCKED_GRADIENT_COUNT (160 << 10)
#define GRADIENT_BLOCKS        8  /* even shares for 2, 4 and 8 threads */
#define BLOCK_LINES            12 /* blocks begin at a multiple of most tiles' lines */

typedef struct tiles {
    qd_conv_window window;
    int64_t depth;       /* values of a tap */
    int64_t columns;     /* of the product */
    const float *w;      /* packed */
    const float *source; /* first channel of the group */
    float *target;
    bool accumulate;
    const float *zeros; /* depth of them */
    void *addresses;    /* [threads][address_bytes] */
    size_t address_bytes;
    void *made; /* [threads][made_bytes]: rows of a deferred input; NULL: the source is read as it is */
    size_t made_bytes;
} tiles;

static int64_t chunk_rows(int64_t rows)
{
    const int64_t share = qd_piece_count(qd_piece_count(rows, CHUNKS_WANTED), CHUNK_ROWS_MIN) * CHUNK_ROWS_MIN;
    return qd_min_i64(share, CHUNK_ROWS);
}

/* Parts of the workspace: where each begins. */
typedef struct layout {
    size_t packed, margins, zeros, sums, addresses, made;
    size_t bytes; /* of all */
} layout;

static size_t address_bytes(int64_t taps, int64_t rows)
{
    return qd_align_bytes((size_t)((taps + 1) * rows) * sizeof(void *));
}

/* Of the rows that a chunk makes of a deferred input. */
static size_t made_bytes(const qd_layer_call *call, const qd_conv_shape *s, int64_t rows)
{
    return call->deferred.present ? qd_align_bytes((size_t)(rows * s->ic) * sizeof(float)) : 0;
}

/* ---- rows ---- */

/* Addresses of what rows [first, first + count) read. A deferred input is a 1x1 convolution's: one row each, in
 * order.
 */
static void find_sources(const qd_layer_call *call, const tiles *t, int64_t first, int64_t count, const void **x)
{
    if (!t->made) {
        qd_conv_window_sources(&t->window, t->source, t->zeros, first, count, x);
        return;
    }
    float *made = (float *)(void *)((unsigned char *)t->made + (size_t)omp_get_thread_num() * t->made_bytes);
    qd_input_rows(call, t->source + first * t->depth, count, made);
    for (int64_t r = 0; r < count; r++)
        x[r] = made + r * t->depth;
}

/* One product: all its rows against all columns. */
static void make_rows(const qd_layer_call *call, const tiles *t)
{
    const int64_t rows = qd_conv_window_rows(&t->window), taps = qd_conv_window_taps(&t->window);
    if (rows == 0) /* a phase beyond a small image */
        return;
    const int64_t per_chunk = chunk_rows(rows), chunks = qd_piece_count(rows, per_chunk);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t index = 0; index < chunks; index++) {
        const qd_piece chunk = qd_piece_of(rows, per_chunk, index);
        const void **x =
            (const void **)((unsigned char *)t->addresses + (size_t)omp_get_thread_num() * t->address_bytes);
        void **y = (void **)(x + taps * chunk.count);
        find_sources(call, t, chunk.first, chunk.count, x);
        qd_conv_window_targets(&t->window, t->target, chunk.first, chunk.count, y);
        const qd_tile_rows_args args = {.rows = chunk.count,
                                        .columns = t->columns,
                                        .taps = taps,
                                        .depth = t->depth,
                                        .x = x,
                                        .w = t->w,
                                        .panel_count = qd_panel_count(call->k->panels, t->columns),
                                        .accumulate = t->accumulate,
                                        .y = y};
        call->k->tile_rows(&args);
    }
}

/* ---- forward ---- */

static layout forward_layout(const qd_layer_call *call, const qd_conv_shape *s)
{
    const bool few = qd_conv_window_wants_bands(s);
    const int64_t ic = s->ic / s->groups, taps = few ? s->kh : s->kh * s->kw;
    layout l = {0};
    l.packed = qd_take_bytes(&l.bytes, qd_conv_packed_bytes(call, s->kh * s->kw * ic, s->oc / s->groups));
    l.margins = qd_take_bytes(&l.bytes, few ? qd_conv_margins_bytes(s) : 0);
    l.zeros = qd_take_bytes(&l.bytes, (size_t)ic * sizeof(float));
    l.addresses = qd_take_bytes(&l.bytes, (size_t)call->threads * address_bytes(taps, CHUNK_ROWS));
    l.made = qd_take_bytes(&l.bytes, (size_t)call->threads * made_bytes(call, s, CHUNK_ROWS));
    return l;
}

size_t qd_conv_tiles_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return forward_layout(call, s).bytes;
}

void qd_conv_tiles_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    const bool few = qd_conv_window_wants_bands(s);
    const int64_t ic = s->ic / s->groups, oc = s->oc / s->groups, columns = s->kh * s->kw * ic;
    const layout l = forward_layout(call, s);
    float *packed = qd_workspace_at(call, l.packed), *margins = qd_workspace_at(call, l.margins),
          *zeros = qd_workspace_at(call, l.zeros);
    memset(zeros, 0, (size_t)ic * sizeof *zeros);
    if (few)
        qd_conv_copy_with_margins(call, s, margins);

    for (int64_t group = 0; group < s->groups; group++) {
        qd_conv_pack_rows(call, (const float *)call->param[0] + group * oc * columns, oc, columns, packed);
        tiles t = {.window = few ? qd_conv_window_bands(s) : qd_conv_window_forward(s),
                   .depth = few ? s->kw * ic : ic,
                   .columns = oc,
                   .w = packed,
                   .source = few ? margins : (const float *)call->x[0] + group * ic,
                   .target = (float *)call->y + group * oc,
                   .zeros = zeros,
                   .addresses = qd_workspace_at(call, l.addresses),
                   .made = call->deferred.present ? qd_workspace_at(call, l.made) : NULL,
                   .made_bytes = made_bytes(call, s, CHUNK_ROWS)};
        t.address_bytes = address_bytes(qd_conv_window_taps(&t.window), CHUNK_ROWS);
        make_rows(call, &t);
    }
}

/* ---- backward data ---- */

static layout data_layout(const qd_layer_call *call, const qd_conv_shape *s)
{
    const int64_t ic = s->ic / s->groups, oc = s->oc / s->groups;
    layout l = {0};
    l.packed = qd_take_bytes(&l.bytes, qd_conv_packed_bytes(call, s->kh * s->kw * oc, ic));
    l.zeros = qd_take_bytes(&l.bytes, (size_t)oc * sizeof(float));
    l.addresses = qd_take_bytes(&l.bytes, (size_t)call->threads * address_bytes(s->kh * s->kw, CHUNK_ROWS));
    return l;
}

size_t qd_conv_tiles_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return data_layout(call, s).bytes;
}

void qd_conv_tiles_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    const int64_t ic = s->ic / s->groups, oc = s->oc / s->groups;
    const layout l = data_layout(call, s);
    float *packed = qd_workspace_at(call, l.packed), *zeros = qd_workspace_at(call, l.zeros);
    memset(zeros, 0, (size_t)oc * sizeof *zeros);

    for (int64_t group = 0; group < s->groups; group++) {
        for (int64_t phase = 0; phase < qd_conv_window_phases(s); phase++) {
            tiles t = {.window = qd_conv_window_backward(s, phase),
                       .depth = oc,
                       .columns = ic,
                       .w = packed,
                       .source = (const float *)call->dy + group * oc,
                       .target = (float *)call->dx[0] + group * ic,
                       .accumulate = call->accumulate[0],
                       .zeros = zeros,
                       .addresses = qd_workspace_at(call, l.addresses),
                       .address_bytes = address_bytes(s->kh * s->kw, CHUNK_ROWS)};
            qd_conv_pack_phase(call, s, &t.window, (qd_piece){0, ic},
                               (const float *)call->param[0] + group * oc * s->kh * s->kw * ic, packed);
            make_rows(call, &t); /* without taps: zeros */
        }
    }
}

/* ---- backward weights ---- */

/* How the sum over rows x the lines of dw is shared out. */
typedef struct shares {
    int64_t partials, blocks;
} shares;

static shares weights_shares(const qd_conv_shape *s)
{
    const int64_t count = s->oc / s->groups * s->kh * s->kw * (s->ic / s->groups);
    const int64_t steps = qd_piece_count(s->n * s->oh * s->ow, GRADIENT_ROWS);
    return count >= BLOCKED_GRADIENT_COUNT ? (shares){1, GRADIENT_BLOCKS}
                                           : (shares){qd_min_i64(QD_CONV_MAX_PARTIALS, steps), 1};
}

static layout weights_layout(const qd_layer_call *call, const qd_conv_shape *s)
{
    const bool few = qd_conv_window_wants_bands(s);
    const int64_t ic = s->ic / s->groups, taps = few ? s->kh : s->kh * s->kw;
    const int64_t count = s->oc / s->groups * s->kh * s->kw * ic;
    layout l = {0};
    l.margins = qd_take_bytes(&l.bytes, few ? qd_conv_margins_bytes(s) : 0);
    l.zeros = qd_take_bytes(&l.bytes, (size_t)ic * sizeof(float));
    l.sums = qd_take_bytes(&l.bytes, (size_t)((weights_shares(s).partials - 1) * count) * sizeof(float));
    l.addresses = qd_take_bytes(&l.bytes, (size_t)call->threads * address_bytes(taps, GRADIENT_ROWS));
    l.made = qd_take_bytes(&l.bytes, (size_t)call->threads * made_bytes(call, s, GRADIENT_ROWS));
    return l;
}

size_t qd_conv_tiles_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return weights_layout(call, s).bytes;
}

/* dw[lines][K] over some rows and output channels; t->target is dw, t->columns the values of a tap. */
static void sum_gradient(const qd_layer_call *call, const qd_conv_shape *s, const tiles *t, const float *dy,
                         qd_piece rows, qd_piece lines, float *dw)
{
    const int64_t taps = qd_conv_window_taps(&t->window), row_values = taps * t->depth;
    const void **x = (const void **)((unsigned char *)t->addresses + (size_t)omp_get_thread_num() * t->address_bytes);

    for (int64_t done = 0; done < rows.count; done += GRADIENT_ROWS) {
        const int64_t first = rows.first + done, count = qd_min_i64(GRADIENT_ROWS, rows.count - done);
        find_sources(call, t, first, count, x);
        for (int64_t tap = 0; tap < taps; tap++) {
            const qd_tile_outer_args args = {.rows = count,
                                             .lines = lines.count,
                                             .columns = t->depth,
                                             .a = dy + first * s->oc + lines.first,
                                             .lda = s->oc,
                                             .b = x + tap * count,
                                             .accumulate = done > 0,
                                             .c = dw + lines.first * row_values + tap * t->depth,
                                             .ldc = row_values};
            call->k->tile_outer(&args);
        }
    }
}

void qd_conv_tiles_backward_weights(const qd_layer_call *call, const qd_conv_shape *s)
{
    const bool few = qd_conv_window_wants_bands(s);
    const int64_t ic = s->ic / s->groups, oc = s->oc / s->groups, count = oc * s->kh * s->kw * ic;
    const int64_t rows = s->n * s->oh * s->ow, units = qd_piece_count(oc, BLOCK_LINES);
    const shares share = weights_shares(s);
    const layout l = weights_layout(call, s);
    float *margins = qd_workspace_at(call, l.margins), *zeros = qd_workspace_at(call, l.zeros),
          *sums = qd_workspace_at(call, l.sums);
    memset(zeros, 0, (size_t)ic * sizeof *zeros);
    if (few)
        qd_conv_copy_with_margins(call, s, margins);

    for (int64_t group = 0; group < s->groups; group++) {
        const float *dy = (const float *)call->dy + group * oc;
        float *dw = (float *)call->grad[0] + group * count;
        tiles t = {.window = few ? qd_conv_window_bands(s) : qd_conv_window_forward(s),
                   .depth = few ? s->kw * ic : ic,
                   .source = few ? margins : (const float *)call->x[0] + group * ic,
                   .zeros = zeros,
                   .addresses = qd_workspace_at(call, l.addresses),
                   .made = call->deferred.present ? qd_workspace_at(call, l.made) : NULL,
                   .made_bytes = made_bytes(call, s, GRADIENT_ROWS)};
        t.address_bytes = address_bytes(qd_conv_window_taps(&t.window), GRADIENT_ROWS);

#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t job = 0; job < share.partials * share.blocks; job++) {
            const int64_t p = job / share.blocks, block = job % share.blocks;
            const int64_t line = qd_min_i64(oc, units * block / share.blocks * BLOCK_LINES);
            const int64_t line_end = qd_min_i64(oc, units * (block + 1) / share.blocks * BLOCK_LINES);
            sum_gradient(call, s, &t, dy, qd_partial_rows(rows, share.partials, p), (qd_piece){line, line_end - line},
                         p == 0 ? dw : sums + (p - 1) * count);
        }
        qd_conv_add_partials(call, sums, share.partials - 1, count, dw);
    }
}
