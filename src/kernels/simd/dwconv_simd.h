/*
 * Depthwise convolution in vectors of channels; included once a set with QD_NAME and the set's vec_*.h.
 *
 * Forward and backward data are correlations: every output vector is a sum of source vectors times tap vectors. A
 * tile of neighbouring outputs of a line stays in registers while the source passes by: each source vector is loaded
 * once for all outputs of the tile that see it, each tap once for the whole tile.
 *     forward                   source x,  taps w
 *     backward data, stride 1   source dy, taps w turned by half a circle
 *     backward data, stride 2   source dy; even and odd positions of dx each see every other tap
 * Backward weights keeps the sums of its taps in registers while a line's positions pass by.
 * Windows of 3x3 and 5x5 with strides 1 and 2 are unrolled; any other goes one output position at a time.
 */

#include "kernels/simd/unroll.h"

#define DW_INLINE static inline __attribute__((always_inline))

/* Outputs of a tile. Seven divides the sides of every map at 224 px, and with five taps, a source vector and the
 * address of another it fits AVX2's sixteen registers. */
#define DW_TILE 7

/* Pairs (even, odd) of a tile of backward data at stride 2: eight sums, five taps, one source. */
#define DW_PAIRS 4

/* dst[oh][ow] = or += Σ src[oh·stride - pad + kh][ow·stride - pad + kw]·w[kh][kw], vectors of channels each. */
typedef struct dw_correlation {
    const float *src, *w;
    float *dst;
    int64_t src_h, src_w, dst_h, dst_w, channels;
    int64_t kh, kw, stride, pad;
    int64_t w_row, w_col; /* floats from one tap to the next; negative where w points at the last one */
    bool accumulate;
} dw_correlation;

/* `tail` is 0 for a whole vector, or the number of its lanes that are channels. */
DW_INLINE vec dw_load(const float *p, int64_t tail)
{
    return tail ? vec_load_first(p, tail) : vec_load(p);
}

DW_INLINE void dw_store(float *p, vec v, bool accumulate, int64_t tail)
{
    if (accumulate)
        v = vec_add(v, dw_load(p, tail));
    if (tail)
        vec_store_first(p, v, tail);
    else
        vec_store(p, v);
}

DW_INLINE int64_t dw_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

DW_INLINE int64_t dw_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Where a tile lies; offsets are in floats and may point outside the image where `lo` and `hi` exclude them. */
typedef struct dw_place {
    const float *src, *w; /* the image and the first row of taps inside it */
    int64_t offset;       /* of the source under the first output's first tap */
    int64_t rows;         /* of taps inside the image */
    int64_t lo, hi;       /* source columns lo … hi - 1, counted from `offset`, are inside and needed */
    int64_t live;         /* outputs that exist */
    float *dst;
} dw_place;

DW_INLINE void dw_tile(const dw_correlation *a, int kw, int stride, bool edge, int64_t tail, const dw_place *at,
                       int64_t c)
{
    vec sum[DW_TILE], tap[5];
    const float *w = at->w + c;
    int64_t row = at->offset + c;

    UNROLL
    for (int t = 0; t < DW_TILE; t++)
        sum[t] = vec_zero();
    for (int64_t r = 0; r < at->rows; r++, row += a->src_w * a->channels, w += a->w_row) {
        int64_t column = row;

        UNROLL
        for (int i = 0; i < kw; i++)
            tap[i] = dw_load(w + i * a->w_col, tail);
        UNROLL
        for (int j = 0; j < (DW_TILE - 1) * stride + kw; j++, column += a->channels) {
            if (edge && (j < at->lo || j >= at->hi))
                continue;
            const vec v = dw_load(at->src + column, tail);
            UNROLL
            for (int i = 0; i < kw; i++) {
                const int t = j - i;
                if (t >= 0 && t % stride == 0 && t / stride < DW_TILE)
                    sum[t / stride] = vec_fma(v, tap[i], sum[t / stride]);
            }
        }
    }
    float *dst = at->dst + c;
    UNROLL
    for (int t = 0; t < DW_TILE; t++, dst += a->channels) {
        if (!edge || t < at->live)
            dw_store(dst, sum[t], a->accumulate, tail);
    }
}

