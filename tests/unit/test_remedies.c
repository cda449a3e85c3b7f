/* Remedies one by one: each keeps what it must not touch, does what its paper says, and refuses misuse. */
#include "graph/plan.h"
#include "quantize/qgraph.h"
#include "quantize/remedies/remedies.h"
#include "quantize/remedies/rounding.h"
#include "support/quant_network.h"
#include <math.h>
#include <quantdrift/random.h>
#include <stdlib.h>
#include <string.h>

static qd_qgraph *unfinished(const quant_network *network, const qd_quant_scheme *scheme)
{
    qd_qgraph *q = NULL;

    TEST_OK(network->ctx, qd_qgraph_create(network->ctx, network->graph, network->state, scheme, network->n, &q));
    return q;
}

static int conv_index(const qd_qgraph *q, const char *name)
{
    for (int i = 0; i < q->conv_count; i++)
        if (strcmp(q->convs[i].name, name) == 0)
            return i;
    cr_assert_fail("no weights '%s'", name);
    return -1;
}

/* ---- equalization ---- */

/* Largest weight that writes, or that reads, channel i of 1x1 and depthwise layers (all of "mobile" but its stem). */
static double writes(const qd_qconv *conv, int64_t i)
{
    double peak = 0.0;

    for (int64_t k = 0; k < conv->filter; k++)
        peak = fmax(
            peak,
            fabs((double)conv->weight[conv->depthwise ? k * conv->config.out_channels + i : i * conv->filter + k]));
    return peak;
}

static double reads(const qd_qconv *conv, int64_t i)
{
    double peak = 0.0;

    if (conv->depthwise)
        return writes(conv, i);
    for (int64_t o = 0; o < conv->config.out_channels; o++)
        peak = fmax(peak, fabs((double)conv->weight[o * conv->filter + i]));
    return peak;
}

Test(remedies, equalization_evens_ranges_and_keeps_the_function)
{
    static const char *const firsts[] = {"stem.weight",          "block1.expand.weight",    "block1.depthwise.weight",
                                         "block2.expand.weight", "block2.depthwise.weight", "head.weight"};
    static const char *const seconds[] = {"block1.expand.weight",  "block1.depthwise.weight",
                                          "block1.project.weight", "block2.depthwise.weight",
                                          "block2.project.weight", "fc.weight"};
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", 4);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = unfinished(&network, &scheme);
    qd_equalized_pair *pairs = NULL;
    float before[40], after[40];
    int count = 0;

    TEST_OK(ctx, qd_qgraph_calibrate(q, network.images, 4));
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 4, before));
    TEST_OK(ctx, qd_qgraph_equalize(q, &pairs, &count));
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 4, after));
    cr_assert_neq(memcmp(before, after, sizeof before), 0, "the weights of before ran again");
    /* two roundings a weight in ten layers: some 1e-7 each */
    cr_assert_lt(quant_largest_difference(before, after, 40), 1e-5);
    cr_assert_gt(qd_qgraph_tensor(q, 0).min, qd_qgraph_tensor(q, 0).max, "old ranges are forgotten");
    cr_assert_eq(count, qd_qgraph_weight_count(q));

    int equalized = 0;
    for (int i = 0; i < 6; i++) {
        const qd_equalized_pair *pair = &pairs[conv_index(q, seconds[i])];
        const qd_qconv *first = &q->convs[conv_index(q, firsts[i])], *second = &q->convs[conv_index(q, seconds[i])];
        cr_assert_null(pair->skipped, "'%s': %s", pair->second, pair->skipped);
        cr_assert_str_eq(pair->first, firsts[i]);
        for (int64_t c = 0; c < first->config.out_channels; c++) {
            double w = writes(first, c), r = reads(second, c);
            /* unless the bias would have grown, both ranges are equal: to the sweeps' 1e-3, twice */
            cr_assert(fabs(w / r - 1.0) < 5e-3 || w < r, "'%s' channel %lld: %g and %g", pair->second, (long long)c,
                      w, r);
            equalized += fabs(w / r - 1.0) < 5e-3;
        }
    }
    cr_assert_gt(equalized, 120, "of 16 + 4·48 + 32 channels"); /* more than half */
    cr_assert_not_null(strstr(pairs[conv_index(q, "stem.weight")].skipped, "network's input"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "block2.expand.weight")].skipped, "others read"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "head.weight")].skipped, "a sum"));
    free(pairs);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* One pair by hand: s = √(r1/r2); nothing is done across SiLU, ReLU6's table or a gate, and it says so. */
