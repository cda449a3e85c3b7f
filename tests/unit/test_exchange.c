/* Weights of PyTorch in and out: prefixes, heads, what does not fit. */
#include "base/file.h"
#include "exchange/state_export.h"
#include "exchange/weights.h"
#include "graph/state_tensors.h"
#include "support/fixture.h"
#include "support/model_rules.h"
#include "support/slow_build.h"
#include "support/test_context.h"
#include <quantdrift/network.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "x.pth");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(exchange, .init = set_up, .fini = tear_down);

/* A network with parameters by rule. */
typedef struct sample {
    const qd_model_info *model;
    qd_model_config config;
    qd_graph *graph;
    qd_state *state;
} sample;

static sample sample_create(const char *model, int64_t classes, enum qd_head head)
{
    sample s = {.model = qd_model_find(model), .config = {.image_size = 32, .num_classes = classes, .head = head}};
    TEST_OK(ctx, qd_model_build(ctx, s.model, &s.config, &s.graph));
    TEST_OK(ctx, qd_state_create(ctx, s.graph, QD_F32, false, &s.state));
    rule_fill_state(s.state);
    for (int i = 0; i < s.graph->batches_tracked_count; i++)
        s.state->batches_tracked[i] = 1000 + i;
    return s;
}

static void sample_free(sample *s)
{
    qd_state_destroy(s->state);
    qd_graph_destroy(s->graph);
}

static void expect_equal(const qd_state *a, const qd_state *b)
{
    const qd_graph *graph = a->graph;
    cr_assert_eq(b->graph->param_elements, graph->param_elements);
    cr_assert_eq(memcmp(a->params, b->params, (size_t)graph->param_elements * sizeof(float)), 0);
    cr_assert_eq(memcmp(a->buffers, b->buffers, (size_t)graph->buffer_elements * sizeof(float)), 0);
    cr_assert_eq(
        memcmp(a->batches_tracked, b->batches_tracked, (size_t)graph->batches_tracked_count * sizeof(int64_t)), 0);
}

/* Reads the file at `path` as another program's weights of the same model into a fresh state. */
static enum qd_status read_back(const sample *s, qd_model_config *config, qd_state **state, qd_graph **graph)
{
    qd_weights weights;
    *config = (qd_model_config){.image_size = 32};
    *state = NULL;
    *graph = NULL;
    TEST_OK(ctx, qd_weights_open(ctx, path, &weights));
    enum qd_status status = qd_weights_recognise(ctx, &weights, s->model, config);
    if (status == QD_OK) {
        TEST_OK(ctx, qd_model_build(ctx, s->model, config, graph));
        TEST_OK(ctx, qd_state_create(ctx, *graph, QD_F32, false, state));
        status = qd_weights_fill(ctx, &weights, *state);
    }
    qd_weights_close(&weights);
    return status;
}

