/* Channels, codes and histograms of tensors; single values on a grid. */
#include "observe/channel_stats.h"
#include "quantize/attribution.h"
#include "quantize/code_place.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_code_place place(float scale, int32_t zero, float value)
{
    const qd_quant_params params = {.scale = scale, .range = {.zero = zero, .low = -128, .high = 127}};
    return qd_code_place_of(&params, value);
}

/* Steps of 1/8, so that everything is exact: 7 is code 56, 7.5 code 60; 7.03 lies 0.03 above 7, half a step is
 * 0.0625. */
Test(code_place, codes_and_distances_by_hand)
{
    const qd_code_place seven = place(0.125f, -128, 7.0f), more = place(0.125f, -128, 7.5f);
    cr_assert_eq(seven.code, 56 - 128);
    cr_assert_eq(more.code, 60 - 128);
    cr_assert_eq(seven.value_back, 7.0);
    cr_assert_eq(seven.distance, 0.0625);
    const qd_code_place near = place(0.125f, -128, 7.03f);
    cr_assert_eq(near.code, 56 - 128);
    cr_assert_float_eq(near.distance, 0.0325, 1e-6); /* 7.03 is no float32 */
    /* a coarse grid gives both the same code */
    cr_assert_eq(place(2.0f, 3, 7.1f).code, 7);
    cr_assert_eq(place(2.0f, 3, 7.5f).code, 7);
    cr_assert(!seven.saturated);
}

/* The outermost codes have one border: 255 steps above the zero point it lies at 254.5 steps. */
Test(code_place, beyond_the_range)
{
    const qd_code_place above = place(0.125f, -128, 100.0f), below = place(0.125f, -128, -1.0f);
    cr_assert_eq(above.code, 127);
    cr_assert(above.saturated);
    cr_assert_eq(above.value_back, 255 * 0.125);
    cr_assert_eq(above.distance, 100.0 - 254.5 * 0.125);
    cr_assert_eq(below.code, -128);
    cr_assert(below.saturated);
    cr_assert_eq(below.distance, 1.0 + 0.0625);
    const qd_code_place last = place(0.125f, -128, 255 * 0.125f);
    cr_assert_eq(last.code, 127);
    cr_assert(!last.saturated);
    cr_assert_eq(last.distance, 0.0625);
}

/* Two samples of two channels and two positions: channel 0 is 1, 2, 3, 6; channel 1 is 0, -4, 0, infinity. */
Test(channel_stats, by_hand)
{
    float x[8] = {1, 0, 2, -4, 3, 0, 6, INFINITY};
    const qd_tensor tensor = qd_tensor_nhwc(QD_F32, 2, 2, 1, 2, x);
    qd_stats stats[2];
    qd_channel_stats_compute(&tensor, stats);
    cr_assert_eq(stats[0].count, 4);
    cr_assert_eq(stats[0].mean, 3.0);
    cr_assert_float_eq(stats[0].std, sqrt(14.0 / 3.0), 1e-15); /* (4 + 1 + 0 + 9) / 3 */
    cr_assert_eq(stats[0].max, 6.0);
    cr_assert_eq(stats[1].count, 3);
    cr_assert_eq(stats[1].nonfinite_count, 1);
    cr_assert_eq(stats[1].zero_count, 2);
    cr_assert_eq(stats[1].min, -4.0);
    cr_assert_eq(stats[1].max, 0.0);
    const double deviations[3] = {1.0, 2.0, 6.0};
    const qd_stats spread = qd_doubles_stats(deviations, 3);
    cr_assert_eq(spread.mean, 3.0);
    cr_assert_float_eq(spread.std, sqrt(7.0), 1e-15); /* (4 + 1 + 9) / 2 */
}

/* A module's channels are its whole output, whoever else returns the same value. */
Test(channel_stats, of_every_module)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_observation observation;
    qd_plan *plan;
    int seen = 0;
    TEST_OK(ctx, qd_plan_create(ctx, network.graph, network.state, &QD_PLAN_OBSERVING(2), &plan));
    TEST_OK(ctx, qd_observe_channels(ctx, network.graph, plan, network.images, 2, &observation));
    for (int i = 0; i < observation.count; i++) {
        const qd_module_stats *entry = &observation.modules[i];
        cr_assert_eq(entry->channels != NULL, entry->rank == 4);
        double low = INFINITY, sum = 0.0;
        int64_t count = 0;
        for (int64_t c = 0; entry->channels && c < entry->shape[1]; c++) {
            low = fmin(low, entry->channels[c].min);
            sum += entry->channels[c].mean * (double)entry->channels[c].count;
            count += entry->channels[c].count;
        }
        if (!entry->channels)
            continue;
        seen++;
        cr_assert_eq(low, entry->stats.min);
        cr_assert_eq(count, entry->stats.count);
        /* the same double sums in another order */
        cr_assert_float_eq(sum / (double)count, entry->stats.mean, 1e-12 * (entry->stats.max - entry->stats.min));
    }
    cr_assert_gt(seen, 20);
    qd_observation_free(&observation);
    qd_plan_destroy(plan);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* ---- whole tensors ---- */

/* What passes showed of one tensor, copied. */
typedef struct shown {
    float *values;
    int64_t count, channels;
} shown;

static enum qd_status keep(void *user, int index, const float *values, int64_t n, const qd_dims *dims)
{
    shown *all = user;
    const int64_t count = n * qd_dims_count(dims);
    shown *s = &all[index];
    s->channels = dims->c;
    s->values = realloc(s->values, (size_t)(s->count + count) * sizeof(float));
    cr_assert_not_null(s->values);
    memcpy(s->values + s->count, values, (size_t)count * sizeof(float));
    s->count += count;
    return QD_OK;
}

