/* Layers one at a time, and the fewest to leave in float32. */
#include "experiment/sensitivity_impl.h"
#include "models/models.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 24, BROKEN_CHANNEL = 5 };

static qd_context *ctx;
static quant_network network;

static void set_up(void)
{
    ctx = test_context_create(2);
    network = quant_network_create(ctx, "small", IMAGES);
}

static void tear_down(void)
{
    quant_network_free(&network);
    qd_context_destroy(ctx);
}

TestSuite(sensitivity, .init = set_up, .fini = tear_down);

static float *param(const char *name)
{
    const int index = qd_graph_find_param(network.graph, name);
    cr_assert_geq(index, 0, "no parameter '%s'", name);
    return qd_state_param(network.state, QD_BLOCK_PARAMS, index).data;
}

/*
 * Breaks the layer fc for codes alone: one of its inputs becomes 0 for every image, and the weights that read it
 * enormous. The float network does not see them; one scale for all weights rounds the others to 0.
 */
static void break_layer(void)
{
    param("bn_head.weight")[BROKEN_CHANNEL] = 0.0f;
    param("bn_head.bias")[BROKEN_CHANNEL] = -10.0f; /* ReLU6 and hard-swish make it 0 */
    float *weight = param("fc.weight");
    for (int64_t at = BROKEN_CHANNEL; at < 7 * 10; at += 10)
        weight[at] = 1000.0f;
}

static int find_layer(const qd_quant_layer *layers, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(layers[i].name, name) == 0)
            return i;
    cr_assert_fail("no layer '%s'", name);
    return -1;
}

static qd_qgraph *quantize(void)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    return quant_network_quantize(&network, &scheme);
}

/* Every tensor and every weight belongs to exactly one layer. */
Test(sensitivity, layers_hold_everything_once)
{
    qd_qgraph *q = quantize();
    qd_quant_layer *layers;
    int count, *tensors = calloc((size_t)q->quantizer_count, sizeof *tensors);
    int *weights = calloc((size_t)q->conv_count, sizeof *weights);
    TEST_OK(ctx, qd_quant_layers_list(q, &layers, &count));
    for (int i = 0; i < count; i++) {
        for (int t = 0; t < layers[i].tensor_count; t++)
            tensors[layers[i].tensors[t]]++;
        if (layers[i].weight >= 0)
            weights[layers[i].weight]++;
    }
    for (int i = 0; i < q->quantizer_count; i++)
        cr_assert_eq(tensors[i], 1, "'%s' belongs to %d layers", q->quantizers[i].name, tensors[i]);
    for (int i = 0; i < q->conv_count; i++)
        cr_assert_eq(weights[i], 1, "'%s' belongs to %d layers", q->convs[i].name, weights[i]);
    cr_assert_eq(layers[0].kind, QD_QUANT_LAYER_INPUT);
    cr_assert_eq(layers[find_layer(layers, count, "block.expand")].tensor_count, 3); /* itself and SiLU's two */
    cr_assert_eq(layers[find_layer(layers, count, "block.se.fc2")].tensor_count, 2); /* itself and the gate */
    cr_assert_eq(layers[find_layer(layers, count, "head")].tensor_count, 1);         /* two activations read it */
    cr_assert_eq(layers[find_layer(layers, count, "block.se")].kind, QD_QUANT_LAYER_PRODUCT);
    cr_assert_eq(layers[find_layer(layers, count, "block")].kind, QD_QUANT_LAYER_SUM);
    cr_assert_eq(layers[find_layer(layers, count, "hardswish")].kind, QD_QUANT_LAYER_ACTIVATION);
    cr_assert_eq(layers[find_layer(layers, count, "fc")].kind, QD_QUANT_LAYER_LINEAR);
    cr_assert_eq(layers[find_layer(layers, count, "fc")].tensor_count, 0);
    free(tensors);
    free(weights);
    free(layers);
    qd_qgraph_destroy(q);
}

/* Logits of all layers' networks, as the visitor gets them. */
typedef struct kept_logits {
    float *logits; /* [layers][images][7] */
    int calls;
} kept_logits;

static enum qd_status keep_logits(void *user, int layer, const float *logits, int64_t n)
{
    kept_logits *kept = user;
    memcpy(kept->logits + layer * n * 7, logits, (size_t)(n * 7) * sizeof *logits);
    kept->calls++;
    return QD_OK;
}

