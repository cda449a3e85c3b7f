/* Every allocation of quantizing by a recipe fails once: the call says so and frees what it had. */
#include "each_allocation.h"
#include "failing_memory.h"
#include "quantize/attribution.h"
#include "quantize/layer_sensitivity.h"
#include "support/quant_network.h"
#include "support/test_context.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static quant_network network;
static qd_quant_recipe recipe;

static void setup(void)
{
    if (!failing_memory_available())
        cr_skip_test("a sanitizer has an allocator of its own");
    ctx = test_context_create(1);
    network = quant_network_create(ctx, "mobile", 2);
    recipe = qd_quant_recipe_defaults();
}

static void teardown(void)
{
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

TestSuite(quantize_memory, .init = setup, .fini = teardown);

static enum qd_status give(void *user, int64_t first, int64_t n, float *images)
{
    int64_t pixels = qd_dims_count(&network.graph->input_dims);

    (void)user;
    memcpy(images, network.images + first * pixels, (size_t)(n * pixels) * sizeof *images);
    return QD_OK;
}

static enum qd_status quantize(void)
{
    const qd_recipe_job job = {.ctx = ctx,
                               .graph = network.graph,
                               .state = network.state,
                               .recipe = &recipe,
                               .images = {.source = give, .count = 1},
                               .batch = 1};
    qd_qgraph *q = NULL;

    QD_TRY(qd_recipe_quantize(&job, &q));
    qd_qgraph_destroy(q);
    return QD_OK;
}

Test(quantize_memory, remedies)
{
    recipe.remedies.reestimate_batchnorm = recipe.remedies.equalize = true;
    recipe.remedies.adaround = recipe.remedies.correct_bias = true;
    recipe.remedies.adaround_settings.iterations = 2;
    recipe.remedies.adaround_settings.rows = 16;
    cr_assert_gt(test_fail_each_allocation(ctx, quantize, NULL, NULL), 40);
}

Test(quantize_memory, histograms)
{
    recipe.calibrator.name = "mse";
    /* an octave of every tensor is an allocation: some hundreds */
    cr_assert_gt(test_fail_each_allocation(ctx, quantize, NULL, NULL), 200);
}

Test(quantize_memory, entropy)
{
    recipe.calibrator.name = "entropy";
    cr_assert_gt(test_fail_each_allocation(ctx, quantize, NULL, NULL), 200);
}

/* ---- analyses of a network that is there ---- */

static qd_qgraph *qgraph;

static void setup_analysis(void)
{
    setup();
    qgraph = quant_network_quantize(&network, &recipe.scheme);
}

static void teardown_analysis(void)
{
    qd_qgraph_destroy(qgraph);
    teardown();
}

TestSuite(analysis_memory, .init = setup_analysis, .fini = teardown_analysis);

static enum qd_status attribute(void)
{
    qd_attribution *attribution = NULL;
    qd_tensor_attribution first;
    enum qd_status status = QD_OK;

    QD_TRY(qd_attribution_create(qgraph, &attribution));
    QD_TRY_GOTO(qd_attribution_observe(attribution, network.images, 2));
    QD_TRY_GOTO(qd_attribution_get(attribution, 0, &first));
fail:
    qd_attribution_destroy(attribution);
    return status;
}

Test(analysis_memory, attribution)
{
    cr_assert_geq(test_fail_each_allocation(ctx, attribute, NULL, NULL), 4);
}

static enum qd_status ignore(void *user, int layer, const float *logits, int64_t n)
{
    (void)user;
    (void)layer;
    (void)logits;
    (void)n;
    return QD_OK;
}

static enum qd_status run_layers(void)
{
    qd_quant_layer *layers = NULL;
    int count = 0;

    QD_TRY(qd_quant_layers_list(qgraph, &layers, &count));
    const enum qd_status status =
        qd_sensitivity_run(qgraph, QD_SENSITIVITY_WITHOUT, layers, count, network.images, 2, ignore, NULL);
    free(layers);
    return status;
}

Test(analysis_memory, sensitivity)
{
    TEST_OK(ctx, run_layers()); /* the network keeps what it runs in */
    cr_assert_geq(test_fail_each_allocation(ctx, run_layers, NULL, NULL), 3);
}
