/*
 * The networks' structure and initial values against torchvision. Fixtures: tests/fixtures/models/{hooks,init}.txt by
 * scripts/fixtures/make_models.py.
 */
#include "models/models.h"
#include "base/sha256.h"
#include "graph/plan.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/slow_build.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;

static void setup(void)
{
    ctx = test_context_create(2);
}

static void teardown(void)
{
    qd_context_destroy(ctx);
}

TestSuite(models, .init = setup, .fini = teardown);

static qd_graph *build(const char *name, const char *head, int64_t size)
{
    const qd_model_info *info = qd_model_find(name);
    cr_assert_not_null(info, "no model '%s'", name);
    qd_model_config config = {
        .image_size = size, .num_classes = 10, .head = strcmp(head, "binary") == 0 ? QD_HEAD_BINARY : QD_HEAD_LINEAR};
    qd_graph *graph = NULL;
    TEST_OK(ctx, qd_model_build(ctx, info, &config, &graph));
    return graph;
}

/* ---- structure ---- */

/* "4x64x32x32" for a batch of 4. */
static void shape_text(const qd_dims *dims, char text[64])
{
    if (dims->rank == 2)
        snprintf(text, 64, "4x%lld", (long long)dims->c);
    else
        snprintf(text, 64, "4x%lldx%lldx%lld", (long long)dims->c, (long long)dims->h, (long long)dims->w);
}

static void param_shape_text(const qd_param *param, char text[64])
{
    int at = 0;
    for (int i = 0; i < param->rank; i++)
        at += snprintf(text + at, 64 - (size_t)at, "%s%lld", i ? "x" : "", (long long)param->shape[i]);
}

/* The calls of a hook dictionary: the place of a module's first completed call, the value of its last. */
static int hook_dictionary(const qd_graph *graph, int *modules, int *values)
{
    int count = 0;
    for (int i = 0; i < graph->call_count; i++) {
        int at = 0;
        while (at < count && modules[at] != graph->calls[i].module)
            at++;
        modules[at] = graph->calls[i].module;
        values[at] = graph->calls[i].value;
        count += at == count;
    }
    return count;
}

static bool is_logged(const qd_model_info *info, const char *path)
{
    for (int i = 0; info->block_prefixes[i]; i++)
        if (strncmp(path, info->block_prefixes[i], strlen(info->block_prefixes[i])) == 0)
            return true;
    return false;
}

/* One section of hooks.txt: its lines against the graph, each kind in order. */
typedef struct {
    const qd_model_info *info;
    qd_graph *graph;
    int hook_modules[512], hook_values[512], hook_count;
    int module, hook, param, buffer; /* next of each kind */
} section;

static void open_section(section *s, char *line)
{
    char name[32], head[32];
    int modules, calls, hooks;
    cr_assert_eq(sscanf(line, "model %31s %31s %d %d %d", name, head, &modules, &calls, &hooks), 5, "%s", line);
    *s = (section){.info = qd_model_find(name), .graph = build(name, head, 64)};
    cr_expect_eq(s->graph->module_count, modules, "%s", line);
    cr_expect_eq(s->graph->call_count, calls, "%s", line);
    cr_assert_lt(s->graph->call_count, 512);
    s->hook_count = hook_dictionary(s->graph, s->hook_modules, s->hook_values);
    cr_expect_eq(s->hook_count, hooks, "%s", line);
    if (strcmp(head, "binary") != 0)
        return;
    /* Sections of the binary head list what lies in the head only: the end of each list, but for the root's hook. */
    const char *part = strcmp(name, "resnet18") == 0 ? "fc" : "classifier";
    s->module = qd_graph_find_module(s->graph, part);
    while (strncmp(s->graph->modules[s->hook_modules[s->hook]].path, part, strlen(part)) != 0)
        s->hook++;
    while (strncmp(s->graph->params[s->param].name, part, strlen(part)) != 0)
        s->param++;
    s->buffer = s->graph->buffer_count;
    s->hook_count--;
}

static void close_section(section *s)
{
    if (!s->graph)
        return;
    cr_expect_eq(s->module, s->graph->module_count);
    cr_expect_eq(s->hook, s->hook_count);
    cr_expect_eq(s->param, s->graph->param_count);
    cr_expect_eq(s->buffer, s->graph->buffer_count);
    qd_graph_destroy(s->graph);
    s->graph = NULL;
}

