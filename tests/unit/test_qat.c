/*
 * Quantization-aware training: the graph that trains computes what the quantized network will, and what it learns
 * survives in the integer engine.
 */
#include "nn/loss.h"
#include "quantize/qat.h"
#include "quantize/qgraph.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AVERAGING 0.01
#define SIDE      18
#define PIXELS    (SIDE * SIDE * 3)
#define CLASSES   10
#define BATCH     16
#define IMAGES    (10 * BATCH)

/* A network, the graph that trains it for quantization, and a state of that. */
typedef struct trial {
    qd_context *ctx;
    quant_network network;
    qd_qat *qat;
    qd_state *state;
} trial;

static trial trial_create(const char *name, int64_t n, const qd_quant_recipe *recipe)
{
    trial t = {.ctx = test_context_create(2)};

    t.network = quant_network_create(t.ctx, name, n);
    TEST_OK(t.ctx, qd_qat_create(t.ctx, t.network.graph, recipe, AVERAGING, &t.qat));
    TEST_OK(t.ctx, qd_state_create(t.ctx, qd_qat_graph(t.qat), QD_F32, true, &t.state));
    qd_qat_load(t.qat, t.network.state, t.state);
    return t;
}

static void trial_free(trial *t)
{
    qd_state_destroy(t->state);
    qd_qat_destroy(t->qat);
    quant_network_free(&t->network);
    qd_context_destroy(t->ctx);
}

/* One training pass over the network's images, which sets the ranges. */
static void show_images(trial *t)
{
    qd_plan *plan = NULL;
    qd_rng rng;

    qd_rng_seed(&rng, 1);
    const qd_draws draws = qd_draws_from_rng(&rng);
    TEST_OK(t->ctx, qd_plan_create(t->ctx, qd_qat_graph(t->qat), t->state, &QD_PLAN_TRAINING(t->network.n), &plan));
    TEST_OK(t->ctx, qd_qat_lend(t->qat, t->state));
    TEST_OK(t->ctx, qd_plan_forward(plan, t->network.images, t->network.n, &draws, NULL, NULL, NULL));
    qd_qat_take_back(t->qat, t->state);
    qd_plan_destroy(plan);
}

/* The quantized network with the weights and ranges of the state. */
static qd_qgraph *quantize(trial *t, const qd_quant_recipe *recipe)
{
    qd_qgraph *q = NULL;

    qd_qat_store(t->qat, t->state, t->network.state);
    TEST_OK(t->ctx, qd_qgraph_create(t->ctx, t->network.graph, t->network.state, &recipe->scheme, t->network.n, &q));
    TEST_OK(t->ctx, qd_recipe_apply_differences(recipe, q));
    TEST_OK(t->ctx, qd_qat_set_ranges(t->qat, t->state, q));
    TEST_OK(t->ctx, qd_qgraph_finalize(q));
    return q;
}

/* Logits of the graph that trains, in evaluation. */
static void trained_logits(trial *t, const float *images, int64_t n, float *out)
{
    qd_plan *plan = NULL;
    qd_tensor logits;

    TEST_OK(t->ctx, qd_qat_lend(t->qat, t->state));
    TEST_OK(t->ctx, qd_plan_create(t->ctx, qd_qat_graph(t->qat), t->state, &QD_PLAN_OBSERVING(n), &plan));
    TEST_OK(t->ctx, qd_plan_forward(plan, images, n, NULL, NULL, NULL, &logits));
    memcpy(out, logits.data, (size_t)qd_tensor_count(&logits) * sizeof *out);
    qd_qat_take_back(t->qat, t->state);
    qd_plan_destroy(plan);
}

static double distance_to_simulated(const char *name, const qd_quant_recipe *recipe)
{
    trial t = trial_create(name, 4, recipe);

    show_images(&t);
    qd_qgraph *q = quantize(&t, recipe);
    const int64_t count = t.network.n * quant_network_classes(&t.network);
    float *simulated = malloc((size_t)count * sizeof *simulated), *trained = malloc((size_t)count * sizeof *trained);
    cr_assert(simulated && trained);
    TEST_OK(t.ctx, qd_qgraph_run_float(q, true, t.network.images, t.network.n, simulated));
    trained_logits(&t, t.network.images, t.network.n, trained);
    const double distance = quant_largest_difference(trained, simulated, count);
    free(simulated);
    free(trained);
    qd_qgraph_destroy(q);
    trial_free(&t);
    return distance;
}

