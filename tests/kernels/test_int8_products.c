/*
 * INT8 products and depthwise convolution of every instruction set against plain loops over docs/quantization.md in
 * double (support/int8_variants.h). Results are compared exactly. Inputs end where a forbidden page begins.
 */
#include "support/guard_page.h"
#include "support/int8_variants.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static qd_rng rng;

static void setup(void)
{
    qd_rng_seed(&rng, 23);
}

TestSuite(int8_products, .init = setup);

static int64_t draw(int64_t low, int64_t high)
{
    return int8_draw(&rng, low, high);
}

/* What to fill codes and weights with. */
enum filling { RANDOM, LARGEST, SMALLEST };

static void fill_codes(uint8_t *codes, int64_t count, enum filling filling)
{
    for (int64_t i = 0; i < count; i++)
        codes[i] = filling == RANDOM ? int8_draw_code(&rng) : 255;
}

static int8_t draw_weight(enum filling filling)
{
    return (int8_t)(filling == LARGEST ? 127 : filling == SMALLEST ? -127 : draw(-127, 127));
}

/* From sums to codes: drawn so that results of `depth` products fill the range and leave it now and then. */
typedef struct output {
    int32_t *bias;
    float *multiplier;
    uint8_t table[256];
    qd_code_range range;
} output;

static output draw_output(int64_t width, int64_t depth)
{
    output o = {.range = int8_draw_range(&rng)};

    o.bias = calloc((size_t)width, sizeof *o.bias);
    o.multiplier = calloc((size_t)width, sizeof *o.multiplier);
    cr_assert(o.bias && o.multiplier);
    for (int64_t i = 0; i < width; i++) {
        o.bias[i] = (int32_t)draw(-(1 << 30), 1 << 30) >> draw(0, 30);
        o.multiplier[i] = (float)ldexp(1.0 + (double)qd_rng_uniform_f32(&rng, 0, 1),
                                       (int)draw(-9, -4) - (int)(log2((double)depth) / 2));
        if (draw(0, 15) == 0)
            o.multiplier[i] = draw(0, 1) ? 0x1p64f : 0.0f;
    }
    for (int i = 0; i < 256; i++)
        o.table[i] = int8_draw_code(&rng);
    return o;
}

static void free_output(output *o)
{
    free(o->bias);
    free(o->multiplier);
}

/* ---- products ---- */

enum ending { CODES, TABLE, ADDEND, LOGITS, ENDINGS };

typedef struct product_case {
    int64_t rows, columns, taps, depth;
    bool in_order; /* left-hand rows follow each other in memory */
    enum filling filling;
    enum ending ending;
} product_case;