static void expect_line(section *s, const char *kind, const char *path, const char *class_name, const char *shape)
{
    const qd_graph *g = s->graph;
    char text[64];
    if (strcmp(path, ".") == 0)
        path = "";
    if (strcmp(kind, "module") == 0) {
        cr_assert_lt(s->module, g->module_count);
        cr_expect_str_eq(g->modules[s->module].path, path);
        cr_expect_str_eq(g->modules[s->module].class_name, class_name);
        s->module++;
    } else if (strcmp(kind, "state") == 0) {
        if (strstr(path, "num_batches_tracked")) {
            int node = qd_graph_find_node(g, g->nodes[g->buffers[s->buffer - 1].node].name);
            cr_expect_eq(strncmp(path, g->nodes[node].name, strlen(g->nodes[node].name)), 0);
            cr_expect_geq(g->nodes[node].batches_tracked, 0);
            return;
        }
        bool buffer = strstr(path, "running_") != NULL;
        const qd_param *param = buffer ? &g->buffers[s->buffer++] : &g->params[s->param++];
        cr_expect_str_eq(param->name, path);
        param_shape_text(param, text);
        cr_expect_str_eq(text, class_name, "%s", path); /* the third word of a state line is its shape */
    } else {
        cr_assert_lt(s->hook, s->hook_count);
        int module = s->hook_modules[s->hook];
        cr_expect_str_eq(g->modules[module].path, path);
        cr_expect_str_eq(g->modules[module].class_name, class_name);
        shape_text(&g->values[s->hook_values[s->hook]].dims, text);
        cr_expect_str_eq(text, shape, "%s", path);
        cr_expect_eq(is_logged(s->info, path), strcmp(kind, "logged") == 0, "%s", path);
        s->hook++;
    }
}

Test(models, modules_hooks_and_state_are_torchvisions)
{
    char *text = fixture_read("models/hooks.txt", NULL), *save = NULL;
    section s = {0};
    int lines = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save), lines++) {
        char kind[16], path[128], third[64], shape[64] = "";
        if (strncmp(line, "model ", 6) == 0) {
            close_section(&s);
            open_section(&s, line);
            continue;
        }
        cr_assert_geq(sscanf(line, "%15s %127s %63s %63s", kind, path, third, shape), 3, "%s", line);
        expect_line(&s, kind, path, third, shape);
    }
    close_section(&s);
    cr_expect_gt(lines, 1000, "the fixture is cut short");
    free(text);
}

Test(models, lists_and_lookups)
{
    cr_expect_str_eq(qd_model_list()[0]->name, "resnet18");
    cr_expect_str_eq(qd_model_list()[1]->display_name, "EfficientNet-B0");
    cr_expect_null(qd_model_find("resnet50"));
    for (int i = 0; qd_model_list()[i]; i++) {
        const qd_model_info *model = qd_model_list()[i];
        cr_expect_eq(qd_model_find(model->name), model);
        cr_expect_eq(model->variant_of == NULL, i < 2, "%s: the plain networks stand first", model->name);
        cr_expect(!model->variant_of || qd_model_find(model->variant_of), "%s", model->name);
    }
}

/* What a network is made of, by module class. */
typedef struct census {
    int64_t parameters;
    int convs, depthwise, gates, depths;
    int activations[QD_ACTIVATION_SIGMOID + 1];
} census;

static census count_parts(const char *name)
{
    qd_graph *graph = build(name, "linear", 64);
    census c = {0};
    for (int i = 0; i < graph->param_count; i++)
        c.parameters += graph->params[i].count;
    for (int i = 0; i < graph->node_count; i++) {
        const qd_node *node = &graph->nodes[i];
        if (node->kind == QD_LAYER_conv2d) {
            c.convs++;
            c.depthwise += ((const qd_conv2d_config *)node->config)->groups > 1;
        }
        c.gates += node->kind == QD_LAYER_channel_multiply;
        if (node->kind == QD_LAYER_stochastic_depth)
            c.depths += ((const qd_stochastic_depth_config *)node->config)->p > 0.0;
        if (node->kind == QD_LAYER_activation)
            c.activations[((const qd_activation_config *)node->config)->kind]++;
    }
    qd_graph_destroy(graph);
    return c;
}