DW_INLINE void dw_tile_channels(const dw_correlation *a, int kw, int stride, bool edge, const dw_place *at)
{
    int64_t c = 0;

    for (; c + VEC_LANES <= a->channels; c += VEC_LANES)
        dw_tile(a, kw, stride, edge, 0, at, c);
    if (c < a->channels)
        dw_tile(a, kw, stride, edge, a->channels - c, at, c);
}

DW_INLINE void dw_correlate(const dw_correlation *a, int kw, int stride, int64_t first_line, int64_t line_count)
{
    const int64_t columns = (DW_TILE - 1) * stride + kw;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const int64_t top = line % a->dst_h * stride - a->pad;
        const int64_t kh = dw_max(0, -top), kh_end = dw_min(a->kh, a->src_h - top);

        for (int64_t ow = 0; ow < a->dst_w; ow += DW_TILE) {
            const int64_t left = ow * stride - a->pad, live = dw_min(DW_TILE, a->dst_w - ow);
            const dw_place at = {.src = a->src + line / a->dst_h * a->src_h * a->src_w * a->channels,
                                 .w = a->w + kh * a->w_row,
                                 .offset = ((top + kh) * a->src_w + left) * a->channels,
                                 .rows = kh_end - kh,
                                 .lo = dw_max(0, -left),
                                 .hi = dw_min(a->src_w - left, (live - 1) * stride + kw),
                                 .live = live,
                                 .dst = a->dst + (line * a->dst_w + ow) * a->channels};

            if (at.lo > 0 || at.hi < columns)
                dw_tile_channels(a, kw, stride, true, &at);
            else
                dw_tile_channels(a, kw, stride, false, &at);
        }
    }
}

static void dw_correlate_k3s1(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    dw_correlate(a, 3, 1, first_line, line_count);
}

static void dw_correlate_k3s2(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    dw_correlate(a, 3, 2, first_line, line_count);
}

static void dw_correlate_k5s1(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    dw_correlate(a, 5, 1, first_line, line_count);
}

static void dw_correlate_k5s2(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    dw_correlate(a, 5, 2, first_line, line_count);
}

/* Any window, one output position at a time. */
static void dw_correlate_any(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const float *image = a->src + line / a->dst_h * a->src_h * a->src_w * a->channels;
        const int64_t top = line % a->dst_h * a->stride - a->pad;
        const int64_t kh_first = dw_max(0, -top), kh_end = dw_min(a->kh, a->src_h - top);

        for (int64_t ow = 0; ow < a->dst_w; ow++) {
            const int64_t left = ow * a->stride - a->pad;
            const int64_t kw_first = dw_max(0, -left), kw_end = dw_min(a->kw, a->src_w - left);

            for (int64_t c = 0; c < a->channels; c += VEC_LANES) {
                const int64_t tail = c + VEC_LANES <= a->channels ? 0 : a->channels - c;
                vec sum = vec_zero();

                for (int64_t kh = kh_first; kh < kh_end; kh++)
                    for (int64_t kw = kw_first; kw < kw_end; kw++)
                        sum = vec_fma(dw_load(image + ((top + kh) * a->src_w + left + kw) * a->channels + c, tail),
                                      dw_load(a->w + kh * a->w_row + kw * a->w_col + c, tail), sum);
                dw_store(a->dst + (line * a->dst_w + ow) * a->channels + c, sum, a->accumulate, tail);
            }
        }
    }
}

static void dw_correlate_lines(const dw_correlation *a, int64_t first_line, int64_t line_count)
{
    if (a->kw == 3 && a->stride == 1)
        dw_correlate_k3s1(a, first_line, line_count);
    else if (a->kw == 3 && a->stride == 2)
        dw_correlate_k3s2(a, first_line, line_count);
    else if (a->kw == 5 && a->stride == 1)
        dw_correlate_k5s1(a, first_line, line_count);
    else if (a->kw == 5 && a->stride == 2)
        dw_correlate_k5s2(a, first_line, line_count);
    else
        dw_correlate_any(a, first_line, line_count);
}

