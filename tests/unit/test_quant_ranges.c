/* Ranges chosen over a whole network: what they do not depend on, and what is refused. */
#include "quantize/qgraph.h"
#include "quantize/ranges.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define IMAGES 6

/* Ranges of every tensor by `name`, observed `call` images at a time by a network of batches of `batch`. */
static int ranges_by(const char *name, int threads, int64_t batch, int64_t call, qd_extremes *out)
{
    qd_context *ctx = test_context_create(threads);
    quant_network network = quant_network_create(ctx, "small", IMAGES);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_calibrator_settings settings = qd_calibrator_settings_defaults();
    int64_t pixels = qd_dims_count(&network.graph->input_dims);
    qd_qgraph *q = NULL;
    qd_ranges *ranges = NULL;
    bool histograms;

    settings.name = name;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, batch, &q));
    TEST_OK(ctx, qd_ranges_need_histograms(ctx, &settings, &histograms));
    TEST_OK(ctx, qd_ranges_create(q, histograms, &ranges));
    for (int64_t first = 0; first < IMAGES; first += call)
        TEST_OK(ctx, qd_ranges_observe(ranges, network.images + first * pixels, call));
    TEST_OK(ctx, qd_ranges_choose(ranges, &settings, q));
    int count = qd_qgraph_tensor_count(q);
    for (int i = 0; i < count; i++)
        out[i] = (qd_extremes){qd_qgraph_tensor(q, i).min, qd_qgraph_tensor(q, i).max};
    qd_ranges_destroy(ranges);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
    return count;
}

static bool equal(const qd_extremes *a, const qd_extremes *b, int count)
{
    for (int i = 0; i < count; i++)
        if (a[i].min != b[i].min || a[i].max != b[i].max)
            return false;
    return true;
}

/* Largest difference of two ends over the range's width. */
static double difference(const qd_extremes *a, const qd_extremes *b, int count)
{
    double largest = 0.0;

    for (int i = 0; i < count; i++) {
        double d = fmax(fabs(a[i].min - b[i].min), fabs(a[i].max - b[i].max)) / (a[i].max - a[i].min);
        largest = d > largest ? d : largest;
    }
    return largest;
}

/* The same values make the same ranges, however they come; moving averages are of batches, and differ with them. */
Test(quant_ranges, depend_on_neither_threads_nor_batches)
{
    for (int k = 0; qd_calibrator_name(k) != NULL; k++) {
        const char *name = qd_calibrator_name(k);
        qd_extremes one[64], threads[64], pairs[64], calls[64];
        int count = ranges_by(name, 1, IMAGES, IMAGES, one);
        ranges_by(name, 2, IMAGES, IMAGES, threads);
        ranges_by(name, 2, 2, IMAGES, pairs);
        ranges_by(name, 2, 2, 2, calls);
        cr_assert(equal(one, threads, count), "%s depends on the number of threads", name);
        cr_assert(equal(pairs, calls, count), "%s depends on the calls", name);
        if (strcmp(name, "moving_minmax") == 0)
            cr_assert_not(equal(one, pairs, count), "a moving average of one batch and one of three");
        else
            /* matrix products of OpenBLAS round otherwise in other batches: last bits of values, which may move one
             * to the next bin, and that the threshold by a step of 1/128 */
            cr_assert_lt(difference(one, pairs, count), 0.01, "%s depends on the batches", name);
    }
}

