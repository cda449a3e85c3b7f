/*
 * Dense convolution through OpenBLAS: the portable way, and float64's. Matrix products over NHWC memory. For one
 * group, with rows = n·oh·ow output positions and K = kh·kw·ic columns: forward           y[rows][oc]  = A[rows][K] ·
 * w[oc][K]ᵀ backward weights  dw[oc][K]    = dy[rows][oc]ᵀ · A[rows][K] backward data     dx           = the
 * convolution of dy with w turned by 180° and transposed (stride 1), or the scattered columns dy[rows][oc] · w[oc][K]
 * (col2im) A is never built whole. Chunks of rows are taken from it in one of three ways; see enum row_method.
 */
#include "nn/conv_passes.h"

#include "base/arena.h"

#include <omp.h>
#include <string.h>

/*
 * ROWS_DIRECT  1×1, stride 1, no padding: NHWC memory is A.
 * ROWS_LINES   Stride 1: a chunk is some lines of one image. Its input lines are unrolled over kw only, kw·ic columns
 * a position, and each line kh of the kernel is a product of its own, whose rows start kh lines later: a third of
 * im2col's copying for a 3×3 kernel. ROWS_IM2COL  Anything else: K columns a position. Chunks cross images.
 */
enum row_method { ROWS_DIRECT, ROWS_LINES, ROWS_IM2COL };

/*
 * How rows are cut. OpenBLAS packs the weights once a call, so few rows waste time there, and a chunk of A should
 * not leave the cache between its making and its use (L3 here: packing reads it only once). Values from
 * tests/bench/bench_conv.c on a Zen 3 with 512 KiB of L2 and 32 MiB of L3.
 */
#define CHUNK_ROWS          1024
#define CHUNK_ROWS_MIN      256
#define CHUNK_BYTES         (4 << 20)
#define LINES_MIN_COLUMNS   64  /* kw·ic: thinner products are better as one of K columns */
#define LINES_MIN_POSITIONS 512 /* oh·ow: smaller images need chunks that cross images */
#define SPREAD_ROWS         128 /* with this many rows or more a chunk is worth a thread of its own */

/* Weight gradients of this many values or more are cut into blocks instead of being summed from partials: there 15
 * further buffers would take 10 MB and more, and both networks have few rows left. */
#define BLOCKED_GRADIENT_COUNT (160 << 10)
#define GRADIENT_BLOCKS        8          /* even shares for 2, 4 and 8 threads; more would be packed more often */
#define SHARED_BYTES           (16 << 20) /* the columns that all blocks share: half of that L3 */

typedef struct row_plan {
    enum row_method method;
    int64_t columns;  /* K of one group */
    int64_t products; /* matrix products a chunk: kh for ROWS_LINES, else 1 */
    int64_t product_columns;
    int64_t chunk_count;
    int64_t chunk_rows;   /* upper bound of a chunk's rows */
    int64_t chunk_lines;  /* ROWS_LINES */
    int64_t blocks;       /* ROWS_LINES: chunks an image */
    size_t scratch_bytes; /* columns of one chunk */
} row_plan;

/* Rows [first, first + count) and where their columns are: product p starts p·step values later. */
typedef struct row_chunk {
    int64_t first, count;
    const void *a;
    int64_t lda, step;
} row_chunk;

static bool is_direct(const qd_conv_shape *s)
{
    return s->kh == 1 && s->kw == 1 && s->stride == 1 && s->pad == 0;
}

static row_plan plan_rows(const qd_conv_shape *s, size_t size, bool allow_lines, int64_t chunk_bytes)
{
    int64_t rows = s->n * s->oh * s->ow;
    row_plan plan = {.method = ROWS_IM2COL, .products = 1};
    int64_t limit;

    plan.columns = s->kh * s->kw * (s->ic / s->groups);
    plan.product_columns = plan.columns;
    if (is_direct(s))
        plan.method = ROWS_DIRECT;
    else if (allow_lines && s->stride == 1 && s->kw * (s->ic / s->groups) >= LINES_MIN_COLUMNS &&
             s->oh * s->ow >= LINES_MIN_POSITIONS)
        plan.method = ROWS_LINES;

    if (plan.method == ROWS_LINES) {
        plan.products = s->kh;
        plan.product_columns = plan.columns / s->kh;
        plan.blocks = (s->oh * s->ow + CHUNK_ROWS - 1) / CHUNK_ROWS;
        plan.chunk_lines = (s->oh + plan.blocks - 1) / plan.blocks;
        plan.blocks = (s->oh + plan.chunk_lines - 1) / plan.chunk_lines;
        plan.chunk_count = s->n * plan.blocks;
        plan.chunk_rows = plan.chunk_lines * s->ow;
        plan.scratch_bytes = (size_t)((plan.chunk_lines + s->kh - 1) * s->ow * plan.product_columns) * size;
        return plan;
    }
    limit = plan.method == ROWS_DIRECT
                ? CHUNK_ROWS
                : qd_max_i64(CHUNK_ROWS_MIN, qd_min_i64(CHUNK_ROWS, chunk_bytes / (plan.columns * (int64_t)size)));
    plan.chunk_count = qd_max_i64((rows + limit - 1) / limit, qd_max_i64(1, qd_min_i64(4, rows / SPREAD_ROWS)));
    plan.chunk_rows = qd_min_i64(rows, limit);
    if (plan.method == ROWS_IM2COL)
        plan.scratch_bytes = (size_t)(plan.chunk_rows * plan.columns) * size;
    return plan;
}

