/*
 * im2col and its adjoint for one type. A row is one output position (image, oh, ow); its columns are
 * [kh][kw][channel of the group], the order of OHWI weights.
 */

#define window QD_NAME(window) /* one a type, as all names of this file */

/* Input columns (iw) that the window at ow really covers: kw in [*first, *end). */
static inline void window(int64_t origin, int64_t extent, int64_t kernel, int64_t *first, int64_t *end)
{
    *first = origin < 0 ? -origin : 0;
    *end = extent - origin < kernel ? extent - origin : kernel;
    if (*first > kernel)
        *first = kernel;
    if (*end < *first)
        *end = *first;
}

void QD_NAME(im2col)(const qd_conv_shape *s, int64_t group, const void *x, int64_t first_row, int64_t row_count,
                     void *col)
{
    int64_t channels = s->ic / s->groups;
    size_t tap_bytes = (size_t)channels * sizeof(QD_REAL);
    QD_REAL *out = col;

    for (int64_t row = first_row; row < first_row + row_count; row++) {
        int64_t n = row / (s->oh * s->ow);
        int64_t top = row / s->ow % s->oh * s->stride - s->pad;
        int64_t left = row % s->ow * s->stride - s->pad;
        int64_t kw_first, kw_end;

        window(left, s->iw, s->kw, &kw_first, &kw_end);
        for (int64_t kh = 0; kh < s->kh; kh++, out += s->kw * channels) {
            int64_t ih = top + kh;
            const QD_REAL *in;

            if (ih < 0 || ih >= s->ih || kw_first == kw_end) {
                memset(out, 0, (size_t)s->kw * tap_bytes);
                continue;
            }
            in = (const QD_REAL *)x + ((n * s->ih + ih) * s->iw + left + kw_first) * s->ic + group * channels;
            if (kw_first > 0) /* most windows lie inside: spare them the calls */
                memset(out, 0, (size_t)kw_first * tap_bytes);
            if (kw_end < s->kw)
                memset(out + kw_end * channels, 0, (size_t)(s->kw - kw_end) * tap_bytes);
            if (s->groups == 1) { /* neighbouring taps are neighbours in memory */
                memcpy(out + kw_first * channels, in, (size_t)(kw_end - kw_first) * tap_bytes);
            } else {
                for (int64_t kw = kw_first; kw < kw_end; kw++, in += s->ic)
                    memcpy(out + kw * channels, in, tap_bytes);
            }
        }
    }
}

void QD_NAME(col2im)(const qd_conv_shape *s, int64_t group, const void *col, int64_t first_row, int64_t row_count,
                     void *dx)
{
    int64_t channels = s->ic / s->groups;
    const QD_REAL *in = col;

    for (int64_t row = first_row; row < first_row + row_count; row++) {
        int64_t n = row / (s->oh * s->ow);
        int64_t top = row / s->ow % s->oh * s->stride - s->pad;
        int64_t left = row % s->ow * s->stride - s->pad;
        int64_t kw_first, kw_end;

        window(left, s->iw, s->kw, &kw_first, &kw_end);
        for (int64_t kh = 0; kh < s->kh; kh++, in += s->kw * channels) {
            int64_t ih = top + kh;

            if (ih < 0 || ih >= s->ih)
                continue;
            for (int64_t kw = kw_first; kw < kw_end; kw++) {
                QD_REAL *restrict out =
                    (QD_REAL *)dx + ((n * s->ih + ih) * s->iw + left + kw) * s->ic + group * channels;
                const QD_REAL *restrict tap = in + kw * channels;

                for (int64_t c = 0; c < channels; c++)
                    out[c] += tap[c];
            }
        }
    }
}

#undef window