Test(exchange, gives_every_head_back)
{
    SKIP_IF_EMULATED();
    static const struct {
        const char *model;
        int64_t classes;
        enum qd_head head;
        bool pth, torchvision_head;
        const char *head_name; /* of a tensor in the file */
    } cases[] = {
        {"resnet18", 1000, QD_HEAD_LINEAR, true, false, "fc.weight"},
        {"resnet18", 2, QD_HEAD_BINARY, true, false, "fc.4.weight"},
        {"resnet18", 10, QD_HEAD_LINEAR, false, true, "fc.weight"},
        {"efficientnet_b0", 1000, QD_HEAD_LINEAR, true, true, "classifier.1.weight"},
        {"efficientnet_b0", 10, QD_HEAD_LINEAR, false, false, "classifier.weight"},
        {"efficientnet_b0", 2, QD_HEAD_BINARY, false, false, "classifier.4.bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sample s = sample_create(cases[i].model, cases[i].classes, cases[i].head);
        const qd_state_export options = {.pth = cases[i].pth, .torchvision_head = cases[i].torchvision_head};
        qd_model_config config;
        qd_state *state;
        qd_graph *graph;
        qd_weights weights;
        free(path);
        path = test_folder_path(folder, cases[i].pth ? "x.pth" : "x.safetensors");
        TEST_OK(ctx, qd_state_write(ctx, path, s.model, s.state, &options));
        TEST_OK(ctx, qd_weights_open(ctx, path, &weights));
        bool found = false;
        for (int t = 0; t < weights.count; t++)
            found = found || strcmp(weights.tensors[t].name, cases[i].head_name) == 0;
        cr_assert(found, "case %zu: no '%s' in the file", i, cases[i].head_name);
        qd_weights_close(&weights);
        TEST_OK(ctx, read_back(&s, &config, &state, &graph));
        cr_assert_eq(config.head, cases[i].head);
        cr_assert_eq(config.num_classes, cases[i].classes, "case %zu: %lld classes", i,
                     (long long)config.num_classes);
        expect_equal(s.state, state);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
        sample_free(&s);
    }
}

/* ---- files that differ from ours ---- */

/* Writes the sample's tensors with changed names; change() returns NULL for a tensor to leave out. */
static void write_changed(const sample *s, const char *(*change)(const char *name, char *room))
{
    qd_state_tensors list;
    int count = 0;
    TEST_OK(ctx, qd_state_tensors_list(ctx, s->state, &list));
    char(*room)[200] = calloc((size_t)list.count, sizeof *room);
    for (int i = 0; i < list.count; i++) {
        const char *name = change(list.tensors[i].name, room[i]);
        if (!name)
            continue;
        list.tensors[count] = list.tensors[i];
        list.tensors[count++].name = name;
    }
    TEST_OK(ctx, qd_pth_write(ctx, path, list.tensors, count));
    free(room);
    qd_state_tensors_free(&list);
}

static const char *behind_module(const char *name, char *room)
{
    snprintf(room, 200, "module.%s", name);
    return room;
}

static const char *behind_two(const char *name, char *room)
{
    snprintf(room, 200, "model._orig_mod.%s", name);
    return room;
}

static const char *without_counters(const char *name, char *room)
{
    (void)room;
    return strstr(name, "num_batches_tracked") ? NULL : name;
}

static const char *head_in_sequential(const char *name, char *room)
{
    if (strncmp(name, "fc.", 3) != 0)
        return name;
    snprintf(room, 200, "fc.2.%s", name + 3);
    return room;
}

Test(exchange, strips_prefixes_and_finds_a_linear_in_a_sequential)
{
    const char *(*const changes[])(const char *, char *) = {behind_module, behind_two, head_in_sequential};
    sample s = sample_create("resnet18", 7, QD_HEAD_LINEAR);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        qd_model_config config;
        qd_state *state;
        qd_graph *graph;
        write_changed(&s, changes[i]);
        TEST_OK(ctx, read_back(&s, &config, &state, &graph));
        cr_assert_eq(config.num_classes, 7);
        expect_equal(s.state, state);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
    }
    sample_free(&s);
}

/* PyTorch before 0.4.1 kept no counters, and newer ones load its files all the same. */
Test(exchange, counters_may_be_missing)
{
    sample s = sample_create("resnet18", 7, QD_HEAD_LINEAR);
    qd_model_config config;
    qd_state *state;
    qd_graph *graph;
    write_changed(&s, without_counters);
    TEST_OK(ctx, read_back(&s, &config, &state, &graph));
    cr_assert_eq(state->batches_tracked[0], 0);
    cr_assert_eq(memcmp(s.state->buffers, state->buffers, (size_t)graph->buffer_elements * sizeof(float)), 0);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    sample_free(&s);
}

static const char *damaged(const char *name, char *room)
{
    if (strcmp(name, "layer2.0.bn1.weight") == 0)
        return NULL;
    if (strcmp(name, "layer3.0.conv1.weight") != 0)
        return name;
    snprintf(room, 200, "layer3.0.convolution.weight");
    return room;
}

static const char *headless(const char *name, char *room)
{
    (void)room;
    return strncmp(name, "fc.", 3) == 0 ? NULL : name;
}

static const char *two_linears(const char *name, char *room)
{
    if (strcmp(name, "fc.1.weight") == 0)
        return "fc.0.weight";
    if (strcmp(name, "fc.1.bias") == 0)
        return "fc.0.bias";
    (void)room;
    return name;
}

