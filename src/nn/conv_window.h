/*
 * Which rows of the source a convolution's window sees, for the tile kernels. A product makes rows on a grid over the
 * target image; tap (u, v) of grid position (i, j) reads the source's pixel
 *     (i·step + first_y + u·tap_step, j·step + first_x + v·tap_step),
 * or zeros outside. That covers
 *     forward        target y, source x: step = stride, first = -pad, tap_step = 1
 *     backward data  target dx, source dy: one product for each residue of (pixel + pad) modulo the stride, whose
 *                    taps are `stride` apart: step = 1, tap_step = -1
 *     few channels   x copied with its margins, so that a line of the kernel is one run of kw·ic values: v has one
 * tap
 */
#ifndef QD_NN_CONV_WINDOW_H
#define QD_NN_CONV_WINDOW_H

#include "nn/layer_work.h"

typedef struct qd_conv_window {
    int64_t n, grid_h, grid_w;
    int64_t taps_h, taps_w, tap_step;
    int64_t step, first_y, first_x;
    int64_t source_h, source_w, source_pixel; /* values from one pixel to the next */
    int64_t target_h, target_w, target_pixel;
    int64_t target_y, target_x, target_step; /* grid position (i, j) is pixel target_y + i·target_step, … */
    int64_t kernel_y, kernel_x, kernel_step; /* tap (u, v) is the kernel's (kernel_y + u·kernel_step, …) */
} qd_conv_window;

static inline int64_t qd_conv_window_rows(const qd_conv_window *w)
{
    return w->n * w->grid_h * w->grid_w;
}

static inline int64_t qd_conv_window_taps(const qd_conv_window *w)
{
    return w->taps_h * w->taps_w;
}

qd_conv_window qd_conv_window_forward(const qd_conv_shape *s);

/* Products of backward data: stride², some of them without taps or without rows. */
int64_t qd_conv_window_phases(const qd_conv_shape *s);
qd_conv_window qd_conv_window_backward(const qd_conv_shape *s, int64_t phase);

/* Forward over an image that already has its margins, in bands of kw·ic values: where channels are so few that a tap
 * is too short a run. */
bool qd_conv_window_wants_bands(const qd_conv_shape *s);
qd_conv_window qd_conv_window_bands(const qd_conv_shape *s);

/* Images x[0] with their margins. float32. */
size_t qd_conv_margins_bytes(const qd_conv_shape *s);
void qd_conv_copy_with_margins(const qd_layer_call *call, const qd_conv_shape *s, float *out);

/* Addresses [taps][count] of what rows first … first + count - 1 read; `zeros` stands for pixels outside. float32. */
void qd_conv_window_sources(const qd_conv_window *w, const float *source, const float *zeros, int64_t first,
                            int64_t count, const void **out);

/* Addresses [count] of the rows themselves. float32. */
void qd_conv_window_targets(const qd_conv_window *w, float *target, int64_t first, int64_t count, void **out);

#endif
