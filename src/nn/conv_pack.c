/* Weights into the panels that the tile kernels read (kernels/panels.h). */
#include "nn/conv_pack.h"

void qd_conv_pack_rows(const qd_layer_call *call, const float *w, int64_t columns, int64_t depth, float *out)
{
    enum { BLOCK = 16 }; /* a cache line of every column's run; the written block stays in first-level cache */
    const qd_panels panels = call->k->panels;
    const int64_t count = qd_panel_count(panels, columns), blocks = qd_piece_count(depth, BLOCK);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < count * blocks; job++) {
        const qd_panel panel = qd_panel_at(panels, columns, job / blocks);
        const qd_piece k = qd_piece_of(depth, BLOCK, job % blocks);
        float *to = out + panel.first_width * depth + k.first * panel.width;
        for (int64_t c = 0; c < panel.width; c++) {
            const float *from = w + (panel.first_column + c) * depth + k.first;
            for (int64_t i = 0; i < k.count; i++)
                to[i * panel.width + c] = c < panel.columns ? from[i] : 0.0f;
        }
    }
}

void qd_conv_pack_phase(const qd_layer_call *call, const qd_conv_shape *s, const qd_conv_window *window,
                        qd_piece columns, const float *w, float *out)
{
    const qd_panels panels = call->k->panels;
    const int64_t ic = s->ic / s->groups, oc = s->oc / s->groups, taps = qd_conv_window_taps(window);
    const int64_t count = qd_panel_count(panels, columns.count);

#pragma omp parallel for schedule(static) num_threads(call->threads)
    for (int64_t job = 0; job < count * taps; job++) {
        const qd_panel panel = qd_panel_at(panels, columns.count, job / taps);
        const int64_t tap = job % taps;
        const int64_t kh = window->kernel_y + tap / window->taps_w * window->kernel_step;
        const int64_t kw = window->kernel_x + tap % window->taps_w * window->kernel_step;
        float *to = out + panel.first_width * taps * oc + tap * oc * panel.width;
        for (int64_t o = 0; o < oc; o++, to += panel.width) {
            const float *from = w + ((o * s->kh + kh) * s->kw + kw) * ic + columns.first + panel.first_column;
            for (int64_t c = 0; c < panel.width; c++)
                to[c] = c < panel.columns ? from[c] : 0.0f;
        }
    }
}

size_t qd_conv_packed_bytes(const qd_layer_call *call, int64_t depth, int64_t columns)
{
    return (size_t)(depth * qd_panel_total_width(call->k->panels, columns)) * sizeof(float);
}
