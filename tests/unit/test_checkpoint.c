/* Checkpoints: the same bits back, torchvision's names, and sentences that say what does not fit. */
#include "formats/safetensors.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "train/checkpoint.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    path = test_folder_path(folder, "c.safetensors");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(checkpoint, .init = set_up, .fini = tear_down);

/* Conv2d, BatchNorm2d, average pool, Linear with `classes` outputs; `name` is the convolution's. */
static qd_graph *toy_graph(const char *name, int64_t classes)
{
    qd_builder *builder;
    qd_graph *graph;
    const qd_conv2d_config conv = {
        .in_channels = 3, .out_channels = 4, .kernel = 3, .stride = 1, .padding = 1, .groups = 1};
    const qd_batchnorm2d_config bn = {.channels = 4, .eps = 1e-5, .momentum = 0.1};
    const qd_linear_config fc = {.in_features = 4, .out_features = classes};
    TEST_OK(ctx, qd_builder_create(ctx, "toy", "Toy", (qd_dims){.rank = 4, .c = 3, .h = 5, .w = 5}, &builder));
    int value = qd_builder_call(builder, name, "Conv2d", QD_LAYER_conv2d, &conv, qd_builder_input(builder), -1);
    value = qd_builder_call(builder, "bn1", "BatchNorm2d", QD_LAYER_batchnorm2d, &bn, value, -1);
    value = qd_builder_call(builder, "avgpool", "AdaptiveAvgPool2d", QD_LAYER_global_avgpool, NULL, value, -1);
    value = qd_builder_apply(builder, "flatten", QD_LAYER_flatten, NULL, value, -1);
    value = qd_builder_call(builder, "fc", "Linear", QD_LAYER_linear, &fc, value, -1);
    TEST_OK(ctx, qd_builder_finish(builder, value, &graph));
    qd_builder_destroy(builder);
    return graph;
}

static qd_state *toy_state(const qd_graph *graph, bool training, bool filled)
{
    qd_state *state;
    TEST_OK(ctx, qd_state_create(ctx, graph, QD_F32, training, &state));
    if (!filled)
        return state;
    float *w = state->params, *m = state->momentum, *b = state->buffers;
    for (int p = 0; p < graph->param_count; p++) {
        for (int64_t i = 0; i < graph->params[p].count; i++) {
            int64_t at = graph->params[p].offset + i;
            w[at] = 0.1f * (float)(at + 1);
            if (m)
                m[at] = -0.01f * (float)(at + 1);
        }
    }
    for (int p = 0; p < graph->buffer_count; p++)
        for (int64_t i = 0; i < graph->buffers[p].count; i++)
            b[graph->buffers[p].offset + i] = 3.0f / (float)(i + 1);
    for (int i = 0; i < graph->batches_tracked_count; i++)
        state->batches_tracked[i] = 1234567890123;
    return state;
}

static qd_checkpoint_info toy_info(void)
{
    qd_checkpoint_info info = {.model = "toy", .config = {.image_size = 5, .num_classes = 7, .head = QD_HEAD_BINARY}};
    info.epoch = 3;
    info.step = 141;
    qd_rng_seed(&info.rng, 5);
    qd_rng_skip(&info.rng, 700);
    memset(info.config_hash, 'a', 64);
    memset(info.data_fingerprint, 'b', 64);
    info.history_json = strdup("[{\"epoch\":0,\"val_loss\":2.5}]");
    return info;
}

static void write_toy(const qd_state *state)
{
    qd_checkpoint_info info = toy_info();
    TEST_OK(ctx, qd_checkpoint_write(ctx, path, state, &info));
    qd_checkpoint_info_free(&info);
}

Test(checkpoint, gives_back_the_same_bits)
{
    qd_graph *graph = toy_graph("conv1", 7);
    qd_state *saved = toy_state(graph, true, true), *loaded = toy_state(graph, true, false);
    write_toy(saved);
    TEST_OK(ctx, qd_checkpoint_read(ctx, path, loaded));
    size_t bytes = (size_t)graph->param_elements * sizeof(float);
    cr_assert_eq(memcmp(saved->params, loaded->params, bytes), 0);
    cr_assert_eq(memcmp(saved->momentum, loaded->momentum, bytes), 0);
    cr_assert_eq(memcmp(saved->buffers, loaded->buffers, (size_t)graph->buffer_elements * sizeof(float)), 0);
    cr_assert_eq(loaded->batches_tracked[0], 1234567890123);
    qd_state_destroy(saved);
    qd_state_destroy(loaded);
    qd_graph_destroy(graph);
}