/* Runs that share what comes before a layer have the bits of runs from the start; and the network is as before. */
static void expect_whole_runs(enum qd_sensitivity_mode mode)
{
    qd_qgraph *q = quantize();
    qd_quant_layer *layers;
    int count;
    float before[IMAGES * 7], after[IMAGES * 7], whole[IMAGES * 7];
    TEST_OK(ctx, qd_quant_layers_list(q, &layers, &count));
    kept_logits kept = {.logits = calloc((size_t)(count * IMAGES * 7), sizeof(float))};
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, IMAGES, before));
    TEST_OK(ctx, qd_sensitivity_run(q, mode, layers, count, network.images, IMAGES, keep_logits, &kept));
    cr_assert_eq(kept.calls, count);
    TEST_OK(ctx, qd_qgraph_run_integer(q, network.images, IMAGES, after));
    cr_assert_arr_eq(after, before, sizeof before);
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < count; k++)
            qd_quant_layer_mark(q, &layers[k], (k == i) == (mode == QD_SENSITIVITY_WITHOUT));
        TEST_OK(ctx, qd_qgraph_finalize(q));
        TEST_OK(ctx, qd_qgraph_run_float(q, true, network.images, IMAGES, whole));
        cr_assert_arr_eq(kept.logits + i * IMAGES * 7, whole, sizeof whole, "layer '%s'", layers[i].name);
    }
    free(kept.logits);
    free(layers);
    qd_qgraph_destroy(q);
}

Test(sensitivity, a_layer_alone_equals_a_whole_run)
{
    expect_whole_runs(QD_SENSITIVITY_ONLY);
}

Test(sensitivity, all_but_a_layer_equals_a_whole_run)
{
    expect_whole_runs(QD_SENSITIVITY_WITHOUT);
}

Test(sensitivity, refuses_too_many_images)
{
    qd_qgraph *q = quantize();
    qd_quant_layer *layers;
    int count;
    TEST_OK(ctx, qd_quant_layers_list(q, &layers, &count));
    TEST_FAILS(ctx, qd_sensitivity_run(q, QD_SENSITIVITY_ONLY, layers, count, network.images, IMAGES + 1, NULL, NULL),
               QD_ERR_USAGE, "expected 1 to 24 images");
    free(layers);
    qd_qgraph_destroy(q);
}

/* ---- the search ---- */

/* The network's own predictions are the labels: the float network is right about every image. */
typedef struct search {
    qd_network fake;
    qd_quantize_options quantization;
    qd_sensitivity_options options;
    qd_sensitivity *found;
    qd_sensitivity_stage stage;
} search;

static search search_create(double max_drop)
{
    search s = {.fake = {.ctx = ctx,
                         .model = &qd_model_resnet18,
                         .config = {.head = QD_HEAD_LINEAR},
                         .graph = network.graph,
                         .state = network.state}};
    float *logits = quant_network_logits(&network);
    s.options = (qd_sensitivity_options){.max_drop = max_drop};
    s.found = calloc(1, sizeof *s.found);
    s.found->memory = calloc(1, sizeof *s.found->memory);
    s.found->memory->qgraph = quantize();
    s.stage = (qd_sensitivity_stage){.out = s.found,
                                     .count = IMAGES,
                                     .pixels = qd_dims_count(&network.graph->input_dims),
                                     .width = 7,
                                     .images = network.images,
                                     .labels = calloc(IMAGES, sizeof(int64_t)),
                                     .reference = calloc(IMAGES * 7, sizeof(float)),
                                     .logits = calloc(IMAGES * 7, sizeof(float)),
                                     .float_predicted = calloc(IMAGES, sizeof(int64_t)),
                                     .predicted = calloc(IMAGES, sizeof(int64_t))};
    for (int64_t i = 0; i < IMAGES; i++)
        for (int64_t c = 1; c < 7; c++)
            if (logits[i * 7 + c] > logits[i * 7 + s.stage.labels[i]])
                s.stage.labels[i] = c;
    free(logits);
    return s;
}

/* The stage points into the struct: only where it stays. */
static void search_run(search *s)
{
    s->options.quantization = &s->quantization;
    s->stage.network = &s->fake;
    s->stage.options = &s->options;
    TEST_OK(ctx, qd_sensitivity_measure(&s->stage));
}

static void search_free(search *s)
{
    free(s->stage.labels);
    free(s->stage.reference);
    free(s->stage.logits);
    free(s->stage.float_predicted);
    free(s->stage.predicted);
    qd_sensitivity_destroy(s->found);
}

static const qd_sensitivity_layer *layer_named(const qd_sensitivity *s, const char *name)
{
    for (int i = 0; i < s->layer_count; i++)
        if (strcmp(s->layers[i].name, name) == 0)
            return &s->layers[i];
    cr_assert_fail("no layer '%s'", name);
    return NULL;
}