/* Rows of a chunk; for ROWS_LINES also its lines. */
static row_chunk chunk_at(const row_plan *plan, const qd_conv_shape *s, int64_t index)
{
    int64_t rows = s->n * s->oh * s->ow;
    row_chunk chunk = {0};
    int64_t end;

    if (plan->method == ROWS_LINES) {
        int64_t line = index % plan->blocks * plan->chunk_lines;

        chunk.first = (index / plan->blocks * s->oh + line) * s->ow;
        chunk.count = qd_min_i64(plan->chunk_lines, s->oh - line) * s->ow;
        return chunk;
    }
    chunk.first = rows * index / plan->chunk_count;
    end = rows * (index + 1) / plan->chunk_count;
    chunk.count = end - chunk.first;
    return chunk;
}

/* Makes the columns of a chunk, in `scratch` unless memory already holds them. */
static row_chunk chunk_load(const row_plan *plan, const qd_layer_call *call, const qd_conv_shape *s, int64_t group,
                            const void *x, int64_t index, void *scratch)
{
    row_chunk chunk = chunk_at(plan, s, index);

    chunk.a = scratch;
    chunk.lda = plan->product_columns;
    if (plan->method == ROWS_DIRECT) {
        chunk.a = qd_element(x, call->dtype, chunk.first * s->ic + group * (s->ic / s->groups));
        chunk.lda = s->ic;
    } else if (plan->method == ROWS_IM2COL) {
        call->k->im2col(s, group, x, chunk.first, chunk.count, scratch);
    } else {
        /* Unrolling over kw alone is im2col with a kernel of one line over all lines of the padded image. */
        qd_conv_shape lines = *s;
        int64_t image = index / plan->blocks, line = index % plan->blocks * plan->chunk_lines;

        lines.kh = 1;
        lines.oh = s->ih + 2 * s->pad;
        call->k->im2col(&lines, group, x, (image * lines.oh + line) * s->ow, chunk.count + (s->kh - 1) * s->ow,
                        scratch);
        chunk.step = s->ow * chunk.lda;
    }
    return chunk;
}

/* Weights as the right-hand side of a product. */
typedef struct weights {
    const void *data;
    bool transposed; /* [oc][K]; false: [K][oc] */
} weights;

/* y = (or +=) the convolution of x with w; scratch: one region of plan->scratch_bytes a thread. */
static void convolve(const qd_layer_call *call, const qd_conv_shape *s, const row_plan *plan, const void *x,
                     weights w, bool accumulate, void *scratch, void *y)
{
    size_t region = qd_align_bytes(plan->scratch_bytes);
    int64_t out_channels = s->oc / s->groups;

    for (int64_t group = 0; group < s->groups; group++) {
        const void *w_group = qd_element(w.data, call->dtype, group * out_channels * plan->columns);

#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t index = 0; index < plan->chunk_count; index++) {
            void *own = (unsigned char *)scratch + (size_t)omp_get_thread_num() * region;
            row_chunk chunk = chunk_load(plan, call, s, group, x, index, own);

            for (int64_t p = 0; p < plan->products; p++) {
                qd_gemm_args args = {.transpose_b = w.transposed,
                                     .m = chunk.count,
                                     .n = out_channels,
                                     .k = plan->product_columns,
                                     .a = qd_element(chunk.a, call->dtype, p * chunk.step),
                                     .lda = chunk.lda,
                                     .b = qd_element(w_group, call->dtype, p * plan->product_columns),
                                     .ldb = w.transposed ? plan->columns : out_channels,
                                     .beta = accumulate || p > 0 ? 1.0 : 0.0,
                                     .c = qd_element(y, call->dtype, chunk.first * s->oc + group * out_channels),
                                     .ldc = s->oc};
                call->k->gemm(&args);
            }
        }
    }
}