void QD_NAME(dwconv_forward)(const qd_conv_shape *s, const void *x, const void *w, int64_t first_line,
                             int64_t line_count, void *y)
{
    const dw_correlation a = {.src = x,
                              .w = w,
                              .dst = y,
                              .src_h = s->ih,
                              .src_w = s->iw,
                              .dst_h = s->oh,
                              .dst_w = s->ow,
                              .channels = s->ic,
                              .kh = s->kh,
                              .kw = s->kw,
                              .stride = s->stride,
                              .pad = s->pad,
                              .w_row = s->kw * s->ic,
                              .w_col = s->ic};
    dw_correlate_lines(&a, first_line, line_count);
}

/*
 * Backward data at stride 2. Position iw = 2q + p - pad of dx, p = 0 or 1, is seen by the taps kw = p + 2i of the
 * outputs q - i: a tile is DW_PAIRS neighbouring q, each with its even and its odd position. Lines likewise.
 */
typedef struct dw_pair_place {
    const float *dy, *w; /* the image, and the first row of taps that meets a line of it */
    int64_t offset;      /* of the first dy that the tile sees, in that tap row's line */
    int64_t rows;        /* of taps that meet lines of dy; the next row meets the line above */
    int64_t lo, hi;      /* columns lo … hi - 1, counted from `offset`, exist */
    int64_t iw;          /* position of the first even output; may lie left of the image */
    float *dx;           /* the line */
} dw_pair_place;

DW_INLINE void dw_pair_tile(const qd_conv_shape *s, int kw, bool edge, bool accumulate, int64_t tail,
                            const dw_pair_place *at, int64_t c)
{
    const int even_taps = (kw + 1) / 2;
    vec sum[2 * DW_PAIRS], tap[5];
    const float *w = at->w + c;
    int64_t row = at->offset + c;

    UNROLL
    for (int t = 0; t < 2 * DW_PAIRS; t++)
        sum[t] = vec_zero();
    for (int64_t r = 0; r < at->rows; r++, row -= s->ow * s->oc, w += 2 * s->kw * s->oc) {
        int64_t column = row;

        UNROLL
        for (int i = 0; i < kw; i++)
            tap[i] = dw_load(w + i * s->oc, tail);
        UNROLL
        for (int j = 0; j < DW_PAIRS + even_taps - 1; j++, column += s->oc) {
            if (edge && (j < at->lo || j >= at->hi))
                continue;
            const vec v = dw_load(at->dy + column, tail);
            UNROLL
            for (int i = 0; i < kw; i++) {
                const int q = j - (even_taps - 1) + i / 2;
                if (q >= 0 && q < DW_PAIRS)
                    sum[2 * q + i % 2] = vec_fma(v, tap[i], sum[2 * q + i % 2]);
            }
        }
    }
    UNROLL
    for (int t = 0; t < 2 * DW_PAIRS; t++) {
        if (!edge || (at->iw + t >= 0 && at->iw + t < s->iw))
            dw_store(at->dx + (at->iw + t) * s->ic + c, sum[t], accumulate, tail);
    }
}

DW_INLINE void dw_pair_channels(const qd_conv_shape *s, int kw, bool edge, bool accumulate, const dw_pair_place *at)
{
    int64_t c = 0;

    for (; c + VEC_LANES <= s->ic; c += VEC_LANES)
        dw_pair_tile(s, kw, edge, accumulate, 0, at, c);
    if (c < s->ic)
        dw_pair_tile(s, kw, edge, accumulate, s->ic - c, at, c);
}

