/*
 * What our networks make of given images, beside the ONNX models of the same networks: for scripts/check_onnx.sh.
 *
 *   onnx_reference CHECKPOINT DATA OUT IMAGES CALIBRATION_IMAGES SCHEME
 *
 * SCHEME is s8 (int8 activations, weights per tensor) or u8 (uint8, per channel). DATA has train/ and val/. Writes
 * into the folder OUT: float.onnx, layers.onnx, qdq.onnx; images.f32 [n][3][size][size]; float.f32 and int8.f32, the
 * logits [n][classes]; shape.json.
 */
#include "base/arena.h"
#include "base/file.h"
#include "exchange/onnx_export.h"
#include "experiment/calibrated.h"
#include "experiment/network_impl.h"
#include "experiment/selection.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 10

typedef struct job {
    qd_context *ctx;
    const char *out;
    qd_network *network;
    qd_dataset *training, *validation;
    qd_qgraph *qgraph;
    int64_t wanted, calibration_images;
    qd_quant_recipe recipe;
} job;

static char *path_of(const char *folder, const char *name)
{
    char *path = qd_format("%s/%s", folder, name);
    if (!path)
        abort();
    return path;
}

static FILE *create(const job *j, const char *name)
{
    char *path = path_of(j->out, name);
    FILE *stream = fopen(path, "wb");
    if (!stream) {
        perror(path);
        exit(1);
    }
    free(path);
    return stream;
}

static void put(FILE *stream, const float *values, int64_t count)
{
    if (fwrite(values, sizeof *values, (size_t)count, stream) != (size_t)count) {
        perror("writing");
        exit(1);
    }
}

static enum qd_status write_models(const job *j)
{
    const qd_graph *graph = j->network->graph;
    const struct {
        const char *name;
        bool quantized;
    } folded[] = {{"float.onnx", false}, {"qdq.onnx", true}};
    char *layers = path_of(j->out, "layers.onnx");
    QD_TRY(qd_onnx_write_layers(j->ctx, layers, graph, j->network->state));
    free(layers);
    for (int i = 0; i < 2; i++) {
        char *path = path_of(j->out, folded[i].name);
        QD_TRY(qd_onnx_write_folded(j->ctx, path, graph, j->qgraph, folded[i].quantized));
        free(path);
    }
    return QD_OK;
}

/* Pixels in the order of ONNX: n, c, h, w. */
static void put_images(FILE *stream, const float *images, int64_t n, int64_t size, float *planes)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < 3; c++)
            for (int64_t at = 0; at < size * size; at++)
                planes[c * size * size + at] = images[(i * size * size + at) * 3 + c];
        put(stream, planes, 3 * size * size);
    }
}

static enum qd_status run_images(const job *j)
{
    const int64_t size = j->network->config.image_size, pixels = 3 * size * size;
    const int64_t classes = qd_dims_count(&j->network->graph->values[j->network->graph->output].dims);
    int64_t *indices = qd_calloc((size_t)j->wanted, sizeof *indices);
    float *images = qd_calloc((size_t)(BATCH * pixels), sizeof *images);
    float *planes = qd_calloc((size_t)pixels, sizeof *planes);
    float *logits = qd_calloc((size_t)(BATCH * classes), sizeof *logits);
    if (!indices || !images || !planes || !logits)
        abort();
    const int64_t count = qd_select_balanced(j->validation, j->wanted, indices);
    FILE *image_file = create(j, "images.f32"), *float_file = create(j, "float.f32"),
         *int8_file = create(j, "int8.f32"), *shape_file = create(j, "shape.json");
    for (int64_t first = 0; first < count; first += BATCH) {
        const int64_t n = count - first < BATCH ? count - first : BATCH;
        QD_TRY(qd_dataset_load_eval(j->ctx, j->validation, indices + first, n, (int32_t)size,
                                    qd_context_threads(j->ctx), images, NULL));
        put_images(image_file, images, n, size, planes);
        QD_TRY(qd_network_predict(j->network, images, n, logits));
        put(float_file, logits, n * classes);
        QD_TRY(qd_qgraph_run_integer(j->qgraph, images, n, logits));
        put(int8_file, logits, n * classes);
    }
    fprintf(shape_file, "{\"images\": %lld, \"size\": %lld, \"classes\": %lld}\n", (long long)count, (long long)size,
            (long long)classes);
    int lost = fclose(image_file) + fclose(float_file) + fclose(int8_file) + fclose(shape_file);
    free(indices);
    free(images);
    free(planes);
    free(logits);
    return lost ? QD_ERR_IO : QD_OK;
}

static enum qd_status run(job *j, const char *checkpoint, const char *data)
{
    const qd_network_config config = {.checkpoint = checkpoint, .max_batch = BATCH};
    char *train = path_of(data, "train"), *val = path_of(data, "val");
    QD_TRY(qd_network_load(j->ctx, &config, &j->network));
    QD_TRY(qd_dataset_open(j->ctx, train, QD_BAD_IMAGE_ERROR, &j->training));
    QD_TRY(qd_dataset_open(j->ctx, val, QD_BAD_IMAGE_ERROR, &j->validation));
    free(train);
    free(val);
    const qd_calibration calibration = {.images = j->training,
                                        .count = j->calibration_images,
                                        .batch = BATCH,
                                        .loader_threads = qd_context_threads(j->ctx),
                                        .recipe = &j->recipe};
    QD_TRY(qd_calibrate(j->ctx, j->network->graph, j->network->state, &calibration, &j->qgraph));
    QD_TRY(write_models(j));
    return run_images(j);
}

int main(int argc, char **argv)
{
    job j = {.recipe = qd_quant_recipe_defaults()};
    if (argc != 7 || (strcmp(argv[6], "s8") != 0 && strcmp(argv[6], "u8") != 0)) {
        fputs("usage: onnx_reference CHECKPOINT DATA OUT IMAGES CALIBRATION_IMAGES s8|u8\n", stderr);
        return 2;
    }
    j.out = argv[3];
    j.wanted = strtoll(argv[4], NULL, 10);
    j.calibration_images = strtoll(argv[5], NULL, 10);
    j.recipe.scheme.weight_per_channel = strcmp(argv[6], "u8") == 0;
    j.recipe.scheme.activation_signed = !j.recipe.scheme.weight_per_channel;
    if (qd_context_create(NULL, &j.ctx) != QD_OK)
        return 1;
    const enum qd_status status = run(&j, argv[1], argv[2]);
    if (status != QD_OK)
        fprintf(stderr, "onnx_reference: %s\n", qd_context_error(j.ctx));
    qd_qgraph_destroy(j.qgraph);
    qd_dataset_destroy(j.training);
    qd_dataset_destroy(j.validation);
    qd_network_destroy(j.network);
    qd_context_destroy(j.ctx);
    return status == QD_OK ? 0 : 1;
}
