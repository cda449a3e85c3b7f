#include "fuzz/fuzz_targets.h"
#include "exchange/inspect_onnx.h"
#include "formats/encodings.h"
#include "formats/pth_impl.h"
#include "formats/quantized_file.h"
#include "formats/safetensors.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file in memory that holds the bytes, and a path to it. */
typedef struct memory_file {
    int descriptor;
    char path[32];
} memory_file;

static memory_file create_file(const uint8_t *data, size_t size)
{
    memory_file file = {.descriptor = memfd_create("fuzz", MFD_CLOEXEC)};
    if (file.descriptor < 0 || write(file.descriptor, data, size) != (ssize_t)size)
        abort();
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.descriptor);
    return file;
}

enum qd_status fuzz_pth(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_pth *pth = NULL;
    enum qd_status status = qd_pth_open(ctx, file.path, &pth);
    for (int i = 0; status == QD_OK && i < qd_pth_count(pth); i++) {
        const qd_tensor *tensor = qd_pth_get(pth, i);
        /* The last element must be readable: views never leave their storage. */
        int64_t at = 0;
        for (int d = 0; d < tensor->rank; d++)
            at += (tensor->shape[d] - 1) * tensor->stride[d];
        if (qd_tensor_count(tensor) > 0) {
            volatile char byte = ((const char *)tensor->data)[(size_t)at * qd_dtype_size(tensor->dtype)];
            (void)byte;
        }
    }
    qd_pth_close(pth);
    close(file.descriptor);
    return status;
}

enum qd_status fuzz_pickle(qd_context *ctx, const uint8_t *data, size_t size)
{
    qd_pth_described *tensors = NULL;
    int count = 0;
    char *bytes = malloc(size + 1);
    if (!bytes)
        return QD_ERR_MEMORY;
    memcpy(bytes, data, size);
    enum qd_status status = qd_pth_describe(ctx, "data.pkl", bytes, size, &tensors, &count);
    free(tensors);
    free(bytes);
    return status;
}

enum qd_status fuzz_safetensors(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_safetensors *safetensors = NULL;
    enum qd_status status = qd_safetensors_open(ctx, file.path, &safetensors);
    if (status == QD_OK)
        qd_safetensors_close(safetensors);
    close(file.descriptor);
    return status;
}

enum qd_status fuzz_onnx(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    Onnx__ModelProto *model = NULL;
    qd_inspection inspection = {0};
    enum qd_status status = qd_onnx_read(ctx, file.path, &model);
    if (status == QD_OK)
        status = qd_inspect_onnx(ctx, file.path, model, &inspection);
    qd_inspection_free_lists(&inspection);
    qd_onnx_free(model);
    close(file.descriptor);
    return status;
}

enum qd_status fuzz_encodings(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_encodings encodings = {0};
    enum qd_status status = qd_encodings_read(ctx, file.path, &encodings);
    qd_encodings_free(&encodings);
    close(file.descriptor);
    return status;
}

enum qd_status fuzz_quantized(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_safetensors *bytes = NULL;
    qd_quantized_header header = {0};
    enum qd_status status = qd_safetensors_open(ctx, file.path, &bytes);
    if (status == QD_OK)
        status = qd_quantized_header_read(ctx, file.path, bytes, &header);
    qd_quantized_header_free(&header);
    qd_safetensors_close(bytes);
    close(file.descriptor);
    return status;
}