/* Each variant differs from its network in its switch and in nothing else. */
Test(models, variants_depart_in_one_switch)
{
    const census resnet = count_parts("resnet18"), efficient = count_parts("efficientnet_b0");
    cr_expect_eq(resnet.convs, 20);
    cr_expect_eq(efficient.convs, 81);
    cr_expect_eq(efficient.depthwise, 16);
    static const struct {
        const char *name;
        enum qd_activation kind;
    } swapped[] = {{"resnet18_silu", QD_ACTIVATION_SILU},
                   {"efficientnet_b0_relu", QD_ACTIVATION_RELU},
                   {"efficientnet_b0_relu6", QD_ACTIVATION_RELU6},
                   {"efficientnet_b0_hardswish", QD_ACTIVATION_HARDSWISH}};
    for (size_t i = 0; i < sizeof swapped / sizeof swapped[0]; i++) {
        census plain = i == 0 ? resnet : efficient, c = count_parts(swapped[i].name);
        const enum qd_activation before = i == 0 ? QD_ACTIVATION_RELU : QD_ACTIVATION_SILU;
        cr_expect_eq(c.activations[before], 0, "%s", swapped[i].name);
        cr_expect_eq(c.activations[swapped[i].kind], plain.activations[before], "%s", swapped[i].name);
        c.activations[before] = plain.activations[before];
        c.activations[swapped[i].kind] = plain.activations[swapped[i].kind];
        cr_expect_eq(memcmp(&c, &plain, sizeof c), 0, "%s: only the activation changes", swapped[i].name);
    }

    census c = count_parts("resnet18_separable");
    cr_expect_eq(c.depthwise, 16);
    cr_expect_eq(c.convs, resnet.convs + 16);

    c = count_parts("efficientnet_b0_no_se");
    cr_expect_eq(c.gates, 0);
    cr_expect_eq(c.convs, efficient.convs - 2 * 16);
    cr_expect_eq(c.activations[QD_ACTIVATION_SIGMOID], 0);
    cr_expect_eq(c.depths, efficient.depths);

    c = count_parts("efficientnet_b0_dense");
    cr_expect_eq(c.depthwise, 16 - 3, "one block in the first stage, two in the second");
    cr_expect_eq(c.convs, efficient.convs);
    /* 9·(C - 1)·C more weights in each of these. */
    cr_expect_eq(c.parameters - efficient.parameters, 9 * (31 * 32 + 95 * 96 + 143 * 144));

    c = count_parts("efficientnet_b0_no_depth");
    cr_expect_eq(c.depths, 0);
    cr_expect_eq(c.parameters, efficient.parameters);

    c = count_parts("efficientnet_lite0");
    cr_expect_eq(c.gates, 0);
    cr_expect_eq(c.activations[QD_ACTIVATION_SILU], 0);
    cr_expect_eq(c.depths, efficient.depths);
}

/* Every branch is kept, so that every parameter has a gradient. */
static void keep_all(void *user, const char *name, double p_keep, int64_t count, bool *keep)
{
    (void)user, (void)name, (void)p_keep;
    memset(keep, 1, (size_t)count * sizeof *keep);
}

/* A variant trains: a step on noise gives a finite loss and moves every parameter's gradient off zero. */
Test(models, variants_train)
{
    SKIP_IF_EMULATED();
    for (int i = 2; qd_model_list()[i]; i++) {
        const qd_model_info *model = qd_model_list()[i];
        const qd_model_config config = {.image_size = 64, .num_classes = 10};
        qd_graph *graph = build(model->name, "linear", 64);
        qd_state *state = NULL;
        qd_plan *plan = NULL;
        qd_rng rng;
        qd_tensor logits;
        static float x[4 * 64 * 64 * 3];
        qd_rng_seed(&rng, 5);
        TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, true, &state));
        model->initialise(&config, state, &rng);
        qd_rng_normal_f32(&rng, x, (int64_t)(sizeof x / sizeof x[0]), 0.0f, 1.0f);
        TEST_OK(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_TRAINING(4), &plan));
        const qd_draws draws = {.bernoulli = keep_all};
        TEST_OK(ctx, qd_plan_forward(plan, x, 4, &draws, NULL, NULL, &logits));
        float dlogits[4 * 10];
        for (int k = 0; k < 40; k++) {
            cr_assert(isfinite(((const float *)logits.data)[k]), "%s", model->name);
            dlogits[k] = (float)(k % 7) - 3.0f;
        }
        TEST_OK(ctx, qd_plan_backward(plan, dlogits));
        for (int p = 0; p < graph->param_count; p++) {
            const qd_tensor gradient = qd_state_param(state, QD_BLOCK_GRADS, p);
            const float *g = gradient.data;
            double energy = 0.0;
            for (int64_t k = 0; k < graph->params[p].count; k++)
                energy += (double)g[k] * (double)g[k];
            cr_expect(isfinite(energy) && energy > 0.0, "%s: gradient of %s", model->name, graph->params[p].name);
        }
        qd_plan_destroy(plan);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
    }
}