static void check_product(const int8_variant *v, const product_case *c)
{
    const qd_u8_layout layout = v->k.layout;
    const int64_t panels = qd_panel_count(layout.panels, c->columns), first_panel = panels / 3;
    const int64_t gap = draw(0, 3), stride = c->columns + gap,
                  x_count = c->in_order ? c->rows * c->depth : 4 * c->depth + 9;
    const int64_t y_count = (c->rows - 1) * stride + c->columns,
                  width = qd_panel_total_width(layout.panels, c->columns);
    guard_page x = guard_page_create((size_t)x_count);
    guard_page w = guard_page_create((size_t)qd_u8_panel_bytes(layout, c->taps, c->depth, c->columns));
    guard_page b = guard_page_create((size_t)y_count);
    int8_t *weights = malloc((size_t)(c->columns * c->taps * c->depth)); /* [column][tap][k] */
    const uint8_t **from = malloc((size_t)(c->taps * c->rows) * sizeof *from);
    const size_t size = c->ending == LOGITS ? sizeof(float) : 1, y_bytes = (size_t)y_count * size;
    void *y = int8_fenced(y_bytes), *before = malloc(y_bytes);
    uint8_t *scratch = aligned_alloc(64, qd_u8_scratch_bytes(layout, c->taps, c->depth) + 64);
    output o = draw_output(width, c->taps * c->depth);
    const qd_u8_addend addend = {.b = b.data,
                                 .zero_b = int8_draw_code(&rng),
                                 .multiplier_a = draw(0, 1) ? 0.5f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f),
                                 .multiplier_b = draw(0, 1) ? 0.25f : qd_rng_uniform_f32(&rng, 0.0f, 2.0f),
                                 .range = int8_draw_range(&rng)};

    cr_assert(weights && from && before && scratch);
    memcpy(before, y, y_bytes);
    fill_codes(x.data, x_count, c->filling);
    fill_codes(b.data, y_count, RANDOM);
    /* overlapping rows, as a window's are; the last of them ends where the memory does */
    for (int64_t i = 0; i < c->taps * c->rows; i++)
        from[i] = (uint8_t *)x.data + (c->in_order        ? i % c->rows * c->depth
                                       : i == c->rows / 2 ? x_count - c->depth
                                                          : draw(0, x_count - c->depth));
    for (int64_t i = 0; i < panels; i++) {
        const qd_panel panel = qd_panel_at(layout.panels, c->columns, i);
        for (int64_t column = 0; column < panel.columns; column++)
            for (int64_t tap = 0; tap < c->taps; tap++)
                for (int64_t k = 0; k < c->depth; k++) {
                    const int8_t weight = draw_weight(c->filling);
                    ((int8_t *)w.data)[qd_u8_panel_index(layout, &panel, c->taps, c->depth, tap, k, column)] = weight;
                    weights[((panel.first_column + column) * c->taps + tap) * c->depth + k] = weight;
                }
    }
    const qd_u8_rows_args args = {
        .rows = c->rows,
        .columns = c->columns,
        .taps = c->taps,
        .depth = c->depth,
        .x = from,
        .w = w.data,
        .first_panel = first_panel,
        .panel_count = panels - first_panel,
        .out = {o.bias, o.multiplier, o.range, c->ending == TABLE ? o.table : NULL},
        .addend = c->ending == ADDEND ? addend : (qd_u8_addend){0},
        .y = c->ending == LOGITS ? NULL : y,
        .logits = c->ending == LOGITS ? y : NULL,
        .stride = stride,
        .scratch = scratch,
    };
    v->k.tile_rows(&args);

    const int64_t first_column = qd_panel_at(layout.panels, c->columns, first_panel).first_column;
    for (int64_t i = 0; i < y_count; i++) {
        const int64_t row = i / stride, column = i % stride;
        if (column < first_column || column >= c->columns) { /* gaps, columns of other panels */
            cr_assert_arr_eq((char *)y + (size_t)i * size, (char *)before + (size_t)i * size, size);
            continue;
        }
        int64_t sum = o.bias[column];
        for (int64_t tap = 0; tap < c->taps; tap++)
            for (int64_t k = 0; k < c->depth; k++)
                sum += from[tap * c->rows + row][k] * weights[(column * c->taps + tap) * c->depth + k];
        sum = (int32_t)(uint32_t)sum; /* drawn biases may leave int32; a network's do not */
        if (c->ending == LOGITS) {
            const double expected = int8_to_float(int8_to_float((double)sum) * (double)o.multiplier[column]);
            cr_assert_eq((double)((float *)y)[i], expected);
            continue;
        }
        int32_t expected = int8_expected_requantized(sum, o.multiplier[column], o.range);
        if (c->ending == TABLE)
            expected = o.table[expected];
        if (c->ending == ADDEND) {
            const double u = int8_to_float((expected - o.range.zero) * (double)addend.multiplier_a);
            const double other = int8_to_float((addend.b[i] - addend.zero_b) * (double)addend.multiplier_b);
            expected = int8_expected_code(int8_to_float(u + other), addend.range);
        }
        cr_assert_eq(((uint8_t *)y)[i], expected,
                     "%s: row %lld of %lld, column %lld of %lld, %lld taps of %lld, ending %d: %d, expected %d",
                     v->name, (long long)row, (long long)c->rows, (long long)column, (long long)c->columns,
                     (long long)c->taps, (long long)c->depth, (int)c->ending, ((uint8_t *)y)[i], expected);
    }
    int8_release_fenced(y, y_bytes, v->name);
    free_output(&o);
    free(before);
    free(scratch);
    free(from);
    free(weights);
    guard_page_destroy(&x);
    guard_page_destroy(&w);
    guard_page_destroy(&b);
}

