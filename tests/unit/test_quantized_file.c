/* Quantized model files: what is written runs with the same bits, and damage of any kind is refused. */
#include "base/file.h"
#include "exchange/quantized_model.h"
#include "quantize/remedies/remedies.h"
#include "support/fixture.h"
#include "support/quant_network.h"
#include "support/slow_build.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder, *path;

static void set_up(void)
{
    ctx = test_context_create(2);
    folder = test_folder_create();
    path = test_folder_path(folder, "a.safetensors");
}

static void tear_down(void)
{
    free(path);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(quantized_file, .init = set_up, .fini = tear_down);

static const qd_quant_scheme schemes[] = {
    {.weight_bits = 8, .activation_bits = 8, .activation_signed = true},
    {.weight_bits = 8, .activation_bits = 8, .weight_per_channel = true},
    {.weight_bits = 4, .activation_bits = 6, .activation_signed = true, .activation_symmetric = true},
};
enum { SCHEME_COUNT = sizeof schemes / sizeof schemes[0] };

static float *run(qd_qgraph *q, const quant_network *network)
{
    float *logits = calloc((size_t)(network->n * quant_network_classes(network)), sizeof *logits);
    cr_assert_not_null(logits);
    TEST_OK(ctx, qd_qgraph_run_integer(q, network->images, network->n, logits));
    return logits;
}

static void write_model(const quant_network *network, const qd_qgraph *q)
{
    const qd_model_config config = {64, quant_network_classes(network), QD_HEAD_LINEAR};
    TEST_OK(ctx, qd_quantized_write(ctx, path, network->graph, &config, "minmax", q));
}

static qd_qgraph *read_model(const quant_network *network)
{
    qd_quantized_file file;
    qd_qgraph *q = NULL;
    TEST_OK(ctx, qd_quantized_file_open(ctx, path, &file));
    TEST_OK(ctx, qd_quantized_restore(ctx, &file, network->graph, network->n, &q));
    qd_quantized_file_close(&file);
    return q;
}

/* Written, read, run: the same bits. Frees the qgraph. */
static void expect_same_logits(const char *what, const quant_network *network, qd_qgraph *q)
{
    const size_t bytes = (size_t)(network->n * quant_network_classes(network)) * sizeof(float);
    float *expected = run(q, network);
    write_model(network, q);
    qd_qgraph *restored = read_model(network);
    float *found = run(restored, network);
    cr_assert_eq(memcmp(expected, found, bytes), 0, "%s: logits differ", what);
    for (int t = 0; t < qd_qgraph_tensor_count(q); t++) {
        const qd_quant_tensor a = qd_qgraph_tensor(q, t), b = qd_qgraph_tensor(restored, t);
        cr_assert_str_eq(a.name, b.name);
        cr_assert(a.is_float == b.is_float);
        cr_assert(a.is_float ||
                      (a.scale == b.scale && a.zero_point == b.zero_point && a.min == b.min && a.max == b.max),
                  "%s: '%s'", what, a.name);
    }
    cr_assert_lt(restored->weights.size_bytes, q->weights.size_bytes, "float weights are not kept");
    free(expected);
    free(found);
    qd_qgraph_destroy(restored);
    qd_qgraph_destroy(q);
}

Test(quantized_file, what_is_written_runs_with_the_same_bits)
{
    static const char *const names[] = {"small", "resnet18", "efficientnet_b0"};
    for (int i = 0; i < 3; i++) {
        quant_network network = quant_network_create(ctx, names[i], 2);
        for (int s = 0; s < (i == 0 ? SCHEME_COUNT : 2); s++)
            expect_same_logits(names[i], &network, quant_network_quantize(&network, &schemes[s]));
        quant_network_free(&network);
    }
}

/* Every second tensor or weight, so that integer and float steps meet in both directions. */
static qd_qgraph *quantize_mixed(const quant_network *network, const qd_quant_scheme *scheme, int first, int step)
{
    qd_qgraph *q = quant_network_quantize(network, scheme);
    for (int t = first; t < qd_qgraph_tensor_count(q); t += step)
        TEST_OK(ctx, qd_qgraph_keep_float(q, t));
    for (int w = first; w < qd_qgraph_weight_count(q); w += step)
        TEST_OK(ctx, qd_qgraph_keep_weight_float(q, w));
    TEST_OK(ctx, qd_qgraph_finalize(q));
    return q;
}

Test(quantized_file, mixed_networks_come_back_too)
{
    quant_network network = quant_network_create(ctx, "small", 2);
    for (int s = 0; s < SCHEME_COUNT; s++) {
        for (int first = 0; first < 3; first++)
            expect_same_logits("mixed", &network, quantize_mixed(&network, &schemes[s], first, 3));
        expect_same_logits("all float", &network, quantize_mixed(&network, &schemes[s], 0, 1));
    }
    quant_network_free(&network);
}

Test(quantized_file, a_restored_network_is_integers_alone)
{
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_qgraph *q = quant_network_quantize(&network, &schemes[0]);
    float logits[16];
    write_model(&network, q);
    qd_qgraph *restored = read_model(&network);
    TEST_FAILS(ctx, qd_qgraph_run_float(restored, true, network.images, 1, logits), QD_ERR_USAGE, "no float form");
    TEST_FAILS(ctx, qd_qgraph_calibrate(restored, network.images, 1), QD_ERR_USAGE, "no float form");
    TEST_FAILS(ctx, qd_qgraph_equalize(restored, NULL, NULL), QD_ERR_USAGE, "no float weights");
    TEST_FAILS(ctx, qd_qgraph_correct_bias(restored, network.images, 1), QD_ERR_USAGE, "no float weights");
    TEST_FAILS(ctx, qd_qgraph_finalize(restored), QD_ERR_USAGE, "no float weights");
    const qd_model_config config = {64, 7, QD_HEAD_LINEAR};
    TEST_FAILS(ctx, qd_quantized_write(ctx, path, network.graph, &config, "minmax", restored), QD_ERR_USAGE,
               "no float weights");
    qd_qgraph_destroy(restored);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
}

Test(quantized_file, takes_a_quarter_of_the_float_weights)
{
    static const char *const names[] = {"resnet18", "efficientnet_b0"};
    for (int i = 0; i < 2; i++) {
        quant_network network = quant_network_create(ctx, names[i], 1);
        for (int s = 0; s < 2; s++) {
            qd_qgraph *q = quant_network_quantize(&network, &schemes[s]);
            double float_bytes = 0.0;
            for (int p = 0; p < network.graph->param_count; p++)
                float_bytes += 4.0 * (double)network.graph->params[p].count;
            for (int b = 0; b < network.graph->buffer_count; b++)
                float_bytes += 4.0 * (double)network.graph->buffers[b].count;
            char *bytes = NULL;
            size_t size = 0;
            write_model(&network, q);
            TEST_OK(ctx, qd_file_read(ctx, path, 1 << 26, &bytes, &size));
            /* Required of the project. */
            cr_assert_leq((double)size, 0.28 * float_bytes, "%s: %zu of %.0f bytes", names[i], size, float_bytes);
            free(bytes);
            qd_qgraph_destroy(q);
        }
        quant_network_free(&network);
    }
}

/* ---- damage ---- */

static void expect_damage(const char *bytes, size_t size, const char *what, size_t at)
{
    qd_quantized_file file;
    test_file_write(path, bytes, size);
    const enum qd_status status = qd_quantized_file_open(ctx, path, &file);
    cr_assert_eq(status, QD_ERR_INPUT, "%s at %zu: %s", what, at, qd_status_name(status));
    cr_assert(strstr(qd_context_error(ctx), "a.safetensors"), "%s at %zu: \"%s\"", what, at, qd_context_error(ctx));
}

Test(quantized_file, every_flipped_bit_and_every_cut_is_refused)
{
    SKIP_IF_EMULATED();
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_qgraph *q = quant_network_quantize(&network, &schemes[1]);
    char *bytes = NULL;
    size_t size = 0;
    uint64_t header = 0;
    write_model(&network, q);
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 20, &bytes, &size));
    memcpy(&header, bytes, sizeof header);
    /* Of the header every bit, in turn; of the tensors, which one digest covers, a byte here and there. */
    for (size_t at = 0; at < size; at += at < header + 8 ? 1 : 211) {
        const char kept = bytes[at];
        bytes[at] = (char)(kept ^ (1 << at % 8));
        expect_damage(bytes, size, "flipped bit", at);
        bytes[at] = kept;
    }
    for (size_t left = 0; left < size; left += left < 64 ? 1 : 503)
        expect_damage(bytes, left, "cut", left);
    expect_damage(bytes, size - 1, "cut", size - 1);
    test_file_write(path, bytes, size);
    qd_qgraph_destroy(read_model(&network)); /* and the file itself is good */
    free(bytes);
    qd_qgraph_destroy(q);
    quant_network_free(&network);
}

