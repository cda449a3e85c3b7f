/*
 * Depthwise convolution for one type. All three directions are sums of products of channel vectors,
 *     forward           y[oh,ow]  = Σ_taps      x[ih,iw]·w[kh,kw]
 *     backward data     dx[ih,iw] = Σ_taps      dy[oh,ow]·w[kh,kw]
 *     backward weights  dw[kh,kw] += Σ_positions x[ih,iw]·dy[oh,ow]
 * so they share one accumulator that takes pairs of vectors and adds them up four at a time: one load and one
 * store of the sum for eight loads of factors.
 */

/* Names of this file's own, one of each a type. */
#define products        QD_NAME(products)
#define products_add    QD_NAME(products_add)
#define products_finish QD_NAME(products_finish)
#define add_four        QD_NAME(add_four)
#define add_one         QD_NAME(add_one)

typedef struct products {
    QD_REAL *sum;
    int64_t channels;
    const QD_REAL *a[4], *b[4];
    int pending;
    bool empty; /* nothing has been written to sum: the next write replaces what is there */
} products;

static void add_four(int64_t channels, bool empty, const QD_REAL *restrict a0, const QD_REAL *restrict b0,
                     const QD_REAL *restrict a1, const QD_REAL *restrict b1, const QD_REAL *restrict a2,
                     const QD_REAL *restrict b2, const QD_REAL *restrict a3, const QD_REAL *restrict b3,
                     QD_REAL *restrict sum)
{
    if (empty) {
        for (int64_t c = 0; c < channels; c++)
            sum[c] = a0[c] * b0[c] + a1[c] * b1[c] + (a2[c] * b2[c] + a3[c] * b3[c]);
    } else {
        for (int64_t c = 0; c < channels; c++)
            sum[c] += a0[c] * b0[c] + a1[c] * b1[c] + (a2[c] * b2[c] + a3[c] * b3[c]);
    }
}

static void add_one(int64_t channels, bool empty, const QD_REAL *restrict a, const QD_REAL *restrict b,
                    QD_REAL *restrict sum)
{
    if (empty) {
        for (int64_t c = 0; c < channels; c++)
            sum[c] = a[c] * b[c];
    } else {
        for (int64_t c = 0; c < channels; c++)
            sum[c] += a[c] * b[c];
    }
}

static inline void products_add(products *p, const QD_REAL *a, const QD_REAL *b)
{
    p->a[p->pending] = a;
    p->b[p->pending] = b;
    if (++p->pending < 4)
        return;
    add_four(p->channels, p->empty, p->a[0], p->b[0], p->a[1], p->b[1], p->a[2], p->b[2], p->a[3], p->b[3], p->sum);
    p->pending = 0;
    p->empty = false;
}

static inline void products_finish(products *p)
{
    for (int i = 0; i < p->pending; i++) {
        add_one(p->channels, p->empty, p->a[i], p->b[i], p->sum);
        p->empty = false;
    }
    for (int64_t c = 0; p->empty && c < p->channels; c++)
        p->sum[c] = 0;
}

void QD_NAME(dwconv_forward)(const qd_conv_shape *s, const void *x, const void *w, int64_t first_line,
                             int64_t line_count, void *y)
{
    int64_t c = s->ic;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const QD_REAL *image = (const QD_REAL *)x + line / s->oh * s->ih * s->iw * c;
        int64_t top = line % s->oh * s->stride - s->pad;

        for (int64_t ow = 0; ow < s->ow; ow++) {
            products p = {.sum = (QD_REAL *)y + (line * s->ow + ow) * c, .channels = c, .empty = true};
            int64_t left = ow * s->stride - s->pad;

            for (int64_t kh = 0; kh < s->kh; kh++) {
                if (top + kh < 0 || top + kh >= s->ih)
                    continue;
                for (int64_t kw = 0; kw < s->kw; kw++) {
                    if (left + kw >= 0 && left + kw < s->iw)
                        products_add(&p, image + ((top + kh) * s->iw + left + kw) * c,
                                     (const QD_REAL *)w + (kh * s->kw + kw) * c);
                }
            }
            products_finish(&p);
        }
    }
}

void QD_NAME(dwconv_backward_data)(const qd_conv_shape *s, const void *dy, const void *w, int64_t first_line,
                                   int64_t line_count, bool accumulate, void *dx)
{
    int64_t c = s->ic;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const QD_REAL *image = (const QD_REAL *)dy + line / s->ih * s->oh * s->ow * c;
        int64_t ih = line % s->ih;

        for (int64_t iw = 0; iw < s->iw; iw++) {
            products p = {.sum = (QD_REAL *)dx + (line * s->iw + iw) * c, .channels = c, .empty = !accumulate};

            /* Taps that join this input to an output are `stride` apart, and their outputs are neighbours. */
            for (int64_t kh = (ih + s->pad) % s->stride, oh = (ih + s->pad) / s->stride; kh < s->kh;
                 kh += s->stride, oh--) {
                if (oh < 0 || oh >= s->oh)
                    continue;
                for (int64_t kw = (iw + s->pad) % s->stride, ow = (iw + s->pad) / s->stride; kw < s->kw;
                     kw += s->stride, ow--) {
                    if (ow >= 0 && ow < s->ow)
                        products_add(&p, image + (oh * s->ow + ow) * c, (const QD_REAL *)w + (kh * s->kw + kw) * c);
                }
            }
            products_finish(&p);
        }
    }
}

void QD_NAME(dwconv_backward_weights)(const qd_conv_shape *s, const void *x, const void *dy, int64_t first_line,
                                      int64_t line_count, void *dw)
{
    int64_t c = s->ic;

    for (int64_t line = first_line; line < first_line + line_count; line++) {
        const QD_REAL *image = (const QD_REAL *)x + line / s->oh * s->ih * s->iw * c;
        const QD_REAL *out_line = (const QD_REAL *)dy + line * s->ow * c;
        int64_t top = line % s->oh * s->stride - s->pad;

        for (int64_t kh = 0; kh < s->kh; kh++) {
            if (top + kh < 0 || top + kh >= s->ih)
                continue;
            for (int64_t kw = 0; kw < s->kw; kw++) {
                products p = {.sum = (QD_REAL *)dw + (kh * s->kw + kw) * c, .channels = c};

                for (int64_t ow = 0; ow < s->ow; ow++) {
                    int64_t iw = ow * s->stride - s->pad + kw;

                    if (iw >= 0 && iw < s->iw)
                        products_add(&p, image + ((top + kh) * s->iw + iw) * c, out_line + ow * c);
                }
                products_finish(&p);
            }
        }
    }
}

#undef products
#undef products_add
#undef products_finish
#undef add_four
#undef add_one