DW_INLINE void dw_backward_pairs(const qd_conv_shape *s, int kw, const float *dy, const float *w, int64_t first_line,
                                 int64_t line_count, bool accumulate, float *dx)
{
    const int even_taps = (kw + 1) / 2;
    const int64_t columns = DW_PAIRS + even_taps - 1;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        /* Tap row kh = p + 2i meets line oh = q - i. */
        const int64_t q_line = (line % s->ih + s->pad) / 2, p_line = (line % s->ih + s->pad) % 2;
        const int64_t i = dw_max(0, q_line - (s->oh - 1));
        const int64_t i_end = dw_min((s->kh - p_line + 1) / 2, q_line + 1);

        for (int64_t q = s->pad / 2; 2 * q - s->pad < s->iw; q += DW_PAIRS) {
            const int64_t left = q - (even_taps - 1);
            const dw_pair_place at = {.dy = dy + line / s->ih * s->oh * s->ow * s->oc,
                                      .w = w + (p_line + 2 * i) * s->kw * s->oc,
                                      .offset = ((q_line - i) * s->ow + left) * s->oc,
                                      .rows = i_end - i,
                                      .lo = dw_max(0, -left),
                                      .hi = s->ow - left,
                                      .iw = 2 * q - s->pad,
                                      .dx = dx + line * s->iw * s->ic};

            if (at.lo > 0 || at.hi < columns || at.iw < 0 || at.iw + 2 * DW_PAIRS > s->iw)
                dw_pair_channels(s, kw, true, accumulate, &at);
            else
                dw_pair_channels(s, kw, false, accumulate, &at);
        }
    }
}

static void dw_backward_pairs_k3(const qd_conv_shape *s, const float *dy, const float *w, int64_t first_line,
                                 int64_t line_count, bool accumulate, float *dx)
{
    dw_backward_pairs(s, 3, dy, w, first_line, line_count, accumulate, dx);
}

static void dw_backward_pairs_k5(const qd_conv_shape *s, const float *dy, const float *w, int64_t first_line,
                                 int64_t line_count, bool accumulate, float *dx)
{
    dw_backward_pairs(s, 5, dy, w, first_line, line_count, accumulate, dx);
}

/* Any window and stride, one input position at a time: its taps are `stride` apart, their outputs are neighbours. */
static void dw_backward_any(const qd_conv_shape *s, const float *dy, const float *w, int64_t first_line,
                            int64_t line_count, bool accumulate, float *dx)
{
    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const float *image = dy + line / s->ih * s->oh * s->ow * s->oc;
        const int64_t row = line % s->ih + s->pad;

        for (int64_t iw = 0; iw < s->iw; iw++) {
            const int64_t column = iw + s->pad;

            for (int64_t c = 0; c < s->ic; c += VEC_LANES) {
                const int64_t tail = c + VEC_LANES <= s->ic ? 0 : s->ic - c;
                vec sum = vec_zero();

                for (int64_t kh = row % s->stride, oh = row / s->stride; kh < s->kh && oh >= 0;
                     kh += s->stride, oh--) {
                    for (int64_t kw = column % s->stride, ow = column / s->stride; kw < s->kw && ow >= 0;
                         kw += s->stride, ow--) {
                        if (oh < s->oh && ow < s->ow)
                            sum = vec_fma(dw_load(image + (oh * s->ow + ow) * s->oc + c, tail),
                                          dw_load(w + (kh * s->kw + kw) * s->oc + c, tail), sum);
                    }
                }
                dw_store(dx + (line * s->iw + iw) * s->ic + c, sum, accumulate, tail);
            }
        }
    }
}

void QD_NAME(dwconv_backward_data)(const qd_conv_shape *s, const void *dy, const void *w, int64_t first_line,
                                   int64_t line_count, bool accumulate, void *dx)
{
    if (s->stride == 2 && s->kw == 3) {
        dw_backward_pairs_k3(s, dy, w, first_line, line_count, accumulate, dx);
    } else if (s->stride == 2 && s->kw == 5) {
        dw_backward_pairs_k5(s, dy, w, first_line, line_count, accumulate, dx);
    } else if (s->stride == 1 && s->kh == s->kw) {
        const dw_correlation a = {.src = dy,
                                  .w = (const float *)w + (s->kh * s->kw - 1) * s->oc,
                                  .dst = dx,
                                  .src_h = s->oh,
                                  .src_w = s->ow,
                                  .dst_h = s->ih,
                                  .dst_w = s->iw,
                                  .channels = s->ic,
                                  .kh = s->kh,
                                  .kw = s->kw,
                                  .stride = 1,
                                  .pad = s->kw - 1 - s->pad,
                                  .w_row = -s->kw * s->oc,
                                  .w_col = -s->oc,
                                  .accumulate = accumulate};
        dw_correlate_lines(&a, first_line, line_count);
    } else {
        dw_backward_any(s, dy, w, first_line, line_count, accumulate, dx);
    }
}

