/*
 * JPEG through libjpeg, with the settings and the tolerance of Pillow's decoder (its src/libImaging/JpegDecode.c):
 * the accurate integer DCT and fancy upsampling are the library's defaults, warnings about corrupt data are ignored,
 * data that ends early is an error. Orientation in EXIF data is not applied.
 */
#include "dataset/image_io.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

struct jpeg_reader {
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf escape;
    size_t size;
    char *reason;
    enum qd_status failure; /* what made the library jump */
    qd_image image;
    uint8_t *cmyk_row;
};

static void on_error(j_common_ptr common)
{
    struct jpeg_reader *reader = common->client_data;
    char message[JMSG_LENGTH_MAX];
    (*common->err->format_message)(common, message);
    snprintf(reader->reason, QD_REASON_BYTES, "broken JPEG data: %s", message);
    reader->failure = common->err->msg_code == JERR_OUT_OF_MEMORY ? QD_ERR_MEMORY : QD_ERR_INPUT;
    longjmp(reader->escape, 1);
}

/* Corrupt data that the library can step over is stepped over, as Pillow does. */
static void on_message(j_common_ptr common, int level)
{
    (void)common;
    (void)level;
}

static void on_output(j_common_ptr common)
{
    (void)common;
}

static void source_nothing(j_decompress_ptr info)
{
    (void)info;
}

/* All bytes are in memory: asking for more means that the file ends early. The library then "suspends", and its calls
 * return without result. */
static boolean source_end(j_decompress_ptr info)
{
    (void)info;
    return FALSE;
}

static void source_skip(j_decompress_ptr info, long bytes)
{
    struct jpeg_source_mgr *source = info->src;
    size_t skipped = bytes > 0 ? (size_t)bytes : 0;
    if (skipped > source->bytes_in_buffer)
        skipped = source->bytes_in_buffer;
    source->next_input_byte += skipped;
    source->bytes_in_buffer -= skipped;
}

static enum qd_status fail_truncated(struct jpeg_reader *reader)
{
    snprintf(reader->reason, QD_REASON_BYTES, "the JPEG data is truncated: the file ends after %zu bytes",
             reader->size);
    return QD_ERR_INPUT;
}

/* Sets up the library on `data`; every later call may jump to reader->escape. */
static void open_reader(struct jpeg_reader *reader, const uint8_t *data, size_t size)
{
    reader->source = (struct jpeg_source_mgr){.next_input_byte = data,
                                              .bytes_in_buffer = size,
                                              .init_source = source_nothing,
                                              .fill_input_buffer = source_end,
                                              .skip_input_data = source_skip,
                                              .resync_to_restart = jpeg_resync_to_restart,
                                              .term_source = source_nothing};
    reader->info.err = jpeg_std_error(&reader->errors);
    reader->errors.error_exit = on_error;
    reader->errors.emit_message = on_message;
    reader->errors.output_message = on_output;
    reader->info.client_data = reader;
    jpeg_create_decompress(&reader->info);
    reader->info.src = &reader->source;
}

static enum qd_status read_header(struct jpeg_reader *reader)
{
    int outcome;
    do /* abbreviated streams carry tables only, the image follows */
        outcome = jpeg_read_header(&reader->info, FALSE);
    while (outcome == JPEG_HEADER_TABLES_ONLY);
    if (outcome == JPEG_SUSPENDED)
        return fail_truncated(reader);
    int components = reader->info.num_components;
    if (components != 1 && components != 3 && components != 4) {
        snprintf(reader->reason, QD_REASON_BYTES, "expected a JPEG of 1, 3 or 4 components, found %d", components);
        return QD_ERR_INPUT;
    }
    return qd_image_check_size(reader->info.image_width, reader->info.image_height, reader->reason);
}

/* a·b/255 of bytes, rounded as Pillow rounds it. */
static uint8_t multiply_bytes(int a, int b)
{
    int product = a * b + 128;
    return (uint8_t)(((product >> 8) + product) >> 8);
}

/*
 * Pillow takes the inks of every 4-component JPEG as Adobe stores them, inverted (its raw mode "CMYK;I"), and
 * converts to RGB without a profile: channel = (255 - K) - ink·(255 - K)/255.
 */