Test(exchange, says_what_does_not_fit)
{
    static const struct {
        enum qd_head head;
        const char *(*change)(const char *, char *);
        const char *piece;
    } cases[] = {
        {QD_HEAD_LINEAR, damaged,
         "does not fit the network 'resnet18'; 2 missing: layer2.0.bn1.weight, layer3.0.conv1.weight; 1 unknown: "
         "layer3.0.convolution.weight"},
        {QD_HEAD_LINEAR, headless, "; 2 missing: fc.weight, fc.bias"},
        {QD_HEAD_BINARY, two_linears, "expected one Linear below 'fc', or the binary head's 'fc.1' and 'fc.4'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sample s = sample_create("resnet18", 2, cases[i].head);
        qd_model_config config;
        qd_state *state;
        qd_graph *graph;
        write_changed(&s, cases[i].change);
        TEST_FAILS(ctx, read_back(&s, &config, &state, &graph), QD_ERR_INPUT, cases[i].piece);
        qd_state_destroy(state);
        qd_graph_destroy(graph);
        sample_free(&s);
    }
}

static int lines_logged;

static void count_lines(void *user, enum qd_log_level level, const char *line)
{
    (void)user;
    (void)line;
    lines_logged += level == QD_LOG_WARNING;
}

/* Another network differs in every tensor: the sentence names the first, the log all of them. */
Test(exchange, logs_every_difference)
{
    qd_context *loud = NULL;
    const qd_context_config config = {.threads = 1, .log = count_lines};
    cr_assert_eq(qd_context_create(&config, &loud), QD_OK);
    sample s = sample_create("resnet18", 10, QD_HEAD_LINEAR);
    write_changed(&s, without_counters);
    const qd_network_config other = {.checkpoint = path, .model = "efficientnet_b0", .max_batch = 1};
    qd_network *network = NULL;
    lines_logged = 0;
    TEST_FAILS(loud, qd_network_load(loud, &other, &network), QD_ERR_INPUT, "missing: features.0.0.weight");
    /* Every tensor of the one and of the other: parameters and running statistics, the counters' absence is no
     * difference. */
    cr_assert_eq(lines_logged, 311 + 102, "%d lines", lines_logged);
    sample_free(&s);
    qd_context_destroy(loud);
}

/* Import: a network of foreign weights becomes a checkpoint that says what it is. */
Test(exchange, a_network_becomes_a_checkpoint)
{
    sample s = sample_create("efficientnet_b0", 5, QD_HEAD_LINEAR);
    const qd_state_export options = {.pth = true, .torchvision_head = true};
    const qd_network_config foreign = {
        .checkpoint = path, .model = "efficientnet_b0", .image_size = 32, .max_batch = 1};
    char *checkpoint = test_folder_path(folder, "c.safetensors");
    const qd_network_config ours = {.checkpoint = checkpoint, .max_batch = 1};
    qd_network *network, *again;
    TEST_OK(ctx, qd_state_write(ctx, path, s.model, s.state, &options));
    TEST_FAILS(ctx, qd_network_load(ctx, &(qd_network_config){.checkpoint = path}, &network), QD_ERR_USAGE,
               "does not say which model it holds");
    TEST_OK(ctx, qd_network_load(ctx, &foreign, &network));
    TEST_OK(ctx, qd_network_save(network, checkpoint));
    TEST_OK(ctx, qd_network_load(ctx, &ours, &again));
    cr_assert_str_eq(qd_network_model_name(again), "EfficientNet-B0");
    cr_assert_eq(qd_network_class_count(again), 5);
    cr_assert_eq(qd_network_image_size(again), 32);
    float image[32 * 32 * 3], logits[2][5];
    rule_fill_images(QD_F32, 0, 1, 32, image);
    TEST_OK(ctx, qd_network_predict(network, image, 1, logits[0]));
    TEST_OK(ctx, qd_network_predict(again, image, 1, logits[1]));
    cr_assert_eq(memcmp(logits[0], logits[1], sizeof logits[0]), 0);
    qd_network_destroy(network);
    qd_network_destroy(again);
    free(checkpoint);
    sample_free(&s);
}
