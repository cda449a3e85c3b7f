/* INT8 kernels without sums over channels: each is int8_scalar.h applied to every element. */
#include "kernels/int8.h"

void qd_u8_quantize__ref(const float *x, int64_t count, float scale, qd_code_range range, uint8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (uint8_t)qd_quantize_value(x[i], scale, range);
}

void qd_u8_dequantize__ref(const uint8_t *x, int64_t count, float scale, int32_t zero, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = qd_dequantize_value(x[i], scale, zero);
}

void qd_u8_lookup__ref(const uint8_t *x, int64_t count, const uint8_t *table, uint8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = table[x[i]];
}

void qd_u8_add__ref(const uint8_t *a, int32_t zero_a, float multiplier_a, const uint8_t *b, int32_t zero_b,
                    float multiplier_b, int64_t count, qd_code_range range, uint8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (uint8_t)qd_add_value(a[i] - zero_a, multiplier_a, b[i] - zero_b, multiplier_b, range);
}

void qd_u8_channel_multiply__ref(const uint8_t *x, int32_t zero_x, const uint8_t *gate, int32_t zero_gate,
                                 int64_t rows, int64_t channels, float multiplier, qd_code_range range, uint8_t *y)
{
    for (int64_t r = 0; r < rows; r++, x += channels, y += channels)
        for (int64_t c = 0; c < channels; c++)
            y[c] = (uint8_t)qd_requantize_value((x[c] - zero_x) * (gate[c] - zero_gate), multiplier, range);
}

void qd_u8_maxpool__ref(const qd_conv_shape *s, const uint8_t *x, int64_t first_line, int64_t line_count, uint8_t *y)
{
    int64_t channels = s->oc;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        int64_t n = line / s->oh, oh = line % s->oh;
        for (int64_t ow = 0; ow < s->ow; ow++, y += channels) {
            memset(y, 0, (size_t)channels);
            for (int64_t kh = 0; kh < s->kh; kh++) {
                int64_t ih = oh * s->stride - s->pad + kh;
                if (ih < 0 || ih >= s->ih)
                    continue;
                for (int64_t kw = 0; kw < s->kw; kw++) {
                    int64_t iw = ow * s->stride - s->pad + kw;
                    if (iw < 0 || iw >= s->iw)
                        continue;
                    const uint8_t *in = x + ((n * s->ih + ih) * s->iw + iw) * channels;
                    for (int64_t c = 0; c < channels; c++)
                        y[c] = in[c] > y[c] ? in[c] : y[c];
                }
            }
        }
    }
}

void qd_u8_sum_rows__ref(const uint8_t *x, int32_t zero, int64_t rows, int64_t channels, int64_t stride, int32_t *sum)
{
    memset(sum, 0, (size_t)channels * sizeof *sum);
    for (int64_t r = 0; r < rows; r++, x += stride)
        for (int64_t c = 0; c < channels; c++)
            sum[c] += x[c] - zero;
}