Test(sensitivity, finds_the_layer_that_is_broken_on_purpose)
{
    break_layer();
    search s = search_create(10.0);
    search_run(&s);
    const qd_sensitivity *found = s.found;
    const qd_sensitivity_layer *broken = layer_named(found, "fc");
    cr_assert_eq(found->float_accuracy, 100.0);
    cr_assert_gt(found->int8.drop, 20.0, "the network is not broken: it loses %g points", found->int8.drop);
    cr_assert_eq(broken->rank_accuracy, 1);
    cr_assert_eq(broken->rank_kl, 1);
    cr_assert_eq(broken->rank_mse, 1);
    for (int i = 0; i < found->layer_count; i++) /* far from any other one */
        cr_assert(&found->layers[i] == broken || found->layers[i].only.mse < 0.1 * broken->only.mse);
    cr_assert(found->reached);
    cr_assert_eq(found->kept_count, 1);
    cr_assert_str_eq(found->layers[found->kept[0]].name, "fc");
    cr_assert_leq(found->kept_score.drop, 10.0);

    /* What is left behind is the network with that layer in float32. */
    float logits[IMAGES * 7];
    cr_assert(found->memory->qgraph->convs[found->memory->layers[found->kept[0]].weight].is_float);
    TEST_OK(ctx, qd_qgraph_run_integer(found->memory->qgraph, network.images, IMAGES, logits));
    cr_assert_arr_eq(logits, s.stage.logits, sizeof logits);
    search_free(&s);
}

/* Weights alone do the harm here; SiLU's input does not. */
Test(sensitivity, forms_tell_weights_from_activations)
{
    break_layer();
    search s = search_create(100.0);
    search_run(&s);
    const qd_sensitivity *found = s.found;
    const char *const names[] = {
        "both", "weights", "activations", "silu_input_float", "silu_input_and_sigmoid_float", "fused_silu"};
    cr_assert_eq(found->form_count, 6);
    for (int i = 0; i < 6; i++)
        cr_assert_str_eq(found->forms[i].name, names[i]);
    cr_assert_gt(found->forms[1].score.mse, 10.0 * found->forms[2].score.mse);
    cr_assert_gt(found->forms[0].score.mse, 10.0 * found->forms[2].score.mse);
    cr_assert_gt(found->forms[5].score.mse, 10.0 * found->forms[2].score.mse);
    /* any drop is within 100 points: nothing stays float */
    cr_assert(found->reached);
    cr_assert_eq(found->kept_count, 0);
    search_free(&s);
}

/* Ranks are 1 to n, each once. */
Test(sensitivity, ranks_are_places)
{
    search s = search_create(0.0);
    search_run(&s);
    const qd_sensitivity *found = s.found;
    int accuracy[64] = {0}, kl[64] = {0}, mse[64] = {0};
    cr_assert_lt(found->layer_count, 64);
    for (int i = 0; i < found->layer_count; i++) {
        accuracy[found->layers[i].rank_accuracy]++;
        kl[found->layers[i].rank_kl]++;
        mse[found->layers[i].rank_mse]++;
    }
    for (int place = 1; place <= found->layer_count; place++)
        cr_assert(accuracy[place] == 1 && kl[place] == 1 && mse[place] == 1, "place %d", place);
    cr_assert(found->reached); /* with everything in float32 nothing is lost */
    cr_assert_leq(found->kept_score.drop, 0.0);
    search_free(&s);
}

/* P = (1/4, 3/4), Q = (1/2, 1/2): 1/4 ln 1/2 + 3/4 ln 3/2; the binary head's one logit is the same two classes. */
Test(logit_tally, divergence_by_hand)
{
    const float p[2] = {0.0f, logf(3.0f)}, q[2] = {5.0f, 5.0f};
    const double expected = 0.25 * log(0.5) + 0.75 * log(1.5);
    cr_assert_float_eq(qd_logits_divergence(p, q, 2), expected, 1e-7); /* ln 3 is no float32 */
    cr_assert_float_eq(qd_logits_divergence((const float[]){logf(3.0f)}, (const float[]){0.0f}, 1), expected, 1e-7);
    cr_assert_eq(qd_logits_divergence(p, p, 2), 0.0);
    const float far[2] = {1000.0f, -1000.0f}, near[2] = {0.0f, 0.0f};
    cr_assert_float_eq(qd_logits_divergence(far, near, 2), log(2.0), 1e-12);
}