/* ---- files that are whole but wrong ---- */

enum { MOST = 128 };

typedef struct edited {
    qd_quantized_file from;
    qd_tensor tensors[MOST];
    int count;
} edited;

static edited edit(void)
{
    edited e = {0};
    TEST_OK(ctx, qd_quantized_file_open(ctx, path, &e.from));
    e.count = qd_safetensors_count(e.from.bytes);
    cr_assert_leq(e.count, MOST);
    for (int i = 0; i < e.count; i++)
        e.tensors[i] = *qd_safetensors_get(e.from.bytes, i);
    return e;
}

static qd_tensor *tensor_of(edited *e, const char *name)
{
    for (int i = 0; i < e->count; i++)
        if (strcmp(e->tensors[i].name, name) == 0)
            return &e->tensors[i];
    cr_assert_fail("no tensor '%s'", name);
    return NULL;
}

static void expect_refusal(edited *e, const quant_network *network, const char *piece)
{
    char *other = test_folder_path(folder, "b.safetensors");
    qd_quantized_file file = {0};
    qd_qgraph *q = NULL;
    TEST_OK(ctx, qd_quantized_file_write(ctx, other, &e->from.header, e->tensors, e->count));
    TEST_OK(ctx, qd_quantized_file_open(ctx, other, &file));
    TEST_FAILS(ctx, qd_quantized_restore(ctx, &file, network->graph, 1, &q), QD_ERR_INPUT, piece);
    qd_quantized_file_close(&file);
    qd_quantized_file_close(&e->from);
    free(other);
}