Test(checkpoint, gives_back_its_info)
{
    qd_graph *graph = toy_graph("conv1", 7);
    qd_state *state = toy_state(graph, false, true);
    qd_checkpoint_info expected = toy_info(), found;
    write_toy(state);
    TEST_OK(ctx, qd_checkpoint_read_info(ctx, path, &found));
    cr_assert_str_eq(found.model, "toy");
    cr_assert_eq(found.config.head, QD_HEAD_BINARY);
    cr_assert_eq(found.config.num_classes, 7);
    cr_assert_eq(found.config.image_size, 5);
    cr_assert_eq(found.epoch, 3);
    cr_assert_eq(found.step, 141);
    cr_assert(qd_rng_equal(&found.rng, &expected.rng));
    cr_assert_str_eq(found.config_hash, expected.config_hash);
    cr_assert_str_eq(found.data_fingerprint, expected.data_fingerprint);
    cr_assert_str_eq(found.history_json, expected.history_json);
    qd_checkpoint_info_free(&found);
    qd_checkpoint_info_free(&expected);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
}

Test(checkpoint, gives_back_an_epoch_under_way)
{
    qd_graph *graph = toy_graph("conv1", 7);
    qd_state *state = toy_state(graph, false, true);
    qd_checkpoint_info expected = toy_info(), found;
    expected.begun = (qd_epoch_state){
        .start = expected.rng, .consumed = expected.rng, .batches = 7, .totals = {448, 96, 1e3 + 1.0 / 3.0}};
    qd_rng_skip(&expected.begun.consumed, 12345);
    TEST_OK(ctx, qd_checkpoint_write(ctx, path, state, &expected));
    TEST_OK(ctx, qd_checkpoint_read_info(ctx, path, &found));
    cr_expect_eq(found.begun.batches, 7);
    cr_expect_eq(found.begun.totals.count, 448);
    cr_expect_eq(found.begun.totals.correct, 96);
    cr_expect_eq(found.begun.totals.loss_sum, expected.begun.totals.loss_sum, "to the bit");
    cr_expect(qd_rng_equal(&found.begun.start, &expected.begun.start));
    cr_expect(qd_rng_equal(&found.begun.consumed, &expected.begun.consumed));
    qd_checkpoint_info_free(&found);
    qd_checkpoint_info_free(&expected);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
}

