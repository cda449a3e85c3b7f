/* Antialiased bilinear resampling: a horizontal pass rounded to 8 bits, then a vertical one. */
#include "dataset/resize.h"
#include "base/arena.h"
#include "base/error.h"
#include "dataset/image_io.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pillow's fixed point: 32 bits hold an 8-bit value, 22 bits of coefficient and 2 bits of room for sums. */
#define PRECISION_BITS (32 - 8 - 2)
#define HALF           (1 << (PRECISION_BITS - 1))

/* The weights of one axis: output k is the sum over t < count[k] of weight[k·taps + t] · input[first[k] + t]. */
typedef struct axis_weights {
    int32_t taps;
    int32_t *first, *count;
    int32_t *weight;
} axis_weights;

qd_pixel_view qd_pixel_view_of(const qd_image *image, int32_t left, int32_t top, int32_t width, int32_t height)
{
    size_t stride_bytes = (size_t)image->width * 3;
    return (qd_pixel_view){.rgb = image->rgb + (size_t)top * stride_bytes + (size_t)left * 3,
                           .stride_bytes = stride_bytes,
                           .width = width,
                           .height = height};
}

void qd_resize_scratch_free(qd_resize_scratch *scratch)
{
    free(scratch->block);
    *scratch = (qd_resize_scratch){0};
}

/* When shrinking, the triangle widens to cover what it averages; when enlarging it spans two inputs. */
static double filter_scale(int32_t in_size, int32_t out_size)
{
    double scale = (double)in_size / out_size;
    return scale < 1.0 ? 1.0 : scale;
}

static int32_t count_taps(int32_t in_size, int32_t out_size)
{
    return (int32_t)ceil(filter_scale(in_size, out_size)) * 2 + 1;
}

/* The inputs that an output is made of: first … last - 1. Doubles and their order as in Pillow, to the last bit. */
static void find_inputs(int32_t in_size, int32_t out_size, int32_t output, int32_t *first, int32_t *last)
{
    double scale = (double)in_size / out_size;
    double support = filter_scale(in_size, out_size);
    double center = (output + 0.5) * scale;
    *first = (int32_t)(center - support + 0.5);
    *last = (int32_t)(center + support + 0.5);
    if (*first < 0)
        *first = 0;
    if (*last > in_size)
        *last = in_size;
}

/* Weights of outputs offset … offset + count - 1 of out_size. Doubles and their order as in Pillow, to the last bit.
 */
static void compute_weights(axis_weights *axis, double *row, int32_t in_size, int32_t out_size, int32_t offset,
                            int32_t count)
{
    double scale = (double)in_size / out_size;
    double inverse = 1.0 / filter_scale(in_size, out_size);
    for (int32_t k = 0; k < count; k++) {
        double center = (offset + k + 0.5) * scale;
        int32_t first, last;
        find_inputs(in_size, out_size, offset + k, &first, &last);
        int32_t taps = last - first;
        double sum = 0.0;
        for (int32_t t = 0; t < taps; t++) {
            double distance = fabs((t + first - center + 0.5) * inverse);
            row[t] = distance < 1.0 ? 1.0 - distance : 0.0;
            sum += row[t];
        }
        int32_t *weight = axis->weight + (size_t)k * (size_t)axis->taps;
        for (int32_t t = 0; t < taps; t++)
            weight[t] = (int32_t)(0.5 + (sum != 0.0 ? row[t] / sum : row[t]) * (1 << PRECISION_BITS));
        axis->first[k] = first;
        axis->count[k] = taps;
    }
}

