#include "quantize/quantize_recipe.h"

#include "base/arena.h"
#include "base/error.h"
#include "quantize/ranges.h"
#include "quantize/remedies/remedies.h"
#include <stdlib.h>
#include <string.h>

qd_quant_recipe qd_quant_recipe_defaults(void)
{
    return (qd_quant_recipe){.scheme = qd_quant_scheme_defaults(),
                             .calibrator = qd_calibrator_settings_defaults(),
                             .remedies = {.adaround_settings = qd_adaround_settings_defaults()}};
}

/* What the stages share. */
typedef struct kitchen {
    qd_context *ctx;
    const qd_graph *graph;
    const qd_quant_recipe *recipe;
    const qd_recipe_images *images;
    int64_t batch;
    float *buffer; /* [batch] images */
} kitchen;

typedef enum qd_status batch_fn(void *user, const float *images, int64_t n);

/* Shows all images to `work`, a batch at a time. */
static enum qd_status for_batches(const kitchen *k, batch_fn *work, void *user)
{
    for (int64_t first = 0; first < k->images->count; first += k->batch) {
        int64_t n = k->images->count - first < k->batch ? k->images->count - first : k->batch;
        QD_TRY(k->images->source(k->images->user, first, n, k->buffer));
        QD_TRY(work(user, k->buffer, n));
    }
    return QD_OK;
}

static enum qd_status estimate_batch(void *user, const float *images, int64_t n)
{
    return qd_bn_estimate_observe(user, images, n);
}

static enum qd_status observe_batch(void *user, const float *images, int64_t n)
{
    return qd_ranges_observe(user, images, n);
}

/* Parameters and buffers of a state in one of its own. */
static enum qd_status copy_state(const kitchen *k, const qd_state *state, qd_state **out)
{
    size_t size = qd_dtype_size(state->dtype);

    QD_TRY(qd_state_create(k->ctx, k->graph, state->dtype, false, out));
    memcpy((*out)->params, state->params, (size_t)k->graph->param_elements * size);
    memcpy((*out)->buffers, state->buffers, (size_t)k->graph->buffer_elements * size);
    return QD_OK;
}

static enum qd_status reestimate(const kitchen *k, qd_state *state)
{
    enum qd_status status = QD_OK;
    qd_bn_estimate *estimate = NULL;

    QD_TRY_GOTO(qd_bn_estimate_create(k->ctx, k->graph, state, k->batch, &estimate));
    QD_TRY_GOTO(for_batches(k, estimate_batch, estimate));
    QD_TRY_GOTO(qd_bn_estimate_finish(estimate));
fail:
    qd_bn_estimate_destroy(estimate);
    return status;
}

static enum qd_status apply_differences(const kitchen *k, qd_qgraph *qgraph)
{
    const qd_quant_recipe *r = k->recipe;

    for (int i = 0; i < r->tensor_count; i++)
        QD_TRY(qd_qgraph_override_tensor(qgraph, &r->tensors[i]));
    for (int i = 0; i < r->weight_count; i++)
        QD_TRY(qd_qgraph_override_weight(qgraph, &r->weights[i]));
    for (int i = 0; i < r->excluded_count; i++)
        QD_TRY(qd_qgraph_exclude(qgraph, r->excluded[i]));
    return QD_OK;
}

static enum qd_status choose_ranges(const kitchen *k, qd_qgraph *qgraph)
{
    const qd_calibrator_settings *calibrator = &k->recipe->calibrator;
    enum qd_status status = QD_OK;
    qd_ranges *ranges = NULL;
    bool histograms;

    if (k->recipe->scheme.activation_dynamic)
        return QD_OK;
    QD_TRY(qd_ranges_need_histograms(k->ctx, calibrator, &histograms));
    QD_TRY_GOTO(qd_ranges_create(qgraph, histograms, &ranges));
    QD_TRY_GOTO(for_batches(k, observe_batch, ranges));
    QD_TRY_GOTO(qd_ranges_choose(ranges, calibrator));
fail:
    qd_ranges_destroy(ranges);
    return status;
}

/* AdaRound, then bias correction, whose means include what rounding did. */
static enum qd_status mend(const kitchen *k, qd_qgraph *qgraph)
{
    const qd_remedies *remedies = &k->recipe->remedies;
    int64_t n = k->images->count < k->batch ? k->images->count : k->batch;

    if (!remedies->adaround && !remedies->correct_bias)
        return QD_OK;
    if (n > 0)
        QD_TRY(k->images->source(k->images->user, 0, n, k->buffer));
    if (remedies->adaround)
        QD_TRY(qd_qgraph_adaround(qgraph, &remedies->adaround_settings, k->buffer, n, NULL, NULL));
    if (remedies->correct_bias)
        QD_TRY(qd_qgraph_correct_bias(qgraph, k->buffer, n));
    return QD_OK;
}

static enum qd_status prepare(const kitchen *k, const qd_state *state, qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;

    QD_TRY_GOTO(qd_qgraph_create(k->ctx, k->graph, state, &k->recipe->scheme, k->batch, &qgraph));
    QD_TRY_GOTO(apply_differences(k, qgraph));
    if (k->recipe->remedies.equalize)
        QD_TRY_GOTO(qd_qgraph_equalize(qgraph, NULL, NULL));
    QD_TRY_GOTO(choose_ranges(k, qgraph));
    QD_TRY_GOTO(qd_qgraph_finalize(qgraph));
    QD_TRY_GOTO(mend(k, qgraph));
    *out = qgraph;
    return QD_OK;
fail:
    qd_qgraph_destroy(qgraph);
    return status;
}

enum qd_status qd_recipe_quantize(qd_context *ctx, const qd_graph *graph, const qd_state *state,
                                  const qd_quant_recipe *recipe, const qd_recipe_images *images, int64_t max_batch,
                                  qd_qgraph **out)
{
    enum qd_status status = QD_OK;
    qd_state *copy = NULL;
    kitchen k = {.ctx = ctx, .graph = graph, .recipe = recipe, .images = images, .batch = max_batch};

    if (max_batch < 1)
        return qd_fail(ctx, QD_ERR_USAGE, "quantize '%s': expected a batch of at least 1, got %lld",
                       graph->model_name, (long long)max_batch);
    k.buffer = qd_calloc((size_t)(max_batch * qd_dims_count(&graph->input_dims)), sizeof *k.buffer);
    if (k.buffer == NULL) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "quantize '%s': no memory for batches of %lld images", graph->model_name,
                         (long long)max_batch);
        goto fail;
    }
    if (recipe->remedies.reestimate_batchnorm) {
        QD_TRY_GOTO(copy_state(&k, state, &copy));
        QD_TRY_GOTO(reestimate(&k, copy));
    }
    QD_TRY_GOTO(prepare(&k, copy == NULL ? state : copy, out));
fail:
    qd_state_destroy(copy);
    free(k.buffer);
    return status;
}
