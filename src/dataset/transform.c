/* torchvision's transforms of the plain script. Source: torchvision 0.14.1, transforms/functional.py. */
#include "dataset/transform.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void qd_normalizer_init(qd_normalizer *normalizer)
{
    static const float mean[3] = {0.485F, 0.456F, 0.406F};
    static const float std[3] = {0.229F, 0.224F, 0.225F};
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            normalizer->value[c][v] = ((float)v / 255.0F - mean[c]) / std[c];
}

void qd_normalize(const qd_normalizer *normalizer, const uint8_t *bytes, int64_t pixels, float *out)
{
    for (int64_t i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++)
            out[3 * i + c] = normalizer->value[c][bytes[3 * i + c]];
}

static void flip_row(uint8_t *row, int32_t width)
{
    for (int32_t left = 0, right = width - 1; left < right; left++, right--) {
        uint8_t pixel[3];
        memcpy(pixel, row + 3 * left, 3);
        memcpy(row + 3 * left, row + 3 * right, 3);
        memcpy(row + 3 * right, pixel, 3);
    }
}

enum qd_status qd_transform_training(qd_resize_scratch *scratch, const qd_image *in, const qd_crop *crop,
                                     int32_t size, uint8_t *out)
{
    qd_pixel_view view = qd_pixel_view_of(in, crop->left, crop->top, crop->width, crop->height);
    qd_resize_target target = {.width = size, .height = size, .window_width = size, .window_height = size};
    QD_TRY(qd_resize_window(scratch, &view, &target, out));
    for (int32_t y = 0; crop->flip && y < size; y++)
        flip_row(out + (size_t)y * (size_t)size * 3, size);
    return QD_OK;
}

enum qd_status qd_transform_squash(qd_resize_scratch *scratch, const qd_image *in, int32_t size, uint8_t *out)
{
    const qd_crop whole = {.width = in->width, .height = in->height};
    return qd_transform_training(scratch, in, &whole, size, out);
}

enum qd_status qd_transform_validation(qd_resize_scratch *scratch, const qd_image *in, int32_t size, uint8_t *out)
{
    /* round(8/7·size) is never below size, so that the centre crop never has to pad; there are no ties either. */
    int32_t shorter = (int32_t)rint((double)size * 256.0 / 224.0);
    bool upright = in->width <= in->height;
    int32_t in_shorter = upright ? in->width : in->height, in_longer = upright ? in->height : in->width;
    double exact_longer = (double)((int64_t)shorter * in_longer) / in_shorter;
    if (exact_longer > INT32_MAX)
        return QD_ERR_SHAPE;
    int32_t longer = (int32_t)exact_longer;
    qd_resize_target target = {.width = upright ? shorter : longer,
                               .height = upright ? longer : shorter,
                               .window_width = size,
                               .window_height = size};
    /* Python's round(): half to even. */
    target.window_left = (int32_t)rint((target.width - size) / 2.0);
    target.window_top = (int32_t)rint((target.height - size) / 2.0);
    qd_pixel_view view = qd_pixel_view_of(in, 0, 0, in->width, in->height);
    return qd_resize_window(scratch, &view, &target, out);
}

enum qd_status qd_image_eval_transform(qd_context *ctx, const qd_image *in, int32_t size, float *out)
{
    if (size < 1 || size > QD_MAX_INPUT_SIZE)
        return qd_fail(ctx, QD_ERR_SHAPE, "validation transform: expected a size of 1 to %d, got %d",
                       QD_MAX_INPUT_SIZE, size);
    qd_resize_scratch scratch = {0};
    qd_normalizer normalizer;
    size_t pixels = (size_t)size * (size_t)size;
    uint8_t *bytes = malloc(pixels * 3);
    enum qd_status status = bytes ? qd_transform_validation(&scratch, in, size, bytes) : QD_ERR_MEMORY;
    if (status == QD_OK) {
        qd_normalizer_init(&normalizer);
        qd_normalize(&normalizer, bytes, (int64_t)pixels, out);
    } else {
        qd_fail(ctx, status, "validation transform of an image of %d x %d to %d x %d: %s", in->width, in->height,
                size, size, status == QD_ERR_MEMORY ? "memory is short" : "the image is too narrow for its length");
    }
    free(bytes);
    qd_resize_scratch_free(&scratch);
    return status;
}