Test(remedies, equalization_says_what_it_skips)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *q = unfinished(&network, &scheme), *original = unfinished(&network, &scheme);
    qd_equalized_pair *pairs = NULL;
    int count = 0;

    TEST_OK(ctx, qd_qgraph_equalize(q, &pairs, &count));
    cr_assert_not_null(strstr(pairs[conv_index(q, "block.depthwise.weight")].skipped, "SiLU"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "block.se.fc2.weight")].skipped, "SiLU"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "block.project.weight")].skipped, "gate"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "block.expand.weight")].skipped, "others read"));
    cr_assert_not_null(strstr(pairs[conv_index(q, "fc.weight")].skipped, "sum"));
    cr_assert_null(pairs[conv_index(q, "basic.conv2.weight")].skipped);

    /* basic.conv1 (three groups) and basic.conv2 make one pair, which one sweep settles */
    const qd_qconv *first = &original->convs[conv_index(q, "basic.conv1.weight")];
    const qd_qconv *second = &original->convs[conv_index(q, "basic.conv2.weight")];
    const qd_qconv *scaled = &q->convs[conv_index(q, "basic.conv1.weight")];
    double limit = 0.0;
    for (int64_t c = 0; c < 9; c++)
        limit = fmax(limit, fabs((double)first->bias[c]));
    for (int64_t c = 0; c < 9; c++) {
        double r1 = 0.0, r2 = 0.0;
        for (int64_t k = 0; k < first->filter; k++)
            r1 = fmax(r1, fabs((double)first->weight[c * first->filter + k]));
        for (int64_t k = c; k < second->filter * 9; k += 9)
            r2 = fmax(r2, fabs((double)second->weight[k]));
        double s = fmax(sqrt(r1 / r2), fabs((double)first->bias[c]) / limit < sqrt(r1 / r2)
                                           ? 0.0
                                           : fmin(1.0, fabs((double)first->bias[c]) / limit));
        cr_assert_float_eq(scaled->bias[c], first->bias[c] / s, 1e-5 * fabs((double)first->bias[c] / s));
        for (int64_t k = c * first->filter; k < (c + 1) * first->filter; k++)
            cr_assert_float_eq(scaled->weight[k], first->weight[k] / s, 1e-5 * fabs((double)first->weight[k] / s));
    }
    free(pairs);
    qd_qgraph_destroy(q);
    qd_qgraph_destroy(original);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* A channel that BatchNorm has switched off but for its beta does not stretch the activation's range. */
Test(remedies, equalization_leaves_dead_channels_alone)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "mobile", 2);
    const qd_graph *g = network.graph;
    float *params = network.state->params;
    qd_quant_scheme scheme = qd_quant_scheme_defaults();

    params[g->params[qd_graph_find_param(g, "block1.bn1.weight")].offset + 3] = 1e-30f;
    params[g->params[qd_graph_find_param(g, "block1.bn1.weight")].offset + 4] = 0.0f;
    qd_qgraph *q = unfinished(&network, &scheme);
    const qd_qconv *conv = &q->convs[conv_index(q, "block1.expand.weight")];
    double limit = 0.0;
    for (int64_t c = 0; c < 48; c++)
        limit = fmax(limit, fabs((double)conv->bias[c]));
    TEST_OK(ctx, qd_qgraph_equalize(q, NULL, NULL));
    for (int64_t c = 0; c < 48; c++)
        cr_assert_leq(fabs((double)conv->bias[c]), limit * 1.0001, "channel %lld: %g", (long long)c,
                      (double)conv->bias[c]);
    for (int i = 0; i < q->conv_count; i++)
        for (int64_t k = 0; k < q->convs[i].filter * q->convs[i].config.out_channels; k++)
            cr_assert(isfinite(q->convs[i].weight[k]));
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* ---- bias correction ---- */

/* Mean of one tensor's channels over images. */
typedef struct means {
    int index;
    int64_t channels, rows;
    double sum[64];
} means;

static enum qd_status add_up(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    means *m = user;

    if (index != m->index)
        return QD_OK;
    m->channels = dims->c;
    m->rows += n * dims->h * dims->w;
    for (int64_t i = 0; i < n * qd_dims_count(dims); i++)
        m->sum[i % dims->c] += (double)values[i];
    return QD_OK;
}

