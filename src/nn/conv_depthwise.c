/* Depthwise passes: blocks of lines in parallel, each through one kernel call. */
#include "nn/conv_passes.h"
#include "nn/deferred.h"

#include "base/arena.h"

#include <omp.h>
#include <string.h>

/* Lines of one kernel call: enough to make the call cheap, few enough that 14 lines × 1 image still spread. */
#define LINES_PER_BLOCK 4

/* Below this many lines a further partial sum costs more than the parallelism gains. */
#define LINES_PER_PARTIAL 16

/*
 * A deferred input is made in bands: the input lines behind a few output lines of one image. Half a megabyte of them
 * stays in any second-level cache until the kernel has read them; below four output lines the margins between bands,
 * which are made twice, would cost more than the cache gives.
 */
#define BAND_BYTES     (512 << 10)
#define BAND_LINES_MIN 4

typedef struct band {
    qd_conv_shape shape;       /* of the band as an image of its own */
    int64_t first, count;      /* its output lines that are wanted */
    int64_t in_line, out_line; /* the band's line 0 in the image: input and output */
} band;

/* Output lines that a band of this shape makes. */
static int64_t band_lines(const qd_conv_shape *s, size_t size)
{
    const int64_t in_lines = BAND_BYTES / (s->iw * s->ic * (int64_t)size);
    return qd_min_i64(s->oh, qd_max_i64(BAND_LINES_MIN, (in_lines - s->kh) / s->stride + 1));
}

/*
 * The band for output lines [first, first + count) of an image. It begins at an input line that is the top of a
 * window without padding, so that only the image's own border has any.
 */
static band band_at(const qd_conv_shape *s, int64_t first, int64_t count)
{
    const int64_t above = (s->pad + s->stride - 1) / s->stride;
    band b = {.shape = *s, .count = count, .out_line = qd_max_i64(0, first - above)};
    b.first = first - b.out_line;
    b.in_line = qd_min_i64(b.out_line * s->stride, s->ih - 1);
    b.shape.n = 1;
    b.shape.oh = b.first + count;
    b.shape.ih = qd_max_i64(1, qd_min_i64(s->ih, (first + count - 1) * s->stride - s->pad + s->kh) - b.in_line);
    return b;
}

static size_t band_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    const size_t size = qd_dtype_size(call->dtype);
    const int64_t above = (s->pad + s->stride - 1) / s->stride * s->stride;
    const int64_t lines = (band_lines(s, size) - 1) * s->stride + s->kh + above;
    return call->deferred.present ? qd_align_bytes((size_t)(qd_min_i64(lines, s->ih) * s->iw * s->ic) * size) : 0;
}

/* The band's input lines of image `image`, in the thread's own part of `scratch`. */
static const void *make_band(const qd_layer_call *call, const qd_conv_shape *s, const band *b, int64_t image,
                             void *scratch)
{
    unsigned char *own = (unsigned char *)scratch + (size_t)omp_get_thread_num() * band_bytes(call, s);
    const int64_t offset = (image * s->ih + b->in_line) * s->iw * s->ic;
    return qd_input_rows(call, qd_element(call->x[0], call->dtype, offset), b->shape.ih * s->iw, own);
}

static int64_t out_offset(const qd_conv_shape *s, const band *b, int64_t image)
{
    return (image * s->oh + b->out_line) * s->ow * s->oc;
}

size_t qd_conv_depthwise_forward_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return (size_t)call->threads * band_bytes(call, s);
}

static void forward_in_bands(const qd_layer_call *call, const qd_conv_shape *s)
{
    const int64_t per_band = band_lines(s, qd_dtype_size(call->dtype)), bands = qd_piece_count(s->oh, per_band);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < s->n * bands; job++) {
        const qd_piece lines = qd_piece_of(s->oh, per_band, job % bands);
        const band b = band_at(s, lines.first, lines.count);
        call->k->dwconv_forward(&b.shape, make_band(call, s, &b, job / bands, call->workspace), call->param[0],
                                b.first, b.count, qd_element(call->y, call->dtype, out_offset(s, &b, job / bands)));
    }
}

void qd_conv_depthwise_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    int64_t lines = s->n * s->oh;

    if (call->deferred.present) {
        forward_in_bands(call, s);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t line = 0; line < lines; line += LINES_PER_BLOCK)
        call->k->dwconv_forward(s, call->x[0], call->param[0], line, qd_min_i64(LINES_PER_BLOCK, lines - line),
                                call->y);
}

void qd_conv_depthwise_backward_data(const qd_layer_call *call, const qd_conv_shape *s)
{
    int64_t lines = s->n * s->ih;

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t line = 0; line < lines; line += LINES_PER_BLOCK)
        call->k->dwconv_backward_data(s, call->dy, call->param[0], line, qd_min_i64(LINES_PER_BLOCK, lines - line),
                                      call->accumulate[0], call->dx[0]);
}

static int64_t partial_count(const qd_conv_shape *s)
{
    return qd_min_i64(QD_CONV_MAX_PARTIALS, qd_max_i64(1, s->n * s->oh / LINES_PER_PARTIAL));
}

/* The first partial sum is dw itself. */
static size_t partials_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return qd_align_bytes((size_t)((partial_count(s) - 1) * s->kh * s->kw * s->ic) * qd_dtype_size(call->dtype));
}

size_t qd_conv_depthwise_backward_weights_bytes(const qd_layer_call *call, const qd_conv_shape *s)
{
    return partials_bytes(call, s) + (size_t)call->threads * band_bytes(call, s);
}

/* sum += the gradient over output lines [first, end) of the whole batch. */
static void add_bands(const qd_layer_call *call, const qd_conv_shape *s, int64_t first, int64_t end, void *sum)
{
    void *scratch = (unsigned char *)call->workspace + partials_bytes(call, s);
    const int64_t per_band = band_lines(s, qd_dtype_size(call->dtype));

    for (int64_t line = first; line < end;) {
        const int64_t image = line / s->oh, within = line % s->oh;
        const band b = band_at(s, within, qd_min_i64(per_band, qd_min_i64(s->oh - within, end - line)));
        call->k->dwconv_backward_weights(&b.shape, make_band(call, s, &b, image, scratch),
                                         qd_element(call->dy, call->dtype, out_offset(s, &b, image)), b.first,
                                         b.count, sum);
        line += b.count;
    }
}

void qd_conv_depthwise_backward_weights(const qd_layer_call *call, const qd_conv_shape *s)
{
    size_t size = qd_dtype_size(call->dtype);
    int64_t count = s->kh * s->kw * s->ic, lines = s->n * s->oh;
    int64_t partials = partial_count(s);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t p = 0; p < partials; p++) {
        void *sum = p == 0 ? call->grad[0] : qd_element(call->workspace, call->dtype, (p - 1) * count);
        int64_t first = lines * p / partials, end = lines * (p + 1) / partials;

        memset(sum, 0, (size_t)count * size);
        if (call->deferred.present)
            add_bands(call, s, first, end, sum);
        else
            call->k->dwconv_backward_weights(s, call->x[0], call->dy, first, end - first, sum);
    }
    qd_conv_add_partials(call, call->workspace, partials - 1, count, call->grad[0]);
}
