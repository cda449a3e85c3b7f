/* Image files with bytes changed: whatever comes out, nothing is read or written outside (run under sanitizers). */
#include "dataset/image_io.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/pixel_facts.h"
#include <quantdrift/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Variants of each file: enough to hit headers and tables, few enough for a second under sanitizers. */
#define VARIANTS 60

/* Hostile headers may promise anything; only small images are worth decoding thousands of times. */
#define MAX_PIXELS ((int64_t)1 << 20)

static void decode_variant(const qd_image_decoder *decoder, const uint8_t *data, size_t size)
{
    char reason[QD_REASON_BYTES] = "";
    int32_t width, height;
    /* A heap copy of the exact size: one byte too many is seen by the sanitizer. */
    uint8_t *copy = malloc(size > 0 ? size : 1);
    cr_assert_not_null(copy);
    memcpy(copy, data, size);
    enum qd_status status = decoder->probe(copy, size, &width, &height, reason);
    if (status == QD_OK && (int64_t)width * height <= MAX_PIXELS) {
        qd_image image;
        status = decoder->decode(copy, size, &image, reason);
        if (status == QD_OK) {
            cr_expect_eq(image.width, width);
            cr_expect_eq(image.height, height);
            qd_image_free(&image);
        }
    }
    cr_expect(status == QD_OK || strlen(reason) > 0, "a refusal without a reason");
    free(copy);
}

/* The checksum of a PNG chunk, bit by bit. Source: PNG specification, annex D. */
static uint32_t crc32_of(const uint8_t *data, size_t size)
{
    uint32_t crc = 0xFFFFFFFFU;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320U : 0);
    }
    return ~crc;
}

/* Makes checksums right again as far as the chunks can be followed; otherwise nearly every change ends there. */
static void mend_checksums(uint8_t *data, size_t size)
{
    size_t at = 8;
    while (at + 12 <= size) {
        size_t length =
            (size_t)data[at] << 24 | (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
        if (length > size - at - 12)
            return;
        uint32_t crc = crc32_of(data + at + 4, length + 4);
        for (int i = 0; i < 4; i++)
            data[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += length + 12;
    }
}

static void try_variants(const char *file, qd_rng *rng)
{
    size_t size;
    char name[256];
    snprintf(name, sizeof(name), "pixels/%s", file);
    char *whole = fixture_read(name, &size);
    uint8_t *data = malloc(size);
    const qd_image_decoder *decoder =
        memcmp(whole, qd_png_decoder.magic, qd_png_decoder.magic_bytes) == 0 ? &qd_png_decoder : &qd_jpeg_decoder;
    for (int variant = 0; variant < VARIANTS; variant++) {
        size_t used = size;
        memcpy(data, whole, size);
        int changes = 1 + (int)qd_rng_randint(rng, 8);
        for (int i = 0; i < changes; i++)
            data[qd_rng_randint(rng, (int64_t)size)] = (uint8_t)qd_rng_u32(rng);
        if (decoder == &qd_png_decoder && variant % 3 != 0)
            mend_checksums(data, size);
        if (variant % 4 == 0)
            used = (size_t)qd_rng_randint(rng, (int64_t)size);
        decode_variant(decoder, data, used);
    }
    free(data);
    free(whole);
}

Test(dataset_hostile, changed_bytes_never_break_the_decoders)
{
    pixel_facts facts = pixel_facts_read("image");
    qd_rng rng;
    qd_rng_seed(&rng, 2024);
    for (size_t i = 0; i < facts.count; i++)
        try_variants(facts.facts[i].field[0], &rng);
    pixel_facts_free(&facts);
}