/* Root mean square over channels of the simulated network's mean less the float network's. */
static double mean_shift(qd_qgraph *q, const quant_network *network, const char *tensor)
{
    means m[2] = {{.index = -1}, {.index = -1}};
    double sum = 0.0;

    for (int t = 0; t < q->quantizer_count; t++)
        if (strcmp(q->quantizers[t].name, tensor) == 0)
            m[0].index = m[1].index = t;
    cr_assert_geq(m[0].index, 0, "no tensor '%s'", tensor);
    for (int i = 0; i < 2; i++)
        TEST_OK(network->ctx, qd_qgraph_visit(q, i == 1, network->images, network->n, add_up, &m[i]));
    for (int64_t c = 0; c < m[0].channels; c++) {
        double d = (m[1].sum[c] - m[0].sum[c]) / (double)m[0].rows;
        sum += d * d;
    }
    return sqrt(sum / (double)m[0].channels);
}

Test(remedies, bias_correction_removes_the_shift)
{
    static const char *const tensors[] = {"block1.bn3", "block2.bn3"};
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", 16);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    double before[2];
    float wanted[160], kept[160];

    scheme.weight_bits = 4;
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    double logits_before = quant_network_score(&network, q).logits_db;
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 16, wanted));
    for (int t = 0; t < 2; t++)
        before[t] = mean_shift(q, &network, tensors[t]);
    TEST_OK(ctx, qd_qgraph_correct_bias(q, network.images, 16));
    for (int t = 0; t < 2; t++) {
        double after = mean_shift(q, &network, tensors[t]);
        /* what is left is the rounding of the tensor itself, whose mean over thousands of values is far below a step
         */
        cr_assert_lt(after, 0.1 * before[t], "'%s': %g after %g", tensors[t], after, before[t]);
    }
    double logits_after = quant_network_score(&network, q).logits_db;
    cr_assert_gt(logits_after, logits_before, "logits: %g dB after %g", logits_after, logits_before);
    TEST_OK(ctx, qd_qgraph_run_float(q, false, network.images, 16, kept));
    cr_assert_arr_eq(wanted, kept, sizeof wanted);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* ---- AdaRound ---- */

#define DEPTH 10
#define ROWS  64

/* Noise of one filter with these codes, by its formula. */
static double filter_noise(const float *inputs, const float *targets, const float *codes, float scale)
{
    double sum = 0.0;

    for (int r = 0; r < ROWS; r++) {
        double y = 0.0;
        for (int k = 0; k < DEPTH; k++)
            y += (double)inputs[r * DEPTH + k] * (double)scale * (double)codes[k];
        sum += (y - (double)targets[r]) * (y - (double)targets[r]);
    }
    return sum;
}

/* Against all 2^10 ways to round ten weights, inputs correlated so that rounding to nearest is not the best. */
Test(remedies, rounding_comes_close_to_the_best_of_all)
{
    qd_adaround_settings settings = qd_adaround_settings_defaults();
    qd_kernels kernels;
    float inputs[ROWS * DEPTH], targets[ROWS], weight[DEPTH], codes[DEPTH], candidate[DEPTH], bias = 0.0f;
    double nearest = 0.0, learnt = 0.0, log_gain = 0.0, log_possible = 0.0;
    qd_rng rng;

    settings.batch = ROWS;
    qd_kernels_fill(QD_ISA_REF, QD_F32, &kernels);
    qd_rng_seed(&rng, 3);
    for (int round = 0; round < 20; round++) {
        float scale = 0.25f;
        for (int r = 0; r < ROWS; r++) {
            float common = qd_rng_uniform_f32(&rng, 0.0f, 2.0f);
            targets[r] = 0.0f;
            for (int k = 0; k < DEPTH; k++)
                inputs[r * DEPTH + k] = common + qd_rng_uniform_f32(&rng, -0.5f, 0.5f);
        }
        for (int k = 0; k < DEPTH; k++)
            weight[k] = qd_rng_uniform_f32(&rng, -1.5f, 1.5f);
        for (int r = 0; r < ROWS; r++)
            for (int k = 0; k < DEPTH; k++)
                targets[r] += weight[k] * inputs[r * DEPTH + k];
        const qd_rounding_block block = {.kernels = &kernels,
                                         .settings = &settings,
                                         .filters = 1,
                                         .depth = DEPTH,
                                         .rows = ROWS,
                                         .inputs = inputs,
                                         .targets = targets,
                                         .bias = &bias,
                                         .scale = &scale,
                                         .low = -7.0f,
                                         .high = 7.0f,
                                         .weight = weight,
                                         .code = codes,
                                         .noise = {&nearest, &learnt}};
        float *scratch = malloc((size_t)qd_rounding_scratch(&block) * sizeof *scratch);
        cr_assert_not_null(scratch);
        qd_rounding_learn(&block, scratch);
        free(scratch);
        double best = INFINITY;
        for (int choice = 0; choice < 1 << DEPTH; choice++) {
            for (int k = 0; k < DEPTH; k++)
                candidate[k] = floorf(weight[k] / scale) + (float)(choice >> k & 1);
            best = fmin(best, filter_noise(inputs, targets, candidate, scale));
        }
        for (int k = 0; k < DEPTH; k++)
            cr_assert(fabsf(codes[k] - weight[k] / scale) < 1.0f && codes[k] == rintf(codes[k]));
        cr_assert_float_eq(filter_noise(inputs, targets, codes, scale), learnt, 1e-3 * learnt + 1e-6);
        cr_assert_leq(learnt, nearest);
        log_gain += log10(nearest / learnt);
        log_possible += log10(nearest / best);
    }
    /* the relaxation is no exhaustive search: most of what can be gained, in dB, is */
    cr_assert_gt(log_gain, 0.6 * log_possible, "%g of %g dB a filter", log_gain / 2.0, log_possible / 2.0);
    cr_assert_gt(log_possible, 0.0);
}

