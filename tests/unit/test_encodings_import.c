/* Encodings given back: unedited they make the same network, edited what they say, and nonsense is refused. */
#include "exchange/encodings_export.h"
#include "exchange/encodings_import.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static quant_network network;

static void set_up(void)
{
    ctx = test_context_create(1);
    network = quant_network_create(ctx, "small", 2);
}

static void tear_down(void)
{
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

TestSuite(encodings_import, .init = set_up, .fini = tear_down);

static const qd_quant_scheme schemes[] = {
    {.weight_bits = 8, .activation_bits = 8, .activation_signed = true},
    {.weight_bits = 8, .activation_bits = 8, .weight_per_channel = true},
    {.weight_bits = 5, .activation_bits = 7, .activation_signed = true, .activation_symmetric = true},
};

static qd_encodings describe(const qd_quant_scheme *scheme)
{
    qd_encodings encodings;
    qd_qgraph *q = quant_network_quantize(&network, scheme);
    TEST_OK(ctx, qd_qgraph_describe(ctx, "small", "minmax", q, true, &encodings));
    qd_qgraph_destroy(q);
    return encodings;
}

/* A network that no image was shown to. */
static qd_qgraph *create(const qd_quant_scheme *scheme)
{
    qd_qgraph *q = NULL;
    TEST_OK(ctx, qd_qgraph_create(ctx, network.graph, network.state, scheme, network.n, &q));
    return q;
}

static qd_qgraph *apply(const qd_encodings *encodings)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    bool complete = false;
    qd_qgraph *q = create(&scheme);
    TEST_OK(ctx, qd_encodings_match(ctx, "e.json", encodings, q, &complete));
    cr_assert(complete);
    TEST_OK(ctx, qd_encodings_apply(ctx, "e.json", encodings, q));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    return q;
}

static void expect_same_logits(qd_qgraph *a, qd_qgraph *b, const char *what)
{
    const size_t count = (size_t)(network.n * quant_network_classes(&network));
    float *x = calloc(count, sizeof *x), *y = calloc(count, sizeof *y);
    cr_assert(x && y);
    TEST_OK(ctx, qd_qgraph_run_integer(a, network.images, network.n, x));
    TEST_OK(ctx, qd_qgraph_run_integer(b, network.images, network.n, y));
    cr_assert_eq(memcmp(x, y, count * sizeof *x), 0, "%s", what);
    free(x);
    free(y);
}

Test(encodings_import, unedited_they_make_the_same_network)
{
    for (size_t s = 0; s < sizeof schemes / sizeof schemes[0]; s++) {
        qd_encodings encodings = describe(&schemes[s]);
        qd_qgraph *expected = quant_network_quantize(&network, &schemes[s]), *found = apply(&encodings);
        expect_same_logits(expected, found, "ranges and scales");
        qd_qgraph_destroy(found);
        for (int pair = 0; pair < 2; pair++) {
            for (int i = 0; i < encodings.activations.count; i++) {
                encodings.activations.items[i].has_range = pair == 0;
                encodings.activations.items[i].has_scale = pair == 1;
            }
            found = apply(&encodings);
            expect_same_logits(expected, found, pair == 0 ? "ranges alone" : "scales alone");
            qd_qgraph_destroy(found);
        }
        qd_qgraph_destroy(expected);
        qd_encodings_free(&encodings);
    }
}

static qd_encoding *find(qd_encoding_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    cr_assert_fail("no '%s'", name);
    return NULL;
}

Test(encodings_import, edits_are_what_they_say)
{
    qd_encodings encodings = describe(&schemes[0]);
    qd_encoding *relu = find(&encodings.activations, "relu"), *bn = find(&encodings.activations, "block.bn");
    qd_encoding *fc = find(&encodings.weights, "fc.weight"), *conv = find(&encodings.weights, "conv1.weight");
    find(&encodings.activations, "block.act1")->is_float = true;
    find(&encodings.weights, "basic.conv2.weight")->is_float = true;
    relu->has_scale = false;
    relu->ranges[0].max = 3.0;
    relu->bits = 4;
    bn->has_range = false;
    bn->is_signed = false;
    bn->ranges[0] = (qd_encoding_range){.scale = 0.25, .zero_point = 100};
    strcpy(bn->calibrator, "by_hand");
    fc->has_range = false;
    fc->ranges[0].scale = 0.5;
    conv->has_scale = false;
    conv->ranges[0] = (qd_encoding_range){.min = -0.5, .max = 0.25};

    qd_qgraph *q = apply(&encodings);
    int seen = 0;
    for (int i = 0; i < q->quantizer_count; i++) {
        const qd_quantizer *t = &q->quantizers[i];
        if (strcmp(t->name, "relu") == 0) {
            cr_assert_eq(t->params.scale, 3.0f / 15.0f);
            cr_assert(t->params.range.low == -8 && t->params.range.high == 7 && t->params.range.zero == -8);
            seen++;
        } else if (strcmp(t->name, "block.bn") == 0) {
            cr_assert_eq(t->params.scale, 0.25f);
            cr_assert_eq(t->params.range.zero, 100 - 128);
            cr_assert_str_eq(t->calibrator, "by_hand");
            seen++;
        } else if (strcmp(t->name, "block.act1") == 0) {
            cr_assert(t->is_float);
            seen++;
        }
    }
    for (int i = 0; i < q->conv_count; i++) {
        const qd_qconv *c = &q->convs[i];
        if (strcmp(c->name, "fc.weight") == 0) {
            cr_assert_eq(c->scale[0], 0.5f);
            seen++;
        } else if (strcmp(c->name, "conv1.weight") == 0) {
            cr_assert_eq(c->scale[0], 0.5f / 127.0f);
            cr_assert(c->scale[0] == c->scale[8] && c->in_float == false);
            seen++;
        } else if (strcmp(c->name, "basic.conv2.weight") == 0) {
            cr_assert(c->is_float && c->in_float);
            seen++;
        }
    }
    cr_assert_eq(seen, 6);
    float logits[2 * 7];
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, network.n, logits));
    for (int i = 0; i < 14; i++)
        cr_assert(isfinite(logits[i]));
    /* What was edited is written again. */
    qd_encodings again;
    TEST_OK(ctx, qd_qgraph_describe(ctx, "small", "minmax", q, true, &again));
    cr_assert(find(&again.activations, "block.act1")->is_float);
    cr_assert_str_eq(find(&again.activations, "block.bn")->calibrator, "by_hand");
    cr_assert_eq(find(&again.activations, "relu")->bits, 4);
    qd_encodings_free(&again);
    /* Weights that a scale clips too: what is written for them can be given back. */
    const double clipping = 0x1p-13;
    fc->ranges[0].scale = clipping;
    qd_qgraph_destroy(q);
    q = apply(&encodings);
    TEST_OK(ctx, qd_qgraph_describe(ctx, "small", "minmax", q, true, &again));
    cr_assert_eq(find(&again.weights, "fc.weight")->ranges[0].scale, clipping);
    cr_assert_eq(find(&again.weights, "fc.weight")->ranges[0].max, 127 * clipping);
    qd_qgraph *same = apply(&again);
    expect_same_logits(q, same, "clipped weights");
    qd_qgraph_destroy(same);
    qd_encodings_free(&again);
    qd_qgraph_destroy(q);
    qd_encodings_free(&encodings);
}

