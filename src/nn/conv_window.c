#include "nn/conv_window.h"

#include <string.h>

qd_conv_window qd_conv_window_forward(const qd_conv_shape *s)
{
    return (qd_conv_window){.n = s->n,
                            .grid_h = s->oh,
                            .grid_w = s->ow,
                            .taps_h = s->kh,
                            .taps_w = s->kw,
                            .tap_step = 1,
                            .step = s->stride,
                            .first_y = -s->pad,
                            .first_x = -s->pad,
                            .source_h = s->ih,
                            .source_w = s->iw,
                            .source_pixel = s->ic,
                            .target_h = s->oh,
                            .target_w = s->ow,
                            .target_pixel = s->oc,
                            .target_step = 1,
                            .kernel_step = 1};
}

bool qd_conv_window_wants_bands(const qd_conv_shape *s)
{
    enum { FEW_CHANNELS = 4 };
    return s->groups == 1 && s->ic <= FEW_CHANNELS && s->kw > 1;
}

size_t qd_conv_margins_bytes(const qd_conv_shape *s)
{
    return (size_t)(s->n * (s->ih + 2 * s->pad) * (s->iw + 2 * s->pad) * s->ic) * sizeof(float);
}

void qd_conv_copy_with_margins(const qd_layer_call *call, const qd_conv_shape *s, float *out)
{
    const int64_t height = s->ih + 2 * s->pad, line = (s->iw + 2 * s->pad) * s->ic, margin = s->pad * s->ic;
    const float *x = call->x[0];

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < s->n * height; job++) {
        const int64_t y = job % height - s->pad;
        float *to = out + job * line;
        if (y < 0 || y >= s->ih) {
            memset(to, 0, (size_t)line * sizeof *to);
            continue;
        }
        memset(to, 0, (size_t)margin * sizeof *to);
        memcpy(to + margin, x + (job / height * s->ih + y) * s->iw * s->ic, (size_t)(s->iw * s->ic) * sizeof *to);
        memset(to + margin + s->iw * s->ic, 0, (size_t)margin * sizeof *to);
    }
}

qd_conv_window qd_conv_window_bands(const qd_conv_shape *s)
{
    qd_conv_window w = qd_conv_window_forward(s);
    w.taps_w = 1;
    w.first_y = w.first_x = 0;
    w.source_h = s->ih + 2 * s->pad;
    w.source_w = s->iw + 2 * s->pad;
    return w;
}

int64_t qd_conv_window_phases(const qd_conv_shape *s)
{
    return s->stride * s->stride;
}

/* Members first, first + step, … below `end`. */
static int64_t members(int64_t first, int64_t step, int64_t end)
{
    return first < end ? (end - first + step - 1) / step : 0;
}

/*
 * Input pixel p is read through tap k by output (p + pad - k)/stride where that is whole: k ≡ p + pad. Pixels p ≡
 * phase share their taps k0, k0 + stride, …; pixel phase + i·stride sees outputs i + (phase + pad - k0)/stride - u.
 */
qd_conv_window qd_conv_window_backward(const qd_conv_shape *s, int64_t phase)
{
    const int64_t y = phase / s->stride, x = phase % s->stride;
    const int64_t ky = (y + s->pad) % s->stride, kx = (x + s->pad) % s->stride;
    return (qd_conv_window){.n = s->n,
                            .grid_h = members(y, s->stride, s->ih),
                            .grid_w = members(x, s->stride, s->iw),
                            .taps_h = members(ky, s->stride, s->kh),
                            .taps_w = members(kx, s->stride, s->kw),
                            .tap_step = -1,
                            .step = 1,
                            .first_y = (y + s->pad - ky) / s->stride,
                            .first_x = (x + s->pad - kx) / s->stride,
                            .source_h = s->oh,
                            .source_w = s->ow,
                            .source_pixel = s->oc,
                            .target_h = s->ih,
                            .target_w = s->iw,
                            .target_pixel = s->ic,
                            .target_y = y,
                            .target_x = x,
                            .target_step = s->stride,
                            .kernel_y = ky,
                            .kernel_x = kx,
                            .kernel_step = s->stride};
}

/* A run of grid positions within one line of the grid. */
typedef struct run {
    int64_t image, i, j, count;
} run;

static run run_at(const qd_conv_window *w, int64_t row, int64_t end)
{
    const int64_t line = row / w->grid_w, j = row % w->grid_w;
    const int64_t left = w->grid_w - j;
    return (run){line / w->grid_h, line % w->grid_h, j, left < end - row ? left : end - row};
}

void qd_conv_window_sources(const qd_conv_window *w, const float *source, const float *zeros, int64_t first,
                            int64_t count, const void **out)
{
    for (int64_t row = first; row < first + count;) {
        const run at = run_at(w, row, first + count);
        const void **column = out + (row - first);
        for (int64_t u = 0; u < w->taps_h; u++) {
            const int64_t y = at.i * w->step + w->first_y + u * w->tap_step;
            const float *line = source + (at.image * w->source_h + y) * w->source_w * w->source_pixel;
            const bool inside = y >= 0 && y < w->source_h;
            for (int64_t v = 0; v < w->taps_w; v++, column += count) {
                int64_t x = at.j * w->step + w->first_x + v * w->tap_step;
                for (int64_t j = 0; j < at.count; j++, x += w->step)
                    column[j] = inside && x >= 0 && x < w->source_w ? line + x * w->source_pixel : zeros;
            }
        }
        row += at.count;
    }
}

void qd_conv_window_targets(const qd_conv_window *w, float *target, int64_t first, int64_t count, void **out)
{
    for (int64_t row = first; row < first + count;) {
        const run at = run_at(w, row, first + count);
        const int64_t y = w->target_y + at.i * w->target_step, x = w->target_x + at.j * w->target_step;
        float *pixel = target + ((at.image * w->target_h + y) * w->target_w + x) * w->target_pixel;
        for (int64_t j = 0; j < at.count; j++, pixel += w->target_step * w->target_pixel)
            out[row - first + j] = pixel;
        row += at.count;
    }
}
