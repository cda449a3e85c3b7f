/*
 * 3x3 convolutions of stride 1 and padding 1 by Winograd's F(4x4, 3x3), float32: a quarter of the multiplications, as
 * 36 matrix products over tiles (winograd_tiles.h), one a plane,
 *     forward        y[tile][oc]  from V[tile][ic]·U[ic][oc], V of x
 *     backward data  dx[tile][ic] from V[tile][oc]·U[oc][ic], V of dy, U of the kernels turned by 180°
 * Both are the same correlation of `depth` channels into `columns`. Columns are made in blocks, whose products M stay
 * in cache until they are transformed back. What else stays there is one of
 *     a chunk of tiles' V, where all of U passes by once a chunk: few channels, many tiles;
 *     a block's U, where all tiles' V pass by once a block: many channels, few tiles, U is made block by block.
 * Fixed weights (conv_fixed.h) are kept as U.
 */
#include "nn/conv_fixed.h"
#include "nn/winograd_tiles.h"

#include <omp.h>
#include <string.h>

/* Columns of a block: a vector of each cache line of a pixel, M of a chunk in second-level cache. */
#define BLOCK_COLUMNS 64

/* From this product of depth and columns on, U (5 MB) takes longer to pass by than V. */
#define BLOCKS_FROM (192 * 192)

/* Tiles transformed at a time where all blocks share V, of few images. */
#define SHARED_PIECE_TILES 4

/* Tiles of a chunk, multiples of the tile kernels' lines: 36 of up to 128 channels make V and M of a megabyte;
 * without V a chunk's M may be larger, and U's block is read less often. */
#define CHUNK_TILES       36
#define BLOCK_CHUNK_TILES 132

/* Values of V that blocks share (32 MiB): larger batches are cut. */
#define SHARED_VALUES (8 << 20)

/* Jobs to share out among threads; a block is cut below that many, and its U then made several times. With fixed
 * weights as few tiles pass by a block's U that a cut must leave this many. */
#define JOBS_WANTED   8
#define CUT_TILES_MIN 24

/* Parts of the workspace: where each begins. */
typedef struct layout {
    size_t packed, zeros, u, v, m, addresses, discard;
    size_t bytes; /* of all */
} layout;

typedef struct filter {
    qd_winograd_grid grid;
    int64_t depth, columns, taps;
    bool by_blocks;
    int64_t blocks, block_width; /* the widest */
    int64_t shared_tiles;        /* by_blocks: tiles of V */
    int64_t chunk_tiles;
    const float *x;
    float *y;
    bool accumulate;
    const qd_fixed_conv *fixed; /* NULL: not; else u is there already, of all blocks, and run tells what follows */
    const qd_fixed_conv_run *run;
    layout at;
    size_t u_bytes, v_bytes, m_bytes, address_bytes, discard_bytes;
    int64_t u_plane;
    /* parts of the workspace; each thread has its own m, addresses and discard, and v or, by blocks, u */
    float *packed, *zeros, *u, *discard;
    qd_winograd_planes v, m;
    void *addresses;
} filter;

/* A block is a matrix of its own, packed as one: a panel of panels. */
static qd_panels block_panels(const qd_layer_call *call)
{
    const int64_t lanes = call->k->panels.lanes;
    return (qd_panels){.lanes = lanes, .vectors = qd_max_i64(1, BLOCK_COLUMNS / lanes)};
}

static qd_panel block_at(const qd_layer_call *call, const filter *f, int64_t index)
{
    return qd_panel_at(block_panels(call), f->columns, index);
}

/* Whether a block's U stays in cache. Fixed weights are only read, so what is smaller, U or V, may pass by more
 * often; the largest run decides for all. */
static bool goes_by_blocks(const qd_fixed_conv *fixed, int64_t depth, int64_t columns)
{
    return fixed ? columns > qd_winograd_grid_of(&fixed->shape).tiles : depth * columns >= BLOCKS_FROM;
}

