/*
 * PNG through libpng, converted to RGB as Pillow's open().convert("RGB") does: alpha and transparent colours are
 * dropped without blending, 16-bit colour keeps the high byte, 16-bit grey is clipped at 255 (Pillow reads it as
 * 32-bit integers and clips those), gamma and colour profiles are not applied. Damaged files are judged by libpng,
 * which is stricter than Pillow: it also refuses pixel data whose checksum is wrong.
 */
#include "dataset/image_io.h"
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How the bytes that libpng delivers for a pixel become three. */
enum pixel_form { PIXEL_RGB, PIXEL_GREY, PIXEL_GREY16, PIXEL_INDEX };

struct png_reader {
    png_structp png;
    png_infop info;
    const uint8_t *next;
    size_t left_bytes, size;
    jmp_buf escape;
    char *reason;
    bool memory_short;
    qd_image image;
    uint8_t palette[256][3];
};

static void on_error(png_structp png, png_const_charp message)
{
    struct png_reader *reader = png_get_error_ptr(png);
    snprintf(reader->reason, QD_REASON_BYTES, "broken PNG data: %s", message);
    longjmp(reader->escape, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep out, size_t bytes)
{
    struct png_reader *reader = png_get_io_ptr(png);
    if (bytes > reader->left_bytes) {
        snprintf(reader->reason, QD_REASON_BYTES, "the PNG data is truncated: the file ends after %zu bytes",
                 reader->size);
        longjmp(reader->escape, 1);
    }
    memcpy(out, reader->next, bytes);
    reader->next += bytes;
    reader->left_bytes -= bytes;
}

/* libpng reports a failed allocation as an error like any other; the caller must be able to tell. */
static png_voidp on_allocate(png_structp png, png_alloc_size_t bytes)
{
    struct png_reader *reader = png_get_mem_ptr(png);
    void *memory = malloc(bytes);
    if (!memory)
        reader->memory_short = true;
    return memory;
}

static void on_free(png_structp png, png_voidp memory)
{
    (void)png;
    free(memory);
}

static enum qd_status open_reader(struct png_reader *reader)
{
    reader->png =
        png_create_read_struct_2(PNG_LIBPNG_VER_STRING, reader, on_error, on_warning, reader, on_allocate, on_free);
    reader->info = reader->png ? png_create_info_struct(reader->png) : NULL;
    if (!reader->info) {
        snprintf(reader->reason, QD_REASON_BYTES, "memory is short for the PNG decoder");
        return QD_ERR_MEMORY;
    }
    /* The limit of this program is one on pixels, checked once the header is known. */
    png_set_user_limits(reader->png, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    /* Texts, profiles and the like are skipped unread: they do not touch the pixels, and compressed ones can explode.
     */
    png_set_keep_unknown_chunks(reader->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_read_fn(reader->png, reader, on_read);
    return QD_OK;
}

static enum qd_status read_header(struct png_reader *reader)
{
    png_read_info(reader->png, reader->info);
    return qd_image_check_size(png_get_image_width(reader->png, reader->info),
                               png_get_image_height(reader->png, reader->info), reader->reason);
}

/* Indices beyond the palette show Pillow's initial one, a ramp of greys. */
static void read_palette(struct png_reader *reader)
{
    for (int i = 0; i < 256; i++)
        memset(reader->palette[i], i, 3);
    png_colorp colours = NULL;
    int count = 0;
    if (!png_get_PLTE(reader->png, reader->info, &colours, &count))
        return;
    for (int i = 0; i < count && i < 256; i++) {
        reader->palette[i][0] = colours[i].red;
        reader->palette[i][1] = colours[i].green;
        reader->palette[i][2] = colours[i].blue;
    }
}

/* Asks libpng for at most three bytes a pixel, so that its rows fit where the pixels will stand. */
static enum pixel_form choose_form(struct png_reader *reader)
{
    png_structp png = reader->png;
    int colour_type = png_get_color_type(png, reader->info);
    int depth = png_get_bit_depth(png, reader->info);
    if (colour_type == PNG_COLOR_TYPE_PALETTE) {
        read_palette(reader);
        png_set_packing(png);
        return PIXEL_INDEX;
    }
    if (colour_type == PNG_COLOR_TYPE_GRAY && depth == 16)
        return PIXEL_GREY16;
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    if (colour_type == PNG_COLOR_TYPE_RGB || colour_type == PNG_COLOR_TYPE_RGB_ALPHA)
        return PIXEL_RGB;
    if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    return PIXEL_GREY;
}

/* Turns a row as libpng left it at the start of `row` into pixels, from its end so that nothing is overwritten early.
 */
static void spread_row(const struct png_reader *reader, enum pixel_form form, uint8_t *row, int32_t width)
{
    for (int32_t x = width - 1; x >= 0; x--) {
        uint8_t *pixel = row + 3 * (size_t)x;
        if (form == PIXEL_INDEX) {
            memcpy(pixel, reader->palette[row[x]], 3);
        } else if (form == PIXEL_GREY16) {
            uint8_t high = row[2 * (size_t)x], low = row[2 * (size_t)x + 1];
            memset(pixel, high > 0 ? 255 : low, 3);
        } else {
            memset(pixel, row[x], 3);
        }
    }
}

static enum qd_status read_rows(struct png_reader *reader)
{
    int32_t width = (int32_t)png_get_image_width(reader->png, reader->info);
    int32_t height = (int32_t)png_get_image_height(reader->png, reader->info);
    size_t row_bytes = (size_t)width * 3;
    QD_TRY(qd_image_allocate(width, height, &reader->image, reader->reason));
    enum pixel_form form = choose_form(reader);
    int passes = png_set_interlace_handling(reader->png);
    png_read_update_info(reader->png, reader->info);
    if (png_get_rowbytes(reader->png, reader->info) > row_bytes) {
        snprintf(reader->reason, QD_REASON_BYTES, "unexpected PNG row of %zu bytes for %d pixels",
                 png_get_rowbytes(reader->png, reader->info), width);
        return QD_ERR_INTERNAL;
    }
    /* An interlaced row is complete after the last pass only, so all passes come before the spreading. */
    for (int pass = 0; pass < passes; pass++)
        for (int32_t y = 0; y < height; y++)
            png_read_row(reader->png, reader->image.rgb + (size_t)y * row_bytes, NULL);
    if (form != PIXEL_RGB)
        for (int32_t y = 0; y < height; y++)
            spread_row(reader, form, reader->image.rgb + (size_t)y * row_bytes, width);
    return QD_OK;
}

/* What setjmp() guards stands in functions of its own: their locals need not survive the jump. */
static enum qd_status guarded_probe(struct png_reader *reader)
{
    if (setjmp(reader->escape))
        return reader->memory_short ? QD_ERR_MEMORY : QD_ERR_INPUT;
    QD_TRY(open_reader(reader));
    return read_header(reader);
}

static enum qd_status guarded_decode(struct png_reader *reader)
{
    if (setjmp(reader->escape))
        return reader->memory_short ? QD_ERR_MEMORY : QD_ERR_INPUT;
    QD_TRY(open_reader(reader));
    QD_TRY(read_header(reader));
    return read_rows(reader);
}

static enum qd_status probe(const uint8_t *data, size_t size, int32_t *width, int32_t *height,
                            char reason[QD_REASON_BYTES])
{
    struct png_reader reader = {.reason = reason, .next = data, .left_bytes = size, .size = size};
    enum qd_status status = guarded_probe(&reader);
    if (status == QD_OK) {
        *width = (int32_t)png_get_image_width(reader.png, reader.info);
        *height = (int32_t)png_get_image_height(reader.png, reader.info);
    }
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return status;
}

static enum qd_status decode(const uint8_t *data, size_t size, qd_image *out, char reason[QD_REASON_BYTES])
{
    struct png_reader reader = {.reason = reason, .next = data, .left_bytes = size, .size = size};
    enum qd_status status = guarded_decode(&reader);
    if (status == QD_OK)
        *out = reader.image;
    else
        qd_image_free(&reader.image);
    png_destroy_read_struct(&reader.png, &reader.info, NULL);
    return status;
}

const qd_image_decoder qd_png_decoder = {.name = "PNG",
                                         .magic = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'},
                                         .magic_bytes = 8,
                                         .probe = probe,
                                         .decode = decode};
