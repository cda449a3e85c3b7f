#include "formats/quantized_file.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/sha256.h"
#include "formats/safetensors_impl.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Raised when a reader of an older file would misunderstand it. */
#define VERSION     "1"
#define VERSION_KEY "quantdrift_quantized"
#define DIGEST_KEY  "header_sha256"

#define MIN_BITS 2
#define MAX_BITS 8

/* ---- digest ---- */

static void hash_text(qd_sha256 *hash, const char *text)
{
    qd_sha256_update(hash, text, strlen(text) + 1); /* its NUL keeps neighbours apart */
}

/* Of the metadata but the two digests, and of names, types and shapes of the tensors, in order. */
static void digest_header(const qd_metadata_entry *metadata, int metadata_count, const qd_tensor *tensors, int count,
                          char text[65])
{
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; i < metadata_count; i++) {
        if (strcmp(metadata[i].key, QD_SAFETENSORS_SHA256) == 0 || strcmp(metadata[i].key, DIGEST_KEY) == 0)
            continue;
        hash_text(&hash, metadata[i].key);
        hash_text(&hash, metadata[i].value);
    }
    for (int i = 0; i < count; i++) {
        const qd_tensor *tensor = &tensors[i];
        char shape[QD_MAX_RANK * 24 + 1] = "";
        size_t used = 0;
        for (int d = 0; d < tensor->rank; d++)
            used += (size_t)snprintf(shape + used, sizeof shape - used, "%lld,", (long long)tensor->shape[d]);
        hash_text(&hash, tensor->name);
        hash_text(&hash, qd_dtype_name(tensor->dtype));
        hash_text(&hash, shape);
    }
    qd_sha256_finish(&hash, text);
}

/* ---- writing ---- */

static char *print_scheme(const qd_quantized_header *header)
{
    cJSON *root = cJSON_CreateObject();
    const bool ok = cJSON_AddItemToObject(root, "weight_bits", qd_json_int(header->weight_bits)) &&
                    cJSON_AddBoolToObject(root, "weight_per_channel", header->weight_per_channel) &&
                    cJSON_AddItemToObject(root, "activation_bits", qd_json_int(header->activation_bits)) &&
                    cJSON_AddBoolToObject(root, "activation_signed", header->activation_signed) &&
                    cJSON_AddBoolToObject(root, "activation_symmetric", header->activation_symmetric);
    char *text = ok ? qd_json_print_line(root) : NULL;
    cJSON_Delete(root);
    return text;
}

enum qd_status qd_quantized_file_write(qd_context *ctx, const char *path, const qd_quantized_header *header,
                                       const qd_tensor *tensors, int count)
{
    char num_classes[24], image_size[24], digest[65] = "";
    char *scheme = print_scheme(header), *encodings = qd_encodings_print(&header->encodings);
    enum qd_status status = QD_OK;
    if (!scheme || !encodings) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
        goto fail;
    }
    snprintf(num_classes, sizeof num_classes, "%lld", (long long)header->num_classes);
    snprintf(image_size, sizeof image_size, "%lld", (long long)header->image_size);
    const qd_metadata_entry metadata[] = {
        {"format", "pt"}, /* what Hugging Face's loaders ask for: tensors laid out as PyTorch's */
        {VERSION_KEY, VERSION},     {"model", header->model}, {"head", header->head},   {"num_classes", num_classes},
        {"image_size", image_size}, {"scheme", scheme},       {"encodings", encodings}, {DIGEST_KEY, digest},
    };
    const int entries = (int)(sizeof metadata / sizeof metadata[0]);
    digest_header(metadata, entries, tensors, count, digest);
    QD_TRY_GOTO(qd_safetensors_write(ctx, path, tensors, count, metadata, entries));
fail:
    free(scheme);
    free(encodings);
    return status;
}

/* ---- reading ---- */

bool qd_quantized_file_recognise(const qd_safetensors *bytes)
{
    /* Either of two keys: damage to one of them must not make another kind of file of it. */
    return qd_safetensors_metadata(bytes, VERSION_KEY) || qd_safetensors_metadata(bytes, DIGEST_KEY);
}

typedef struct reader {
    qd_context *ctx;
    const char *path;
    const qd_safetensors *bytes;
} reader;

static enum qd_status refuse(const reader *r, const char *key, const char *expected)
{
    const char *found = qd_safetensors_metadata(r->bytes, key);
    return qd_fail(r->ctx, QD_ERR_INPUT, "quantized model '%s': metadata '%s': expected %s, found '%.60s'", r->path,
                   key, expected, found ? found : "nothing");
}

static enum qd_status read_word(const reader *r, const char *key, char out[QD_ENCODING_WORD_BYTES])
{
    const char *text = qd_safetensors_metadata(r->bytes, key);
    if (!text || text[0] == '\0' || strlen(text) >= QD_ENCODING_WORD_BYTES)
        return refuse(r, key, "a short name");
    memcpy(out, text, strlen(text) + 1);
    return QD_OK;
}

