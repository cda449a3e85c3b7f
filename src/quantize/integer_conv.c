/* Convolutions and linear layers of the integer run. */
#include "quantize/integer_steps.h"

/* Rows of one kernel call: a multiple of every tile's lines; the addresses of nine taps of 96 rows (7 KB) leave the
 * first-level cache to codes and weights. */
#define CHUNK_ROWS 96

/* Lines of output for which one copy with margins is made: what neighbouring copies repeat is little beside their
 * products. */
#define BAND_LINES 4

/* ---- where results go ---- */

/* The value that a convolution writes, and what becomes of its sums on the way. */
typedef struct destination {
    int value;
    qd_u8_output out;
    qd_u8_addend addend;
} destination;

static destination find_destination(const qd_qgraph *q, const qd_qstep *step, const qd_qstep *merged)
{
    const qd_qconv *conv = &q->convs[step->conv];
    destination d = {.value = step->output,
                     .out = {.bias = conv->packed_bias, .multiplier = conv->packed_multiplier}};

    if (q->values[step->output].quantizer >= 0)
        d.out.range = qd_integer_range(q, step);
    if (!merged)
        return d;
    d.value = merged->output;
    if (merged->kind != QD_QSTEP_ADD) {
        d.out.table = merged->table;
        return d;
    }
    const int own = merged->input[0] == step->output ? 0 : 1, other = 1 - own;
    d.addend = (qd_u8_addend){.b = qd_qgraph_value(q, QD_QMODE_INTEGER, merged->input[other]),
                              .zero_b = qd_integer_zero(q, merged->input[other]),
                              .multiplier_a = merged->multiplier[own],
                              .multiplier_b = merged->multiplier[other],
                              .range = qd_integer_range(q, merged)};
    return d;
}

/* ---- dense ---- */

/* Parts of a thread's scratch. */
typedef struct layout {
    size_t addresses, bands, matrix, bytes;
} layout;

/* Output rows of one kernel call. */
static int64_t chunk_rows(const qd_conv_shape *s, const qd_qproduct *p)
{
    return p->bands ? BAND_LINES * s->ow : CHUNK_ROWS;
}

/* A copy with margins: most lines and bytes of each. The last line is followed by what rounding up `depth` may read.
 */
static int64_t band_lines(const qd_conv_shape *s)
{
    return BAND_LINES * (s->kh > s->stride ? s->kh : s->stride);
}

static int64_t band_bytes(const qd_conv_shape *s)
{
    return (s->iw + 2 * s->pad) * s->ic;
}

static layout scratch_layout(const qd_qgraph *q, const qd_conv_shape *s, const qd_qproduct *p)
{
    layout l = {0};

    l.addresses = qd_take_bytes(&l.bytes, (size_t)(p->taps * chunk_rows(s, p)) * sizeof(uint8_t *));
    l.bands = qd_take_bytes(&l.bytes, p->bands ? (size_t)(band_lines(s) * band_bytes(s) + 4) : 0);
    l.matrix = qd_take_bytes(&l.bytes, qd_u8_scratch_bytes(q->int8.layout, p->taps, p->depth));
    return l;
}

size_t qd_integer_conv_scratch_bytes(const qd_qgraph *q, const qd_qstep *step)
{
    const qd_qconv *conv = &q->convs[step->conv];
    const qd_qproduct p = qd_qconv_product(conv);
    const qd_conv_shape s = qd_integer_shape(q, step, 1);

    return conv->depthwise ? 0 : scratch_layout(q, &s, &p).bytes;
}

/* Addresses [taps][count] of what output rows first … first + count - 1 read. */
static void find_rows(const qd_conv_shape *s, const uint8_t *x, const uint8_t *padding, qd_piece rows,
                      const uint8_t **out)
{
    for (int64_t r = 0; r < rows.count;) {
        const int64_t line = (rows.first + r) / s->ow, ow = (rows.first + r) % s->ow;
        const int64_t count = qd_min_i64(s->ow - ow, rows.count - r);
        const int64_t top = line % s->oh * s->stride - s->pad, left = ow * s->stride - s->pad;
        const uint8_t *image = x + line / s->oh * s->ih * s->iw * s->ic;
        const uint8_t **column = out + r;

        for (int64_t ih = top; ih < top + s->kh; ih++)
            for (int64_t kw = 0; kw < s->kw; kw++, column += rows.count) {
                const bool inside = ih >= 0 && ih < s->ih;
                int64_t iw = left + kw;
                for (int64_t i = 0; i < count; i++, iw += s->stride)
                    column[i] = inside && iw >= 0 && iw < s->iw ? image + (ih * s->iw + iw) * s->ic : padding;
            }
        r += count;
    }
}