Test(models, impossible_settings_are_refused)
{
    qd_graph *graph = NULL;
    const qd_model_info *info = qd_model_find("resnet18");
    TEST_FAILS(ctx, qd_model_build(ctx, info, &(qd_model_config){.image_size = 31, .num_classes = 10}, &graph),
               QD_ERR_USAGE, "image size of 32 to");
    TEST_FAILS(ctx, qd_model_build(ctx, info, &(qd_model_config){.image_size = 1 << 20, .num_classes = 10}, &graph),
               QD_ERR_USAGE, "got 1048576");
    TEST_FAILS(ctx, qd_model_build(ctx, info, &(qd_model_config){.image_size = 64}, &graph), QD_ERR_USAGE,
               "at least one class");
    cr_expect_null(graph);
}

/* Block i of 16 drops with 0.2·i/16; nine blocks have a residual, and each sample of each costs two words. */
Test(models, random_draws_of_a_step)
{
    qd_graph *graph = build("efficientnet_b0", "linear", 32);
    int seen = 0;
    static const int blocks[] = {2, 4, 6, 7, 9, 10, 12, 13, 14};
    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == QD_LAYER_stochastic_depth) {
            const qd_stochastic_depth_config *config = graph->nodes[i].config;
            cr_assert_lt(seen, 9);
            cr_expect_eq(config->p, 0.2 * blocks[seen] / 16.0, "%s: %.17g", graph->nodes[i].name, config->p);
            seen++;
        }
    cr_expect_eq(seen, 9);
    cr_expect_eq(qd_graph_draw_words_per_sample(graph), 2 * 9);
    qd_graph_destroy(graph);
    graph = build("resnet18", "linear", 32);
    cr_expect_eq(qd_graph_draw_words_per_sample(graph), 0);
    qd_graph_destroy(graph);
    graph = build("resnet18", "binary", 32);
    cr_expect_eq(qd_graph_draw_words_per_sample(graph), 2 * (512 + 128));
    qd_graph_destroy(graph);
}

/* Batch 64 at 224 px: with parameters and images beside it less than half of PyTorch's memory, 1.93 and 5.7 GiB. The
 * reference kernels keep the inputs of 3x3 convolutions, which the others make again. */
Test(models, training_plans_fit)
{
    const bool reference = qd_context_isa(ctx) == QD_ISA_REF;
    const struct {
        const char *name;
        double gib;
    } limits[] = {{"resnet18", reference ? 0.85 : 0.75}, {"efficientnet_b0", 2.4}};
    for (int i = 0; i < 2; i++) {
        qd_graph *graph = build(limits[i].name, "linear", 224);
        size_t training = 0, observing = 0;
        TEST_OK(ctx, qd_plan_bytes(ctx, graph, QD_F32, &QD_PLAN_TRAINING(64), &training));
        TEST_OK(ctx, qd_plan_bytes(ctx, graph, QD_F32, &QD_PLAN_OBSERVING(64), &observing));
        cr_expect_lt((double)training / 0x1p30, limits[i].gib, "%s: %.3f GiB", limits[i].name,
                     (double)training / 0x1p30);
        cr_expect_lt((double)observing / 0x1p30, 1.5, "%s: %.3f GiB", limits[i].name, (double)observing / 0x1p30);
        qd_graph_destroy(graph);
    }
}

/* One image of 32 px leaves one value per channel in the last stage, which BatchNorm cannot train on: as in PyTorch
 * an error, with the first such layer's name; the plan remains usable. */
Test(models, one_value_per_channel_is_an_error_that_names_the_layer)
{
    static float x[2 * 32 * 32 * 3];
    qd_graph *graph = build("resnet18", "linear", 32);
    qd_state *state = NULL;
    qd_plan *plan = NULL;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, true, &state));
    TEST_OK(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_TRAINING(2), &plan));
    TEST_FAILS(ctx, qd_plan_forward(plan, x, 1, NULL, NULL, NULL, NULL), QD_ERR_SHAPE, "'layer4.0.bn1'");
    TEST_OK(ctx, qd_plan_forward(plan, x, 2, NULL, NULL, NULL, NULL));
    qd_plan_destroy(plan);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
}

/* ---- initial values ---- */

