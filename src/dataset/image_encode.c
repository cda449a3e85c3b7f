/* Images as files: the common ways a photograph is stored. */
#include "base/error.h"
#include "dataset/image_io.h"
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

/* What cameras use: visible artefacts neither spoil the noise nor the edges. */
#define JPEG_QUALITY 88

struct jpeg_writer {
    struct jpeg_compress_struct info;
    struct jpeg_error_mgr errors;
    jmp_buf escape;
    unsigned char *bytes;
    unsigned long size;
    uint8_t *row;
};

static void on_error(j_common_ptr common)
{
    struct jpeg_writer *writer = common->client_data;
    longjmp(writer->escape, 1);
}

/* ITU-R BT.601 in whole numbers, as Pillow's convert("L") weighs. */
static void grey_row(const uint8_t *rgb, uint8_t *grey, int32_t width)
{
    for (int32_t x = 0; x < width; x++, rgb += 3)
        grey[x] = (uint8_t)((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

/* What setjmp() guards stands in a function of its own: its locals need not survive the jump. */
static bool guarded_write(struct jpeg_writer *writer, const qd_image *image, bool grey)
{
    struct jpeg_compress_struct *info = &writer->info;
    if (setjmp(writer->escape))
        return false;
    jpeg_create_compress(info);
    jpeg_mem_dest(info, &writer->bytes, &writer->size);
    info->image_width = (JDIMENSION)image->width;
    info->image_height = (JDIMENSION)image->height;
    info->input_components = grey ? 1 : 3;
    info->in_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(info);
    jpeg_set_quality(info, JPEG_QUALITY, TRUE);
    jpeg_start_compress(info, TRUE);
    for (int32_t y = 0; y < image->height; y++) {
        const uint8_t *rgb = image->rgb + (size_t)y * (size_t)image->width * 3;
        if (grey)
            grey_row(rgb, writer->row, image->width);
        else
            memcpy(writer->row, rgb, (size_t)image->width * 3);
        JSAMPROW row = writer->row;
        jpeg_write_scanlines(info, &row, 1);
    }
    jpeg_finish_compress(info);
    return true;
}

enum qd_status qd_image_encode_jpeg(qd_context *ctx, const qd_image *image, bool grey, uint8_t **bytes, size_t *size)
{
    struct jpeg_writer writer = {0};
    writer.info.err = jpeg_std_error(&writer.errors);
    writer.errors.error_exit = on_error;
    writer.info.client_data = &writer;
    writer.row = malloc((size_t)image->width * 3);
    bool written = writer.row && guarded_write(&writer, image, grey);
    jpeg_destroy_compress(&writer.info);
    free(writer.row);
    if (!written) {
        free(writer.bytes);
        return qd_fail(ctx, QD_ERR_MEMORY, "encoding a JPEG of %d x %d: memory is short", image->width,
                       image->height);
    }
    *bytes = writer.bytes;
    *size = writer.size;
    return QD_OK;
}

enum qd_status qd_image_encode_png(qd_context *ctx, const qd_image *image, bool grey, uint8_t **bytes, size_t *size)
{
    png_image header = {.version = PNG_IMAGE_VERSION,
                        .width = (png_uint_32)image->width,
                        .height = (png_uint_32)image->height,
                        .format = grey ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
    size_t pixels = (size_t)image->width * (size_t)image->height;
    png_alloc_size_t capacity = PNG_IMAGE_PNG_SIZE_MAX(header);
    uint8_t *samples = malloc(pixels * 3), *file = malloc(capacity);
    bool written = false;
    if (samples && file) {
        if (grey)
            grey_row(image->rgb, samples, (int32_t)pixels);
        else
            memcpy(samples, image->rgb, pixels * 3);
        written = png_image_write_to_memory(&header, file, &capacity, 0, samples, 0, NULL) != 0;
    }
    free(samples);
    if (!written) {
        free(file);
        return qd_fail(ctx, QD_ERR_MEMORY, "encoding a PNG of %d x %d: memory is short", image->width, image->height);
    }
    *bytes = file;
    *size = capacity;
    return QD_OK;
}
