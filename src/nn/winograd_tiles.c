#include "nn/winograd_tiles.h"

#include <omp.h>

/* Tiles a kernel call: the addresses of their pixels (7 KiB) stay in first-level cache beside the pixels. */
#define CALL_TILES 24

/* Of a cache line. */
#define LINE_VALUES ((int64_t)(QD_ALIGNMENT / sizeof(float)))

qd_winograd_grid qd_winograd_grid_of(const qd_conv_shape *s)
{
    qd_winograd_grid grid = {.n = s->n,
                             .h = s->ih,
                             .w = s->iw,
                             .tiles_h = qd_piece_count(s->ih, QD_WINOGRAD_TILE),
                             .tiles_w = qd_piece_count(s->iw, QD_WINOGRAD_TILE)};
    grid.tiles = grid.n * grid.tiles_h * grid.tiles_w;
    return grid;
}

static int64_t odd_lines(int64_t values)
{
    return (qd_piece_count(values, LINE_VALUES) | 1) * LINE_VALUES;
}

qd_winograd_planes qd_winograd_planes_of(int64_t tiles, int64_t channels)
{
    const int64_t line = odd_lines(channels);
    return (qd_winograd_planes){.plane = odd_lines(tiles * line), .line = line};
}

size_t qd_winograd_planes_bytes(const qd_winograd_planes *planes)
{
    return qd_align_bytes((size_t)(QD_WINOGRAD_PLANES * planes->plane) * sizeof(float));
}

qd_winograd_planes qd_winograd_planes_own(qd_winograd_planes planes, size_t bytes)
{
    planes.data += (size_t)omp_get_thread_num() * (bytes / sizeof(float));
    return planes;
}

size_t qd_winograd_address_bytes(int64_t rows)
{
    const int64_t window = QD_WINOGRAD_PLANES * CALL_TILES;
    return qd_align_bytes((size_t)(window > 2 * rows ? window : 2 * rows) * sizeof(void *));
}

/* `side` pixels a side, beginning `margin` pixels before the tile. */
static qd_conv_window window_of(const qd_winograd_grid *grid, int64_t pixel, int64_t side, int64_t margin)
{
    return (qd_conv_window){.n = grid->n,
                            .grid_h = grid->tiles_h,
                            .grid_w = grid->tiles_w,
                            .taps_h = side,
                            .taps_w = side,
                            .tap_step = 1,
                            .step = QD_WINOGRAD_TILE,
                            .first_y = -margin,
                            .first_x = -margin,
                            .source_h = grid->h,
                            .source_w = grid->w,
                            .source_pixel = pixel};
}

/* Fills `planes` from tile `first` on by `kernel`. */
static void transform(const qd_conv_window *window, const float *x, qd_winograd_channels channels, int64_t first,
                      int64_t count, qd_winograd_scratch scratch, qd_winograd_planes planes,
                      void (*kernel)(const qd_winograd_planes_args *args))
{
    for (int64_t done = 0; done < count; done += CALL_TILES) {
        const qd_winograd_planes at = qd_winograd_planes_from(planes, done);
        const qd_winograd_planes_args args = {.tiles = count - done < CALL_TILES ? count - done : CALL_TILES,
                                              .channels = channels.count,
                                              .pixels = scratch.addresses,
                                              .planes = at.data,
                                              .plane = at.plane,
                                              .line = at.line};
        qd_conv_window_sources(window, x + channels.first_channel, scratch.outside, first + done, args.tiles,
                               scratch.addresses);
        kernel(&args);
    }
}

void qd_winograd_transform_input(const qd_layer_call *call, const qd_winograd_grid *grid, const float *x,
                                 qd_winograd_channels channels, int64_t first, int64_t count,
                                 qd_winograd_scratch scratch, qd_winograd_planes planes)
{
    const qd_conv_window window = window_of(grid, channels.pixel, QD_WINOGRAD_WINDOW, 1);
    transform(&window, x, channels, first, count, scratch, planes, call->k->winograd_input);
}

void qd_winograd_transform_gradient(const qd_layer_call *call, const qd_winograd_grid *grid, const float *dy,
                                    qd_winograd_channels channels, int64_t first, int64_t count,
                                    qd_winograd_scratch scratch, qd_winograd_planes planes)
{
    const qd_conv_window window = window_of(grid, channels.pixel, QD_WINOGRAD_TILE, 0);
    transform(&window, dy, channels, first, count, scratch, planes, call->k->winograd_output_adjoint);
}

void qd_winograd_transform_output(const qd_layer_call *call, const qd_winograd_grid *grid, qd_winograd_planes planes,
                                  int64_t first, int64_t count, qd_winograd_scratch scratch, bool accumulate,
                                  qd_winograd_channels channels, float *y)
{
    const qd_conv_window window = window_of(grid, channels.pixel, QD_WINOGRAD_TILE, 0);

    for (int64_t done = 0; done < count; done += CALL_TILES) {
        const qd_winograd_planes at = qd_winograd_planes_from(planes, done);
        const qd_winograd_pixels_args args = {.tiles = count - done < CALL_TILES ? count - done : CALL_TILES,
                                              .channels = channels.count,
                                              .planes = at.data,
                                              .plane = at.plane,
                                              .line = at.line,
                                              .pixels =
                                                  (void *const *)scratch.addresses, /* of y, which is writable */
                                              .accumulate = accumulate};
        qd_conv_window_sources(&window, y + channels.first_channel, scratch.outside, first + done, args.tiles,
                               scratch.addresses);
        call->k->winograd_output(&args);
    }
}