static enum qd_status read_count(const reader *r, const char *key, int64_t *out)
{
    const char *text = qd_safetensors_metadata(r->bytes, key);
    char *end = NULL;
    errno = 0;
    const long long value = text ? strtoll(text, &end, 10) : 0;
    if (!text || errno || end == text || *end || value < 1)
        return refuse(r, key, "a whole number of at least 1");
    *out = value;
    return QD_OK;
}

static bool take_bits(const cJSON *object, const char *key, int *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= MIN_BITS && item->valuedouble <= MAX_BITS) ||
        floor(item->valuedouble) != item->valuedouble)
        return false;
    *out = (int)item->valuedouble;
    return true;
}

static bool take_bool(const cJSON *object, const char *key, bool *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    *out = cJSON_IsTrue(item);
    return cJSON_IsBool(item);
}

static enum qd_status read_scheme(const reader *r, qd_quantized_header *out)
{
    const char *text = qd_safetensors_metadata(r->bytes, "scheme");
    cJSON *root = NULL;
    if (!text)
        return refuse(r, "scheme", "a JSON object");
    QD_TRY(qd_json_parse(r->ctx, r->path, text, false, &root));
    const bool ok = cJSON_IsObject(root) && cJSON_GetArraySize(root) == 5 &&
                    take_bits(root, "weight_bits", &out->weight_bits) &&
                    take_bool(root, "weight_per_channel", &out->weight_per_channel) &&
                    take_bits(root, "activation_bits", &out->activation_bits) &&
                    take_bool(root, "activation_signed", &out->activation_signed) &&
                    take_bool(root, "activation_symmetric", &out->activation_symmetric);
    cJSON_Delete(root);
    return ok ? QD_OK : refuse(r, "scheme", "bits from 2 to 8 and the form of weights and activations");
}

enum qd_status qd_quantized_header_read(qd_context *ctx, const char *path, const qd_safetensors *bytes,
                                        qd_quantized_header *out)
{
    const reader r = {.ctx = ctx, .path = path, .bytes = bytes};
    const char *version = qd_safetensors_metadata(bytes, VERSION_KEY);
    const char *encodings = qd_safetensors_metadata(bytes, "encodings");
    qd_quantized_header header = {0};
    if (!version || strcmp(version, VERSION) != 0)
        return refuse(&r, VERSION_KEY, "version " VERSION " of a quantized model file");
    QD_TRY(read_word(&r, "model", header.model));
    QD_TRY(read_word(&r, "head", header.head));
    QD_TRY(read_count(&r, "num_classes", &header.num_classes));
    QD_TRY(read_count(&r, "image_size", &header.image_size));
    QD_TRY(read_scheme(&r, &header));
    if (!encodings)
        return refuse(&r, "encodings", "a JSON object");
    QD_TRY(qd_encodings_parse(ctx, path, encodings, &header.encodings));
    *out = header;
    return QD_OK;
}

void qd_quantized_header_free(qd_quantized_header *header)
{
    qd_encodings_free(&header->encodings);
    *header = (qd_quantized_header){0};
}

/* The tensors' own digest is optional in safetensors files, and was checked if it is there. */
static enum qd_status check_digests(qd_context *ctx, const char *path, const qd_safetensors *bytes)
{
    const char *expected = qd_safetensors_metadata(bytes, DIGEST_KEY);
    const int count = qd_safetensors_metadata_count(bytes);
    char digest[65];
    qd_metadata_entry *entries = qd_calloc((size_t)count, sizeof *entries);
    if (!entries)
        return qd_fail(ctx, QD_ERR_MEMORY, "quantized model '%s': memory is short", path);
    qd_safetensors_metadata_entries(bytes, entries);
    digest_header(entries, count, qd_safetensors_get(bytes, 0), qd_safetensors_count(bytes), digest);
    free(entries);
    if (!expected || strcmp(expected, digest) != 0 || !qd_safetensors_metadata(bytes, QD_SAFETENSORS_SHA256))
        return qd_fail(
            ctx, QD_ERR_INPUT,
            "quantized model '%s': its header does not match its SHA-256; the file is damaged or was edited: "
            "edit its encodings and quantize again",
            path);
    return QD_OK;
}

enum qd_status qd_quantized_file_open(qd_context *ctx, const char *path, qd_quantized_file *out)
{
    enum qd_status status = QD_OK;
    qd_quantized_file file = {.path = qd_format("%s", path)};
    if (!file.path) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "quantized model '%s': memory is short", path);
        goto fail;
    }
    QD_TRY_GOTO(qd_safetensors_open(ctx, path, &file.bytes));
    if (!qd_quantized_file_recognise(file.bytes)) {
        status = qd_fail(ctx, QD_ERR_INPUT, "'%s' is no quantized model; make one with quantdrift quantize", path);
        goto fail;
    }
    QD_TRY_GOTO(check_digests(ctx, path, file.bytes));
    QD_TRY_GOTO(qd_quantized_header_read(ctx, path, file.bytes, &file.header));
    *out = file;
    return QD_OK;
fail:
    qd_quantized_file_close(&file);
    return status;
}

void qd_quantized_file_close(qd_quantized_file *file)
{
    qd_quantized_header_free(&file->header);
    qd_safetensors_close(file->bytes);
    free(file->path);
    *file = (qd_quantized_file){0};
}