Test(checkpoint, has_torchvisions_names_shapes_and_types)
{
    qd_graph *graph = toy_graph("conv1", 7);
    qd_state *state = toy_state(graph, true, true);
    qd_safetensors *file;
    write_toy(state);
    TEST_OK(ctx, qd_safetensors_open(ctx, path, &file));
    cr_assert_eq(qd_safetensors_count(file), 5 + 2 + 1 + 5);
    const qd_tensor *weight = qd_safetensors_find(file, "conv1.weight");
    cr_assert_not_null(weight);
    const int64_t shape[4] = {4, 3, 3, 3};
    cr_assert_eq(weight->rank, 4);
    cr_assert_eq(memcmp(weight->shape, shape, sizeof shape), 0);
    /* In memory output channel 0 is [kh][kw][ic]: element (0, ic=1, 0, 0) is the second, value 0.1·2. In the file it
     * is the tenth. */
    cr_assert_eq(((const float *)weight->data)[9], 0.1f * 2.0f);
    const qd_tensor *tracked = qd_safetensors_find(file, "bn1.num_batches_tracked");
    cr_assert_not_null(tracked);
    cr_assert_eq(tracked->dtype, QD_S64);
    cr_assert_eq(tracked->rank, 0);
    const char *const others[] = {"bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var",
                                  "fc.weight",  "fc.bias",  "momentum.fc.bias", "momentum.conv1.weight"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        cr_assert_not_null(qd_safetensors_find(file, others[i]), "%s", others[i]);
    qd_safetensors_close(file);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
}

Test(checkpoint, serves_states_with_and_without_momentum)
{
    qd_graph *graph = toy_graph("conv1", 7);
    qd_state *training = toy_state(graph, true, true), *plain = toy_state(graph, false, false);
    write_toy(training);
    TEST_OK(ctx, qd_checkpoint_read(ctx, path, plain));
    cr_assert_eq(memcmp(training->params, plain->params, (size_t)graph->param_elements * sizeof(float)), 0);
    write_toy(plain);
    qd_state *fresh = toy_state(graph, true, false);
    TEST_OK(ctx, qd_checkpoint_read(ctx, path, fresh));
    cr_assert_eq(((float *)fresh->momentum)[0], 0.0f);
    qd_state_destroy(training);
    qd_state_destroy(plain);
    qd_state_destroy(fresh);
    qd_graph_destroy(graph);
}

static void expect_refusal(const char *conv_name, int64_t classes, const char *piece)
{
    qd_graph *written = toy_graph("conv1", 7), *wanted = toy_graph(conv_name, classes);
    qd_state *saved = toy_state(written, true, true), *loaded = toy_state(wanted, true, false);
    write_toy(saved);
    TEST_FAILS(ctx, qd_checkpoint_read(ctx, path, loaded), QD_ERR_INPUT, piece);
    cr_assert_eq(((float *)loaded->params)[0], 0.0f, "a refused checkpoint was half read");
    qd_state_destroy(saved);
    qd_state_destroy(loaded);
    qd_graph_destroy(written);
    qd_graph_destroy(wanted);
}

Test(checkpoint, names_missing_tensors)
{
    expect_refusal("stem", 7, "; 2 missing: stem.weight, momentum.stem.weight");
}

Test(checkpoint, names_unknown_tensors)
{
    expect_refusal("stem", 7, "; 2 unknown: conv1.weight, momentum.conv1.weight");
}

Test(checkpoint, names_misshapen_tensors)
{
    expect_refusal("conv1", 3,
                   "; 4 of another shape or type: fc.weight (expected float32[3,4], found float32[7,4]), fc.bias");
}

Test(checkpoint, plain_weights_have_no_model)
{
    float value = 1.0f;
    qd_tensor tensor = qd_tensor_contiguous(QD_F32, 0, NULL, &value);
    tensor.name = "x";
    qd_checkpoint_info info;
    TEST_OK(ctx, qd_safetensors_write(ctx, path, &tensor, 1, NULL, 0));
    TEST_OK(ctx, qd_checkpoint_read_info(ctx, path, &info));
    cr_assert_str_eq(info.model, "");
    qd_checkpoint_info_free(&info);
}

Test(checkpoint, refuses_damaged_metadata)
{
    float value = 1.0f;
    qd_tensor tensor = qd_tensor_contiguous(QD_F32, 0, NULL, &value);
    tensor.name = "x";
    const qd_metadata_entry good[] = {
        {"quantdrift_checkpoint", "1"}, {"model", "toy"}, {"head", "num_classes"}, {"num_classes", "3"},
        {"image_size", "32"},           {"epoch", "1"},   {"step", "2"},           {"config_hash", "ab"},
        {"data_fingerprint", "cd"},     {"rng", "none"}};
    const struct {
        const char *key, *value, *piece;
    } cases[] = {
        {"quantdrift_checkpoint", "99", "version 99"},
        {"head", "tail", "unknown head 'tail'"},
        {"num_classes", "three", "'num_classes' must be a whole number, found 'three'"},
        {"epoch", "-1", "'epoch'"},
        {"step", "99999999999999999999", "'step'"},
        {"model", "a name far too long for any model of this program", "'model' is too long"},
        {"rng", "none", "generator's state"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        qd_metadata_entry entries[10];
        memcpy(entries, good, sizeof entries);
        for (int i = 0; i < 10; i++)
            if (strcmp(entries[i].key, cases[c].key) == 0)
                entries[i].value = cases[c].value;
        qd_checkpoint_info info;
        TEST_OK(ctx, qd_safetensors_write(ctx, path, &tensor, 1, entries, 10));
        TEST_FAILS(ctx, qd_checkpoint_read_info(ctx, path, &info), QD_ERR_INPUT, cases[c].piece);
    }
}