/* ---- forward ---- */

size_t qd_conv_blas_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    row_plan plan = plan_rows(s, qd_dtype_size(call->dtype), true, CHUNK_BYTES);

    return qd_align_bytes(plan.scratch_bytes) * (size_t)call->threads;
}

void qd_conv_blas_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    row_plan plan = plan_rows(s, qd_dtype_size(call->dtype), true, CHUNK_BYTES);

    convolve(call, s, &plan, call->x[0], (weights){call->param[0], true}, false, call->workspace, call->y);
}

/* ---- backward data ---- */

/* With stride 1 the gradient is a convolution itself, of dy into dx, padded so that sizes come back. */
static bool is_turned(const qd_conv_shape *s)
{
    return s->stride == 1 && s->pad < s->kh;
}

static qd_conv_shape turned_shape(const qd_conv_shape *s)
{
    return (qd_conv_shape){.n = s->n,
                           .ih = s->oh,
                           .iw = s->ow,
                           .ic = s->oc,
                           .oh = s->ih,
                           .ow = s->iw,
                           .oc = s->ic,
                           .kh = s->kh,
                           .kw = s->kw,
                           .stride = 1,
                           .pad = s->kh - 1 - s->pad,
                           .groups = s->groups};
}

/* Nothing to turn in a single tap: w[o][i] is already [K][oc] of the turned convolution. */
static size_t turned_bytes(const qd_conv_shape *s, size_t size)
{
    return is_direct(s) ? 0 : qd_align_bytes((size_t)(s->oc * s->kh * s->kw * (s->ic / s->groups)) * size);
}

/* to[column][row] = from[row][column]; called with a constant size, the copies are plain loads and stores. */
static inline void transpose(const unsigned char *from, int64_t from_stride, unsigned char *to, int64_t to_stride,
                             int64_t rows, int64_t columns, size_t size)
{
    for (int64_t column = 0; column < columns; column++)
        for (int64_t row = 0; row < rows; row++)
            memcpy(to + (size_t)(column * to_stride + row) * size, from + (size_t)(row * from_stride + column) * size,
                   size);
}

/* turned[i][kh-1-y][kw-1-x][o] = w[o][y][x][i] within each group, in tiles that keep both sides in cache lines. */
static void turn_weights(const qd_layer_call *call, const qd_conv_shape *s, void *turned)
{
    enum { TILE = 16 };
    int64_t ic = s->ic / s->groups, oc = s->oc / s->groups, taps = s->kh * s->kw;
    int64_t tiles = qd_piece_count(oc, TILE);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < s->groups * tiles; job++) {
        int64_t group = job / tiles * oc * taps * ic;
        qd_piece o = qd_piece_of(oc, TILE, job % tiles);

        for (int64_t tap = 0; tap < taps; tap++) {
            for (int64_t i = 0; i < ic; i += TILE) {
                const unsigned char *from =
                    qd_element(call->param[0], call->dtype, group + (o.first * taps + tap) * ic + i);
                unsigned char *to =
                    qd_element(turned, call->dtype, group + (i * taps + taps - 1 - tap) * oc + o.first);
                int64_t columns = qd_min_i64(TILE, ic - i);

                if (call->dtype == QD_F64)
                    transpose(from, taps * ic, to, taps * oc, o.count, columns, sizeof(double));
                else
                    transpose(from, taps * ic, to, taps * oc, o.count, columns, sizeof(float));
            }
        }
    }
}

/* dx through columns, one image after another on a thread: rows of an image meet in the same places of dx. */
static void scatter_columns(const qd_layer_call *call, const qd_conv_shape *s, int64_t chunk_rows)
{
    size_t size = qd_dtype_size(call->dtype);
    int64_t oc = s->oc / s->groups, columns = s->kh * s->kw * (s->ic / s->groups), rows = s->oh * s->ow;
    size_t region = qd_align_bytes((size_t)(chunk_rows * columns) * size);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t image = 0; image < s->n; image++) {
        int64_t image_count = s->ih * s->iw * s->ic;
        void *col = (unsigned char *)call->workspace + (size_t)omp_get_thread_num() * region;

        if (!call->accumulate[0])
            memset(qd_element(call->dx[0], call->dtype, image * image_count), 0, (size_t)image_count * size);
        for (int64_t group = 0; group < s->groups; group++) {
            for (int64_t row = 0; row < rows; row += chunk_rows) {
                qd_gemm_args args = {.m = qd_min_i64(chunk_rows, rows - row),
                                     .n = columns,
                                     .k = oc,
                                     .a =
                                         qd_element(call->dy, call->dtype, (image * rows + row) * s->oc + group * oc),
                                     .lda = s->oc,
                                     .b = qd_element(call->param[0], call->dtype, group * oc * columns),
                                     .ldb = columns,
                                     .c = col,
                                     .ldc = columns};
                call->k->gemm(&args);
                call->k->col2im(s, group, col, image * rows + row, args.m, call->dx[0]);
            }
        }
    }
}