/*
 * Every pattern that quantization knows, in several schemes. The two differ in the order of float sums at most:
 * weights are divided and multiplied by a BatchNorm's gain between. Where that moves a value over a tie, its code
 * differs by one, a hundredth or less of the logits at 8 bits in these small networks.
 */
Test(qat, computes_what_the_simulated_network_computes)
{
    const char *const excluded[] = {"block"};
    const qd_tensor_override few = {.name = "relu", .bits = 5, .symmetric = true};
    qd_quant_recipe plain = qd_quant_recipe_defaults(), channel = plain, fine = plain, mixed = plain;

    channel.scheme.weight_per_channel = channel.scheme.activation_symmetric = true;
    fine.scheme.weight_bits = fine.scheme.activation_bits = 16; /* biases stay float */
    mixed.excluded = excluded;
    mixed.excluded_count = mixed.tensor_count = 1;
    mixed.tensors = &few;
    cr_expect_lt(distance_to_simulated("mobile", &plain), 0.01);
    cr_expect_lt(distance_to_simulated("small", &plain), 0.01);
    cr_expect_lt(distance_to_simulated("small", &channel), 0.01);
    cr_expect_lt(distance_to_simulated("small", &fine), 1e-4);
    cr_expect_lt(distance_to_simulated("small", &mixed), 0.01);
}

/* Names of the tensors are those of the quantized network. */
Test(qat, rounds_where_the_quantized_network_does)
{
    const qd_quant_recipe recipe = qd_quant_recipe_defaults();
    trial t = trial_create("small", 2, &recipe);
    const qd_graph *graph = qd_qat_graph(t.qat);
    char name[QD_QUANT_NAME_BYTES + 16];
    int rounded = 0;

    qd_qgraph *q = quant_network_quantize(&t.network, &recipe.scheme);
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++) {
        snprintf(name, sizeof name, "%s.fake_quant", qd_qgraph_tensor(q, i).name);
        cr_expect_geq(qd_graph_find_node(graph, name), 0, "no '%s'", name);
    }
    for (int i = 0; i < graph->node_count; i++)
        rounded += graph->nodes[i].kind == QD_LAYER_fake_quant;
    cr_assert_eq(rounded, qd_qgraph_tensor_count(q));
    qd_qgraph_destroy(q);
    trial_free(&t);
}

Test(qat, takes_back_what_it_lent)
{
    const qd_quant_recipe recipe = qd_quant_recipe_defaults();
    trial t = trial_create("mobile", 4, &recipe);
    const size_t bytes = (size_t)t.network.graph->param_elements * sizeof(float);
    float *gamma = (float *)t.state->params +
                   t.network.graph->params[qd_graph_find_param(t.network.graph, "block1.bn1.weight")].offset;
    const qd_param *weight = &t.network.graph->params[qd_graph_find_param(t.network.graph, "block1.expand.weight")];
    float *before = malloc(bytes);

    cr_assert_not_null(before);
    gamma[3] = 0.0f; /* a channel that BatchNorm has switched off */
    show_images(&t);
    memcpy(before, t.state->params, bytes);
    TEST_OK(t.ctx, qd_qat_lend(t.qat, t.state));
    const float *lent = (const float *)t.state->params + weight->offset, *own = before + weight->offset;
    cr_assert_neq(memcmp(lent, own, 16 * sizeof *own), 0, "weights of channel 0 are rounded");
    cr_assert_arr_eq(lent + 3 * 16, own + 3 * 16, 16 * sizeof *own);
    for (int64_t i = 0; i < t.network.graph->param_elements; i++)
        cr_assert(isfinite(((const float *)t.state->params)[i]));
    qd_qat_take_back(t.qat, t.state);
    cr_assert_arr_eq(t.state->params, before, bytes);
    free(before);
    trial_free(&t);
}

