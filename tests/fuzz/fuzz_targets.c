#include "fuzz/fuzz_targets.h"
#include "dataset/image_io.h"
#include "exchange/inspect_onnx.h"
#include "experiment/experiment_file.h"
#include "experiment/grid_file.h"
#include "experiment/results.h"
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

/* What is wrong in an experiment file counts as wrong usage. */
static enum qd_status as_input(enum qd_status status)
{
    return status == QD_ERR_USAGE ? QD_ERR_INPUT : status;
}

enum qd_status fuzz_config(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file bytes = create_file(data, size);
    qd_experiment_file file = {0};
    enum qd_status status = qd_experiment_file_open(ctx, bytes.path, &file);
    /* A grid may have any number of points: the first, the last, and some between. */
    const int64_t step = file.point_count / 8 + 1;
    for (int64_t point = 0; status == QD_OK && point < file.point_count; point += step) {
        qd_config config;
        status = qd_config_init(ctx, &config);
        if (status != QD_OK)
            break;
        status = qd_experiment_file_apply(ctx, &file, &config);
        if (status == QD_OK)
            status = qd_experiment_file_apply_point(ctx, &file, point, &config);
        if (status == QD_OK)
            status = qd_experiment_file_check_point(ctx, &file, point, &config);
        char hash[65], *name = qd_experiment_file_point_name(&file, point);
        if (status == QD_OK)
            status = qd_config_run_hash(ctx, &config, hash);
        free(name);
        qd_config_free(&config);
    }
    qd_experiment_file_close(&file);
    close(bytes.descriptor);
    return as_input(status);
}

enum qd_status fuzz_grid(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file bytes = create_file(data, size);
    qd_grid_file file = {0};
    enum qd_status status = qd_grid_file_read(ctx, bytes.path, &file);
    for (int i = 0; status == QD_OK && i < file.count; i++) {
        /* What is written of a recipe into grid.json must be readable again, to the same recipe. */
        qd_config again;
        cJSON *json = qd_grid_recipe_json(&file.recipes[i]);
        status = json ? qd_config_init(ctx, &again) : QD_ERR_MEMORY;
        if (status == QD_OK) {
            status = qd_grid_recipe_apply(ctx, &again, "grid.json", json);
            char *first = qd_grid_recipe_line(&file.recipes[i]), *second = qd_grid_recipe_line(&again);
            if (status != QD_OK || !first || !second || strcmp(first, second) != 0)
                abort();
            free(first);
            free(second);
            qd_config_free(&again);
        }
        cJSON_Delete(json);
    }
    qd_grid_file_free(&file);
    close(bytes.descriptor);
    return status == QD_ERR_USAGE ? QD_ERR_INPUT : status; /* a file of the caller's choice */
}

enum qd_status fuzz_results(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_results results = {0};
    enum qd_status status = qd_results_read(ctx, file.path, qd_model_find("resnet18"), &results);
    if (status == QD_OK)
        qd_results_free(&results);
    close(file.descriptor);
    return status;
}

enum qd_status fuzz_image(qd_context *ctx, const uint8_t *data, size_t size)
{
    memory_file file = create_file(data, size);
    qd_image image = {0};
    enum qd_status status = qd_image_read(ctx, file.path, &image);
    if (status == QD_OK)
        qd_image_free(&image);
    close(file.descriptor);
    return status;
}