static double initial_value(const qd_state *state, int param, int64_t index)
{
    qd_tensor view = qd_state_param(state, QD_BLOCK_PARAMS, param);
    int64_t offset = 0;
    for (int d = view.rank - 1; d >= 0; d--) {
        offset += index % view.shape[d] * view.stride[d];
        index /= view.shape[d];
    }
    return state->dtype == QD_F64 ? ((double *)view.data)[offset] : (double)((float *)view.data)[offset];
}

/* Digits of a SHA-256 that the fixture keeps. */
#define DIGEST_DIGITS 16

/* Values hashed at a time. */
#define BLOCK 4096

/* The line "param name first inner last mean mean_abs digest" of one parameter. */
static void expect_initial(const qd_state *state, int param, const char *numbers)
{
    double expected[5], found[5] = {0};
    char *end = (char *)(uintptr_t)numbers;
    float block[BLOCK];
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; i < 5; i++)
        expected[i] = strtod(end, &end);
    const qd_param *p = &state->graph->params[param];
    found[0] = initial_value(state, param, 0);
    found[1] = initial_value(state, param, p->count / 3);
    found[2] = initial_value(state, param, p->count - 1);
    for (int64_t i = 0; i < p->count; i++) {
        double value = initial_value(state, param, i);
        block[i % BLOCK] = (float)value;
        if (i % BLOCK == BLOCK - 1 || i == p->count - 1)
            qd_sha256_update(&hash, block, (size_t)(i % BLOCK + 1) * sizeof *block);
        found[3] += value / (double)p->count;
        found[4] += fabs(value) / (double)p->count;
    }
    /* Every value to the bit: sums would not see two of them change places. */
    char digest[65];
    qd_sha256_finish(&hash, digest);
    digest[DIGEST_DIGITS] = '\0';
    cr_expect_str_eq(digest, end + strspn(end, " "), "%s", p->name);
    for (int i = 0; i < 5; i++) {
        /* Single values are equal to the bit, normal ones too: random/ follows PyTorch's vector code. Of the sums
         * only 12 digits are printed. */
        double tolerance = i < 3 ? 0.0 : 1e-12;
        cr_expect(fabs(found[i] - expected[i]) <= tolerance, "%s number %d: expected %.9g, got %.9g", p->name, i,
                  expected[i], found[i]);
    }
}

/* A parameter that the fixture leaves out is constant: BatchNorm's weight 1, every such bias 0. */
static void expect_constant(const qd_state *state, int param)
{
    const qd_param *p = &state->graph->params[param];
    double expected = strstr(p->name, ".weight") ? 1.0 : 0.0;
    for (int64_t i = 0; i < p->count; i++)
        cr_assert_eq(initial_value(state, param, i), expected, "%s[%lld]", p->name, (long long)i);
}

Test(models, initial_values_are_pytorchs)
{
    char *text = fixture_read("models/init.txt", NULL), *save = NULL;
    qd_rng rng;
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    int next_param = 0, models = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        char name[128], head[32];
        int used = 0;
        if (strncmp(line, "seed ", 5) == 0) {
            qd_rng_seed(&rng, strtoull(line + 5, NULL, 10));
        } else if (sscanf(line, "model %31s %31s", name, head) == 2) {
            graph = build(name, head, 32);
            /* Both dtypes hold the same float32 values. */
            TEST_OK(ctx, qd_state_create(ctx, graph, models % 2 ? QD_F64 : QD_F32, false, &state));
            qd_model_config config = {.image_size = 32,
                                      .num_classes = 10,
                                      .head = strcmp(head, "binary") == 0 ? QD_HEAD_BINARY : QD_HEAD_LINEAR};
            qd_model_find(name)->initialise(&config, state, &rng);
            next_param = 0;
            models++;
        } else if (sscanf(line, "param %127s%n", name, &used) == 1) {
            int param = qd_graph_find_param(graph, name);
            cr_assert_geq(param, next_param, "%s", name);
            for (; next_param < param; next_param++)
                expect_constant(state, next_param);
            expect_initial(state, next_param++, line + used);
        } else if (strncmp(line, "next ", 5) == 0) {
            qd_rng copy = rng;
            cr_expect_eq((double)qd_rng_uniform_f32(&copy, 0.0f, 1.0f), strtod(line + 5, NULL),
                         "the generator's place");
            for (; next_param < graph->param_count; next_param++)
                expect_constant(state, next_param);
            qd_state_destroy(state);
            qd_graph_destroy(graph);
        }
    }
    cr_expect_eq(models, 6);
    free(text);
}