/* Every tile height and width with its remainders; depths around a group (4) and a matrix tile (64), in one tap and
 * over several. */
static const int64_t row_counts[] = {1, 2, 4, 5, 7, 10, 12, 13, 16, 17, 32, 33, 65};
static const int64_t column_counts[] = {1, 3, 8, 15, 16, 17, 24, 33, 40, 48, 63, 64, 65, 80, 112};
static const struct {
    int64_t taps, depth;
} depths[] = {{1, 1},  {1, 3},  {1, 4},  {9, 6},  {3, 21},  {7, 24},
              {1, 16}, {1, 64}, {2, 67}, {9, 32}, {1, 128}, {1, 257}};

Test(int8_products, rows_by_address_times_panels)
{
    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (size_t r = 0; r < COUNT(row_counts); r++)
            for (size_t c = 0; c < COUNT(column_counts); c++) {
                const size_t d = (size_t)draw(0, COUNT(depths) - 1);
                check_product(v, &(product_case){row_counts[r], column_counts[c], depths[d].taps, depths[d].depth,
                                                 draw(0, 1) == 1, RANDOM, (enum ending)draw(0, ENDINGS - 1)});
            }
}

/* Where sums of 16 bits would overflow: all codes 255, all weights at one end; the longest filter allowed. */
Test(int8_products, extremes_are_exact)
{
    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (int filling = LARGEST; filling <= SMALLEST; filling++)
            for (size_t d = 0; d <= COUNT(depths); d++) {
                const int64_t longest = 33152; /* 2^30 / (255·127), down to whole groups */
                const bool long_one = d == COUNT(depths);
                check_product(v, &(product_case){13, long_one ? 5 : 40, long_one ? 1 : depths[d].taps,
                                                 long_one ? longest : depths[d].depth, false, (enum filling)filling,
                                                 LOGITS});
            }
}

/* ---- depthwise ---- */

static int64_t expected_window(const qd_conv_shape *s, const uint8_t *x, const uint8_t *padding,
                               const int8_t *weights, int64_t line, int64_t ow, int64_t c)
{
    const int64_t n = line / s->oh, oh = line % s->oh;
    int64_t sum = 0;

    for (int64_t kh = 0; kh < s->kh; kh++)
        for (int64_t kw = 0; kw < s->kw; kw++) {
            const int64_t ih = oh * s->stride - s->pad + kh, iw = ow * s->stride - s->pad + kw;
            const bool inside = ih >= 0 && iw >= 0 && ih < s->ih && iw < s->iw;
            sum += (inside ? x[((n * s->ih + ih) * s->iw + iw) * s->ic + c] : padding[c]) *
                   weights[(kh * s->kw + kw) * s->oc + c];
        }
    return sum;
}

