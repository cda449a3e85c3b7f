/* Layers without convolutions, and losses, against what PyTorch computed (scripts/fixtures/make_layers_nn.py). */
#include "base/json.h"
#include "nn/loss.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/layer_run.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Both programs compute in float64, in another order; sums of at most 60 terms. The large-mean case loses four digits
 * in Σx² - m·mean² (mean² = 1e4), which 1e-11 still allows. Relative to the tensor's largest value. */
#define TOLERANCE 1e-11

static cJSON *fixture;

static void setup(void)
{
    char *text = fixture_read("layers_nn/layers_nn.json", NULL);
    qd_context *ctx = test_context_create(1);
    TEST_OK(ctx, qd_json_parse(ctx, "layers_nn.json", text, false, &fixture));
    qd_context_destroy(ctx);
    free(text);
}

static void teardown(void)
{
    cJSON_Delete(fixture);
}

TestSuite(layers_pytorch, .init = setup, .fini = teardown);

static const cJSON *item_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "the fixture has no '%s'", key);
    return item;
}

static double number_of(const cJSON *object, const char *key)
{
    return item_of(object, key)->valuedouble;
}

static const char *text_of(const cJSON *object, const char *key)
{
    return item_of(object, key)->valuestring;
}

/* A flat list as doubles; freed with free(). */
static double *list_of(const cJSON *list, int64_t count)
{
    double *values = malloc(((size_t)count + 1) * sizeof *values);
    int64_t i = 0;
    const cJSON *item;
    cr_assert_not_null(values);
    cr_assert_eq(cJSON_GetArraySize(list), count, "the fixture has %d values, the layer %lld",
                 cJSON_GetArraySize(list), (long long)count);
    cJSON_ArrayForEach(item, list) values[i++] = item->valuedouble;
    return values;
}

/* Index in n, h, w, c memory of element i in n, c, h, w order. */
static int64_t nhwc_index(const qd_dims *dims, int64_t i)
{
    const int64_t w = i % dims->w, h = i / dims->w % dims->h, c = i / (dims->w * dims->h) % dims->c;
    const int64_t n = i / qd_dims_count(dims);
    return ((n * dims->h + h) * dims->w + w) * dims->c + c;
}

static void load(layer_run *run, void *array, const qd_dims *dims, const cJSON *list, int64_t count)
{
    double *values = list_of(list, count);
    for (int64_t i = 0; i < count; i++)
        layer_run_put(run, array, nhwc_index(dims, i), values[i]);
    free(values);
}

static void compare(const layer_run *run, const void *array, const qd_dims *dims, const cJSON *list, int64_t count,
                    const cJSON *c, const char *what)
{
    double *expected = list_of(list, count), largest = 0;
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++) {
        const double value = layer_run_get(run, array, nhwc_index(dims, i));
        cr_assert(fabs(value - expected[i]) <= TOLERANCE * largest, "%s '%s': %s %lld is %.17g, PyTorch says %.17g",
                  text_of(c, "layer"), text_of(c, "name"), what, (long long)i, value, expected[i]);
    }
    free(expected);
}

static enum qd_activation activation_of(const char *name)
{
    static const char *const names[] = {"none", "relu", "relu6", "silu", "hardswish", "sigmoid"};
    for (int i = 0; i < 6; i++)
        if (strcmp(names[i], name) == 0)
            return (enum qd_activation)i;
    cr_assert_fail("the fixture names an activation '%s'", name);
    return QD_ACTIVATION_NONE;
}

static qd_dims dims_of(const cJSON *shape)
{
    return (qd_dims){.rank = 4,
                     .c = (int64_t)cJSON_GetArrayItem(shape, 1)->valuedouble,
                     .h = (int64_t)cJSON_GetArrayItem(shape, 2)->valuedouble,
                     .w = (int64_t)cJSON_GetArrayItem(shape, 3)->valuedouble};
}

/* The layer's configuration from the fixture's; `storage` holds it. */
static enum qd_layer_kind configure(const cJSON *c, void *storage)
{
    const cJSON *config = item_of(c, "config");
    const char *layer = text_of(c, "layer");
    if (strcmp(layer, "batchnorm2d") == 0) {
        *(qd_batchnorm2d_config *)storage =
            (qd_batchnorm2d_config){.channels = (int64_t)number_of(config, "channels"),
                                    .eps = number_of(config, "eps"),
                                    .momentum = number_of(config, "momentum")};
        return QD_LAYER_batchnorm2d;
    }
    if (strcmp(layer, "maxpool2d") == 0) {
        *(qd_maxpool2d_config *)storage =
            (qd_maxpool2d_config){(int64_t)number_of(config, "kernel"), (int64_t)number_of(config, "stride"),
                                  (int64_t)number_of(config, "padding")};
        return QD_LAYER_maxpool2d;
    }
    if (strcmp(layer, "activation") == 0) {
        *(qd_activation_config *)storage = (qd_activation_config){activation_of(text_of(config, "kind"))};
        return QD_LAYER_activation;
    }
    cr_assert_str_eq(layer, "global_avgpool");
    return QD_LAYER_global_avgpool;
}

