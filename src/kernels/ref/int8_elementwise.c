/* INT8 kernels without sums over channels: each is int8_scalar.h applied to every element. */
#include "kernels/int8.h"

void qd_s8_quantize__ref(const float *x, int64_t count, float scale, qd_code_range range, int8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (int8_t)qd_quantize_value(x[i], scale, range);
}

void qd_s8_dequantize__ref(const int8_t *x, int64_t count, float scale, int32_t zero, float *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = qd_dequantize_value(x[i], scale, zero);
}

void qd_s8_requantize__ref(const int32_t *acc, int64_t rows, int64_t channels, const int32_t *bias,
                           const float *multiplier, qd_code_range range, int64_t stride, int8_t *y)
{
    for (int64_t r = 0; r < rows; r++, acc += channels, y += stride)
        for (int64_t c = 0; c < channels; c++)
            y[c] = (int8_t)qd_requantize_value(acc[c] + bias[c], multiplier[c], range);
}

void qd_s8_dequantize_rows__ref(const int32_t *acc, int64_t rows, int64_t channels, const int32_t *bias,
                                const float *multiplier, float *y)
{
    for (int64_t r = 0; r < rows; r++, acc += channels, y += channels)
        for (int64_t c = 0; c < channels; c++)
            y[c] = (float)(acc[c] + bias[c]) * multiplier[c];
}

void qd_s8_lookup__ref(const int8_t *x, int64_t count, const int8_t *table, int8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = table[x[i] + 128];
}

void qd_s8_add__ref(const int8_t *a, int32_t zero_a, float multiplier_a, const int8_t *b, int32_t zero_b,
                    float multiplier_b, int64_t count, qd_code_range range, int8_t *y)
{
    for (int64_t i = 0; i < count; i++)
        y[i] = (int8_t)qd_add_value(a[i] - zero_a, multiplier_a, b[i] - zero_b, multiplier_b, range);
}

void qd_s8_channel_multiply__ref(const int8_t *x, int32_t zero_x, const int8_t *gate, int32_t zero_gate, int64_t rows,
                                 int64_t channels, float multiplier, qd_code_range range, int8_t *y)
{
    for (int64_t r = 0; r < rows; r++, x += channels, y += channels)
        for (int64_t c = 0; c < channels; c++)
            y[c] = (int8_t)qd_requantize_value((x[c] - zero_x) * (gate[c] - zero_gate), multiplier, range);
}

void qd_s8_maxpool__ref(const qd_conv_shape *s, const int8_t *x, int64_t first_line, int64_t line_count, int8_t *y)
{
    int64_t channels = s->oc;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        int64_t n = line / s->oh, oh = line % s->oh;
        for (int64_t ow = 0; ow < s->ow; ow++, y += channels) {
            memset(y, INT8_MIN, (size_t)channels);
            for (int64_t kh = 0; kh < s->kh; kh++) {
                int64_t ih = oh * s->stride - s->pad + kh;
                if (ih < 0 || ih >= s->ih)
                    continue;
                for (int64_t kw = 0; kw < s->kw; kw++) {
                    int64_t iw = ow * s->stride - s->pad + kw;
                    if (iw < 0 || iw >= s->iw)
                        continue;
                    const int8_t *in = x + ((n * s->ih + ih) * s->iw + iw) * channels;
                    for (int64_t c = 0; c < channels; c++)
                        y[c] = in[c] > y[c] ? in[c] : y[c];
                }
            }
        }
    }
}

void qd_s8_sum_rows__ref(const int8_t *x, int32_t zero, int64_t rows, int64_t channels, int32_t *sum)
{
    memset(sum, 0, (size_t)channels * sizeof *sum);
    for (int64_t r = 0; r < rows; r++, x += channels)
        for (int64_t c = 0; c < channels; c++)
            sum[c] += x[c] - zero;
}
