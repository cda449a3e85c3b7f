/*
 * Networks broken on purpose, the same functions in float: quantization collapses, and what is said to mend it does.
 * If one of these tests fails, the instruments do not measure what they claim.
 */
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 32

static float *param(const quant_network *network, const char *name)
{
    int index = qd_graph_find_param(network->graph, name);

    cr_assert_geq(index, 0, "no parameter '%s'", name);
    return (float *)network->state->params + network->graph->params[index].offset;
}

/* One channel in eight of a block's expansion is 10 to 1000 times smaller, and the depthwise filter behind ReLU as
 * much larger: weights of both layers spread by up to 1000. */
static void spread_channels(const quant_network *network, const char *block)
{
    char name[64];
    qd_rng rng;

    qd_rng_seed(&rng, 99);
    for (int64_t c = 0; c < 48; c += 8) {
        float factor = powf(10.0f, qd_rng_uniform_f32(&rng, 1.0f, 3.0f));
        if (c == 0)
            factor = 1000.0f;
        snprintf(name, sizeof name, "%s.bn1.weight", block);
        param(network, name)[c] /= factor;
        snprintf(name, sizeof name, "%s.bn1.bias", block);
        param(network, name)[c] /= factor;
        snprintf(name, sizeof name, "%s.depthwise.weight", block);
        for (int64_t k = 0; k < 9; k++)
            param(network, name)[k * 48 + c] *= factor;
    }
}

static quant_score score_of(const quant_network *network, const qd_quant_recipe *recipe, const char *what)
{
    qd_qgraph *q = quant_network_cook(network, recipe, IMAGES);
    quant_score score = quant_network_score(network, q);

    cr_log_info("%-44s logits %6.2f dB, %5.1f %% of the classes", what, score.logits_db, 100.0 * score.agreement);
    qd_qgraph_destroy(q);
    return score;
}

Test(broken_network, spread_channels_collapse_per_tensor_and_recover)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", IMAGES);
    qd_quant_recipe plain = qd_quant_recipe_defaults(), channel = plain, equalized = plain, wide = plain,
                    both = plain;
    float *before = quant_network_logits(&network);

    channel.scheme.weight_per_channel = true;
    equalized.remedies.equalize = true;
    both.scheme.weight_per_channel = both.remedies.equalize = true;
    wide.scheme.weight_bits = 16;
    quant_score intact = score_of(&network, &plain, "intact, per tensor");
    spread_channels(&network, "block1");
    spread_channels(&network, "block2");
    float *after = quant_network_logits(&network);
    /* factors that are no powers of two round each weight once more */
    cr_assert_lt(quant_largest_difference(before, after, IMAGES * 10), 1e-5);

    quant_score collapsed = score_of(&network, &plain, "broken, per tensor");
    quant_score finer = score_of(&network, &wide, "broken, per tensor, 16-bit weights");
    quant_score per_channel = score_of(&network, &channel, "broken, per channel");
    quant_score equal = score_of(&network, &equalized, "broken, equalized, per tensor");
    quant_score all = score_of(&network, &both, "broken, equalized, per channel");
    cr_assert_gt(intact.agreement, 0.9);
    cr_assert_lt(collapsed.agreement, 0.6);
    cr_assert_lt(collapsed.logits_db, intact.logits_db - 15.0);
    cr_assert_gt(finer.logits_db, collapsed.logits_db + 10.0, "it is the weights that collapse");
    /* what is left are the small channels' activations, in a tensor with the others: equalization brings them back */
    cr_assert_gt(per_channel.logits_db, collapsed.logits_db + 10.0);
    cr_assert_gt(per_channel.agreement, 0.8);
    cr_assert_gt(equal.logits_db, intact.logits_db - 2.0);
    cr_assert_gt(equal.agreement, 0.9);
    cr_assert_gt(all.logits_db, intact.logits_db - 1.0);
    free(before);
    free(after);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Values of channel 5 after the first block's ReLU. */
typedef struct channel_values {
    int tensor;
    int64_t count;
    float values[IMAGES * 18 * 18];
} channel_values;

static enum qd_status collect(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    channel_values *c = user;

    for (int64_t i = 0; index == c->tensor && i < n * dims->h * dims->w; i++)
        c->values[c->count++] = values[i * dims->c + 5];
    return QD_OK;
}

static int descending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;

    return (x < y) - (x > y);
}

/*
 * Channel 5 of the first block, which nothing reads, becomes a thousand times larger than the others and, by its
 * bias, above 0 at ten positions in all images: it stretches its tensor's range, and MinMax gives all codes to it.
 */
