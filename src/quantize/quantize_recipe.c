#include "quantize/quantize_recipe.h"

#include "base/arena.h"
#include "base/error.h"
#include "quantize/remedies/remedies.h"
#include <stdlib.h>
#include <string.h>

qd_quant_recipe qd_quant_recipe_defaults(void)
{
    return (qd_quant_recipe){.scheme = qd_quant_scheme_defaults(),
                             .calibrator = qd_calibrator_settings_defaults(),
                             .remedies = {.images = 64, .adaround_settings = qd_adaround_settings_defaults()}};
}

/* ---- images ---- */

static enum qd_status check_job(const qd_recipe_job *job)
{
    if (job->batch < 1 || job->recipe->remedies.images < 1)
        return qd_fail(job->ctx, QD_ERR_USAGE,
                       "quantize '%s': expected a batch of at least 1 and remedies of at least 1 image, got %lld and "
                       "%lld",
                       job->graph->model_name, (long long)job->batch, (long long)job->recipe->remedies.images);
    return QD_OK;
}

/* Room for `n` images, freed with free(). */
static enum qd_status allocate_images(const qd_recipe_job *job, int64_t n, float **out)
{
    *out = qd_calloc((size_t)(n * qd_dims_count(&job->graph->input_dims)), sizeof **out);
    if (*out == NULL)
        return qd_fail(job->ctx, QD_ERR_MEMORY, "quantize '%s': no memory for %lld images at a time",
                       job->graph->model_name, (long long)n);
    return QD_OK;
}

typedef enum qd_status batch_fn(void *user, const float *images, int64_t n);

/* Shows all images to `work`, a batch at a time. */
static enum qd_status for_batches(const qd_recipe_job *job, batch_fn *work, void *user)
{
    enum qd_status status = QD_OK;
    float *buffer = NULL;

    QD_TRY_GOTO(allocate_images(job, job->batch, &buffer));
    for (int64_t first = 0; first < job->images.count; first += job->batch) {
        int64_t n = job->images.count - first < job->batch ? job->images.count - first : job->batch;
        QD_TRY_GOTO(job->images.source(job->images.user, first, n, buffer));
        QD_TRY_GOTO(work(user, buffer, n));
    }
fail:
    free(buffer);
    return status;
}

static enum qd_status estimate_batch(void *user, const float *images, int64_t n)
{
    return qd_bn_estimate_observe(user, images, n);
}

static enum qd_status observe_batch(void *user, const float *images, int64_t n)
{
    return qd_ranges_observe(user, images, n);
}

/* ---- the float network ---- */

/* Parameters and buffers of a state in one of its own. */
static enum qd_status copy_state(const qd_recipe_job *job, qd_state **out)
{
    size_t size = qd_dtype_size(job->state->dtype);

    QD_TRY(qd_state_create(job->ctx, job->graph, job->state->dtype, false, out));
    memcpy((*out)->params, job->state->params, (size_t)job->graph->param_elements * size);
    memcpy((*out)->buffers, job->state->buffers, (size_t)job->graph->buffer_elements * size);
    return QD_OK;
}

static enum qd_status reestimate(const qd_recipe_job *job, qd_state *state)
{
    enum qd_status status = QD_OK;
    qd_bn_estimate *estimate = NULL;

    QD_TRY_GOTO(qd_bn_estimate_create(job->ctx, job->graph, state, job->batch, &estimate));
    QD_TRY_GOTO(for_batches(job, estimate_batch, estimate));
    QD_TRY_GOTO(qd_bn_estimate_finish(estimate));
fail:
    qd_bn_estimate_destroy(estimate);
    return status;
}

enum qd_status qd_recipe_apply_differences(const qd_quant_recipe *recipe, qd_qgraph *qgraph)
{
    for (int i = 0; i < recipe->tensor_count; i++)
        QD_TRY(qd_qgraph_override_tensor(qgraph, &recipe->tensors[i]));
    for (int i = 0; i < recipe->weight_count; i++)
        QD_TRY(qd_qgraph_override_weight(qgraph, &recipe->weights[i]));
    for (int i = 0; i < recipe->excluded_count; i++)
        QD_TRY(qd_qgraph_exclude(qgraph, recipe->excluded[i]));
    return QD_OK;
}

/* AdaRound and bias correction run over all their images at once. */
static bool mends(const qd_quant_recipe *recipe)
{
    return recipe->remedies.adaround || recipe->remedies.correct_bias;
}