static void expect_refusal(const qd_encodings *encodings, const char *piece)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    bool complete;
    qd_qgraph *q = create(&scheme);
    enum qd_status status = qd_encodings_match(ctx, "e.json", encodings, q, &complete);
    if (status == QD_OK)
        status = qd_encodings_apply(ctx, "e.json", encodings, q);
    TEST_FAILS(ctx, status, QD_ERR_INPUT, piece);
    qd_qgraph_destroy(q);
}

Test(encodings_import, what_does_not_fit_is_refused)
{
    qd_encodings encodings = describe(&schemes[0]);
    qd_encoding *tensor = &encodings.activations.items[2], *weight = &encodings.weights.items[1];
    const qd_encoding good_tensor = *tensor, good_weight = *weight;
    const qd_encoding_range tensor_range = tensor->ranges[0], weight_range = weight->ranges[0];

    tensor->name[0] = '?';
    expect_refusal(&encodings, "has no tensor '?");
    *tensor = good_tensor;
    weight->name[0] = '?';
    expect_refusal(&encodings, "has no weight '?");
    *weight = good_weight;
    tensor->ranges[0].scale *= 2.0;
    expect_refusal(&encodings, "do not belong to the range");
    tensor->ranges[0] = tensor_range;
    tensor->ranges[0].max += 1.0;
    expect_refusal(&encodings, "do not belong to the range");
    tensor->ranges[0] = tensor_range;
    tensor->ranges[0].zero_point++;
    expect_refusal(&encodings, "do not belong to the range");
    tensor->ranges[0] = (qd_encoding_range){.scale = 1.0};
    expect_refusal(&encodings, "holds nothing but 0");
    tensor->has_range = false;
    tensor->ranges[0] = (qd_encoding_range){.scale = 1e-40};
    expect_refusal(&encodings, "no scale is denormal");
    tensor->ranges[0] = (qd_encoding_range){.scale = 1e39};
    expect_refusal(&encodings, "more than float32 can hold");
    tensor->has_range = true;
    tensor->has_scale = false;
    tensor->ranges[0] = (qd_encoding_range){.min = -1e308, .max = 1e308};
    expect_refusal(&encodings, "more than float32 can hold");
    tensor->has_range = false;
    tensor->has_scale = true;
    tensor->symmetric = true;
    tensor->ranges[0] = (qd_encoding_range){.scale = 1.0, .zero_point = 3};
    expect_refusal(&encodings, "zero point is the middle");
    *tensor = good_tensor;
    tensor->ranges[0] = tensor_range;
    tensor->bits = 9;
    expect_refusal(&encodings, "at most 8 bits");
    *tensor = good_tensor;
    weight->symmetric = false;
    expect_refusal(&encodings, "weights are symmetric and signed");
    *weight = good_weight;
    weight->per_channel = true;
    expect_refusal(&encodings, "expected one scale or ");
    *weight = good_weight;
    weight->ranges[0].zero_point = 1;
    expect_refusal(&encodings, "zero point of weights is 0");
    weight->ranges[0] = weight_range;
    weight->ranges[0].scale /= 2.0;
    expect_refusal(&encodings, "do not belong to the range");
    weight->ranges[0] = weight_range;
    weight->ranges[0].scale = 1e39;
    expect_refusal(&encodings, "more than float32 can hold");
    weight->has_scale = false;
    weight->ranges[0] = (qd_encoding_range){.min = -1e300};
    expect_refusal(&encodings, "more than float32 can hold");
    *weight = good_weight;
    weight->ranges[0] = weight_range;
    qd_qgraph_destroy(apply(&encodings)); /* and all else is as it was */
    qd_encodings_free(&encodings);
}
