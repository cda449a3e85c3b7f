/* Products and depthwise convolution of codes by their definitions. Sums are exact in int32, so any order gives the
 * same. */
#include "kernels/int8_pack.h"

/* Both parts of a sum are below 2^31 and so is the whole (docs/quantization.md section 3). */
static int32_t with_bias(int32_t sum, int32_t bias)
{
    return (int32_t)((int64_t)sum + bias);
}

/* What lies in memory for a sum. */
static uint8_t code_of_sum(const qd_u8_output *out, int32_t sum, int64_t place)
{
    const int32_t code = qd_requantize_value(with_bias(sum, out->bias[place]), out->multiplier[place], out->range);
    return out->table ? out->table[code] : (uint8_t)code;
}

/* Rows that share a widened group of weights, and the widest panel. */
#define ROWS  16
#define WIDTH 12

/* Sums of a panel for `count` rows from `first`. */
static void panel_sums(const qd_u8_rows_args *args, const qd_panel *panel, int64_t first, int64_t count,
                       int32_t sums[ROWS][WIDTH])
{
    const int8_t *w =
        args->w + 4 * panel->first_width * qd_u8_panel_groups(QD_INT8_LAYOUT_REF, args->taps, args->depth);

    memset(sums, 0, sizeof(int32_t[ROWS][WIDTH]));
    for (int64_t tap = 0; tap < args->taps; tap++) {
        const uint8_t *const *x = args->x + tap * args->rows + first;
        for (int64_t k = 0; k < args->depth; k += 4, w += 4 * panel->width) {
            const int64_t left = args->depth - k;
            int16_t line[4][WIDTH] = {{0}}; /* the group as compilers multiply it: widened, columns side by side */
            for (int64_t i = 0; i < 4 * panel->width; i++)
                line[i % 4][i / 4] = (int16_t)w[i];
            for (int64_t r = 0; r < count; r++) {
                uint8_t group[4] = {0};
                memcpy(group, x[r] + k, left < 4 ? (size_t)left : 4);
                for (int i = 0; i < 4; i++) {
                    const int16_t code = group[i];
                    for (int c = 0; c < WIDTH; c++)
                        sums[r][c] += code * line[i][c];
                }
            }
        }
    }
}

static void finish_row(const qd_u8_rows_args *args, const qd_panel *panel, int64_t row, const int32_t *sums)
{
    const qd_u8_addend *addend = &args->addend;

    for (int64_t column = 0; column < panel->columns; column++) {
        const int64_t place = panel->first_width + column;
        const int64_t at = row * args->stride + panel->first_column + column;
        if (args->logits) {
            args->logits[at] = (float)with_bias(sums[column], args->out.bias[place]) * args->out.multiplier[place];
            continue;
        }
        args->y[at] = code_of_sum(&args->out, sums[column], place);
        if (addend->b)
            args->y[at] = (uint8_t)qd_add_value(args->y[at] - args->out.range.zero, addend->multiplier_a,
                                                addend->b[at] - addend->zero_b, addend->multiplier_b, addend->range);
    }
}

void qd_u8_tile_rows__ref(const qd_u8_rows_args *args)
{
    for (int64_t i = args->first_panel; i < args->first_panel + args->panel_count; i++) {
        const qd_panel panel = qd_panel_at(QD_INT8_LAYOUT_REF.panels, args->columns, i);
        for (int64_t first = 0; first < args->rows; first += ROWS) {
            const int64_t count = args->rows - first < ROWS ? args->rows - first : ROWS;
            int32_t sums[ROWS][WIDTH];
            panel_sums(args, &panel, first, count, sums);
            for (int64_t r = 0; r < count; r++)
                finish_row(args, &panel, first + r, sums[r]);
        }
    }
}

/* Channels of a block. With vectors of four sums its channels are packed in order. */
#define BLOCK 16

/* Sums of one output column for channels c … c + count - 1 of one block. */
static void window_sums(const qd_u8_dwconv_args *args, int64_t line, int64_t ow, int64_t c, int64_t count,
                        int32_t sums[BLOCK])
{
    const qd_conv_shape *s = &args->shape;
    const int64_t n = line / s->oh, oh = line % s->oh;

    memset(sums, 0, BLOCK * sizeof *sums);
    for (int64_t kh = 0; kh < s->kh; kh++) {
        const int64_t ih = oh * s->stride - s->pad + kh;
        for (int64_t kw = 0; kw < s->kw; kw++) {
            const int64_t iw = ow * s->stride - s->pad + kw;
            const bool inside = ih >= 0 && ih < s->ih && iw >= 0 && iw < s->iw;
            const uint8_t *x = (inside ? args->x + ((n * s->ih + ih) * s->iw + iw) * s->ic : args->padding) + c;
            const int8_t *w = args->w + qd_u8_block_index(QD_INT8_LAYOUT_REF, s->kh, s->kw, kh, kw, c);
            for (int64_t i = 0; i < count; i++)
                sums[i] += x[i] * w[4 * i];
        }
    }
}

void qd_u8_dwconv__ref(const qd_u8_dwconv_args *args)
{
    uint8_t *y = args->y;

    for (int64_t line = args->first_line; line < args->first_line + args->line_count; line++)
        for (int64_t ow = 0; ow < args->shape.ow; ow++, y += args->shape.oc)
            for (int64_t c = 0; c < args->shape.oc; c += BLOCK) {
                const int64_t count = args->shape.oc - c < BLOCK ? args->shape.oc - c : BLOCK;
                int32_t sums[BLOCK];
                window_sums(args, line, ow, c, count, sums);
                for (int64_t i = 0; i < count; i++)
                    y[c + i] = code_of_sum(&args->out, sums[i], c + i);
            }
}