Test(quantized_file, what_no_quantizer_writes_is_refused)
{
    quant_network network = quant_network_create(ctx, "small", 1);
    qd_qgraph *q = quant_network_quantize(&network, &schemes[1]);
    write_model(&network, q);

    edited e = edit();
    *tensor_of(&e, "fc.weight") = e.tensors[--e.count];
    expect_refusal(&e, &network, "'fc.weight': this tensor is missing");

    e = edit();
    static const int64_t one = 1;
    static float value = 1.0f;
    e.tensors[e.count] = qd_tensor_contiguous(QD_F32, 1, &one, &value);
    e.tensors[e.count++].name = "more";
    expect_refusal(&e, &network, "there are tensors or scales that the network does not have");

    e = edit();
    tensor_of(&e, "conv1.weight")->dtype = QD_U8;
    expect_refusal(&e, &network, "'conv1.weight': expected a tensor of another type or shape");

    e = edit();
    tensor_of(&e, "conv1.bias")->shape[0]--;
    expect_refusal(&e, &network, "'conv1.bias': expected a tensor of another type or shape");

    e = edit();
    ((int8_t *)tensor_of(&e, "conv1.weight")->data)[5] = -128;
    expect_refusal(&e, &network, "'conv1.weight': a weight's code is outside of its bits");

    static const float scales[] = {0.0f, -1.0f, INFINITY, NAN, 1e-40f};
    for (size_t i = 0; i < sizeof scales / sizeof scales[0]; i++) {
        e = edit();
        ((float *)tensor_of(&e, "conv1.weight.scale")->data)[2] = scales[i];
        expect_refusal(&e, &network, "'conv1.weight.scale': expected positive scales");
    }

    e = edit();
    ((int32_t *)tensor_of(&e, "fc.bias")->data)[0] = INT32_MIN;
    expect_refusal(&e, &network, "'fc.bias': a bias is larger than 2^30");

    e = edit();
    e.from.header.encodings.activations.items[3].name[0] = '?';
    expect_refusal(&e, &network, "the file has no scale for this tensor");

    e = edit();
    e.from.header.encodings.weights.items[3].is_float = true;
    expect_refusal(&e, &network, "expected a tensor of another type or shape");

    e = edit();
    e.from.header.encodings.activations.items[1].ranges[0].scale = 0.1; /* no float32 */
    expect_refusal(&e, &network, "its scale is no float32");

    e = edit();
    e.from.header.activation_bits = 5;
    e.from.header.encodings.activations.items[0].is_signed = true; /* the others are unsigned */
    e.from.header.encodings.activations.items[0].ranges[0].zero_point = 0;
    expect_refusal(&e, &network, "expected range, scale and zero point of one tensor");
    qd_qgraph_destroy(q);

    qd_qgraph *narrow = quant_network_quantize(&network, &schemes[2]);
    write_model(&network, narrow);
    e = edit();
    ((int8_t *)tensor_of(&e, "conv1.weight")->data)[5] = 8;
    expect_refusal(&e, &network, "'conv1.weight': a weight's code is outside of its bits");
    e = edit();
    ((uint8_t *)tensor_of(&e, "block.act1.sigmoid.table")->data)[9] = 128 + 32;
    expect_refusal(&e, &network, "'block.act1.sigmoid.table': a code is outside of its tensor's bits");
    qd_qgraph_destroy(narrow);

    const qd_quant_scheme wide = {.weight_bits = 8, .activation_bits = 12};
    const qd_model_config config = {64, 7, QD_HEAD_LINEAR};
    narrow = quant_network_quantize(&network, &wide);
    TEST_FAILS(ctx, qd_quantized_write(ctx, path, network.graph, &config, "minmax", narrow), QD_ERR_USAGE,
               "at most 8 bits");
    qd_qgraph_destroy(narrow);
    quant_network_free(&network);
}
