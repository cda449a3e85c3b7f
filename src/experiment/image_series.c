#include "experiment/image_series.h"
#include "base/arena.h"
#include "base/error.h"
#include "experiment/selection.h"
#include <stdlib.h>

static enum qd_status start(qd_context *ctx, const qd_dataset *dataset, int64_t size, qd_image_series *out)
{
    *out = (qd_image_series){.ctx = ctx, .dataset = dataset, .size = (int32_t)size};
    out->indices = qd_calloc((size_t)qd_dataset_count(dataset), sizeof *out->indices);
    if (!out->indices)
        return qd_fail(ctx, QD_ERR_MEMORY, "choosing images of '%s': out of memory", qd_dataset_folder(dataset));
    return QD_OK;
}

enum qd_status qd_image_series_draw(qd_context *ctx, const qd_dataset *dataset, uint64_t seed, int64_t wanted,
                                    int64_t size, qd_image_series *out)
{
    QD_TRY(start(ctx, dataset, size, out));
    const enum qd_status status = qd_select_random(ctx, dataset, seed, wanted, out->indices, &out->count);
    if (status != QD_OK)
        qd_image_series_free(out);
    return status;
}

enum qd_status qd_image_series_balance(qd_context *ctx, const qd_dataset *dataset, int64_t wanted, int64_t size,
                                       qd_image_series *out)
{
    QD_TRY(start(ctx, dataset, size, out));
    out->count = qd_select_balanced(dataset, wanted, out->indices);
    return QD_OK;
}

void qd_image_series_free(qd_image_series *series)
{
    free(series->indices);
    *series = (qd_image_series){0};
}

enum qd_status qd_image_series_load(const qd_image_series *series, int64_t first, int64_t n, float *images,
                                    int64_t *labels)
{
    return qd_dataset_load_eval(series->ctx, series->dataset, series->indices + first, n, series->size,
                                qd_context_threads(series->ctx), images, labels);
}