int64_t qd_recipe_max_batch(const qd_quant_recipe *recipe, int64_t batch)
{
    return mends(recipe) && recipe->remedies.images > batch ? recipe->remedies.images : batch;
}

static enum qd_status fold(const qd_recipe_job *job, const qd_state *state, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;

    QD_TRY_GOTO(qd_qgraph_create(job->ctx, job->graph, state, &job->recipe->scheme,
                                 qd_recipe_max_batch(job->recipe, job->batch), &qgraph));
    QD_TRY_GOTO(qd_recipe_apply_differences(job->recipe, qgraph));
    if (job->recipe->remedies.equalize)
        QD_TRY_GOTO(qd_qgraph_equalize(qgraph, NULL, NULL));
    *out = qgraph;
    return QD_OK;
fail:
    qd_qgraph_destroy(qgraph);
    return status;
}

enum qd_status qd_recipe_fold(const qd_recipe_job *job, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_state *copy = NULL;

    QD_TRY(check_job(job));
    if (job->recipe->remedies.reestimate_batchnorm) {
        QD_TRY_GOTO(copy_state(job, &copy));
        QD_TRY_GOTO(reestimate(job, copy));
    }
    QD_TRY_GOTO(fold(job, copy == NULL ? job->state : copy, out));
fail:
    qd_state_destroy(copy);
    return status;
}

/* ---- ranges ---- */

enum qd_status qd_recipe_observe(const qd_recipe_job *job, bool histograms, qd_qgraph *qgraph, qd_ranges **out)
{
    enum qd_status status = QD_OK;
    qd_ranges *ranges = NULL;

    QD_TRY_GOTO(qd_ranges_create(qgraph, histograms, &ranges));
    QD_TRY_GOTO(for_batches(job, observe_batch, ranges));
    *out = ranges;
    return QD_OK;
fail:
    qd_ranges_destroy(ranges);
    return status;
}

enum qd_status qd_recipe_choose_ranges(const qd_recipe_job *job, qd_qgraph *qgraph)
{
    const qd_calibrator_settings *calibrator = &job->recipe->calibrator;
    enum qd_status status = QD_OK;
    qd_ranges *ranges = NULL;
    bool histograms;

    if (job->recipe->scheme.activation_dynamic)
        return QD_OK;
    QD_TRY(qd_ranges_need_histograms(job->ctx, calibrator, &histograms));
    QD_TRY_GOTO(qd_recipe_observe(job, histograms, qgraph, &ranges));
    QD_TRY_GOTO(qd_ranges_choose(ranges, calibrator, qgraph));
fail:
    qd_ranges_destroy(ranges);
    return status;
}

/* ---- the quantized network ---- */

/* AdaRound, then bias correction, whose means include what rounding did. */
static enum qd_status mend(const qd_recipe_job *job, qd_qgraph *qgraph)
{
    const qd_remedies *remedies = &job->recipe->remedies;
    int64_t n = job->images.count < remedies->images ? job->images.count : remedies->images;
    int64_t pixels = qd_dims_count(&job->graph->input_dims);
    enum qd_status status = QD_OK;
    float *images = NULL;

    QD_TRY_GOTO(allocate_images(job, n, &images));
    for (int64_t first = 0; first < n; first += job->batch)
        QD_TRY_GOTO(job->images.source(job->images.user, first, n - first < job->batch ? n - first : job->batch,
                                       images + first * pixels));
    if (remedies->adaround)
        QD_TRY_GOTO(qd_qgraph_adaround(qgraph, &remedies->adaround_settings, images, n, NULL, NULL));
    if (remedies->correct_bias)
        QD_TRY_GOTO(qd_qgraph_correct_bias(qgraph, images, n));
fail:
    free(images);
    return status;
}

enum qd_status qd_recipe_finish(const qd_recipe_job *job, qd_qgraph *qgraph)
{
    QD_TRY(qd_qgraph_finalize(qgraph));
    return mends(job->recipe) ? mend(job, qgraph) : QD_OK;
}

enum qd_status qd_recipe_quantize(const qd_recipe_job *job, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;

    QD_TRY_GOTO(qd_recipe_fold(job, &qgraph));
    QD_TRY_GOTO(qd_recipe_choose_ranges(job, qgraph));
    QD_TRY_GOTO(qd_recipe_finish(job, qgraph));
    *out = qgraph;
    return QD_OK;
fail:
    qd_qgraph_destroy(qgraph);
    return status;
}