static void check_layer(qd_context *ctx, const cJSON *c)
{
    union {
        qd_batchnorm2d_config bn;
        qd_maxpool2d_config pool;
        qd_activation_config activation;
    } config;
    const enum qd_layer_kind kind = configure(c, &config);
    const qd_dims in = dims_of(item_of(c, "in_shape")), out = dims_of(item_of(c, "out_shape"));
    const qd_dims vector = {.rank = 2, .c = 1, .h = 1, .w = 1};
    layer_run run;
    layer_run_create(&run, ctx, kind, &config, &in,
                     (int64_t)cJSON_GetArrayItem(item_of(c, "in_shape"), 0)->valuedouble, QD_F64);
    cr_assert(run.call.out.c == out.c && run.call.out.h == out.h && run.call.out.w == out.w,
              "%s '%s': shape %lldx%lldx%lld", text_of(c, "layer"), text_of(c, "name"), (long long)run.call.out.c,
              (long long)run.call.out.h, (long long)run.call.out.w);
    run.call.training = cJSON_IsTrue(item_of(c, "training"));
    run.call.fused = activation_of(text_of(c, "fused"));
    load(&run, run.x[0], &in, item_of(c, "x"), layer_run_in_count(&run, 0));
    load(&run, run.dy, &out, item_of(c, "dy"), layer_run_out_count(&run));
    for (int i = 0; i < run.decl.param_count; i++)
        load(&run, run.call.param[i], &vector, cJSON_GetArrayItem(item_of(c, "params"), i), in.c);
    for (int i = 0; i < run.decl.buffer_count; i++)
        load(&run, run.call.buffer[i], &vector, cJSON_GetArrayItem(item_of(c, "buffers"), i), in.c);

    TEST_OK(ctx, layer_run_forward(&run));
    TEST_OK(ctx, layer_run_backward(&run));
    compare(&run, run.call.y, &out, item_of(c, "y"), layer_run_out_count(&run), c, "y");
    compare(&run, run.call.dx[0], &in, item_of(c, "dx"), layer_run_in_count(&run, 0), c, "dx");
    for (int i = 0; i < run.decl.param_count; i++)
        compare(&run, run.call.grad[i], &vector, cJSON_GetArrayItem(item_of(c, "grads"), i), in.c, c, "gradient");
    for (int i = 0; i < run.decl.buffer_count; i++)
        compare(&run, run.call.buffer[i], &vector, cJSON_GetArrayItem(item_of(c, "buffers_after"), i), in.c, c,
                "buffer");
    layer_run_destroy(&run);
}

Test(layers_pytorch, layers)
{
    qd_context *ctx = test_context_create(2);
    const cJSON *c;
    cr_assert_geq(cJSON_GetArraySize(item_of(fixture, "layers")), 20);
    cJSON_ArrayForEach(c, item_of(fixture, "layers")) check_layer(ctx, c);
    qd_context_destroy(ctx);
}

static void check_loss(const cJSON *c)
{
    const int64_t n = (int64_t)cJSON_GetArrayItem(item_of(c, "shape"), 0)->valuedouble;
    const int64_t classes = (int64_t)cJSON_GetArrayItem(item_of(c, "shape"), 1)->valuedouble;
    double *logits = list_of(item_of(c, "logits"), n * classes),
           *expected = list_of(item_of(c, "dlogits"), n * classes);
    double *label_values = list_of(item_of(c, "labels"), n),
           *dlogits = calloc((size_t)(n * classes), sizeof *dlogits);
    int64_t *labels = calloc((size_t)n, sizeof *labels), correct = -1;
    double sum = NAN;
    cr_assert(labels && dlogits);
    for (int64_t i = 0; i < n; i++)
        labels[i] = (int64_t)label_values[i];
    if (strcmp(text_of(c, "kind"), "cross_entropy") == 0)
        qd_loss_cross_entropy(QD_F64, logits, labels, n, classes, &sum, &correct, dlogits);
    else
        qd_loss_bce_logits(QD_F64, logits, labels, n, &sum, &correct, dlogits);
    cr_assert_float_eq(sum / (double)n, number_of(c, "loss"), TOLERANCE * number_of(c, "loss"), "%s '%s': %.17g",
                       text_of(c, "kind"), text_of(c, "name"), sum / (double)n);
    cr_assert_eq(correct, (int64_t)number_of(c, "correct"), "%s '%s': %lld correct", text_of(c, "kind"),
                 text_of(c, "name"), (long long)correct);
    for (int64_t i = 0; i < n * classes; i++)
        cr_assert_float_eq(dlogits[i], expected[i], TOLERANCE, "%s '%s': gradient %lld is %.17g, PyTorch says %.17g",
                           text_of(c, "kind"), text_of(c, "name"), (long long)i, dlogits[i], expected[i]);
    free(logits);
    free(expected);
    free(label_values);
    free(dlogits);
    free(labels);
}

Test(layers_pytorch, losses)
{
    const cJSON *c;
    cr_assert_geq(cJSON_GetArraySize(item_of(fixture, "losses")), 5);
    cJSON_ArrayForEach(c, item_of(fixture, "losses")) check_loss(c);
}