Test(qat, refuses_what_it_cannot_train)
{
    qd_quant_recipe recipe = qd_quant_recipe_defaults();
    trial t = trial_create("mobile", 2, &recipe);
    qd_qgraph *q = quant_network_quantize(&t.network, &recipe.scheme);
    quant_network other = quant_network_create(t.ctx, "small", 1);
    qd_qgraph *q_other = quant_network_quantize(&other, &recipe.scheme);
    const char *const nothing[] = {"block9"};
    qd_qat *qat = NULL;

    TEST_FAILS(t.ctx, qd_qat_set_ranges(t.qat, t.state, q), QD_ERR_USAGE, "has seen no batch yet");
    TEST_FAILS(t.ctx, qd_qat_set_ranges(t.qat, t.state, q_other), QD_ERR_USAGE, "tensors");
    TEST_FAILS(t.ctx, qd_qat_create(t.ctx, t.network.graph, &recipe, 0.0, &qat), QD_ERR_SHAPE, "averaging constant");
    recipe.excluded = nothing;
    recipe.excluded_count = 1;
    TEST_FAILS(t.ctx, qd_qat_create(t.ctx, t.network.graph, &recipe, AVERAGING, &qat), QD_ERR_USAGE, "block9");
    recipe = qd_quant_recipe_defaults();
    recipe.scheme.activation_dynamic = true;
    TEST_FAILS(t.ctx, qd_qat_create(t.ctx, t.network.graph, &recipe, AVERAGING, &qat), QD_ERR_USAGE, "dynamic");
    ((float *)t.state->params)[5] = NAN;
    TEST_FAILS(t.ctx, qd_qat_lend(t.qat, t.state), QD_ERR_NUMERIC, "not finite");
    cr_assert_null(qat);
    qd_qgraph_destroy(q);
    qd_qgraph_destroy(q_other);
    quant_network_free(&other);
    trial_free(&t);
}

/* ---- a network that loses ---- */

/* Images of ten kinds: a wave of the kind's direction and length, of any phase, under noise. */
typedef struct pictures {
    float images[IMAGES * PIXELS];
    int64_t labels[IMAGES];
} pictures;

static void draw_pictures(pictures *p, uint64_t seed)
{
    qd_rng rng;

    qd_rng_seed(&rng, seed);
    for (int64_t i = 0; i < IMAGES; i++) {
        const int64_t kind = p->labels[i] = i % CLASSES;
        const float angle = 0.628f * (float)(kind % 5), length = kind < 5 ? 0.6f : 1.2f;
        const float phase = qd_rng_uniform_f32(&rng, 0.0f, 6.28f);
        for (int64_t k = 0; k < PIXELS; k++) {
            const float x = (float)(k / 3 % SIDE), y = (float)(k / 3 / SIDE);
            p->images[i * PIXELS + k] = sinf(length * (cosf(angle) * x + sinf(angle) * y) + phase + (float)(k % 3)) +
                                        qd_rng_uniform_f32(&rng, -0.5f, 0.5f);
        }
    }
}

/* Cosine from `lr` over so many steps; `qat`: lent weights. */
static void train(qd_context *ctx, qd_state *state, qd_qat *qat, const pictures *p, int steps, double lr)
{
    const qd_sgd_config config = {.momentum = 0.9};
    float dlogits[BATCH * CLASSES];
    qd_sgd *sgd = NULL;
    qd_plan *plan = NULL;

    TEST_OK(ctx, qd_sgd_create(ctx, state, &config, &sgd));
    TEST_OK(ctx, qd_plan_create(ctx, state->graph, state, &QD_PLAN_TRAINING(BATCH), &plan));
    for (int s = 0; s < steps; s++) {
        const int64_t first = (int64_t)s * BATCH % IMAGES;
        qd_tensor logits;
        double loss;
        int64_t correct;
        if (qat != NULL)
            TEST_OK(ctx, qd_qat_lend(qat, state));
        TEST_OK(ctx, qd_plan_forward(plan, p->images + first * PIXELS, BATCH, NULL, NULL, NULL, &logits));
        qd_loss_cross_entropy(QD_F32, logits.data, p->labels + first, BATCH, CLASSES, &loss, &correct, dlogits);
        TEST_OK(ctx, qd_plan_backward(plan, dlogits));
        if (qat != NULL)
            qd_qat_take_back(qat, state);
        qd_sgd_apply_step(sgd, qd_schedule_cosine(lr, s, steps), s == 0);
    }
    qd_plan_destroy(plan);
    qd_sgd_destroy(sgd);
}