static void check_dwconv(const int8_variant *v, const qd_conv_shape *s, enum filling filling)
{
    const qd_u8_layout layout = v->k.layout;
    const int64_t block = qd_u8_block_channels(layout), width = qd_u8_block_count(layout, s->oc) * block;
    const int64_t lines = s->n * s->oh, first_line = draw(0, lines - 1), line_count = draw(1, lines - first_line);
    const size_t y_bytes = (size_t)(line_count * s->ow * s->oc);
    guard_page x = guard_page_create((size_t)(s->n * s->ih * s->iw * s->ic));
    guard_page padding = guard_page_create((size_t)s->ic);
    guard_page w = guard_page_create((size_t)qd_u8_block_bytes(layout, s->kh, s->kw, s->oc));
    int8_t *weights = malloc((size_t)(s->kh * s->kw * s->oc)); /* [kh][kw][c] */
    output o = draw_output(width, s->kh * s->kw);
    const bool table = draw(0, 1) == 1;
    uint8_t *y = int8_fenced(y_bytes);

    cr_assert_not_null(weights);
    fill_codes(x.data, s->n * s->ih * s->iw * s->ic, filling);
    fill_codes(padding.data, s->ic, filling);
    for (int64_t i = 0; i < s->kh * s->kw * s->oc; i++) {
        weights[i] = draw_weight(filling);
        const int64_t tap = i / s->oc;
        ((int8_t *)w.data)[qd_u8_block_index(layout, s->kh, s->kw, tap / s->kw, tap % s->kw, i % s->oc)] = weights[i];
    }
    const qd_u8_dwconv_args args = {.shape = *s,
                                    .x = x.data,
                                    .padding = padding.data,
                                    .w = w.data,
                                    .out = {o.bias, o.multiplier, o.range, table ? o.table : NULL},
                                    .first_line = first_line,
                                    .line_count = line_count,
                                    .y = y};
    v->k.dwconv(&args);
    for (int64_t i = 0; i < (int64_t)y_bytes; i++) {
        const int64_t c = i % s->oc, ow = i / s->oc % s->ow, line = first_line + i / (s->oc * s->ow);
        const int64_t place = c / block * block + qd_u8_block_place(layout, c % block);
        int64_t sum = o.bias[place] + expected_window(s, x.data, padding.data, weights, line, ow, c);
        int32_t expected = int8_expected_requantized((int32_t)(uint32_t)sum, o.multiplier[place], o.range);
        expected = table ? o.table[expected] : expected;
        cr_assert_eq(y[i], expected, "%s: %lldx%lld/%lld, channel %lld of %lld, column %lld of %lld: %d, expected %d",
                     v->name, (long long)s->kh, (long long)s->kw, (long long)s->stride, (long long)c,
                     (long long)s->oc, (long long)ow, (long long)s->ow, y[i], expected);
    }
    int8_release_fenced(y, y_bytes, v->name);
    free_output(&o);
    free(weights);
    guard_page_destroy(&x);
    guard_page_destroy(&padding);
    guard_page_destroy(&w);
}

static qd_conv_shape dw_shape(int64_t kh, int64_t kw, int64_t stride, int64_t channels)
{
    qd_conv_shape s = {.n = draw(1, 2),
                       .ih = draw(kh > 2 ? kh - 2 : 1, 11),
                       .iw = draw(kw > 2 ? kw - 2 : 1, 14),
                       .ic = channels,
                       .oc = channels,
                       .groups = channels,
                       .kh = kh,
                       .kw = kw,
                       .stride = stride,
                       .pad = draw(1, 2)};
    s.oh = (s.ih + 2 * s.pad - kh) / stride + 1;
    s.ow = (s.iw + 2 * s.pad - kw) / stride + 1;
    return s;
}

Test(int8_products, depthwise_convolution)
{
    static const int64_t channels[] = {1, 7, 16, 31, 32, 33, 48, 64, 65, 96, 144};

    for (const int8_variant *v = int8_variants(); v->name; v++)
        for (size_t c = 0; c < COUNT(channels); c++) {
            for (int64_t stride = 1; stride <= 2; stride++)
                for (int64_t side = 3; side <= 5; side += 2)
                    for (int filling = RANDOM; filling <= SMALLEST; filling++) {
                        const qd_conv_shape s = dw_shape(side, side, stride, channels[c]);
                        check_dwconv(v, &s, (enum filling)filling);
                    }
            for (int round = 0; round < 6; round++) {
                const int64_t kh = draw(1, 9);
                const qd_conv_shape s = dw_shape(kh, draw(1, 7), draw(1, 3), channels[c]);
                check_dwconv(v, &s, RANDOM);
            }
        }
}
