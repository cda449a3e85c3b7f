#include "experiment/calibrated.h"
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_import.h"
#include "experiment/selection.h"
#include <stdlib.h>

/* Ranges of every tensor from the images. */
static enum qd_status show_images(qd_context *ctx, const qd_graph *graph, const qd_calibration *calibration,
                                  qd_qgraph *qgraph)
{
    const int64_t size = graph->input_dims.h;
    enum qd_status status = QD_OK;
    int64_t count = 0;
    if (!calibration->images)
        return qd_fail(ctx, QD_ERR_USAGE, "quantizing '%s': its scales need calibration images; name a data folder",
                       graph->model_name);
    int64_t *indices = qd_calloc((size_t)qd_dataset_count(calibration->images), sizeof *indices);
    float *images = qd_calloc((size_t)(calibration->batch * size * size * 3), sizeof *images);
    if (!indices || !images) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "quantizing '%s': out of memory for batches of %lld images",
                         graph->model_name, (long long)calibration->batch);
        goto fail;
    }
    QD_TRY_GOTO(qd_select_random(ctx, calibration->images, calibration->seed, calibration->count, indices, &count));
    for (int64_t first = 0; first < count; first += calibration->batch) {
        const int64_t n = count - first < calibration->batch ? count - first : calibration->batch;
        QD_TRY_GOTO(qd_dataset_load_eval(ctx, calibration->images, indices + first, n, (int32_t)size,
                                         calibration->loader_threads, images, NULL));
        QD_TRY_GOTO(qd_qgraph_calibrate(qgraph, images, n));
    }
fail:
    free(indices);
    free(images);
    return status;
}

enum qd_status qd_calibrate(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                            const qd_calibration *calibration, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;
    qd_encodings encodings = {0};
    bool ranges_known = false;
    const char *path = calibration->encodings;
    QD_TRY_GOTO(qd_qgraph_create(ctx, graph, state, &calibration->scheme, calibration->batch, &qgraph));
    if (path) {
        QD_TRY_GOTO(qd_encodings_read(ctx, path, &encodings));
        QD_TRY_GOTO(qd_encodings_match(ctx, path, &encodings, qgraph, &ranges_known));
    }
    if (!ranges_known)
        QD_TRY_GOTO(show_images(ctx, graph, calibration, qgraph));
    if (path)
        QD_TRY_GOTO(qd_encodings_apply(ctx, path, &encodings, qgraph));
    QD_TRY_GOTO(qd_qgraph_finalize(qgraph));
    *out = qgraph;
    qgraph = NULL;
fail:
    qd_encodings_free(&encodings);
    qd_qgraph_destroy(qgraph);
    return status;
}