static double accuracy_percent(const float *logits, const pictures *p)
{
    int64_t right = 0;

    for (int64_t i = 0; i < IMAGES; i++) {
        int64_t best = 0;
        for (int64_t c = 1; c < CLASSES; c++)
            best = logits[i * CLASSES + c] > logits[i * CLASSES + best] ? c : best;
        right += best == p->labels[i];
    }
    return 100.0 * (double)right / IMAGES;
}

static double integer_accuracy(qd_context *ctx, qd_qgraph *q, const pictures *p)
{
    static float logits[IMAGES * CLASSES];

    TEST_OK(ctx, qd_qgraph_run_integer(q, p->images, IMAGES, logits));
    return accuracy_percent(logits, p);
}

/* The float network's state for a graph, with gradients: that of quant_network has none. */
static qd_state *trainable_copy(const quant_network *network)
{
    qd_state *state = NULL;

    TEST_OK(network->ctx, qd_state_create(network->ctx, network->graph, QD_F32, true, &state));
    memcpy(state->params, network->state->params, (size_t)network->graph->param_elements * sizeof(float));
    memcpy(state->buffers, network->state->buffers, (size_t)network->graph->buffer_elements * sizeof(float));
    return state;
}

/*
 * Four bits cost this network tens of points; a few steps of training for them bring most back, and the integer
 * engine has what the simulated network was trained to: of 160 images a near-tie decides one or two differently.
 */
Test(qat, few_bits_lose_less_after_training_for_them)
{
    SKIP_IF_EMULATED();
    static pictures training, validation;
    static float logits[IMAGES * CLASSES];
    qd_quant_recipe recipe = qd_quant_recipe_defaults();

    recipe.scheme.weight_bits = recipe.scheme.activation_bits = 4;
    draw_pictures(&training, 1);
    draw_pictures(&validation, 2);
    trial t = trial_create("mobile", BATCH, &recipe);
    qd_state *real = trainable_copy(&t.network);
    train(t.ctx, real, NULL, &training, 40, 0.1);
    qd_qat_load(t.qat, real, t.state);
    qd_qat_store(t.qat, t.state, t.network.state);

    qd_qgraph *fixed = NULL;
    TEST_OK(t.ctx, qd_qgraph_create(t.ctx, t.network.graph, t.network.state, &recipe.scheme, BATCH, &fixed));
    TEST_OK(t.ctx, qd_qgraph_calibrate(fixed, training.images, IMAGES));
    TEST_OK(t.ctx, qd_qgraph_finalize(fixed));
    TEST_OK(t.ctx, qd_qgraph_run_float(fixed, false, validation.images, IMAGES, logits));
    const double before = accuracy_percent(logits, &validation);
    const double lost = integer_accuracy(t.ctx, fixed, &validation);

    train(t.ctx, t.state, t.qat, &training, 16, 0.005);
    trained_logits(&t, validation.images, IMAGES, logits);
    const double simulated = accuracy_percent(logits, &validation);
    qd_qgraph *aware = quantize(&t, &recipe);
    const double kept = integer_accuracy(t.ctx, aware, &validation);
    cr_log_info("float %.1f %%, static %.1f %%, trained for it %.1f %% simulated, %.1f %% in integers", before, lost,
                simulated, kept);
    cr_assert_lt(lost, before - 1.0, "the network is to lose something");
    cr_assert_gt(kept, lost, "float %.1f %%, static %.1f %%, trained for it %.1f %%", before, lost, kept);
    cr_assert_gt(kept, simulated - 2.0, "simulated %.1f %%, integer %.1f %%", simulated, kept);
    qd_qgraph_destroy(fixed);
    qd_qgraph_destroy(aware);
    qd_state_destroy(real);
    trial_free(&t);
}
