/*
 * The weights' gradient of a 3x3 convolution of stride 1 and padding 1 by the adjoint of Winograd's F(4x4, 3x3),
 * float32: with V of x and M of dy (winograd_tiles.h), a product for each of 36 planes,
 *     dU[oc][ic] = Σ_tiles M[tile][oc]·V[tile][ic], and dw[oc][3][3][ic] = Gt·dU·G.
 * Which values stay in cache and how threads share the work is one of
 *     a chunk of tiles' V and M, added to one of several partial dU: few channels, many tiles;
 *     dU of a block of output channels, where all tiles' V pass by once a block: many channels, few tiles.
 */
#include "nn/conv_passes.h"
#include "nn/winograd_tiles.h"

#include <omp.h>
#include <string.h>

/* From this product of channels on, partial dU (5 MB) leave the cache between chunks. */
#define BLOCKS_FROM (192 * 192)

/* Tiles of a chunk. Sums are read and written once a chunk, and V and M of 48 tiles of up to 128 channels take two
 * megabytes; a block has no V of its own. */
#define CHUNK_TILES       48
#define BLOCK_CHUNK_TILES 132

/* Partial dU: even shares for 2 and 4 threads; each is four times as large as the weights. */
#define PARTIALS 4

/* Output channels of a block, shared out in multiples of most tiles' lines. */
#define BLOCK_LINES 64
#define LINES_UNIT  12

/* Values of V that blocks share (32 MiB): larger batches are cut. */
#define SHARED_VALUES (8 << 20)

/* Tiles of x transformed at a time for all blocks. */
#define PIECE_TILES 36

/* Parts of the workspace: where each begins. */
typedef struct layout {
    size_t zeros, u, v, m, addresses;
    size_t bytes; /* of all */
} layout;

typedef struct gradient {
    qd_winograd_grid grid;
    int64_t ic, oc;
    bool by_blocks;
    int64_t blocks, lines; /* output channels of the largest block */
    int64_t partials;      /* of dU */
    int64_t chunk_tiles, shared_tiles;
    const float *x, *dy;
    layout at;
    size_t u_bytes, v_bytes, m_bytes, address_bytes;
    int64_t u_plane;
    /* parts of the workspace; each thread has its own m and addresses, and v or, by blocks, u */
    float *zeros, *u;
    qd_winograd_planes v, m;
    void *addresses;
} gradient;

static qd_piece block_lines(const gradient *g, int64_t index)
{
    const int64_t units = qd_piece_count(g->oc, LINES_UNIT);
    const int64_t first = units * index / g->blocks * LINES_UNIT;
    return (qd_piece){first, qd_min_i64(g->oc, units * (index + 1) / g->blocks * LINES_UNIT) - first};
}

/* How the problem is cut and its workspace laid out. */
static void prepare(const qd_layer_call *call, const qd_conv_shape *s, gradient *g)
{
    const size_t threads = (size_t)call->threads;
    size_t used = 0;
    *g = (gradient){.grid = qd_winograd_grid_of(s),
                    .ic = s->ic,
                    .oc = s->oc,
                    .by_blocks = s->ic * s->oc >= BLOCKS_FROM,
                    .blocks = 1,
                    .partials = 1};
    if (g->by_blocks)
        g->blocks = qd_max_i64(1, s->oc / BLOCK_LINES);
    for (int64_t i = 0; i < g->blocks; i++)
        g->lines = qd_max_i64(g->lines, block_lines(g, i).count);
    g->chunk_tiles = qd_min_i64(g->grid.tiles, g->by_blocks ? BLOCK_CHUNK_TILES : CHUNK_TILES);
    if (!g->by_blocks)
        g->partials = qd_min_i64(PARTIALS, qd_piece_count(g->grid.tiles, g->chunk_tiles));

    const int64_t v_tile = QD_WINOGRAD_PLANES * qd_winograd_planes_of(1, s->ic).line;
    g->shared_tiles = qd_min_i64(g->grid.tiles, qd_max_i64(SHARED_VALUES / v_tile, g->chunk_tiles));
    g->v = qd_winograd_planes_of(g->by_blocks ? g->shared_tiles : g->chunk_tiles, s->ic);
    g->m = qd_winograd_planes_of(g->chunk_tiles, g->lines);
    g->u_plane = qd_winograd_planes_of(1, g->lines * s->ic).plane;
    g->u_bytes = qd_align_bytes((size_t)(QD_WINOGRAD_PLANES * g->u_plane) * sizeof(float));
    g->v_bytes = qd_winograd_planes_bytes(&g->v);
    g->m_bytes = qd_winograd_planes_bytes(&g->m);
    g->address_bytes = qd_winograd_address_bytes(g->chunk_tiles);

    g->at.zeros = qd_take_bytes(&used, (size_t)qd_max_i64(s->ic, s->oc) * sizeof(float));
    g->at.u = qd_take_bytes(&used, g->u_bytes * (g->by_blocks ? threads : (size_t)g->partials));
    g->at.v = qd_take_bytes(&used, g->v_bytes * (g->by_blocks ? 1 : threads));
    g->at.m = qd_take_bytes(&used, g->m_bytes * threads);
    g->at.addresses = qd_take_bytes(&used, g->address_bytes * threads);
    g->at.bytes = used;
}

static void attach_workspace(const qd_layer_call *call, gradient *g)
{
    g->zeros = qd_workspace_at(call, g->at.zeros);
    g->u = qd_workspace_at(call, g->at.u);
    g->v.data = qd_workspace_at(call, g->at.v);
    g->m.data = qd_workspace_at(call, g->at.m);
    g->addresses = qd_workspace_at(call, g->at.addresses);
    memset(g->zeros, 0, (size_t)qd_max_i64(g->ic, g->oc) * sizeof(float));
}