/* Copies what output rows (whole lines) read with margins, and finds the addresses of the kernel's lines in it. */
static void find_bands(const qd_conv_shape *s, const uint8_t *x, uint8_t zero, qd_piece rows, uint8_t *bands,
                       const uint8_t **out)
{
    const int64_t bytes = band_bytes(s), margin = s->pad * s->ic, inner = s->iw * s->ic;
    const int64_t first = rows.first / s->ow, lines = rows.count / s->ow;
    uint8_t *band = bands;

    for (int64_t j = 0; j < lines; j++) {
        const int64_t image = (first + j) / s->oh, oh = (first + j) % s->oh, top = oh * s->stride - s->pad;
        /* below a line of the same image only the kernel's last lines are new */
        const bool fresh = j == 0 || oh == 0;
        if (j > 0)
            band += (fresh ? s->kh : s->stride) * bytes;
        for (int64_t kh = fresh ? 0 : s->kh - qd_min_i64(s->stride, s->kh); kh < s->kh; kh++) {
            uint8_t *to = band + kh * bytes;
            memset(to, zero, (size_t)bytes);
            if (top + kh >= 0 && top + kh < s->ih)
                memcpy(to + margin, x + (image * s->ih + top + kh) * s->iw * s->ic, (size_t)inner);
        }
        for (int64_t kh = 0; kh < s->kh; kh++)
            for (int64_t ow = 0; ow < s->ow; ow++)
                out[kh * rows.count + j * s->ow + ow] = band + kh * bytes + ow * s->stride * s->ic;
    }
}

/* This share of a product: rows, or columns where weights are more than what they are multiplied with. */
typedef struct part {
    qd_piece rows, panels;
} part;

static part part_of(const qd_qgraph *q, const qd_conv_shape *s, const qd_qproduct *p, qd_share share)
{
    const int64_t rows = s->n * s->oh * s->ow, panels = qd_panel_count(q->int8.layout.panels, p->columns);
    const bool heavy = p->taps * p->depth * p->columns > s->n * s->ih * s->iw * s->ic;

    if (heavy && (panels % share.count == 0 || panels >= 4 * share.count))
        return (part){{0, rows}, qd_share_of(share, panels, 1)};
    return (part){qd_share_of(share, rows, p->bands ? s->ow : 1), {0, panels}};
}

static void run_dense(const qd_qgraph *q, const qd_qstep *step, const destination *d, int64_t n, qd_share share)
{
    const qd_qconv *conv = &q->convs[step->conv];
    const qd_qproduct p = qd_qconv_product(conv);
    const qd_conv_shape s = qd_integer_shape(q, step, n);
    const layout l = scratch_layout(q, &s, &p);
    const part own = part_of(q, &s, &p, share);
    const uint8_t *x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]);
    uint8_t *y = qd_qgraph_value(q, QD_QMODE_INTEGER, d->value), *scratch = qd_integer_scratch(q, share.index);
    const uint8_t **addresses = (const uint8_t **)(void *)(scratch + l.addresses);
    const int64_t per_chunk = chunk_rows(&s, &p), packed_width = qd_qconv_packed_width(conv, q->int8.layout);

    for (int64_t i = 0; i < qd_piece_count(own.rows.count, per_chunk); i++) {
        qd_piece rows = qd_piece_of(own.rows.count, per_chunk, i);
        rows.first += own.rows.first;
        for (int64_t group = 0; group < p.groups; group++) {
            const int64_t first_column = group * p.columns, at = rows.first * s.oc + first_column;
            const int64_t place = group * packed_width / p.groups;
            qd_u8_rows_args args = {.rows = rows.count,
                                    .columns = p.columns,
                                    .taps = p.taps,
                                    .depth = p.depth,
                                    .x = addresses,
                                    .w = conv->packed +
                                         group * qd_u8_panel_bytes(q->int8.layout, p.taps, p.depth, p.columns),
                                    .first_panel = own.panels.first,
                                    .panel_count = own.panels.count,
                                    .out = d->out,
                                    .addend = d->addend,
                                    .stride = s.oc,
                                    .scratch = scratch + l.matrix};
            args.out.bias += place;
            args.out.multiplier += place;
            if (args.addend.b)
                args.addend.b += at;
            if (q->values[d->value].quantizer >= 0)
                args.y = y + at;
            else
                args.logits = (float *)(void *)y + at;
            if (p.bands)
                find_bands(&s, x, conv->padding[0], rows, scratch + l.bands, addresses);
            else
                find_rows(&s, x + group * s.ic / p.groups, conv->padding, rows, addresses);
            q->int8.tile_rows(&args);
        }
    }
}

/* ---- depthwise ---- */

static void run_depthwise(const qd_qgraph *q, const qd_qstep *step, const destination *d, int64_t n, qd_share share)
{
    const qd_qconv *conv = &q->convs[step->conv];
    const qd_conv_shape s = qd_integer_shape(q, step, n);
    const qd_piece lines = qd_share_of(share, n * s.oh, 1);
    const qd_u8_dwconv_args args = {.shape = s,
                                    .x = qd_qgraph_value(q, QD_QMODE_INTEGER, step->input[0]),
                                    .padding = conv->padding,
                                    .w = conv->packed,
                                    .out = d->out,
                                    .first_line = lines.first,
                                    .line_count = lines.count,
                                    .y = (uint8_t *)qd_qgraph_value(q, QD_QMODE_INTEGER, d->value) +
                                         lines.first * s.ow * s.oc};

    q->int8.dwconv(&args);
}

void qd_integer_conv(const qd_qgraph *q, const qd_qstep *step, const qd_qstep *merged, int64_t n, qd_share share)
{
    const destination d = find_destination(q, step, merged);

    if (q->convs[step->conv].depthwise)
        run_depthwise(q, step, &d, n, share);
    else
        run_dense(q, step, &d, n, share);
}
