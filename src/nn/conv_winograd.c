/*
 * 3x3 convolutions of stride 1 and padding 1 by Winograd's F(4x4, 3x3), float32: a quarter of the multiplications, as
 * 36 matrix products over tiles (winograd_tiles.h), one a plane,
 *     forward        y[tile][oc]  from V[tile][ic]·U[ic][oc], V of x
 *     backward data  dx[tile][ic] from V[tile][oc]·U[oc][ic], V of dy, U of the kernels turned by 180°
 * Both are the same correlation of `depth` channels into `columns`. Columns are made in blocks, whose products M stay
 * in cache until they are transformed back. What else stays there is one of
 *     a chunk of tiles' V, where all of U passes by once a chunk: few channels, many tiles;
 *     a block's U, where all tiles' V pass by once a block: many channels, few tiles, U is made block by block.
 */
#include "nn/conv_passes.h"
#include "nn/winograd_tiles.h"

#include <omp.h>
#include <string.h>

/* Columns of a block: a vector of each cache line of a pixel, M of a chunk in second-level cache. */
#define BLOCK_COLUMNS 64

/* From this product of depth and columns on, U (5 MB) takes longer to pass by than V. */
#define BLOCKS_FROM (192 * 192)

/* Tiles of a chunk, multiples of the tile kernels' lines: 36 of up to 128 channels make V and M of a megabyte;
 * without V a chunk's M may be larger, and U's block is read less often. */
#define CHUNK_TILES       36
#define BLOCK_CHUNK_TILES 132

/* Values of V that blocks share (32 MiB): larger batches are cut. */
#define SHARED_VALUES (8 << 20)

/* Jobs to share out among threads; a block is cut below that many, and its U then made several times. */
#define JOBS_WANTED 8

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

/* How the problem is cut and its workspace laid out. */
static void prepare(const qd_layer_call *call, const qd_conv_shape *s, int64_t depth, int64_t columns, filter *f)
{
    const size_t threads = (size_t)call->threads;
    size_t used = 0;
    *f = (filter){.grid = qd_winograd_grid_of(s),
                  .depth = depth,
                  .columns = columns,
                  .taps = s->kh * s->kw,
                  .by_blocks = depth * columns >= BLOCKS_FROM,
                  .blocks = qd_panel_count(block_panels(call), columns)};
    for (int64_t i = 0; i < f->blocks; i++)
        f->block_width = qd_max_i64(f->block_width, block_at(call, f, i).width);
    f->chunk_tiles = qd_min_i64(f->grid.tiles, f->by_blocks ? BLOCK_CHUNK_TILES : CHUNK_TILES);

    const int64_t v_tile = QD_WINOGRAD_PLANES * qd_winograd_planes_of(1, depth).line;
    f->shared_tiles = qd_min_i64(f->grid.tiles, qd_max_i64(SHARED_VALUES / v_tile, f->chunk_tiles));
    f->v = qd_winograd_planes_of(f->by_blocks ? f->shared_tiles : f->chunk_tiles, depth);
    f->m = qd_winograd_planes_of(f->chunk_tiles, f->block_width);
    /* U's planes lie as far apart as V's would: for the same reason. */
    f->u_plane = qd_winograd_planes_of(
                     1, depth * (f->by_blocks ? f->block_width : qd_panel_total_width(call->k->panels, columns)))
                     .plane;
    f->u_bytes = qd_align_bytes((size_t)(QD_WINOGRAD_PLANES * f->u_plane) * sizeof(float));
    f->v_bytes = qd_winograd_planes_bytes(&f->v);
    f->m_bytes = qd_winograd_planes_bytes(&f->m);
    f->address_bytes = qd_winograd_address_bytes(f->chunk_tiles);
    f->discard_bytes = qd_align_bytes((size_t)f->block_width * sizeof(float));

    f->at.packed = qd_take_bytes(&used, qd_conv_packed_bytes(call, f->taps * depth, columns));
    f->at.zeros = qd_take_bytes(&used, (size_t)depth * sizeof(float));
    f->at.u = qd_take_bytes(&used, f->u_bytes * (f->by_blocks ? threads : 1));
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
static void transform_weights(const qd_layer_call *call, const filter *f, const qd_panel *block, float *u)
{
    const qd_panels panels = call->k->panels;
    const float *packed = f->packed + block->first_width * f->taps * f->depth;

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
        for (int64_t i = 0; i < count; i++) {
            from[i] = v.data + plane * v.plane + i * v.line;
            to[i] = m.data + plane * m.plane + i * m.line;
        }
        const qd_tile_rows_args args = {.rows = count,
                                        .columns = block->columns,
                                        .taps = 1,
                                        .depth = f->depth,
                                        .x = from,
                                        .w = u + plane * f->u_plane,
                                        .panel_count = qd_panel_count(call->k->panels, block->columns),
                                        .y = to};
        call->k->tile_rows(&args);
    }
    qd_winograd_transform_output(call, &f->grid, m, first, count, scratch, f->accumulate, channels, f->y);
}

static void run_by_chunks(const qd_layer_call *call, const filter *f)
{
    const int64_t chunks = qd_piece_count(f->grid.tiles, f->chunk_tiles);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < f->blocks; i++) {
        const qd_panel block = block_at(call, f, i);
        transform_weights(call, f, &block, f->u + block.first_width * f->depth);
    }
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
    const int64_t cuts = qd_piece_count(JOBS_WANTED, f->blocks);

    for (int64_t p = 0; p < parts; p++) {
        const qd_piece part = qd_partial_rows(f->grid.tiles, parts, p);
        const int64_t pieces = qd_piece_count(part.count, CHUNK_TILES);
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t i = 0; i < pieces; i++) {
            const qd_piece piece = qd_piece_of(part.count, CHUNK_TILES, i);
            transform_input(call, f, part.first + piece.first, piece.count,
                            qd_winograd_planes_from(f->v, piece.first));
        }
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t job = 0; job < f->blocks * cuts; job++) {
            const qd_panel block = block_at(call, f, job / cuts);
            const qd_piece cut = qd_partial_rows(part.count, cuts, job % cuts);
            const int64_t chunks = qd_piece_count(cut.count, f->chunk_tiles);
            float *u = own(f->u, f->u_bytes);
            transform_weights(call, f, &block, u);
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

size_t qd_conv_winograd_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->ic, s->oc, &f);
    return f.at.bytes;
}

void qd_conv_winograd_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->ic, s->oc, &f);
    attach_workspace(call, &f);
    f.x = call->x[0];
    f.y = call->y;
    for (int64_t i = 0; i < f.blocks; i++) {
        const qd_panel block = block_at(call, &f, i);
        const int64_t row = f.taps * f.depth;
        qd_conv_pack_rows(call, (const float *)call->param[0] + block.first_column * row, block.columns, row,
                          f.packed + block.first_width * row);
    }
    run(call, &f);
}

size_t qd_conv_winograd_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    filter f;
    prepare(call, s, s->oc, s->ic, &f);
    return f.at.bytes;
}

void qd_conv_winograd_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    /* Taps from the kernel's last to its first: turned by 180°. */
    const qd_conv_window turned = {
        .taps_h = s->kh, .taps_w = s->kw, .kernel_y = s->kh - 1, .kernel_x = s->kw - 1, .kernel_step = -1};
    filter f;
    prepare(call, s, s->oc, s->ic, &f);
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