/*
 * Backward weights: `rows` rows of taps keep their sums in registers over a strip of lines, position by position:
 * one dy for rows·kw products, whose other factors come from the first-level cache.
 */

/* Lines of a strip: the sums are added to dw once a strip, and its source lines still lie in the second-level cache
 * when the next vector of channels passes over them. */
#define DW_STRIP 4

/* Tap rows `first_row` … that a strip sums. */
typedef struct dw_strip {
    const qd_conv_shape *s;
    const float *x, *dy;
    float *dw;
    int64_t first_line, line_count, first_row;
} dw_strip;

/* Positions of a tile: their dy stay in registers beside the sums, so that each source vector is loaded once for all
 * positions that see it. With 25 sums a source makes 30 of 32 registers, with 10 (AVX2) 15 of 16. */
#define DW_POSITIONS 4

/* Where a tile's sources are; row_lo … lo … as in dw_place. */
typedef struct dw_window {
    int64_t row_lo, row_hi, lo, hi, live;
} dw_window;

/* `image` is x's, `at` the offset of the source under the first position's first tap. */
DW_INLINE void dw_weights_tile(const qd_conv_shape *s, int rows, int kw, int stride, bool edge, int64_t tail,
                               const dw_window *in, const float *image, int64_t at, const float *dy, vec *sum)
{
    vec d[DW_POSITIONS];

    UNROLL
    for (int t = 0; t < DW_POSITIONS; t++, dy += s->oc)
        d[t] = edge && t >= in->live ? vec_zero() : dw_load(dy, tail);
    UNROLL
    for (int r = 0; r < rows; r++, at += s->iw * s->ic) {
        int64_t column = at;

        if (edge && (r < in->row_lo || r >= in->row_hi))
            continue;
        /* Without this gcc keeps an address for every column of every row, most of them in memory. */
        __asm__("" : "+r"(column));
        UNROLL
        for (int j = 0; j < (DW_POSITIONS - 1) * stride + kw; j++, column += s->ic) {
            if (edge && (j < in->lo || j >= in->hi))
                continue;
            const vec v = dw_load(image + column, tail);
            UNROLL
            for (int i = 0; i < kw; i++) {
                const int t = j - i;
                if (t >= 0 && t % stride == 0 && t / stride < DW_POSITIONS)
                    sum[r * kw + i] = vec_fma(v, d[t / stride], sum[r * kw + i]);
            }
        }
    }
}

DW_INLINE void dw_weights_strip(const dw_strip *a, int rows, int kw, int stride, int64_t tail, int64_t c)
{
    const qd_conv_shape *s = a->s;
    const int64_t columns = (DW_POSITIONS - 1) * stride + kw;
    vec sum[25];

    UNROLL
    for (int t = 0; t < rows * kw; t++)
        sum[t] = vec_zero();
    for (int64_t line = a->first_line; line < a->first_line + a->line_count; line++) {
        const float *image = a->x + line / s->oh * s->ih * s->iw * s->ic + c;
        const float *dy = a->dy + line * s->ow * s->oc + c;
        const int64_t top = line % s->oh * stride - s->pad + a->first_row;

        for (int64_t ow = 0; ow < s->ow; ow += DW_POSITIONS) {
            const int64_t left = ow * stride - s->pad, live = dw_min(DW_POSITIONS, s->ow - ow);
            const int64_t at = (top * s->iw + left) * s->ic;
            const dw_window in = {.row_lo = dw_max(0, -top),
                                  .row_hi = dw_min(rows, s->ih - top),
                                  .lo = dw_max(0, -left),
                                  .hi = dw_min(s->iw - left, (live - 1) * stride + kw),
                                  .live = live};

            if (in.row_lo > 0 || in.row_hi < rows || in.lo > 0 || in.hi < columns)
                dw_weights_tile(s, rows, kw, stride, true, tail, &in, image, at, dy + ow * s->oc, sum);
            else
                dw_weights_tile(s, rows, kw, stride, false, tail, &in, image, at, dy + ow * s->oc, sum);
        }
    }
    float *dw = a->dw + a->first_row * s->kw * s->oc + c;
    UNROLL
    for (int t = 0; t < rows * kw; t++)
        dw_store(dw + t * s->oc, sum[t], true, tail);
}

