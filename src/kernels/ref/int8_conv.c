/* Dense and depthwise INT8 convolution. Products of widened codes are exact in int32, so any order gives the same
 * sums. */
#include "kernels/int8.h"

void qd_s8_im2col__ref(const qd_conv_shape *s, int64_t group, const int8_t *x, int32_t zero, int64_t first_row,
                       int64_t row_count, int64_t depth, int16_t *col)
{
    int64_t channels = s->ic / s->groups;

    for (int64_t r = 0; r < row_count; r++) {
        int64_t row = first_row + r;
        int64_t ow = row % s->ow, oh = row / s->ow % s->oh, n = row / (s->ow * s->oh);
        int16_t *out = col + r * depth;

        for (int64_t kh = 0; kh < s->kh; kh++) {
            int64_t ih = oh * s->stride - s->pad + kh;
            for (int64_t kw = 0; kw < s->kw; kw++, out += channels) {
                int64_t iw = ow * s->stride - s->pad + kw;
                if (ih < 0 || ih >= s->ih || iw < 0 || iw >= s->iw) {
                    memset(out, 0, (size_t)channels * sizeof *out);
                    continue;
                }
                const int8_t *in = x + ((n * s->ih + ih) * s->iw + iw) * s->ic + group * channels;
                for (int64_t c = 0; c < channels; c++)
                    out[c] = (int16_t)(in[c] - zero);
            }
        }
        memset(out, 0, (size_t)(depth - s->kh * s->kw * channels) * sizeof *out);
    }
}

/* Four rows by two columns: eight accumulators and six operands are what sixteen vector registers hold. */
static void tile_4x2(const int16_t *a, const int16_t *b, int64_t depth, int32_t *c, int64_t columns)
{
    const int16_t *a0 = a, *a1 = a + depth, *a2 = a + 2 * depth, *a3 = a + 3 * depth, *b0 = b, *b1 = b + depth;
    int32_t s00 = 0, s01 = 0, s10 = 0, s11 = 0, s20 = 0, s21 = 0, s30 = 0, s31 = 0;

    for (int64_t k = 0; k < depth; k++) {
        s00 += a0[k] * b0[k];
        s01 += a0[k] * b1[k];
        s10 += a1[k] * b0[k];
        s11 += a1[k] * b1[k];
        s20 += a2[k] * b0[k];
        s21 += a2[k] * b1[k];
        s30 += a3[k] * b0[k];
        s31 += a3[k] * b1[k];
    }
    c[0] = s00;
    c[1] = s01;
    c[columns] = s10;
    c[columns + 1] = s11;
    c[2 * columns] = s20;
    c[2 * columns + 1] = s21;
    c[3 * columns] = s30;
    c[3 * columns + 1] = s31;
}

static int32_t dot(const int16_t *a, const int16_t *b, int64_t depth)
{
    int32_t sum = 0;

    for (int64_t k = 0; k < depth; k++)
        sum += a[k] * b[k];
    return sum;
}

void qd_s8_gemm__ref(const int16_t *a, const int16_t *b, int64_t rows, int64_t columns, int64_t depth, int32_t *c)
{
    int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 2 * 2;

    /* Two columns of b stay in the first-level cache while all rows of a pass by. */
    for (int64_t column = 0; column < whole_columns; column += 2)
        for (int64_t row = 0; row < whole_rows; row += 4)
            tile_4x2(a + row * depth, b + column * depth, depth, c + row * columns + column, columns);
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; column++)
            c[row * columns + column] = dot(a + row * depth, b + column * depth, depth);
}

void qd_s8_dwconv__ref(const qd_conv_shape *s, const int8_t *x, int32_t zero, const int16_t *w, int64_t first_line,
                       int64_t line_count, int32_t *acc)
{
    int64_t channels = s->oc;

    memset(acc, 0, (size_t)(line_count * s->ow * channels) * sizeof *acc);
    for (int64_t line = first_line; line < first_line + line_count; line++) {
        int64_t n = line / s->oh, oh = line % s->oh;
        for (int64_t ow = 0; ow < s->ow; ow++, acc += channels) {
            for (int64_t kh = 0; kh < s->kh; kh++) {
                int64_t ih = oh * s->stride - s->pad + kh;
                if (ih < 0 || ih >= s->ih)
                    continue;
                for (int64_t kw = 0; kw < s->kw; kw++) {
                    int64_t iw = ow * s->stride - s->pad + kw;
                    if (iw < 0 || iw >= s->iw)
                        continue;
                    const int8_t *in = x + ((n * s->ih + ih) * s->iw + iw) * channels;
                    const int16_t *weight = w + (kh * s->kw + kw) * channels;
                    for (int64_t c = 0; c < channels; c++)
                        acc[c] += (int16_t)(in[c] - zero) * weight[c];
                }
            }
        }
    }
}
