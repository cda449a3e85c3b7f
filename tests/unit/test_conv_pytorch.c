/* Convolutions and linear layers against what PyTorch computed (scripts/fixtures/make_conv.py). */
#include "base/json.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/layer_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The fixture is exact to its fourth decimal; float64 sums of at most 200 products below 10 err by 1e-13. */
#define TOLERANCE 1e-12

static const cJSON *item_of(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    cr_assert_not_null(item, "the fixture has no '%s'", key);
    return item;
}

static int64_t int_of(const cJSON *object, const char *key)
{
    return (int64_t)item_of(object, key)->valuedouble;
}

static qd_dims dims_of(const cJSON *shape)
{
    int rank = cJSON_GetArraySize(shape);

    return (qd_dims){.rank = rank,
                     .c = cJSON_GetArrayItem(shape, 1)->valueint,
                     .h = rank == 4 ? cJSON_GetArrayItem(shape, 2)->valueint : 1,
                     .w = rank == 4 ? cJSON_GetArrayItem(shape, 3)->valueint : 1};
}

/* Where value i of PyTorch's order lies: NCHW in NHWC (OIHW in OHWI likewise), OIHW in HWO when I = 1. */
static int64_t place_of(const int64_t shape[4], bool hwo, int64_t i)
{
    int64_t w = i % shape[3], h = i / shape[3] % shape[2];
    int64_t c = i / (shape[3] * shape[2]) % shape[1], n = i / (shape[3] * shape[2] * shape[1]);

    return hwo ? (h * shape[3] + w) * shape[0] + n : ((n * shape[2] + h) * shape[3] + w) * shape[1] + c;
}

/* Values of a list into a float64 array of the layer, or compared with it. */
static void transfer(const cJSON *list, double *array, const int64_t shape[4], bool hwo, bool compare,
                     const char *what)
{
    const cJSON *item;
    int64_t i = 0;

    cr_assert_eq(cJSON_GetArraySize(list), shape[0] * shape[1] * shape[2] * shape[3], "%s: %d values in the fixture",
                 what, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list)
    {
        double *value = &array[place_of(shape, hwo, i)];

        if (compare)
            cr_assert(fabs(*value - item->valuedouble) <= TOLERANCE, "%s: value %lld is %.15g, PyTorch says %.15g",
                      what, (long long)i, *value, item->valuedouble);
        else
            *value = item->valuedouble;
        i++;
    }
}

static void transfer_activation(const cJSON *c, const char *key, double *array, const qd_dims *dims, int64_t n,
                                bool compare)
{
    const int64_t shape[4] = {n, dims->c, dims->h, dims->w};
    char what[160];

    snprintf(what, sizeof what, "%s '%s': %s", item_of(c, "layer")->valuestring, item_of(c, "name")->valuestring,
             key);
    transfer(item_of(c, key), array, shape, false, compare, what);
}

static void transfer_params(const cJSON *c, const char *key, const layer_run *run, void *const arrays[], bool compare)
{
    char what[160];

    snprintf(what, sizeof what, "%s '%s': %s", item_of(c, "layer")->valuestring, item_of(c, "name")->valuestring,
             key);
    for (int i = 0; i < run->decl.param_count; i++) {
        const qd_param_decl *p = &run->decl.params[i];
        int64_t shape[4] = {1, 1, 1, 1};

        memcpy(shape, p->shape, (size_t)p->rank * sizeof shape[0]);
        transfer(cJSON_GetArrayItem(item_of(c, key), i), arrays[i], shape, p->order == QD_ORDER_HWO, compare, what);
    }
}

static void check_case(qd_context *ctx, const cJSON *c)
{
    const cJSON *config = item_of(c, "config");
    bool is_conv = strcmp(item_of(c, "layer")->valuestring, "conv2d") == 0;
    qd_dims in = dims_of(item_of(c, "in_shape")), out = dims_of(item_of(c, "out_shape"));
    int64_t n = cJSON_GetArrayItem(item_of(c, "in_shape"), 0)->valueint;
    qd_conv2d_config conv = {0};
    qd_linear_config linear = {0};
    layer_run run;

    if (is_conv)
        conv = (qd_conv2d_config){.in_channels = int_of(config, "in_channels"),
                                  .out_channels = int_of(config, "out_channels"),
                                  .kernel = int_of(config, "kernel"),
                                  .stride = int_of(config, "stride"),
                                  .padding = int_of(config, "padding"),
                                  .groups = int_of(config, "groups"),
                                  .bias = cJSON_IsTrue(item_of(config, "bias"))};
    else
        linear = (qd_linear_config){.in_features = int_of(config, "in_features"),
                                    .out_features = int_of(config, "out_features")};
    layer_run_create(&run, ctx, is_conv ? QD_LAYER_conv2d : QD_LAYER_linear,
                     is_conv ? (const void *)&conv : (const void *)&linear, &in, n, QD_F64);
    cr_assert(run.call.out.c == out.c && run.call.out.h == out.h && run.call.out.w == out.w, "'%s': %lldx%lldx%lld",
              item_of(c, "name")->valuestring, (long long)run.call.out.c, (long long)run.call.out.h,
              (long long)run.call.out.w);
    transfer_activation(c, "x", run.x[0], &in, n, false);
    transfer_activation(c, "dy", run.dy, &out, n, false);
    transfer_params(c, "params", &run, run.call.param, false);

    TEST_OK(ctx, layer_run_forward(&run));
    TEST_OK(ctx, layer_run_backward(&run));
    transfer_activation(c, "y", run.call.y, &out, n, true);
    transfer_activation(c, "dx", run.call.dx[0], &in, n, true);
    transfer_params(c, "grads", &run, run.call.grad, true);
    layer_run_destroy(&run);
}

Test(conv_pytorch, layers)
{
    qd_context *ctx = test_context_create(2);
    char *text = fixture_read("conv/conv.json", NULL);
    cJSON *fixture = NULL;
    const cJSON *c;

    TEST_OK(ctx, qd_json_parse(ctx, "conv.json", text, false, &fixture));
    cr_assert_eq(cJSON_GetArraySize(item_of(fixture, "layers")), 13);
    cJSON_ArrayForEach(c, item_of(fixture, "layers")) check_case(ctx, c);
    cJSON_Delete(fixture);
    free(text);
    qd_context_destroy(ctx);
}
