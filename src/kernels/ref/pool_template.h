/*
 * Max pooling over NHWC. Padding counts as -inf, so it never wins; the first maximum in scan order wins, and a NaN
 * wins over every number, the last NaN of a window over the ones before it: as PyTorch's max_pool2d.
 */

/* Channels pooled together: their running maxima and positions stay in registers and first-level cache. */
#define QD_CHANNEL_BLOCK 64

static inline __attribute__((always_inline)) void QD_NAME(maxpool_lines)(const qd_conv_shape *s, const void *x,
                                                                         int64_t first_line, int64_t line_count,
                                                                         void *y, bool positions, uint8_t *argmax)
{
    const QD_REAL *xv = x;
    QD_REAL *yv = y;
    const int64_t channels = s->ic;
    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const int64_t image = line / s->oh, oh = line % s->oh;
        const int64_t top = oh * s->stride - s->pad;
        const int64_t kh_first = top < 0 ? -top : 0;
        const int64_t kh_end = s->ih - top < s->kh ? s->ih - top : s->kh;
        for (int64_t ow = 0; ow < s->ow; ow++) {
            const int64_t left = ow * s->stride - s->pad;
            const int64_t kw_first = left < 0 ? -left : 0;
            const int64_t kw_end = s->iw - left < s->kw ? s->iw - left : s->kw;
            const int64_t out = (line * s->ow + ow) * channels;
            for (int64_t first = 0; first < channels; first += QD_CHANNEL_BLOCK) {
                const int64_t width = channels - first < QD_CHANNEL_BLOCK ? channels - first : QD_CHANNEL_BLOCK;
                QD_REAL best[QD_CHANNEL_BLOCK];
                int32_t position[QD_CHANNEL_BLOCK];
                for (int64_t c = 0; c < width; c++) {
                    best[c] = -(QD_REAL)INFINITY;
                    position[c] = (int32_t)(kh_first * s->kw + kw_first);
                }
                for (int64_t kh = kh_first; kh < kh_end; kh++) {
                    for (int64_t kw = kw_first; kw < kw_end; kw++) {
                        const QD_REAL *xp = xv + ((image * s->ih + top + kh) * s->iw + left + kw) * channels + first;
                        const int32_t here = (int32_t)(kh * s->kw + kw);
#pragma omp simd
                        for (int64_t c = 0; c < width; c++) {
                            const bool better = (xp[c] > best[c]) | (xp[c] != xp[c]);
                            best[c] = better ? xp[c] : best[c];
                            if (positions)
                                position[c] = better ? here : position[c];
                        }
                    }
                }
                for (int64_t c = 0; c < width; c++) {
                    yv[out + first + c] = best[c];
                    if (positions)
                        argmax[out + first + c] = (uint8_t)position[c];
                }
            }
        }
    }
}

void QD_NAME(maxpool_forward)(const qd_conv_shape *s, const void *x, int64_t first_line, int64_t line_count, void *y,
                              uint8_t *argmax)
{
    if (argmax)
        QD_NAME(maxpool_lines)(s, x, first_line, line_count, y, true, argmax);
    else
        QD_NAME(maxpool_lines)(s, x, first_line, line_count, y, false, NULL);
}

void QD_NAME(maxpool_backward)(const qd_conv_shape *s, const void *dy, const uint8_t *argmax, void *dx)
{
    const QD_REAL *dyv = dy;
    QD_REAL *dxv = dx;
    const int64_t channels = s->ic;
    for (int64_t oh = 0; oh < s->oh; oh++) {
        for (int64_t ow = 0; ow < s->ow; ow++) {
            const int64_t top = oh * s->stride - s->pad, left = ow * s->stride - s->pad;
            const int64_t out = (oh * s->ow + ow) * channels;
            for (int64_t c = 0; c < channels; c++) {
                const int64_t kh = argmax[out + c] / s->kw, kw = argmax[out + c] % s->kw;
                dxv[((top + kh) * s->iw + left + kw) * channels + c] += dyv[out + c];
            }
        }
    }
}

#undef QD_CHANNEL_BLOCK
