/* Every allocation of quantizing by a recipe fails once: the call says so and frees what it had. */
#include "each_allocation.h"
#include "failing_memory.h"
#include "support/quant_network.h"
#include "support/test_context.h"
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
    const qd_recipe_images images = {.source = give, .count = 1};
    qd_qgraph *q = NULL;

    QD_TRY(qd_recipe_quantize(ctx, network.graph, network.state, &recipe, &images, 1, &q));
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
