/*
 * Dense convolutions with fixed weights through the tile kernels, as conv_tiles.c drives them: products of rows of x,
 * named by their addresses, with packed weights. Here a job is a chunk of rows times one panel of columns, whose
 * results fit first-level cache and are finished there. A run of one image reads its weights once and for few rows,
 * so that reading them takes as long as the arithmetic: threads share the panels where there are more weights than
 * input, and the rows elsewhere.
 */
#include "nn/conv_fixed.h"
#include "nn/conv_pack.h"

#include <omp.h>
#include <string.h>

/* Rows of a job: 96 of a panel's 64 columns are 24 KiB. Chunks end at a multiple of every tile's lines (6, 8, 12). */
#define CHUNK_ROWS 96
#define CHUNK_UNIT 24

/* Below this many multiply-adds waking another thread takes longer than it saves. */
#define SHARED_WORK 40000

typedef struct tiles {
    qd_conv_window window;
    int64_t rows, taps, depth; /* depth: values of a tap */
    int64_t columns, panels;
    int64_t units, chunks;
    bool by_panels; /* threads share the panels */
} tiles;

/* An even number, so that two threads have equal shares, or one. */
static int64_t even_count(int64_t items, int64_t most)
{
    return items <= most ? 1 : 2 * qd_piece_count(items, 2 * most);
}

static int64_t panel_count(const qd_kernels *k, int64_t columns)
{
    return even_count(qd_panel_vectors(k->panels, columns), k->panels.vectors);
}

static tiles tiles_of(const qd_kernels *k, const qd_conv_shape *s)
{
    const bool few = qd_conv_window_wants_bands(s);
    tiles t = {.window = few ? qd_conv_window_bands(s) : qd_conv_window_forward(s),
               .depth = few ? s->kw * s->ic : s->ic,
               .columns = s->oc,
               .panels = panel_count(k, s->oc)};
    t.rows = qd_conv_window_rows(&t.window);
    t.taps = qd_conv_window_taps(&t.window);
    t.units = qd_piece_count(t.rows, CHUNK_UNIT);
    t.chunks = even_count(t.units, CHUNK_ROWS / CHUNK_UNIT);
    if (t.panels == 1) /* rows are all there is to share */
        t.chunks = qd_min_i64(t.units, qd_max_i64(2, t.chunks));
    t.by_panels = t.panels > 1 && s->oc * s->kh * s->kw > s->n * s->ih * s->iw;
    return t;
}

static qd_piece chunk_at(const tiles *t, int64_t index)
{
    const int64_t first = t->units * index / t->chunks * CHUNK_UNIT,
                  end = qd_min_i64(t->rows, t->units * (index + 1) / t->chunks * CHUNK_UNIT);
    return (qd_piece){first, end - first};
}

/* Parts of the workspace: where each begins. */
typedef struct layout {
    size_t margins, zeros, threads;
    size_t addresses_bytes, gated_bytes; /* of a thread: addresses, then rows of a gated input */
    size_t bytes;                        /* of all */
} layout;

static layout layout_of(const tiles *t, const qd_conv_shape *s, int threads)
{
    layout l = {0};
    l.margins = qd_take_bytes(&l.bytes, qd_conv_window_wants_bands(s) ? qd_conv_margins_bytes(s) : 0);
    l.zeros = qd_take_bytes(&l.bytes, (size_t)s->ic * sizeof(float));
    l.addresses_bytes = qd_align_bytes((size_t)((t->taps + 1) * CHUNK_ROWS) * sizeof(void *));
    l.gated_bytes = qd_fixed_conv_takes_gate(s) ? qd_align_bytes((size_t)(CHUNK_ROWS * s->ic) * sizeof(float)) : 0;
    l.threads = qd_take_bytes(&l.bytes, (size_t)threads * (l.addresses_bytes + l.gated_bytes));
    return l;
}

size_t qd_fixed_tiles_packed_bytes(const qd_kernels *k, const qd_fixed_conv *conv)
{
    const qd_conv_shape *s = &conv->shape;
    return (size_t)(s->kh * s->kw * s->ic * qd_panel_total_width(k->panels, s->oc)) * sizeof(float);
}