static qd_winograd_scratch own_scratch(const gradient *g)
{
    unsigned char *addresses = (unsigned char *)g->addresses + (size_t)omp_get_thread_num() * g->address_bytes;
    return (qd_winograd_scratch){.addresses = (const void **)(void *)addresses, .outside = g->zeros};
}

static float *u_at(const gradient *g, int64_t index)
{
    return g->u + (size_t)index * (g->u_bytes / sizeof(float));
}

static void transform_input(const qd_layer_call *call, const gradient *g, int64_t first, int64_t count,
                            qd_winograd_planes v)
{
    const qd_winograd_channels channels = {.pixel = g->ic, .count = g->ic};
    qd_winograd_transform_input(call, &g->grid, g->x, channels, first, count, own_scratch(g), v);
}

/* u[36][lines][ic] = (or +=) the products over tiles first … */
static void sum_products(const qd_layer_call *call, const gradient *g, qd_piece lines, qd_winograd_planes v,
                         int64_t first, int64_t count, bool accumulate, float *u)
{
    const qd_winograd_planes m = qd_winograd_planes_own(g->m, g->m_bytes);
    const qd_winograd_channels channels = {.pixel = g->oc, .first_channel = lines.first, .count = lines.count};
    const qd_winograd_scratch scratch = own_scratch(g);

    qd_winograd_transform_gradient(call, &g->grid, g->dy, channels, first, count, scratch, m);
    for (int plane = 0; plane < QD_WINOGRAD_PLANES; plane++) {
        for (int64_t i = 0; i < count; i++)
            scratch.addresses[i] = v.data + plane * v.plane + i * v.line;
        const qd_tile_outer_args args = {.rows = count,
                                         .lines = lines.count,
                                         .columns = g->ic,
                                         .a = m.data + plane * m.plane,
                                         .lda = m.line,
                                         .b = scratch.addresses,
                                         .accumulate = accumulate,
                                         .c = u + plane * g->u_plane,
                                         .ldc = g->ic};
        call->k->tile_outer(&args);
    }
}

static void transform_back(const qd_layer_call *call, const gradient *g, const float *u, bool accumulate, float *dw)
{
    call->k->winograd_weights_adjoint(u, g->u_plane, g->ic, accumulate, dw, g->ic);
}

static void run_by_chunks(const qd_layer_call *call, const gradient *g, float *dw)
{
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < g->partials; p++) {
        const qd_piece part = qd_partial_rows(g->grid.tiles, g->partials, p);
        const int64_t chunks = qd_piece_count(part.count, g->chunk_tiles);
        const qd_winograd_planes v = qd_winograd_planes_own(g->v, g->v_bytes);
        for (int64_t i = 0; i < chunks; i++) {
            const qd_piece chunk = qd_partial_rows(part.count, chunks, i);
            transform_input(call, g, part.first + chunk.first, chunk.count, v);
            sum_products(call, g, (qd_piece){0, g->oc}, v, part.first + chunk.first, chunk.count, i > 0, u_at(g, p));
        }
    }
    /* A line of all planes stays in cache from its sum to its transform. */
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t o = 0; o < g->oc; o++) {
        for (int64_t p = 1; p < g->partials; p++)
            for (int plane = 0; plane < QD_WINOGRAD_PLANES; plane++) {
                float *sum = g->u + plane * g->u_plane + o * g->ic;
                call->k->add(sum, u_at(g, p) + plane * g->u_plane + o * g->ic, g->ic, sum);
            }
        transform_back(call, g, g->u + o * g->ic, false, dw + o * 9 * g->ic);
    }
}

static void run_by_blocks(const qd_layer_call *call, const gradient *g, float *dw)
{
    const int64_t parts = qd_piece_count(g->grid.tiles, g->shared_tiles);

    for (int64_t p = 0; p < parts; p++) {
        const qd_piece part = qd_partial_rows(g->grid.tiles, parts, p);
        const int64_t pieces = qd_piece_count(part.count, PIECE_TILES);
        const int64_t chunks = qd_piece_count(part.count, g->chunk_tiles);
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t i = 0; i < pieces; i++) {
            const qd_piece piece = qd_piece_of(part.count, PIECE_TILES, i);
            transform_input(call, g, part.first + piece.first, piece.count,
                            qd_winograd_planes_from(g->v, piece.first));
        }
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t b = 0; b < g->blocks; b++) {
            const qd_piece lines = block_lines(g, b);
            float *u = u_at(g, omp_get_thread_num());
            for (int64_t i = 0; i < chunks; i++) {
                const qd_piece chunk = qd_partial_rows(part.count, chunks, i);
                sum_products(call, g, lines, qd_winograd_planes_from(g->v, chunk.first), part.first + chunk.first,
                             chunk.count, i > 0, u);
            }
            for (int64_t o = 0; o < lines.count; o++)
                transform_back(call, g, u + o * g->ic, p > 0, dw + (lines.first + o) * 9 * g->ic);
        }
    }
}

size_t qd_conv_winograd_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    gradient g;
    prepare(call, s, &g);
    return g.at.bytes;
}

void qd_conv_winograd_backward_weights(const qd_layer_call *call, const qd_conv_shape *s)
{
    gradient g;
    prepare(call, s, &g);
    attach_workspace(call, &g);
    g.x = call->x[0];
    g.dy = call->dy;
    if (g.by_blocks)
        run_by_blocks(call, &g, call->grad[0]);
    else
        run_by_chunks(call, &g, call->grad[0]);
}
