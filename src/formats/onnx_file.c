/*
 * Source: protobuf.dev, "Encoding"; protobuf-c's unpacker neither limits how deep messages nest nor what they take in
 * memory, so both are checked here first.
 */
#include "formats/onnx_file.h"
#include "base/error.h"
#include "base/file.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* No protobuf message may be larger. */
#define MAX_FILE_BYTES ((size_t)INT32_MAX)

/* ---- limits ---- */

typedef struct span {
    const uint8_t *at, *end;
} span;

static bool read_varint(span *s, uint64_t *out)
{
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        const uint8_t byte = *s->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = value;
            return true;
        }
    }
    return false;
}

/* Takes the value of one field from *s; of a length-delimited one, *content is what it holds. */
static bool read_field(span *s, uint64_t *tag, span *content)
{
    uint64_t length = 0;
    if (!read_varint(s, tag))
        return false;
    switch (*tag & 7) {
    case 0:
        return read_varint(s, &length);
    case 1:
        length = 8;
        break;
    case 2:
        if (!read_varint(s, &length))
            return false;
        break;
    case 5:
        length = 4;
        break;
    default: /* groups, which nothing writes any more */
        return false;
    }
    if (length > (uint64_t)(s->end - s->at))
        return false;
    *content = (span){s->at, s->at + length};
    s->at += length;
    return true;
}

/* Walks a message and those in it; NULL, or what is wrong. */
static const char *walk(const ProtobufCMessageDescriptor *type, span s, int depth)
{
    while (s.at < s.end) {
        uint64_t tag;
        span content = {0};
        if (!read_field(&s, &tag, &content))
            return "a field reaches beyond its message";
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3 & 0x1fffffff));
        if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE || (tag & 7) != 2)
            continue;
        if (depth == QD_ONNX_MAX_DEPTH)
            return "it nests too deep";
        const char *problem = walk(field->descriptor, content, depth + 1);
        if (problem)
            return problem;
    }
    return NULL;
}

/* Bytes that unpacking may ask for, counted without what it gives back. An honest message of a few bytes, such as a
 * dimension, becomes a struct of 40 and a pointer; lists of weights, which make up the file, stay as they are. */
#define MEMORY_FACTOR 32
#define MEMORY_FLOOR  ((size_t)1 << 20)

typedef struct budget {
    size_t left;
    bool exceeded;
} budget;

static void *take(void *data, size_t size)
{
    budget *b = data;
    if (size > b->left) {
        b->exceeded = true;
        return NULL;
    }
    b->left -= size;
    return malloc(size > 0 ? size : 1);
}

static void give_back(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

/* ---- files ---- */

enum qd_status qd_onnx_read(qd_context *ctx, const char *path, Onnx__ModelProto **out)
{
    char *bytes = NULL;
    size_t size = 0;
    enum qd_status status = QD_OK;
    QD_TRY(qd_file_read(ctx, path, MAX_FILE_BYTES, &bytes, &size));
    const uint8_t *data = (const uint8_t *)bytes;
    const char *problem = walk(&onnx__model_proto__descriptor, (span){data, data + size}, 1);
    budget b = {.left = MEMORY_FACTOR * size + MEMORY_FLOOR};
    ProtobufCAllocator allocator = {.alloc = take, .free = give_back, .allocator_data = &b};
    Onnx__ModelProto *model = problem ? NULL : onnx__model_proto__unpack(&allocator, size, data);
    free(bytes);
    if (!problem && !model && b.exceeded)
        problem = "its messages would take more memory than an honest file's";
    if (problem || (!model && !b.exceeded))
        status = qd_fail(ctx, QD_ERR_INPUT, "reading '%s': %s; the file is damaged or not an ONNX model", path,
                         problem ? problem : "it does not follow the ONNX schema");
    if (status == QD_OK && !model->graph)
        status = qd_fail(ctx, QD_ERR_INPUT, "reading '%s': expected an ONNX model, found no graph", path);
    if (status == QD_OK)
        *out = model;
    else
        qd_onnx_free(model);
    return status;
}

void qd_onnx_free(Onnx__ModelProto *model)
{
    ProtobufCAllocator allocator = {.alloc = take, .free = give_back};
    if (model)
        onnx__model_proto__free_unpacked(model, &allocator);
}

enum qd_status qd_onnx_write(qd_context *ctx, const char *path, const Onnx__ModelProto *model)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    const size_t size = onnx__model_proto__get_packed_size(model);
    if (size > MAX_FILE_BYTES)
        return qd_fail(ctx, QD_ERR_USAGE, "writing '%s': expected a model of at most %zu bytes, got %zu", path,
                       MAX_FILE_BYTES, size);
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    if (!bytes)
        return qd_fail(ctx, QD_ERR_MEMORY, "writing '%s': memory is short", path);
    onnx__model_proto__pack(model, bytes);
    QD_TRY_GOTO(qd_atomic_open(ctx, path, &file));
    if (fwrite(bytes, 1, size, file.stream) != size) {
        status = qd_fail_errno(ctx, errno, "writing '%s'", path);
        goto fail;
    }
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(bytes);
    return status;
}