void qd_fixed_tiles_pack(const qd_kernels *k, int threads, const qd_fixed_conv *conv, void *workspace, float *packed)
{
    (void)workspace;
    const qd_fixed_conv_run run = {.k = k, .threads = threads};
    qd_conv_shape s;
    const qd_layer_call call = qd_fixed_conv_call(conv, &run, &s);
    const int64_t depth = s.kh * s.kw * s.ic, panels = panel_count(k, s.oc);

    for (int64_t i = 0; i < panels; i++) {
        const qd_panel panel = qd_panel_of(k->panels, s.oc, panels, i);
        qd_conv_pack_rows(&call, conv->weight + panel.first_column * depth, panel.columns, depth,
                          packed + panel.first_width * depth);
    }
}

size_t qd_fixed_tiles_workspace_bytes(const qd_kernels *k, int threads, const qd_fixed_conv *conv)
{
    const tiles t = tiles_of(k, &conv->shape);
    return layout_of(&t, &conv->shape, threads).bytes;
}

/* out = x·gate for rows first …, which may be of several images. */
static void multiply_rows(const qd_fixed_conv_run *run, const qd_conv_shape *s, qd_piece rows, float *out)
{
    const int64_t of_image = s->ih * s->iw;

    for (int64_t row = rows.first; row < rows.first + rows.count;) {
        const int64_t image = row / of_image;
        const int64_t count = qd_min_i64((image + 1) * of_image, rows.first + rows.count) - row;
        run->k->channel_scale(run->x + row * s->ic, run->gate + image * s->ic, count, s->ic, false,
                              out + (row - rows.first) * s->ic);
        row += count;
    }
}

/* Addresses [taps][count] of what a chunk's rows read. */
static void find_sources(const qd_fixed_conv_run *run, const qd_conv_shape *s, const tiles *t, qd_piece rows,
                         const float *source, const float *zeros, float *gated, const void **x)
{
    if (!run->gate) {
        qd_conv_window_sources(&t->window, source, zeros, rows.first, rows.count, x);
        return;
    }
    multiply_rows(run, s, rows, gated);
    for (int64_t r = 0; r < rows.count; r++)
        x[r] = gated + r * s->ic;
}

void qd_fixed_tiles_forward(const qd_fixed_conv *conv, const qd_fixed_conv_run *run)
{
    qd_conv_shape s;
    const qd_layer_call call = qd_fixed_conv_call(conv, run, &s);
    const qd_kernels *k = run->k;
    const tiles t = tiles_of(k, &s);
    const layout l = layout_of(&t, &s, run->threads);
    float *margins = qd_workspace_at(&call, l.margins), *zeros = qd_workspace_at(&call, l.zeros);
    const float *source = run->x;
    const int64_t depth = t.taps * t.depth, jobs = t.chunks * t.panels;

    memset(zeros, 0, (size_t)s.ic * sizeof *zeros);
    if (qd_conv_window_wants_bands(&s)) {
        qd_conv_copy_with_margins(&call, &s, margins);
        source = margins;
    }
#pragma omp parallel num_threads(run->threads) if (jobs > 1 && t.rows * t.columns * depth > SHARED_WORK)
    {
        const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
        unsigned char *own =
            (unsigned char *)qd_workspace_at(&call, l.threads) + (size_t)thread * (l.addresses_bytes + l.gated_bytes);
        const void **x = (const void **)(void *)own;
        const int64_t first = jobs * thread / threads;
        const int64_t fresh = t.by_panels ? 0 : first / t.panels; /* the chunk for which weights are read first */
        int64_t found = -1;                                       /* the chunk whose sources these are */

        for (int64_t job = first; job < jobs * (thread + 1) / threads; job++) {
            const int64_t index = t.by_panels ? job % t.chunks : job / t.panels;
            const qd_piece rows = chunk_at(&t, index);
            const qd_panel panel =
                qd_panel_of(k->panels, t.columns, t.panels, t.by_panels ? job / t.chunks : job % t.panels);
            void **y = (void **)(x + t.taps * rows.count);
            if (index != found)
                find_sources(run, &s, &t, rows, source, zeros, (float *)(void *)(own + l.addresses_bytes), x);
            found = index;
            qd_conv_window_targets(&t.window, run->y + panel.first_column, rows.first, rows.count, y);
            const float *w = conv->packed + panel.first_width * depth;
            const qd_tile_rows_args args = {.rows = rows.count,
                                            .columns = panel.columns,
                                            .taps = t.taps,
                                            .depth = t.depth,
                                            .x = x,
                                            .w = w,
                                            .panel_count = 1,
                                            .y = y,
                                            .next_w = index == fresh ? w + panel.width * depth : NULL};
            k->tile_rows(&args);
            qd_fixed_conv_finish(conv, run, rows.first, rows.count, panel.first_column, panel.columns);
        }
    }
}
