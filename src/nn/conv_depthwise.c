/* Depthwise passes: blocks of lines in parallel, each through one kernel call. */
#include "nn/conv_passes.h"

#include <string.h>

/* Lines of one kernel call: enough to make the call cheap, few enough that 14 lines × 1 image still spread. */
#define LINES_PER_BLOCK 4

/* Below this many lines a further partial sum costs more than the parallelism gains. */
#define LINES_PER_PARTIAL 16

void qd_conv_depthwise_forward(const qd_layer_call *call, const qd_conv_shape *s)
{
    int64_t lines = s->n * s->oh;

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
size_t qd_conv_depthwise_backward_weights_bytes(const qd_conv_shape *s, enum qd_dtype dtype)
{
    return (size_t)((partial_count(s) - 1) * s->kh * s->kw * s->ic) * qd_dtype_size(dtype);
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
        call->k->dwconv_backward_weights(s, call->x[0], call->dy, first, end - first, sum);
    }
    qd_conv_add_partials(call, call->workspace, partials - 1, count, call->grad[0]);
}