/* MinMax through a record and straight into the network are the same; every other calibrator stays within it. */
Test(quant_ranges, minmax_is_the_widest)
{
    qd_context *ctx = test_context_create(2);
    quant_network network = quant_network_create(ctx, "small", IMAGES);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_qgraph *straight = quant_network_quantize(&network, &scheme), *q = NULL;
    qd_ranges *ranges = NULL;
    bool narrower = false;

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 4, &q));
    TEST_OK(ctx, qd_ranges_create(q, true, &ranges));
    TEST_OK(ctx, qd_ranges_observe(ranges, network.images, network.n));
    for (int k = 0; qd_calibrator_name(k) != NULL; k++) {
        qd_calibrator_settings settings = qd_calibrator_settings_defaults();
        settings.name = qd_calibrator_name(k);
        TEST_OK(ctx, qd_ranges_choose(ranges, &settings, q));
        TEST_OK(ctx, qd_qgraph_finalize(q));
        for (int i = 0; i < qd_qgraph_tensor_count(q); i++) {
            qd_quant_tensor a = qd_qgraph_tensor(straight, i), b = qd_qgraph_tensor(q, i);
            if (k == 0)
                cr_assert(a.min == b.min && a.max == b.max && a.scale == b.scale, "'%s'", a.name);
            cr_assert(a.min <= b.min && b.max <= a.max, "'%s' by %s", a.name, settings.name);
            narrower = narrower || b.max < a.max;
        }
    }
    cr_assert(narrower, "no calibrator ever clips");
    qd_ranges_destroy(ranges);
    qd_qgraph_destroy(q);
    qd_qgraph_destroy(straight);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

/* Before anything is counted: a histogram has no place for them, a moving average would keep them for ever. */
Test(quant_ranges, nan_and_infinity_are_refused_whatever_chooses)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    for (int k = 0; qd_calibrator_name(k); k++)
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            qd_calibrator_settings settings = qd_calibrator_settings_defaults();
            qd_qgraph *q = NULL;
            qd_ranges *ranges = NULL;
            bool histograms;
            settings.name = qd_calibrator_name(k);
            network.images[7] = 0.5f;
            TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &q));
            TEST_OK(ctx, qd_ranges_need_histograms(ctx, &settings, &histograms));
            TEST_OK(ctx, qd_ranges_create(q, histograms, &ranges));
            TEST_OK(ctx, qd_ranges_observe(ranges, network.images, 2));
            network.images[7] = bad[i];
            TEST_FAILS(ctx, qd_ranges_observe(ranges, network.images, 2), QD_ERR_NUMERIC,
                       "calibrate 'input': expected finite values");
            qd_ranges_destroy(ranges);
            qd_qgraph_destroy(q);
        }
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

Test(quant_ranges, misuse_is_refused)
{
    qd_context *ctx = test_context_create(1);
    quant_network network = quant_network_create(ctx, "small", 2);
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    qd_calibrator_settings settings = qd_calibrator_settings_defaults();
    qd_qgraph *q = NULL;
    qd_ranges *ranges = NULL;

    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, &scheme, 2, &q));
    TEST_OK(ctx, qd_ranges_create(q, false, &ranges));
    TEST_FAILS(ctx, qd_ranges_choose(ranges, &settings, q), QD_ERR_USAGE, "no image seen yet");
    network.images[7] = NAN;
    TEST_FAILS(ctx, qd_ranges_observe(ranges, network.images, 2), QD_ERR_NUMERIC, "'input'");
    network.images[7] = -INFINITY;
    TEST_FAILS(ctx, qd_ranges_observe(ranges, network.images, 2), QD_ERR_NUMERIC, "'input'");
    network.images[7] = 0.0f;
    TEST_OK(ctx, qd_ranges_observe(ranges, network.images, 2));
    settings.name = "percentile";
    TEST_FAILS(ctx, qd_ranges_choose(ranges, &settings, q), QD_ERR_USAGE, "which were not asked for");
    settings.percentile = 40.0;
    TEST_FAILS(ctx, qd_ranges_choose(ranges, &settings, q), QD_ERR_USAGE, "above 50");
    settings.name = "no such";
    TEST_FAILS(ctx, qd_ranges_choose(ranges, &settings, q), QD_ERR_USAGE, "'no such'");
    settings.name = "minmax";
    TEST_OK(ctx, qd_ranges_choose(ranges, &settings, q));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    qd_ranges_destroy(ranges);
    qd_ranges_destroy(NULL);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
    qd_context_destroy(ctx);
}