/* How the problem is cut and its workspace laid out. */
static void prepare(const qd_layer_call *call, const qd_conv_shape *s, int64_t depth, int64_t columns,
                    const qd_fixed_conv *fixed, filter *f)
{
    const size_t threads = (size_t)call->threads;
    size_t used = 0;
    *f = (filter){.grid = qd_winograd_grid_of(s),
                  .depth = depth,
                  .columns = columns,
                  .taps = s->kh * s->kw,
                  .by_blocks = goes_by_blocks(fixed, depth, columns),
                  .fixed = fixed,
                  .blocks = qd_panel_count(block_panels(call), columns)};
    for (int64_t i = 0; i < f->blocks; i++)
        f->block_width = qd_max_i64(f->block_width, block_at(call, f, i).width);
    f->chunk_tiles = qd_min_i64(f->grid.tiles, f->by_blocks ? BLOCK_CHUNK_TILES : CHUNK_TILES);

    const int64_t v_tile = QD_WINOGRAD_PLANES * qd_winograd_planes_of(1, depth).line;
    f->shared_tiles = qd_min_i64(f->grid.tiles, qd_max_i64(SHARED_VALUES / v_tile, f->chunk_tiles));
    f->v = qd_winograd_planes_of(f->by_blocks ? f->shared_tiles : f->chunk_tiles, depth);
    f->m = qd_winograd_planes_of(f->chunk_tiles, f->block_width);
    /* U's planes lie as far apart as V's would: for the same reason. */
    f->u_plane =
        qd_winograd_planes_of(
            1, depth * (f->by_blocks && !fixed ? f->block_width : qd_panel_total_width(call->k->panels, columns)))
            .plane;
    f->u_bytes = qd_align_bytes((size_t)(QD_WINOGRAD_PLANES * f->u_plane) * sizeof(float));
    f->v_bytes = qd_winograd_planes_bytes(&f->v);
    f->m_bytes = qd_winograd_planes_bytes(&f->m);
    f->address_bytes = qd_winograd_address_bytes(f->chunk_tiles);
    f->discard_bytes = qd_align_bytes((size_t)f->block_width * sizeof(float));

    f->at.packed = qd_take_bytes(&used, fixed ? 0 : qd_conv_packed_bytes(call, f->taps * depth, columns));
    f->at.zeros = qd_take_bytes(&used, (size_t)depth * sizeof(float));
    f->at.u = qd_take_bytes(&used, fixed ? 0 : f->u_bytes * (f->by_blocks ? threads : 1));
    f->at.v = qd_take_bytes(&used, f->v_bytes * (f->by_blocks ? 1 : threads));
    f->at.m = qd_take_bytes(&used, f->m_bytes * threads);
    f->at.addresses = qd_take_bytes(&used, f->address_bytes * threads);
    f->at.discard = qd_take_bytes(&used, f->discard_bytes * threads);
    f->at.bytes = used;
}

static void attach_workspace(const qd_layer_call *call, filter *f)
{
    f->packed = qd_workspace_at(call, f->at.packed);
    f->zeros = qd_workspace_at(call, f->at.zeros);
    f->u = qd_workspace_at(call, f->at.u);
    f->v.data = qd_workspace_at(call, f->at.v);
    f->m.data = qd_workspace_at(call, f->at.m);
    f->addresses = qd_workspace_at(call, f->at.addresses);
    f->discard = qd_workspace_at(call, f->at.discard);
    memset(f->zeros, 0, (size_t)f->depth * sizeof(float));
}

static void *own(void *base, size_t bytes)
{
    return (unsigned char *)base + (size_t)omp_get_thread_num() * bytes;
}

/* U[36] of a block, each plane packed as the block is. */
static void transform_weights(const qd_layer_call *call, const filter *f, const qd_panel *block, const float *packed,
                              float *u)
{
    const qd_panels panels = call->k->panels;

    for (int64_t i = 0; i < qd_panel_count(panels, block->columns); i++) {
        const qd_panel panel = qd_panel_at(panels, block->columns, i);
        const int64_t count = f->depth * panel.width;
        call->k->winograd_weights(packed + panel.first_width * f->taps * f->depth, count, count,
                                  u + panel.first_width * f->depth, f->u_plane);
    }
}

static void transform_input(const qd_layer_call *call, const filter *f, int64_t first, int64_t count,
                            qd_winograd_planes v)
{
    const qd_winograd_channels channels = {.pixel = f->depth, .count = f->depth};
    const qd_winograd_scratch scratch = {.addresses = own(f->addresses, f->address_bytes), .outside = f->zeros};
    qd_winograd_transform_input(call, &f->grid, f->x, channels, first, count, scratch, v);
}

/* What follows fixed weights, on the results of tiles first …: line by line of the tiles that are neighbours. */
static void finish_tiles(const filter *f, const qd_panel *block, int64_t first, int64_t count)
{
    const qd_winograd_grid *grid = &f->grid;

    for (int64_t tile = first; tile < first + count;) {
        const int64_t line = tile / grid->tiles_w, left = tile % grid->tiles_w;
        const int64_t tiles = qd_min_i64(grid->tiles_w - left, first + count - tile);
        const int64_t x = left * QD_WINOGRAD_TILE, width = qd_min_i64(tiles * QD_WINOGRAD_TILE, grid->w - x);
        const int64_t top = line % grid->tiles_h * QD_WINOGRAD_TILE;
        for (int64_t y = top; y < qd_min_i64(top + QD_WINOGRAD_TILE, grid->h); y++)
            qd_fixed_conv_finish(f->fixed, f->run, (line / grid->tiles_h * grid->h + y) * grid->w + x, width,
                                 block->first_column, block->columns);
        tile += tiles;
    }
}