static void convert_cmyk_row(const uint8_t *inverted, uint8_t *rgb, int32_t width)
{
    for (int32_t x = 0; x < width; x++, inverted += 4, rgb += 3) {
        int white = inverted[3];
        for (int c = 0; c < 3; c++) {
            int value = white - multiply_bytes(255 - inverted[c], white);
            rgb[c] = (uint8_t)(value > 0 ? value : 0);
        }
    }
}

/* A row of grey bytes at the start of `row` becomes a row of pixels, from its end so that nothing is overwritten
 * early. */
static void spread_grey_row(uint8_t *row, int32_t width)
{
    for (int32_t x = width - 1; x >= 0; x--) {
        uint8_t grey = row[x];
        row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = grey;
    }
}

static enum qd_status read_rows(struct jpeg_reader *reader)
{
    struct jpeg_decompress_struct *info = &reader->info;
    info->out_color_space = info->num_components == 1   ? JCS_GRAYSCALE
                            : info->num_components == 3 ? JCS_RGB
                                                        : JCS_CMYK;
    int32_t width = (int32_t)info->image_width, height = (int32_t)info->image_height;
    QD_TRY(qd_image_allocate(width, height, &reader->image, reader->reason));
    if (info->num_components == 4) {
        reader->cmyk_row = malloc((size_t)width * 4);
        if (!reader->cmyk_row) {
            snprintf(reader->reason, QD_REASON_BYTES, "memory is short for a row of %d pixels", width);
            return QD_ERR_MEMORY;
        }
    }
    if (!jpeg_start_decompress(info))
        return fail_truncated(reader);
    for (int32_t y = 0; y < height; y++) {
        uint8_t *row = reader->image.rgb + (size_t)y * (size_t)width * 3;
        JSAMPROW target = reader->cmyk_row ? reader->cmyk_row : row;
        if (jpeg_read_scanlines(info, &target, 1) != 1)
            return fail_truncated(reader);
        if (info->num_components == 1)
            spread_grey_row(row, width);
        else if (info->num_components == 4)
            convert_cmyk_row(reader->cmyk_row, row, width);
    }
    /* All pixels are here; what is left can still be wrong, but a missing end marker is forgiven. */
    (void)jpeg_finish_decompress(info);
    return QD_OK;
}

/* What setjmp() guards stands in functions of its own: their locals need not survive the jump. */
static enum qd_status guarded_probe(struct jpeg_reader *reader, const uint8_t *data, size_t size)
{
    if (setjmp(reader->escape))
        return reader->failure;
    open_reader(reader, data, size);
    return read_header(reader);
}

static enum qd_status guarded_decode(struct jpeg_reader *reader, const uint8_t *data, size_t size)
{
    if (setjmp(reader->escape))
        return reader->failure;
    open_reader(reader, data, size);
    QD_TRY(read_header(reader));
    return read_rows(reader);
}

static enum qd_status probe(const uint8_t *data, size_t size, int32_t *width, int32_t *height,
                            char reason[QD_REASON_BYTES])
{
    struct jpeg_reader reader = {.reason = reason, .size = size};
    enum qd_status status = guarded_probe(&reader, data, size);
    if (status == QD_OK) {
        *width = (int32_t)reader.info.image_width;
        *height = (int32_t)reader.info.image_height;
    }
    jpeg_destroy_decompress(&reader.info);
    return status;
}

static enum qd_status decode(const uint8_t *data, size_t size, qd_image *out, char reason[QD_REASON_BYTES])
{
    struct jpeg_reader reader = {.reason = reason, .size = size};
    enum qd_status status = guarded_decode(&reader, data, size);
    if (status == QD_OK)
        *out = reader.image;
    else
        qd_image_free(&reader.image);
    free(reader.cmyk_row);
    jpeg_destroy_decompress(&reader.info);
    return status;
}

const qd_image_decoder qd_jpeg_decoder = {
    .name = "JPEG", .magic = {0xFF, 0xD8, 0xFF}, .magic_bytes = 3, .probe = probe, .decode = decode};