static void add_spikes(const quant_network *network)
{
    static channel_values c;
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    float *gamma = param(network, "block1.bn1.weight") + 5, *beta = param(network, "block1.bn1.bias") + 5;
    qd_qgraph *q = NULL;

    *gamma = 1.0f;
    *beta = 100.0f; /* nothing clamped */
    TEST_OK(network->ctx, qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, IMAGES, &q));
    c = (channel_values){.tensor = -1};
    for (int t = 0; t < q->quantizer_count; t++)
        c.tensor = strcmp(q->quantizers[t].name, "block1.relu1") == 0 ? t : c.tensor;
    TEST_OK(network->ctx, qd_qgraph_visit(q, false, network->images, IMAGES, collect, &c));
    cr_assert_eq(c.count, IMAGES * 18 * 18);
    qsort(c.values, (size_t)c.count, sizeof *c.values, descending);
    *gamma = 1000.0f;
    *beta = -1000.0f * (c.values[10] - 100.0f);
    qd_qgraph_destroy(q);
}

Test(broken_network, rare_spikes_need_a_better_calibrator)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", IMAGES);
    qd_quant_recipe recipe = qd_quant_recipe_defaults();
    quant_score scores[5];

    recipe.scheme.weight_per_channel = true; /* the channel's weights shall not spoil the others' */
    for (int64_t k = 0; k < 9; k++)
        param(&network, "block1.depthwise.weight")[k * 48 + 5] = 0.0f;
    quant_score intact = score_of(&network, &recipe, "intact, minmax");
    float *before = quant_network_logits(&network);
    add_spikes(&network);
    float *after = quant_network_logits(&network);
    cr_assert_arr_eq(before, after, IMAGES * 10 * sizeof *before, "nobody reads the channel");
    for (int k = 0; qd_calibrator_name(k) != NULL; k++) {
        recipe.calibrator.name = qd_calibrator_name(k);
        scores[k] = score_of(&network, &recipe, recipe.calibrator.name);
    }
    cr_assert_lt(scores[0].logits_db, intact.logits_db - 10.0);
    cr_assert_gt(scores[2].logits_db, intact.logits_db - 3.0, "percentile");
    cr_assert_gt(scores[3].logits_db, scores[0].logits_db + 8.0, "entropy");
    free(before);
    free(after);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Four bits: where rounding costs so much, a range that clips pays. */
Test(broken_network, few_bits_need_a_better_calibrator)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", IMAGES);
    qd_quant_recipe recipe = qd_quant_recipe_defaults();

    recipe.scheme.activation_bits = 4;
    recipe.scheme.weight_per_channel = true;
    quant_score minmax = score_of(&network, &recipe, "4-bit activations, minmax");
    recipe.calibrator.name = "mse";
    quant_score mse = score_of(&network, &recipe, "4-bit activations, mse");
    cr_assert_gt(mse.logits_db, minmax.logits_db + 1.0);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Spread channels and 4-bit weights: each remedy alone, and together. */
Test(broken_network, remedies_add_up)
{
    SKIP_IF_EMULATED();
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", IMAGES);
    qd_quant_recipe none = qd_quant_recipe_defaults(), equalized = none, rounded = none, corrected = none, all = none;

    spread_channels(&network, "block1");
    spread_channels(&network, "block2");
    none.scheme.weight_bits = equalized.scheme.weight_bits = rounded.scheme.weight_bits = 4;
    corrected.scheme.weight_bits = all.scheme.weight_bits = 4;
    equalized.remedies.equalize = rounded.remedies.adaround = corrected.remedies.correct_bias = true;
    all.remedies.equalize = all.remedies.adaround = all.remedies.correct_bias = true;
    all.remedies.reestimate_batchnorm = true;
    quant_score nothing = score_of(&network, &none, "4-bit weights, broken");
    quant_score rounding = score_of(&network, &rounded, "4-bit weights, broken, AdaRound");
    quant_score correction = score_of(&network, &corrected, "4-bit weights, broken, bias correction");
    quant_score equal = score_of(&network, &equalized, "4-bit weights, broken, equalized");
    quant_score together = score_of(&network, &all, "4-bit weights, broken, all remedies");
    cr_assert_gt(equal.logits_db, nothing.logits_db + 5.0);
    cr_assert_gt(together.logits_db, equal.logits_db + 5.0);
    cr_assert_gt(together.logits_db, fmax(rounding.logits_db, correction.logits_db));
    cr_assert_gt(together.agreement, 0.9);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}
