#include "experiment/calibrated.h"
#include "base/arena.h"
#include "base/error.h"
#include "experiment/selection.h"
#include <stdlib.h>

enum qd_status qd_calibrate(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                            const qd_calibration *calibration, qd_qgraph **out)
{
    const int64_t size = graph->input_dims.h, total = qd_dataset_count(calibration->images);
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;
    int64_t count = 0;
    int64_t *indices = qd_calloc((size_t)total, sizeof *indices);
    float *images = qd_calloc((size_t)(calibration->batch * size * size * 3), sizeof *images);
    if (!indices || !images) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "quantizing '%s': out of memory for batches of %lld images",
                         graph->model_name, (long long)calibration->batch);
        goto fail;
    }
    QD_TRY_GOTO(qd_qgraph_create(ctx, graph, state, &calibration->scheme, calibration->batch, &qgraph));
    QD_TRY_GOTO(qd_select_random(ctx, calibration->images, calibration->seed, calibration->count, indices, &count));
    for (int64_t first = 0; first < count; first += calibration->batch) {
        const int64_t n = count - first < calibration->batch ? count - first : calibration->batch;
        QD_TRY_GOTO(qd_dataset_load_eval(ctx, calibration->images, indices + first, n, (int32_t)size,
                                         calibration->loader_threads, images, NULL));
        QD_TRY_GOTO(qd_qgraph_calibrate(qgraph, images, n));
    }
    QD_TRY_GOTO(qd_qgraph_finalize(qgraph));
    *out = qgraph;
    qgraph = NULL;
fail:
    qd_qgraph_destroy(qgraph);
    free(indices);
    free(images);
    return status;
}