static uint8_t round_sum(int32_t sum)
{
    int32_t value = sum >> PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void resample_row(const axis_weights *axis, const uint8_t *in, uint8_t *out, int32_t width)
{
    for (int32_t x = 0; x < width; x++, out += 3) {
        const int32_t *weight = axis->weight + (size_t)x * (size_t)axis->taps;
        const uint8_t *pixel = in + (size_t)axis->first[x] * 3;
        int32_t red = HALF, green = HALF, blue = HALF;
        for (int32_t t = 0; t < axis->count[x]; t++, pixel += 3) {
            red += pixel[0] * weight[t];
            green += pixel[1] * weight[t];
            blue += pixel[2] * weight[t];
        }
        out[0] = round_sum(red);
        out[1] = round_sum(green);
        out[2] = round_sum(blue);
    }
}

/* One output row from `count` rows, `stride_bytes` apart; `sums` holds a row of 32-bit sums. */
static void resample_column(const int32_t *weight, int32_t count, const uint8_t *rows, size_t stride_bytes,
                            int32_t *sums, uint8_t *out, size_t row_bytes)
{
    for (size_t i = 0; i < row_bytes; i++)
        sums[i] = HALF;
    for (int32_t t = 0; t < count; t++) {
        const uint8_t *row = rows + (size_t)t * stride_bytes;
        int32_t factor = weight[t];
        for (size_t i = 0; i < row_bytes; i++)
            sums[i] += row[i] * factor;
    }
    for (size_t i = 0; i < row_bytes; i++)
        out[i] = round_sum(sums[i]);
}

/* Takes the next part of a block; with a NULL block it only counts. */
static void *take(unsigned char *block, size_t *used_bytes, size_t bytes)
{
    void *part = block ? block + *used_bytes : NULL;
    *used_bytes += qd_align_bytes(bytes);
    return part;
}

typedef struct resize_parts {
    axis_weights columns, rows;
    double *weight_row;
    int32_t *sums;
    int32_t from, to; /* input rows that the window needs */
    uint8_t *middle;  /* after the horizontal pass: [to - from][window_width][3] */
} resize_parts;

static size_t lay_out(unsigned char *block, const qd_pixel_view *in, const qd_resize_target *target,
                      resize_parts *parts)
{
    size_t used = 0;
    size_t columns = (size_t)target->window_width, rows = (size_t)target->window_height;
    parts->from = target->window_top;
    parts->to = target->window_top + target->window_height;
    if (target->height != in->height) {
        int32_t unused;
        find_inputs(in->height, target->height, target->window_top, &parts->from, &unused);
        find_inputs(in->height, target->height, target->window_top + target->window_height - 1, &unused, &parts->to);
    }
    int32_t column_taps = count_taps(in->width, target->width), row_taps = count_taps(in->height, target->height);
    size_t most_taps = (size_t)(column_taps > row_taps ? column_taps : row_taps);
    parts->columns.taps = column_taps;
    parts->columns.first = take(block, &used, columns * sizeof(int32_t));
    parts->columns.count = take(block, &used, columns * sizeof(int32_t));
    parts->columns.weight = take(block, &used, columns * (size_t)column_taps * sizeof(int32_t));
    parts->rows.taps = row_taps;
    parts->rows.first = take(block, &used, rows * sizeof(int32_t));
    parts->rows.count = take(block, &used, rows * sizeof(int32_t));
    parts->rows.weight = take(block, &used, rows * (size_t)row_taps * sizeof(int32_t));
    parts->weight_row = take(block, &used, most_taps * sizeof(double));
    parts->sums = take(block, &used, columns * 3 * sizeof(int32_t));
    parts->middle = take(block, &used, (size_t)(parts->to - parts->from) * columns * 3);
    return used;
}

static enum qd_status reserve(qd_resize_scratch *scratch, size_t bytes)
{
    if (bytes <= scratch->block_bytes)
        return QD_OK;
    free(scratch->block);
    scratch->block = malloc(bytes);
    scratch->block_bytes = scratch->block ? bytes : 0;
    return scratch->block ? QD_OK : QD_ERR_MEMORY;
}

enum qd_status qd_resize_window(qd_resize_scratch *scratch, const qd_pixel_view *in, const qd_resize_target *target,
                                uint8_t *out)
{
    resize_parts parts;
    int32_t columns = target->window_width, rows = target->window_height;
    size_t row_bytes = (size_t)columns * 3;
    QD_TRY(reserve(scratch, lay_out(NULL, in, target, &parts)));
    lay_out(scratch->block, in, target, &parts);

    /* A pass that would change nothing is left out, as in Pillow. `middle` begins with input row parts.from. */
    qd_pixel_view middle = {.rgb = in->rgb + (size_t)parts.from * in->stride_bytes + (size_t)target->window_left * 3,
                            .stride_bytes = in->stride_bytes};
    if (target->width != in->width) {
        compute_weights(&parts.columns, parts.weight_row, in->width, target->width, target->window_left, columns);
        for (int32_t y = parts.from; y < parts.to; y++)
            resample_row(&parts.columns, in->rgb + (size_t)y * in->stride_bytes,
                         parts.middle + (size_t)(y - parts.from) * row_bytes, columns);
        middle = (qd_pixel_view){.rgb = parts.middle, .stride_bytes = row_bytes};
    }
    if (target->height != in->height)
        compute_weights(&parts.rows, parts.weight_row, in->height, target->height, target->window_top, rows);
    for (int32_t y = 0; y < rows; y++) {
        uint8_t *out_row = out + (size_t)y * row_bytes;
        if (target->height == in->height)
            memcpy(out_row, middle.rgb + (size_t)y * middle.stride_bytes, row_bytes);
        else
            resample_column(parts.rows.weight + (size_t)y * (size_t)parts.rows.taps, parts.rows.count[y],
                            middle.rgb + (size_t)(parts.rows.first[y] - parts.from) * middle.stride_bytes,
                            middle.stride_bytes, parts.sums, out_row, row_bytes);
    }
    return QD_OK;
}

enum qd_status qd_image_resize(qd_context *ctx, const qd_image *in, int32_t width, int32_t height, qd_image *out)
{
    if (width <= 0 || height <= 0 || (int64_t)width * height > QD_MAX_IMAGE_PIXELS || in->width <= 0 ||
        in->height <= 0)
        return qd_fail(ctx, QD_ERR_SHAPE, "resizing an image of %d x %d: expected 1 to %lld pixels, got %d x %d",
                       in->width, in->height, (long long)QD_MAX_IMAGE_PIXELS, width, height);
    qd_resize_scratch scratch = {0};
    qd_image resized = {.width = width, .height = height, .rgb = malloc((size_t)width * (size_t)height * 3)};
    qd_pixel_view view = qd_pixel_view_of(in, 0, 0, in->width, in->height);
    qd_resize_target target = {.width = width, .height = height, .window_width = width, .window_height = height};
    enum qd_status status = resized.rgb ? qd_resize_window(&scratch, &view, &target, resized.rgb) : QD_ERR_MEMORY;
    qd_resize_scratch_free(&scratch);
    if (status != QD_OK) {
        qd_image_free(&resized);
        return qd_fail(ctx, status, "resizing an image to %d x %d: memory is short", width, height);
    }
    *out = resized;
    return QD_OK;
}
