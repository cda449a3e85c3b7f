/* Fake quantization: as PyTorch computes it (scripts/fixtures/make_fake_quant.py), and where its ranges come from. */
#include "base/json.h"
#include "kernels/quant_params.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include "support/layer_run.h"
#include "support/test_context.h"
#include <math.h>
#include <stdlib.h>

/* The two round S once and S·q once, in float32, and PyTorch's inverse of S as well; no value is near a tie. */
#define TOLERANCE 4e-7

static double value_of(const cJSON *object, const char *key, int64_t index)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(object, key), (int)index);

    cr_assert(cJSON_IsNumber(item), "the fixture has no value %lld of '%s'", (long long)index, key);
    return item->valuedouble;
}

static void create(layer_run *run, qd_context *ctx, const qd_fake_quant_config *config, int64_t count)
{
    const qd_dims in = {.rank = 2, .c = count, .h = 1, .w = 1};

    layer_run_create(run, ctx, QD_LAYER_fake_quant, config, &in, 1, QD_F32);
    run->call.training = true;
}

/* A buffer of the layer: 0 the minimum, 1 the maximum. */
static double end(const layer_run *run, int which)
{
    return layer_run_get(run, run->call.buffer[which], 0);
}

static void check_step(layer_run *run, const cJSON *step, const char *name, const qd_fake_quant_config *config)
{
    const int64_t count = layer_run_in_count(run, 0);

    for (int64_t i = 0; i < count; i++) {
        layer_run_put(run, run->x[0], i, value_of(step, "x", i));
        layer_run_put(run, run->dy, i, value_of(step, "dy", i));
    }
    TEST_OK(run->call.ctx, layer_run_forward(run));
    TEST_OK(run->call.ctx, layer_run_backward(run));
    const qd_quant_params params =
        qd_quant_params_of_range(config->bits, config->symmetric, end(run, 0), end(run, 1));
    const double scale = test_json_number(step, "scale");
    cr_assert_float_eq(params.scale, scale, TOLERANCE * scale, "%s: scale %.9g, PyTorch says %.9g", name,
                       (double)params.scale, scale);
    cr_assert_eq(params.range.zero, (int)test_json_number(step, "zero_point"), "%s: zero point", name);
    for (int64_t i = 0; i < count; i++) {
        const double y = layer_run_get(run, run->call.y, i), expected = value_of(step, "y", i);
        cr_assert_float_eq(y, expected, TOLERANCE * fabs(expected), "%s: value %lld is %.9g, PyTorch says %.9g", name,
                           (long long)i, y, expected);
        cr_assert_eq(layer_run_get(run, run->call.dx[0], i), value_of(step, "dx", i), "%s: gradient %lld", name,
                     (long long)i);
    }
}

Test(fake_quant, agrees_with_pytorch_batch_by_batch)
{
    qd_context *ctx = test_context_create(1);
    char *text = fixture_read("fake_quant/fake_quant.json", NULL);
    cJSON *fixture = NULL;
    const cJSON *c, *step;
    int clamped = 0;

    TEST_OK(ctx, qd_json_parse(ctx, "fake_quant.json", text, false, &fixture));
    cJSON_ArrayForEach(c, fixture)
    {
        const cJSON *steps = cJSON_GetObjectItemCaseSensitive(c, "steps");
        const int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(steps->child, "x"));
        const qd_fake_quant_config config = {.bits = (int)test_json_number(c, "bits"),
                                             .averaging = test_json_number(c, "averaging")};
        layer_run run;
        create(&run, ctx, &config, count);
        cJSON_ArrayForEach(step, steps)
        {
            check_step(&run, step, cJSON_GetObjectItemCaseSensitive(c, "name")->valuestring, &config);
            for (int64_t i = 0; i < count; i++)
                clamped += value_of(step, "dx", i) != value_of(step, "dy", i);
        }
        layer_run_destroy(&run);
    }
    cr_assert_gt(clamped, 0, "no value of the fixture is clamped");
    cJSON_Delete(fixture);
    free(text);
    qd_context_destroy(ctx);
}

static void put_pair(layer_run *run, double a, double b)
{
    layer_run_put(run, run->x[0], 0, a);
    layer_run_put(run, run->x[0], 1, b);
}

Test(fake_quant, ranges_follow_the_batches_in_training_alone)
{
    const qd_fake_quant_config config = {.bits = 8, .averaging = 0.25};
    qd_context *ctx = test_context_create(1);
    layer_run run;

    create(&run, ctx, &config, 2);
    put_pair(&run, -1.0, 2.125);
    run.call.training = false;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_assert_eq(layer_run_get(&run, run.call.y, 1), 2.125, "before any batch values stay as they are");
    run.call.training = true;
    TEST_OK(ctx, layer_run_forward(&run));
    cr_assert(end(&run, 0) == -1.0 && end(&run, 1) == 2.125, "the first batch's own");
    put_pair(&run, 1.0, 4.125);
    TEST_OK(ctx, layer_run_forward(&run));
    cr_assert(end(&run, 0) == -0.5 && end(&run, 1) == 2.625, "a quarter of the way");
    run.call.training = false;
    put_pair(&run, -9.0, 9.0);
    TEST_OK(ctx, layer_run_forward(&run));
    cr_assert(end(&run, 0) == -0.5 && end(&run, 1) == 2.625);
    cr_assert_lt(layer_run_get(&run, run.call.y, 1), 2.64, "clamped");
    cr_assert_eq(run.batches_tracked, 2);
    layer_run_destroy(&run);
    qd_context_destroy(ctx);
}

Test(fake_quant, refuses_what_has_no_range)
{
    const double hostile[] = {NAN, INFINITY, -INFINITY};
    const qd_dims in = {.rank = 2, .c = 2, .h = 1, .w = 1};
    qd_fake_quant_config config = {.bits = 8, .averaging = 0.01};
    qd_context *ctx = test_context_create(1);
    qd_layer_decl decl;
    layer_run run;

    create(&run, ctx, &config, 2);
    for (size_t i = 0; i < sizeof hostile / sizeof hostile[0]; i++) {
        put_pair(&run, 1.0, hostile[i]);
        TEST_FAILS(ctx, layer_run_forward(&run), QD_ERR_NUMERIC, "not finite");
    }
    cr_assert_eq(run.batches_tracked, 0);
    put_pair(&run, 0.0, 0.0); /* of nothing but 0: S = 1 */
    TEST_OK(ctx, layer_run_forward(&run));
    cr_assert_eq(layer_run_get(&run, run.call.y, 0), 0.0);
    layer_run_destroy(&run);
    config.bits = 17;
    TEST_FAILS(ctx, qd_layer_fake_quant.infer(ctx, "x", &config, &in, &decl), QD_ERR_SHAPE, "2 to 16 bits, got 17");
    config = (qd_fake_quant_config){.bits = 8, .averaging = NAN};
    TEST_FAILS(ctx, qd_layer_fake_quant.infer(ctx, "x", &config, &in, &decl), QD_ERR_SHAPE, "averaging");
    qd_context_destroy(ctx);
}