static int64_t scatter_rows(const qd_conv_shape *s, size_t size)
{
    int64_t columns = s->kh * s->kw * (s->ic / s->groups);

    return qd_min_i64(s->oh * s->ow, qd_max_i64(CHUNK_ROWS_MIN, CHUNK_BYTES / (columns * (int64_t)size)));
}

size_t qd_conv_blas_backward_data_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    size_t size = qd_dtype_size(call->dtype);

    if (is_turned(s)) {
        qd_conv_shape turned = turned_shape(s);
        row_plan plan = plan_rows(&turned, size, true, CHUNK_BYTES);

        return turned_bytes(s, size) + qd_align_bytes(plan.scratch_bytes) * (size_t)call->threads;
    }
    return qd_align_bytes((size_t)(scatter_rows(s, size) * s->kh * s->kw * (s->ic / s->groups)) * size) *
           (size_t)call->threads;
}

void qd_conv_blas_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    size_t size = qd_dtype_size(call->dtype);

    if (is_turned(s)) {
        qd_conv_shape turned = turned_shape(s);
        row_plan plan = plan_rows(&turned, size, true, CHUNK_BYTES);
        weights w = {call->param[0], false};
        void *scratch = (unsigned char *)call->workspace + turned_bytes(s, size);

        if (!is_direct(s)) {
            turn_weights(call, s, call->workspace);
            w = (weights){call->workspace, true};
        }
        convolve(call, &turned, &plan, call->dy, w, call->accumulate[0], scratch, call->dx[0]);
        return;
    }
    scatter_columns(call, s, scatter_rows(s, size));
}

/* ---- backward weights ---- */

/* Many rows, few weights: chunks are summed into partial gradients. Few rows, many weights: all threads make the
 * columns of a chunk together, then each adds its own blocks of the gradient. */
static bool is_blocked(const qd_conv_shape *s)
{
    return s->oc / s->groups * s->kh * s->kw * (s->ic / s->groups) >= BLOCKED_GRADIENT_COUNT;
}

static row_plan plan_gradient(const qd_conv_shape *s, size_t size)
{
    bool blocked = is_blocked(s);

    return plan_rows(s, size, !blocked, blocked ? SHARED_BYTES : CHUNK_BYTES);
}

static int64_t partial_count(const row_plan *plan)
{
    return qd_min_i64(QD_CONV_MAX_PARTIALS, plan->chunk_count);
}

/* dw = (first chunk) or += dyᵀ · A of one chunk. */
static void add_product(const qd_layer_call *call, const qd_conv_shape *s, const row_plan *plan, int64_t group,
                        const row_chunk *chunk, bool first_chunk, void *dw)
{
    int64_t oc = s->oc / s->groups;

    for (int64_t p = 0; p < plan->products; p++) {
        qd_gemm_args args = {.transpose_a = true,
                             .m = oc,
                             .n = plan->product_columns,
                             .k = chunk->count,
                             .a = qd_element(call->dy, call->dtype, chunk->first * s->oc + group * oc),
                             .lda = s->oc,
                             .b = qd_element(chunk->a, call->dtype, p * chunk->step),
                             .ldb = chunk->lda,
                             .beta = first_chunk ? 0.0 : 1.0,
                             .c = qd_element(dw, call->dtype, p * plan->product_columns),
                             .ldc = plan->columns};
        call->k->gemm(&args);
    }
}