static qd_qgraph *rounded(const quant_network *network, const qd_quant_scheme *scheme, uint64_t seed,
                          qd_rounded_layer **layers, int *count)
{
    qd_adaround_settings settings = qd_adaround_settings_defaults();
    qd_qgraph *q = quant_network_quantize(network, scheme);

    settings.seed = seed;
    settings.rows = 512;
    settings.iterations = 300;
    TEST_OK(network->ctx, qd_qgraph_adaround(q, &settings, network->images, network->n, layers, count));
    return q;
}

Test(remedies, adaround_fits_every_layer_better)
{
    static const char *const names[] = {"mobile", "small"};
    qd_context *ctx = test_context_create(2);

    for (int i = 0; i < 2; i++) {
        quant_network network = quant_network_create(ctx, names[i], 8);
        qd_quant_scheme scheme = qd_quant_scheme_defaults();
        qd_rounded_layer *layers = NULL;
        int count = 0;
        double gain = 0.0;
        scheme.weight_bits = 4;
        qd_qgraph *nearest = quant_network_quantize(&network, &scheme);
        double before = quant_network_score(&network, nearest).logits_db;
        qd_qgraph *q = rounded(&network, &scheme, 1, &layers, &count);
        double after = quant_network_score(&network, q).logits_db;
        for (int l = 0; l < count; l++) {
            cr_assert_geq(layers[l].learnt_db, layers[l].nearest_db, "'%s'", layers[l].name);
            gain += layers[l].learnt_db - layers[l].nearest_db;
        }
        cr_log_info("%s: logits %.1f dB, nearest %.1f dB; layers gain %.1f dB on average", names[i], after, before,
                    gain / count);
        cr_assert_gt(gain / count, 1.0, "%s: %g dB a layer", names[i], gain / count);
        cr_assert_gt(after, before + 6.0, "%s: logits %g dB, with nearest rounding %g", names[i], after, before);
        /* codes survive finalizing again, and the float network is the same as ever */
        int8_t kept = q->convs[0].codes[5];
        TEST_OK(ctx, qd_qgraph_finalize(q));
        cr_assert_eq(q->convs[0].codes[5], kept);
        cr_assert_eq(quant_network_score(&network, q).logits_db, after);
        cr_assert_arr_eq(q->convs[1].weight, nearest->convs[1].weight, sizeof(float) * 9);
        TEST_FAILS(ctx, qd_qgraph_equalize(q, NULL, NULL), QD_ERR_USAGE, "before AdaRound");
        free(layers);
        qd_qgraph_destroy(q);
        qd_qgraph_destroy(nearest);
        quant_network_free(&network);
    }
    qd_context_destroy(ctx);
}

/* ---- BatchNorm ---- */