/* One channel's codes, counted one by one. */
static int32_t code(const qd_quantizer *quantizer, float value)
{
    return qd_quantize_value(value, quantizer->params.scale, quantizer->params.range);
}

static void expect_tensor(const qd_quantizer *quantizer, const shown *s, const qd_tensor_attribution *a)
{
    int64_t codes[256] = {0}, bins = 0, used = 0;
    double others_min = INFINITY, others_max = -INFINITY;
    cr_assert_eq(a->channels, s->channels);
    cr_assert_eq(a->values, s->count);
    for (int64_t i = 0; i < s->count; i++) {
        const double v = (double)s->values[i];
        codes[code(quantizer, s->values[i]) + 128]++;
        cr_assert_geq(v, a->low);
        cr_assert_leq(v, a->high);
        if (i % s->channels != a->low_channel && i % s->channels != a->high_channel) {
            others_min = fmin(others_min, v);
            others_max = fmax(others_max, v);
        }
    }
    for (int c = 0; c < 256; c++)
        used += codes[c] > 0;
    for (int b = 0; b < QD_ATTRIBUTION_BINS; b++)
        bins += a->histogram[b];
    cr_assert_eq(bins, s->count);
    cr_assert_eq(a->used_codes, used, "'%s'", quantizer->name);
    cr_assert_eq(a->all_codes, 256);
    cr_assert_eq(a->low_count, codes[0]);
    cr_assert_eq(a->high_count, codes[255]);
    cr_assert_eq(a->zero_count, codes[quantizer->params.range.zero + 128]);
    cr_assert_eq((double)a->channel_min[a->low_channel], a->low);
    cr_assert_eq((double)a->channel_max[a->high_channel], a->high);
    if (others_min > others_max) {
        cr_assert_eq(a->others_codes, 0);
        return;
    }
    cr_assert_eq(a->others_min, others_min);
    cr_assert_eq(a->others_max, others_max);
    cr_assert_eq(a->others_codes, code(quantizer, (float)others_max) - code(quantizer, (float)others_min) + 1);
    cr_assert_leq(a->channel_codes_min, a->channel_codes_median);
    cr_assert_leq(a->channel_codes_median, a->channel_codes_max);
}

/* Every tensor against a count of all its values one by one; in two calls and on several threads. */
Test(attribution, equals_counting_one_by_one)
{
    for (int threads = 1; threads <= 3; threads += 2) {
        qd_context *ctx = test_context_create(threads);
        quant_network network = quant_network_create(ctx, "small", 3);
        const qd_quant_scheme scheme = qd_quant_scheme_defaults();
        qd_qgraph *q = quant_network_quantize(&network, &scheme);
        const int64_t pixels = qd_dims_count(&network.graph->input_dims);
        qd_attribution *attribution;
        shown *all = calloc((size_t)qd_qgraph_tensor_count(q), sizeof *all);
        cr_assert_not_null(all);
        /* in the same batches: a product of matrices may round by their size */
        TEST_OK(ctx, qd_qgraph_visit(q, false, network.images, 1, keep, all));
        TEST_OK(ctx, qd_qgraph_visit(q, false, network.images + pixels, 2, keep, all));
        TEST_OK(ctx, qd_attribution_create(q, &attribution));
        TEST_OK(ctx, qd_attribution_observe(attribution, network.images, 1));
        TEST_OK(ctx, qd_attribution_observe(attribution, network.images + pixels, 2));
        for (int i = 0; i < qd_qgraph_tensor_count(q); i++) {
            qd_tensor_attribution a;
            TEST_OK(ctx, qd_attribution_get(attribution, i, &a));
            expect_tensor(&q->quantizers[i], &all[i], &a);
            free(all[i].values);
        }
        free(all);
        qd_attribution_destroy(attribution);
        qd_qgraph_destroy(q);
        quant_network_free(&network);
        qd_context_destroy(ctx);
    }
}

/* One channel a thousand times as wide as the others leaves them a code or two, and is named. */
Test(attribution, names_the_channel_that_sets_the_range)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", 3);
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    const qd_tensor gamma =
        qd_state_param(network.state, QD_BLOCK_PARAMS, qd_graph_find_param(network.graph, "block.bn.weight"));
    ((float *)gamma.data)[4] *= 1000.0f;
    qd_qgraph *q = quant_network_quantize(&network, &scheme);
    qd_attribution *attribution;
    qd_tensor_attribution a = {0};
    TEST_OK(ctx, qd_attribution_create(q, &attribution));
    TEST_FAILS(ctx, qd_attribution_get(attribution, 0, &a), QD_ERR_USAGE, "no image seen yet");
    TEST_OK(ctx, qd_attribution_observe(attribution, network.images, 3));
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        if (strcmp(q->quantizers[i].name, "block.bn") == 0)
            TEST_OK(ctx, qd_attribution_get(attribution, i, &a));
    cr_assert_eq(a.low_channel, 4);
    cr_assert_eq(a.high_channel, 4);
    cr_assert(a.of_layer);
    cr_assert_leq(a.others_codes, 4);
    cr_assert_leq(a.channel_codes_median, 3.0);
    cr_assert_gt(a.channel_codes_max, 254.0);
    qd_attribution_destroy(attribution);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(attribution, refuses_what_has_no_codes)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_attribution *attribution;
    qd_qgraph *q;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 1, &q));
    TEST_FAILS(ctx, qd_attribution_create(q, &attribution), QD_ERR_USAGE, "expected a calibrated network");
    qd_qgraph_destroy(q);
    scheme.activation_bits = 9;
    q = quant_network_quantize(&network, &scheme);
    TEST_FAILS(ctx, qd_attribution_create(q, &attribution), QD_ERR_USAGE, "at most 8 bits");
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}
