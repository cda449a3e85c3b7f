/* INT8 kernels without products of matrices, for every instruction set that defines `ivec` and QD_NAME. */

ALWAYS int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Floats first … first + I8_LANES - 1 of `count`; zeros behind them. */
ALWAYS fvec load_floats(const float *x, int64_t first, int64_t count)
{
    return first >= count ? f8_set(0.0f) : f8_load_first(x + first, smaller(count - first, I8_LANES));
}

void QD_NAME(quantize)(const float *x, int64_t count, float scale, qd_code_range range, uint8_t *y)
{
    const limits l = limits_of(range);
    const fvec divisor = f8_set(scale), low = f8_set((float)(range.low - range.zero));

    for (int64_t i = 0; i < count; i += I8_BYTES) {
        fvec v[LINE_VECTORS];
        UNROLL
        for (int k = 0; k < LINE_VECTORS; k++) /* a NaN takes the lowest code */
            v[k] = f8_max(f8_div(load_floats(x, i + k * I8_LANES, count), divisor), low);
        i8_store_first(y + i, i8_in_order(codes_of(v, &l)), i8_first(smaller(count - i, I8_BYTES)));
    }
}

void QD_NAME(dequantize)(const uint8_t *x, int64_t count, float scale, int32_t zero, float *y)
{
    const fvec factor = f8_set(scale), origin = f8_set((float)zero);

    for (int64_t i = 0; i < count; i += I8_LANES) {
        const fvec v = f8_of(i8_load_widened_first(x + i, count - i));
        f8_store_first(y + i, f8_mul(factor, f8_sub(v, origin)), smaller(count - i, I8_LANES));
    }
}

void QD_NAME(lookup)(const uint8_t *x, int64_t count, const uint8_t *table, uint8_t *y)
{
    const itable t = i8_table(table);

    for (int64_t i = 0; i < count; i += I8_BYTES) {
        const ifirst first = i8_first(smaller(count - i, I8_BYTES));
        i8_store_first(y + i, i8_lookup(&t, i8_load_first(x + i, first)), first);
    }
}

void QD_NAME(add)(const uint8_t *a, int32_t zero_a, float multiplier_a, const uint8_t *b, int32_t zero_b,
                  float multiplier_b, int64_t count, qd_code_range range, uint8_t *y)
{
    const limits l = limits_of(range);
    const fvec za = f8_set((float)zero_a), zb = f8_set((float)zero_b);
    const fvec ma = f8_set(multiplier_a), mb = f8_set(multiplier_b);

    for (int64_t i = 0; i < count; i += I8_BYTES) {
        fvec u[LINE_VECTORS], v[LINE_VECTORS];
        load_codes(LINE_VECTORS, a + i, count - i, za, u);
        load_codes(LINE_VECTORS, b + i, count - i, zb, v);
        UNROLL
        for (int k = 0; k < LINE_VECTORS; k++)
            v[k] = f8_add(f8_mul(u[k], ma), f8_mul(v[k], mb));
        i8_store_first(y + i, i8_in_order(codes_of(v, &l)), i8_first(smaller(count - i, I8_BYTES)));
    }
}

/* Channels whose gate is kept as floats at once. */
#define GATE_CHANNELS 2048

/* Products of codes have less than 24 bits: exact as floats. */
void QD_NAME(channel_multiply)(const uint8_t *x, int32_t zero_x, const uint8_t *gate, int32_t zero_gate, int64_t rows,
                               int64_t channels, float multiplier, qd_code_range range, uint8_t *y)
{
    const limits l = limits_of(range);
    const fvec zx = f8_set((float)zero_x), m = f8_set(multiplier);
    float factor[GATE_CHANNELS + I8_BYTES];

    for (int64_t first = 0; first < channels; first += GATE_CHANNELS) {
        /* Rows lie one behind the other when all channels are taken, and are one row whose gate repeats. */
        const int64_t period = smaller(channels - first, GATE_CHANNELS);
        const int64_t lines = period == channels ? 1 : rows, length = period == channels ? rows * channels : period;
        for (int64_t c = 0; c < period + I8_BYTES; c++)
            factor[c] = (float)(gate[first + c % period] - zero_gate);
        for (int64_t line = 0; line < lines; line++) {
            const uint8_t *from = x + line * channels + first;
            uint8_t *to = y + line * channels + first;
            int64_t c = 0;
            for (int64_t i = 0; i < length; i += I8_BYTES) {
                fvec v[LINE_VECTORS];
                load_codes(LINE_VECTORS, from + i, length - i, zx, v);
                UNROLL
                for (int k = 0; k < LINE_VECTORS; k++)
                    v[k] = f8_mul(f8_mul(v[k], f8_load(factor + c + k * I8_LANES)), m);
                i8_store_first(to + i, i8_in_order(codes_of(v, &l)), i8_first(smaller(length - i, I8_BYTES)));
                for (c += I8_BYTES; c >= period;)
                    c -= period;
            }
        }
    }
}

void QD_NAME(maxpool)(const qd_conv_shape *s, const uint8_t *x, int64_t first_line, int64_t line_count, uint8_t *y)
{
    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const uint8_t *image = x + line / s->oh * s->ih * s->iw * s->ic;
        const int64_t top = line % s->oh * s->stride - s->pad;
        const int64_t ih_first = top < 0 ? 0 : top, ih_end = smaller(top + s->kh, s->ih);
        for (int64_t ow = 0; ow < s->ow; ow++, y += s->oc) {
            const int64_t left = ow * s->stride - s->pad;
            const int64_t iw_first = left < 0 ? 0 : left, iw_end = smaller(left + s->kw, s->iw);
            for (int64_t c = 0; c < s->oc; c += I8_BYTES) {
                const ifirst first = i8_first(smaller(s->oc - c, I8_BYTES));
                ivec most = i8_zero();
                for (int64_t ih = ih_first; ih < ih_end; ih++)
                    for (int64_t iw = iw_first; iw < iw_end; iw++)
                        most = i8_max_bytes(most, i8_load_first(image + (ih * s->iw + iw) * s->ic + c, first));
                i8_store_first(y + c, most, first);
            }
        }
    }
}

/* Four rows at once, interleaved: a dot product with ones. */
void QD_NAME(sum_rows)(const uint8_t *x, int32_t zero, int64_t rows, int64_t channels, int64_t stride, int32_t *sum)
{
    const iweights ones = i8_weights(i8_set_bytes(1));

    for (int64_t c = 0; c < channels; c += I8_BYTES) {
        const int64_t count = smaller(channels - c, I8_BYTES);
        const ifirst first = i8_first(count);
        ivec sums[4] = {i8_zero(), i8_zero(), i8_zero(), i8_zero()};
        int32_t packed[I8_BYTES];
        for (int64_t r = 0; r < rows; r += 4) {
            ivec codes[4];
            UNROLL
            for (int i = 0; i < 4; i++)
                codes[i] = r + i < rows ? i8_load_first(x + (r + i) * stride + c, first) : i8_zero();
            i8_interleave(codes);
            UNROLL
            for (int v = 0; v < 4; v++)
                sums[v] = i8_dot(sums[v], i8_codes(codes[v]), ones);
        }
        UNROLL
        for (int v = 0; v < 4; v++)
            i8_store_sums(packed + v * I8_LANES, sums[v]);
        for (int64_t i = 0; i < count; i++)
            sum[c + i] = packed[i / 4 % 4 * I8_LANES + i / 16 * 4 + i % 4] - zero * (int32_t)rows;
    }
}