/* The network's statistics are those of its images in one batch: after damage they come back. */
Test(remedies, batchnorm_is_reestimated)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "mobile", 6);
    int64_t elements = network.graph->buffer_elements;
    float *settled = malloc((size_t)elements * sizeof *settled), *buffers = network.state->buffers;
    int64_t pixels = qd_dims_count(&network.graph->input_dims);
    qd_bn_estimate *estimate = NULL;

    cr_assert_not_null(settled);
    memcpy(settled, buffers, (size_t)elements * sizeof *settled);
    for (int batches = 1; batches <= 3; batches += 2) {
        for (int64_t i = 0; i < elements; i++)
            buffers[i] = 7.0f;
        TEST_OK(ctx, qd_bn_estimate_create(ctx, network.graph, network.state, 6 / batches, &estimate));
        TEST_FAILS(ctx, qd_bn_estimate_finish(estimate), QD_ERR_USAGE, "no image seen");
        TEST_OK(ctx, qd_bn_estimate_observe(estimate, network.images, batches == 1 ? 6 : 4));
        if (batches == 3)
            TEST_OK(ctx, qd_bn_estimate_observe(estimate, network.images + 4 * pixels, 2));
        TEST_OK(ctx, qd_bn_estimate_finish(estimate));
        for (int b = 0; b < network.graph->buffer_count; b++) {
            const qd_param *buffer = &network.graph->buffers[b];
            for (int64_t k = buffer->offset; k < buffer->offset + buffer->count; k++)
                /* the fused and the unfused plan differ in the last bits; batches of two see other statistics, and
                 * of the first layer, whose input they share, the means are still the same */
                if (batches == 1 || (b == 0 && strstr(buffer->name, "mean") != NULL))
                    cr_assert_float_eq(buffers[k], settled[k], 1e-4 * fabs((double)settled[k]) + 1e-5, "%s",
                                       buffer->name);
        }
        qd_bn_estimate_destroy(estimate);
    }
    qd_bn_estimate_destroy(NULL);
    free(settled);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* ---- all of them ---- */

Test(remedies, misuse_is_refused)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "mobile", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_adaround_settings settings = qd_adaround_settings_defaults(), wrong = settings;
    qd_qgraph *q = unfinished(&network, &scheme);

    TEST_FAILS(ctx, qd_qgraph_correct_bias(q, network.images, 2), QD_ERR_USAGE, "calibrate and finalize first");
    TEST_FAILS(ctx, qd_qgraph_adaround(q, &settings, network.images, 2, NULL, NULL), QD_ERR_USAGE,
               "calibrate and finalize first");
    TEST_OK(ctx, qd_qgraph_equalize(q, NULL, NULL)); /* what was refused has left nothing behind */
    TEST_OK(ctx, qd_qgraph_calibrate(q, network.images, 2));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    TEST_FAILS(ctx, qd_qgraph_correct_bias(q, network.images, 0), QD_ERR_USAGE, "1 to 2 images");
    TEST_FAILS(ctx, qd_qgraph_correct_bias(q, network.images, 3), QD_ERR_USAGE, "got 3");
    TEST_FAILS(ctx, qd_qgraph_adaround(q, &settings, network.images, 3, NULL, NULL), QD_ERR_USAGE, "got 3");
    wrong.rows = 0;
    TEST_FAILS(ctx, qd_qgraph_adaround(q, &wrong, network.images, 2, NULL, NULL), QD_ERR_USAGE, "at least 1 row");
    wrong = settings;
    wrong.warm_start = 1.0;
    TEST_FAILS(ctx, qd_qgraph_adaround(q, &wrong, network.images, 2, NULL, NULL), QD_ERR_USAGE, "warm start");
    wrong = settings;
    wrong.learning_rate = NAN;
    TEST_FAILS(ctx, qd_qgraph_adaround(q, &wrong, network.images, 2, NULL, NULL), QD_ERR_USAGE, "learning rate");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Every remedy at once, on one thread and on three, twice: the same bits; another seed rounds otherwise. */
Test(remedies, are_deterministic)
{
    static const int threads[] = {1, 3, 2, 2};
    float logits[4][40];

    for (int i = 0; i < 4; i++) {
        qd_context *ctx = test_context_create(threads[i]);
        quant_network network = quant_network_create(ctx, "mobile", 4);
        qd_quant_recipe recipe = qd_quant_recipe_defaults();
        recipe.scheme.weight_bits = 4;
        recipe.calibrator.name = "mse";
        recipe.remedies.reestimate_batchnorm = recipe.remedies.equalize = true;
        recipe.remedies.adaround = recipe.remedies.correct_bias = true;
        recipe.remedies.adaround_settings.iterations = 50;
        recipe.remedies.adaround_settings.rows = 128;
        recipe.remedies.adaround_settings.seed = i == 3 ? 7 : 42;
        qd_qgraph *q = quant_network_cook(&network, &recipe, 4);
        TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, 4, logits[i]));
        qd_qgraph_destroy(q);
        quant_network_free(&network);
        qd_context_destroy(ctx);
    }
    cr_assert_arr_eq(logits[0], logits[1], sizeof logits[0]);
    cr_assert_arr_eq(logits[0], logits[2], sizeof logits[0]);
    cr_assert_neq(memcmp(logits[0], logits[3], sizeof logits[0]), 0);
}
