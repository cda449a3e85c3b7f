#include "experiment/calibrated.h"
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_import.h"
#include "experiment/selection.h"
#include <stdlib.h>

/* The images that were chosen, as a recipe asks for them. */
typedef struct chosen_images {
    qd_context *ctx;
    const qd_calibration *calibration;
    int64_t *indices;
    int32_t size;
} chosen_images;

static enum qd_status give_images(void *user, int64_t first, int64_t n, float *images)
{
    const chosen_images *c = user;
    return qd_dataset_load_eval(c->ctx, c->calibration->images, c->indices + first, n, c->size,
                                c->calibration->loader_threads, images, NULL);
}

static enum qd_status choose_images(chosen_images *c, int64_t *count)
{
    const qd_dataset *dataset = c->calibration->images;
    *count = 0;
    if (!dataset)
        return QD_OK;
    c->indices = qd_calloc((size_t)qd_dataset_count(dataset), sizeof *c->indices);
    if (!c->indices)
        return qd_fail(c->ctx, QD_ERR_MEMORY, "quantizing: out of memory for the choice of images");
    return qd_select_random(c->ctx, dataset, c->calibration->seed, c->calibration->count, c->indices, count);
}

static bool needs_images(const qd_quant_recipe *recipe, bool ranges_known)
{
    const qd_remedies *remedies = &recipe->remedies;
    return remedies->reestimate_batchnorm || remedies->adaround || remedies->correct_bias ||
           (!ranges_known && !recipe->scheme.activation_dynamic);
}

/* Ranges from images and encodings, then what follows from them. `path`: of the encodings; NULL: none. */
static enum qd_status finish(const qd_recipe_job *job, const char *path, const qd_encodings *encodings,
                             qd_qgraph *qgraph)
{
    bool ranges_known = false;
    if (path)
        QD_TRY(qd_encodings_match(job->ctx, path, encodings, qgraph, &ranges_known));
    if (job->images.count == 0 && needs_images(job->recipe, ranges_known))
        return qd_fail(job->ctx, QD_ERR_USAGE,
                       "quantizing '%s': its scales need calibration images; name a data folder",
                       job->graph->model_name);
    if (!ranges_known)
        QD_TRY(qd_recipe_choose_ranges(job, qgraph));
    if (path)
        QD_TRY(qd_encodings_apply(job->ctx, path, encodings, qgraph));
    return qd_recipe_finish(job, qgraph);
}

enum qd_status qd_calibrate(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                            const qd_calibration *calibration, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;
    qd_encodings encodings = {0};
    chosen_images chosen = {.ctx = ctx, .calibration = calibration, .size = (int32_t)graph->input_dims.h};
    const char *path = calibration->encodings;
    qd_recipe_job job = {.ctx = ctx,
                         .graph = graph,
                         .state = state,
                         .recipe = calibration->recipe,
                         .images = {.source = give_images, .user = &chosen},
                         .batch = calibration->batch};
    QD_TRY_GOTO(choose_images(&chosen, &job.images.count));
    if (path)
        QD_TRY_GOTO(qd_encodings_read(ctx, path, &encodings));
    QD_TRY_GOTO(qd_recipe_fold(&job, &qgraph));
    QD_TRY_GOTO(finish(&job, path, &encodings, qgraph));
    *out = qgraph;
    qgraph = NULL;
fail:
    free(chosen.indices);
    qd_encodings_free(&encodings);
    qd_qgraph_destroy(qgraph);
    return status;
}