/* Tiles first … of the result in a block's columns. */
static void make_results(const qd_layer_call *call, const filter *f, const qd_panel *block, const float *u,
                         qd_winograd_planes v, int64_t first, int64_t count)
{
    const qd_winograd_planes m = qd_winograd_planes_own(f->m, f->m_bytes);
    const qd_winograd_channels channels = {
        .pixel = f->columns, .first_channel = block->first_column, .count = block->columns};
    const qd_winograd_scratch scratch = {.addresses = own(f->addresses, f->address_bytes),
                                         .outside = own(f->discard, f->discard_bytes)};
    const void **from = scratch.addresses;
    void **to = (void **)(from + count);

    for (int plane = 0; plane < QD_WINOGRAD_PLANES; plane++) {
        const float *w = u + plane * f->u_plane;
        /* the next plane, or the next block's first one */
        const float *next_w = plane + 1 < QD_WINOGRAD_PLANES ? w + f->u_plane : u + block->width * f->depth;
        for (int64_t i = 0; i < count; i++) {
            from[i] = v.data + plane * v.plane + i * v.line;
            to[i] = m.data + plane * m.plane + i * m.line;
        }
        const qd_tile_rows_args args = {.rows = count,
                                        .columns = block->columns,
                                        .taps = 1,
                                        .depth = f->depth,
                                        .x = from,
                                        .w = w,
                                        .panel_count = qd_panel_count(call->k->panels, block->columns),
                                        .y = to,
                                        .next_w = f->fixed ? next_w : NULL};
        call->k->tile_rows(&args);
    }
    qd_winograd_transform_output(call, &f->grid, m, first, count, scratch, f->accumulate, channels, f->y);
    if (f->fixed)
        finish_tiles(f, block, first, count);
}

static void transform_all_weights(const qd_layer_call *call, const filter *f)
{
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < f->blocks; i++) {
        const qd_panel block = block_at(call, f, i);
        transform_weights(call, f, &block, f->packed + block.first_width * f->taps * f->depth,
                          f->u + block.first_width * f->depth);
    }
}

static void run_by_chunks(const qd_layer_call *call, const filter *f)
{
    const int64_t chunks = qd_piece_count(f->grid.tiles, f->chunk_tiles);

    if (!f->fixed)
        transform_all_weights(call, f);
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < chunks; i++) {
        const qd_piece chunk = qd_partial_rows(f->grid.tiles, chunks, i);
        const qd_winograd_planes v = qd_winograd_planes_own(f->v, f->v_bytes);
        transform_input(call, f, chunk.first, chunk.count, v);
        for (int64_t j = 0; j < f->blocks; j++) {
            const qd_panel block = block_at(call, f, j);
            make_results(call, f, &block, f->u + block.first_width * f->depth, v, chunk.first, chunk.count);
        }
    }
}

static void run_by_blocks(const qd_layer_call *call, const filter *f)
{
    const int64_t parts = qd_piece_count(f->grid.tiles, f->shared_tiles);
    const int64_t wanted = qd_piece_count(JOBS_WANTED, f->blocks);

    for (int64_t p = 0; p < parts; p++) {
        const qd_piece part = qd_partial_rows(f->grid.tiles, parts, p);
        const int64_t pieces = qd_piece_count(part.count, f->fixed ? SHARED_PIECE_TILES : CHUNK_TILES);
        const int64_t cuts = f->fixed ? qd_max_i64(1, qd_min_i64(wanted, part.count / CUT_TILES_MIN)) : wanted;
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t i = 0; i < pieces; i++) {
            const qd_piece piece = qd_partial_rows(part.count, pieces, i);
            transform_input(call, f, part.first + piece.first, piece.count,
                            qd_winograd_planes_from(f->v, piece.first));
        }
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t job = 0; job < f->blocks * cuts; job++) {
            const qd_panel block = block_at(call, f, job / cuts);
            const qd_piece cut = qd_partial_rows(part.count, cuts, job % cuts);
            const int64_t chunks = qd_piece_count(cut.count, f->chunk_tiles);
            float *u = f->fixed ? f->u + block.first_width * f->depth : own(f->u, f->u_bytes);
            if (!f->fixed)
                transform_weights(call, f, &block, f->packed + block.first_width * f->taps * f->depth, u);
            for (int64_t i = 0; i < chunks; i++) {
                const qd_piece chunk = qd_partial_rows(cut.count, chunks, i);
                const int64_t first = cut.first + chunk.first;
                make_results(call, f, &block, u, qd_winograd_planes_from(f->v, first), part.first + first,
                             chunk.count);
            }
        }
    }
}