DW_INLINE void dw_weights_channels(const dw_strip *a, int rows, int kw, int stride)
{
    int64_t c = 0;

    for (; c + VEC_LANES <= a->s->ic; c += VEC_LANES)
        dw_weights_strip(a, rows, kw, stride, 0, c);
    if (c < a->s->ic)
        dw_weights_strip(a, rows, kw, stride, a->s->ic - c, c);
}

static void dw_weights_k3s1(const dw_strip *a)
{
    dw_weights_channels(a, 3, 3, 1);
}

static void dw_weights_k3s2(const dw_strip *a)
{
    dw_weights_channels(a, 3, 3, 2);
}

/* AVX2's registers hold the sums of two of five rows of taps. */
DW_INLINE void dw_weights_k5(const dw_strip *a, int stride)
{
    dw_strip part = *a;

    if (VEC_LANES == 16) {
        dw_weights_channels(&part, 5, 5, stride);
        return;
    }
    for (part.first_row = 0; part.first_row < 4; part.first_row += 2)
        dw_weights_channels(&part, 2, 5, stride);
    dw_weights_channels(&part, 1, 5, stride);
}

static void dw_weights_k5s1(const dw_strip *a)
{
    dw_weights_k5(a, 1);
}

static void dw_weights_k5s2(const dw_strip *a)
{
    dw_weights_k5(a, 2);
}

/* Any window: one tap at a time. */
static void dw_weights_any(const dw_strip *a)
{
    const qd_conv_shape *s = a->s;

    for (int64_t tap = 0; tap < s->kh * s->kw; tap++) {
        const int64_t kh = tap / s->kw, kw = tap % s->kw;

        for (int64_t c = 0; c < s->ic; c += VEC_LANES) {
            const int64_t tail = c + VEC_LANES <= s->ic ? 0 : s->ic - c;
            vec sum = vec_zero();

            for (int64_t line = a->first_line; line < a->first_line + a->line_count; line++) {
                const int64_t ih = line % s->oh * s->stride - s->pad + kh;

                for (int64_t ow = 0; ow < s->ow && ih >= 0 && ih < s->ih; ow++) {
                    const int64_t iw = ow * s->stride - s->pad + kw;

                    if (iw >= 0 && iw < s->iw)
                        sum = vec_fma(dw_load(a->x + ((line / s->oh * s->ih + ih) * s->iw + iw) * s->ic + c, tail),
                                      dw_load(a->dy + (line * s->ow + ow) * s->oc + c, tail), sum);
                }
            }
            dw_store(a->dw + tap * s->oc + c, sum, true, tail);
        }
    }
}

void QD_NAME(dwconv_backward_weights)(const qd_conv_shape *s, const void *x, const void *dy, int64_t first_line,
                                      int64_t line_count, void *dw)
{
    for (int64_t line = first_line; line < first_line + line_count; line += DW_STRIP) {
        const dw_strip a = {.s = s,
                            .x = x,
                            .dy = dy,
                            .dw = dw,
                            .first_line = line,
                            .line_count = dw_min(DW_STRIP, first_line + line_count - line)};

        if (s->kh == 3 && s->kw == 3 && s->stride == 1)
            dw_weights_k3s1(&a);
        else if (s->kh == 3 && s->kw == 3 && s->stride == 2)
            dw_weights_k3s2(&a);
        else if (s->kh == 5 && s->kw == 5 && s->stride == 1)
            dw_weights_k5s1(&a);
        else if (s->kh == 5 && s->kw == 5 && s->stride == 2)
            dw_weights_k5s2(&a);
        else
            dw_weights_any(&a);
    }
}