static void backward_weights_partial(const qd_layer_call *call, const qd_conv_shape *s, const row_plan *plan,
                                     int64_t group, void *dw)
{
    int64_t count = s->oc / s->groups * plan->columns, partials = partial_count(plan);
    size_t region = qd_align_bytes(plan->scratch_bytes);
    unsigned char *scratch = call->workspace;
    void *sums = scratch + region * (size_t)call->threads;

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < partials; p++) {
        void *sum = p == 0 ? dw : qd_element(sums, call->dtype, (p - 1) * count);
        int64_t first = plan->chunk_count * p / partials, end = plan->chunk_count * (p + 1) / partials;

        for (int64_t index = first; index < end; index++) {
            row_chunk chunk =
                chunk_load(plan, call, s, group, call->x[0], index, scratch + region * (size_t)omp_get_thread_num());

            add_product(call, s, plan, group, &chunk, index == first, sum);
        }
    }
    qd_conv_add_partials(call, sums, partials - 1, count, dw);
}

/* The longer side of dw is cut: cutting the shorter one would pack the longer once a block. */
static void add_block(const qd_layer_call *call, const qd_conv_shape *s, const row_plan *plan, int64_t group,
                      const row_chunk *chunk, int64_t block, void *dw)
{
    int64_t oc = s->oc / s->groups;
    int64_t long_side = qd_max_i64(oc, plan->columns);
    int64_t first = long_side * block / GRADIENT_BLOCKS;
    int64_t count = long_side * (block + 1) / GRADIENT_BLOCKS - first;
    int64_t row = oc > plan->columns ? first : 0, column = oc > plan->columns ? 0 : first;
    qd_gemm_args args = {.transpose_a = true,
                         .m = oc > plan->columns ? count : oc,
                         .n = oc > plan->columns ? plan->columns : count,
                         .k = chunk->count,
                         .a = qd_element(call->dy, call->dtype, chunk->first * s->oc + group * oc + row),
                         .lda = s->oc,
                         .b = qd_element(chunk->a, call->dtype, column),
                         .ldb = chunk->lda,
                         .beta = chunk->first == 0 ? 0.0 : 1.0,
                         .c = qd_element(dw, call->dtype, row * plan->columns + column),
                         .ldc = plan->columns};
    call->k->gemm(&args);
}

static void backward_weights_blocked(const qd_layer_call *call, const qd_conv_shape *s, const row_plan *plan,
                                     int64_t group, void *dw)
{
    enum { ROWS_PER_JOB = 32 };

    for (int64_t index = 0; index < plan->chunk_count; index++) {
        row_chunk chunk = chunk_at(plan, s, index);

        chunk.a = call->workspace;
        chunk.lda = plan->columns;
        if (plan->method == ROWS_DIRECT) {
            chunk = chunk_load(plan, call, s, group, call->x[0], index, NULL);
        } else {
#pragma omp parallel for schedule(static) num_threads(call->threads)
            for (int64_t row = 0; row < chunk.count; row += ROWS_PER_JOB)
                call->k->im2col(s, group, call->x[0], chunk.first + row, qd_min_i64(ROWS_PER_JOB, chunk.count - row),
                                qd_element(call->workspace, call->dtype, row * plan->columns));
        }
#pragma omp parallel for schedule(static) num_threads(call->threads)
        for (int64_t block = 0; block < GRADIENT_BLOCKS; block++)
            add_block(call, s, plan, group, &chunk, block, dw);
    }
}

size_t qd_conv_blas_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    size_t size = qd_dtype_size(call->dtype);
    row_plan plan = plan_gradient(s, size);

    if (is_blocked(s))
        return plan.scratch_bytes;
    return qd_align_bytes(plan.scratch_bytes) * (size_t)call->threads +
           (size_t)((partial_count(&plan) - 1) * (s->oc / s->groups) * plan.columns) * size;
}

void qd_conv_blas_backward_weights(const qd_layer_call *call, const qd_conv_shape *s)
{
    size_t size = qd_dtype_size(call->dtype);
    row_plan plan = plan_gradient(s, size);

    for (int64_t group = 0; group < s->groups; group++) {
        void *dw = qd_element(call->grad[0], call->dtype, group * (s->oc / s->groups) * plan.columns);

        if (is_blocked(s))
            backward_weights_blocked(call, s, &plan, group, dw);
        else
            backward_weights_partial(call, s, &plan, group, dw);
    }
}

void qd_conv_add_partials(const qd_layer_call *call, const void *partials, int64_t partials_given, int64_t count,
                          void *out)
{
    enum { VALUES_PER_JOB = 4096 }; /* 16 KiB of sums stay in L1 while the partials pass by */

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t i = 0; i < count; i += VALUES_PER_JOB) {
        void *sum = qd_element(out, call->dtype, i);

        for (int64_t p = 0; p < partials_given; p++)
            call->k->add(sum, qd_element(partials, call->dtype, p * count + i), qd_min_i64(VALUES_PER_JOB, count - i),
                         sum);
    }
}