static void run(const qd_layer_call *call, const filter *f)
{
    if (f->by_blocks)
        run_by_blocks(call, f);
    else
        run_by_chunks(call, f);
}

/* The packed weights of one block. */
static void pack_block(const qd_layer_call *call, const filter *f, const qd_panel *block, const float *w, float *out)
{
    const int64_t row = f->taps * f->depth;
    qd_conv_pack_rows(call, w + block->first_column * row, block->columns, row, out);
}

size_t qd_conv_winograd_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->ic, s->oc, NULL, &f);
    return f.at.bytes;
}

void qd_conv_winograd_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->ic, s->oc, NULL, &f);
    attach_workspace(call, &f);
    f.x = call->x[0];
    f.y = call->y;
    for (int64_t i = 0; i < f.blocks; i++) {
        const qd_panel block = block_at(call, &f, i);
        pack_block(call, &f, &block, call->param[0], f.packed + block.first_width * f.taps * f.depth);
    }
    run(call, &f);
}

size_t qd_conv_winograd_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->oc, s->ic, NULL, &f);
    return f.at.bytes;
}

void qd_conv_winograd_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    /* Taps from the kernel's last to its first: turned by 180°. */
    const qd_conv_window turned = {
        .taps_h = s->kh, .taps_w = s->kw, .kernel_y = s->kh - 1, .kernel_x = s->kw - 1, .kernel_step = -1};
    filter f;
    prepare(call, s, s->oc, s->ic, NULL, &f);
    attach_workspace(call, &f);
    f.x = call->dy;
    f.y = call->dx[0];
    f.accumulate = call->accumulate[0];
    for (int64_t i = 0; i < f.blocks; i++) {
        const qd_panel block = block_at(call, &f, i);
        qd_conv_pack_phase(call, s, &turned, (qd_piece){block.first_column, block.columns}, call->param[0],
                           f.packed + block.first_width * f.taps * f.depth);
    }
    run(call, &f);
}

/* ---- fixed weights ---- */

/* The filter of a fixed convolution and the call it runs in. */
static qd_layer_call prepare_fixed(const qd_fixed_conv *conv, const qd_fixed_conv_run *run_, filter *f)
{
    qd_conv_shape s;
    const qd_layer_call call = qd_fixed_conv_call(conv, run_, &s);
    prepare(&call, &s, s.ic, s.oc, conv, f);
    f->x = run_->x;
    f->y = run_->y;
    f->run = run_;
    return call;
}

size_t qd_fixed_winograd_packed_bytes(const qd_kernels *k, const qd_fixed_conv *conv)
{
    const qd_fixed_conv_run largest = {.k = k, .threads = 1, .n = conv->shape.n};
    filter f;
    prepare_fixed(conv, &largest, &f);
    return f.u_bytes;
}

void qd_fixed_winograd_pack(const qd_kernels *k, int threads, const qd_fixed_conv *conv, void *workspace,
                            float *packed)
{
    const qd_fixed_conv_run largest = {.k = k, .threads = threads, .n = conv->shape.n};
    filter f;
    const qd_layer_call call = prepare_fixed(conv, &largest, &f);
    for (int64_t i = 0; i < f.blocks; i++) {
        const qd_panel block = block_at(&call, &f, i);
        pack_block(&call, &f, &block, conv->weight, workspace);
        transform_weights(&call, &f, &block, workspace, packed + block.first_width * f.depth);
    }
}

/* Of a run, and of a block's weights on their way into U. */
size_t qd_fixed_winograd_workspace_bytes(const qd_kernels *k, int threads, const qd_fixed_conv *conv)
{
    const qd_fixed_conv_run largest = {.k = k, .threads = threads, .n = conv->shape.n};
    filter f;
    const qd_layer_call call = prepare_fixed(conv, &largest, &f);
    const size_t block_bytes = qd_conv_packed_bytes(&call, f.taps * f.depth, f.block_width);
    return f.at.bytes > block_bytes ? f.at.bytes : block_bytes;
}

void qd_fixed_winograd_forward(const qd_fixed_conv *conv, const qd_fixed_conv_run *run_)
{
    filter f;
    const qd_layer_call call = prepare_fixed(conv, run_, &f);
    attach_workspace(&call, &f);
    f.u = (float *)(uintptr_t)conv->packed; /* only read */
    run(&call, &f);
}
