/*
 * Whole models: backward against central differences in double, and the ways in which a step may be run that must not
 * change it: fused or not, any number of threads, a batch smaller than the plan, draws from a resumed generator.
 */
#include "graph/plan.h"
#include "nn/loss.h"
#include "support/test_context.h"
#include "support/model_rules.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Room for a batch of images in double, whatever the test's size. */
#define MAX_VALUES (6 * 64 * 64 * 3)
#define CLASSES    10

/* A model at work: parameters, images, labels and masks by rule. */
typedef struct {
    qd_context *ctx;
    qd_graph *graph;
    qd_state *state;
    qd_plan *plan;
    enum qd_dtype dtype;
    bool binary;
    int step; /* of the rules */
    int64_t n;
    double x[MAX_VALUES], dlogits[6 * CLASSES];
    int64_t labels[6];
} bench;

static bench *bench_create(const char *model, enum qd_head head, int64_t size, int64_t n, enum qd_dtype dtype,
                           int threads, const qd_plan_config *config)
{
    bench *b = calloc(1, sizeof *b);
    cr_assert_not_null(b);
    cr_assert_leq(n * size * size * 3, MAX_VALUES);
    b->ctx = test_context_create(threads);
    b->dtype = dtype;
    b->binary = head == QD_HEAD_BINARY;
    b->n = n;
    qd_model_config model_config = {.image_size = size, .num_classes = CLASSES, .head = head};
    TEST_OK(b->ctx, qd_model_build(b->ctx, qd_model_find(model), &model_config, &b->graph));
    TEST_OK(b->ctx, qd_state_create(b->ctx, b->graph, dtype, true, &b->state));
    TEST_OK(b->ctx, qd_plan_create(b->ctx, b->graph, b->state, config, &b->plan));
    rule_fill_state(b->state);
    rule_fill_images(dtype, 0, n, size, b->x);
    rule_fill_labels(0, n, b->binary ? 2 : CLASSES, b->labels);
    return b;
}

static void bench_destroy(bench *b)
{
    qd_plan_destroy(b->plan);
    qd_state_destroy(b->state);
    qd_graph_destroy(b->graph);
    qd_context_destroy(b->ctx);
    free(b);
}

/* Mean loss of a forward pass; the gradient of the logits stays in b->dlogits. */
static double forward(bench *b, const qd_draws *draws, qd_tensor *logits)
{
    double loss_sum = 0.0;
    int64_t correct = 0;
    TEST_OK(b->ctx, qd_plan_forward(b->plan, b->x, b->n, draws, NULL, NULL, logits));
    if (b->binary)
        qd_loss_bce_logits(b->dtype, logits->data, b->labels, b->n, &loss_sum, &correct, b->dlogits);
    else
        qd_loss_cross_entropy(b->dtype, logits->data, b->labels, b->n, CLASSES, &loss_sum, &correct, b->dlogits);
    return loss_sum / (double)b->n;
}

/* Forward and backward with the rule's masks. */
static double run(bench *b, qd_tensor *logits)
{
    qd_draws draws = rule_draws(&b->step);
    double loss = forward(b, &draws, logits);
    TEST_OK(b->ctx, qd_plan_backward(b->plan, b->dlogits));
    return loss;
}

/* ---- central differences ---- */

/* (L(w + eps) - L(w - eps)) / 2eps for one element of the parameter block. */
static double numeric_gradient(bench *b, int64_t element, double eps)
{
    double *w = &((double *)b->state->params)[element], kept = *w, loss[2];
    qd_draws draws = rule_draws(&b->step);
    qd_tensor logits;
    for (int side = 0; side < 2; side++) {
        *w = kept + (side ? eps : -eps);
        loss[side] = forward(b, &draws, &logits);
    }
    *w = kept;
    return (loss[1] - loss[0]) / (2.0 * eps);
}

/*
 * Two elements of every tensor: the one with the largest gradient and one by rule. At 32 px the last stage has one
 * position, so BatchNorm sees four values a channel there and the loss bends sharply: third derivatives of 1e7 times
 * the gradient leave 4e-7 of it at this step, and the loss's rounding of 1e-13 leaves 1e-7. Many biases have no
 * gradient at all, because the next BatchNorm takes their shift away, hence the absolute part.
 */
static void check_gradients(const char *model, enum qd_head head)
{
    const double eps = 5e-7, tolerance = 1e-6, noise = 2e-7;
    bench *b = bench_create(model, head, 32, 4, QD_F64, 1, &QD_PLAN_TRAINING(4));
    qd_tensor logits;
    run(b, &logits);
    const double *grads = b->state->grads;
    for (int p = 0; p < b->graph->param_count; p++) {
        const qd_param *param = &b->graph->params[p];
        int64_t largest = param->offset;
        for (int64_t i = param->offset; i < param->offset + param->count; i++)
            if (fabs(grads[i]) > fabs(grads[largest]))
                largest = i;
        double scale = fabs(grads[largest]);
        int64_t other = param->offset + (int64_t)((double)param->count * rule_uniform(rule_stream(param->name), -7));
        const int64_t elements[] = {largest, other};
        for (int i = 0; i < 2; i++) {
            double numeric = numeric_gradient(b, elements[i], eps), found = grads[elements[i]];
            cr_expect(fabs(numeric - found) <= tolerance * scale + noise,
                      "'%s' element %lld: numeric %.12g, backward %.12g, off by %.2g of the largest", param->name,
                      (long long)(elements[i] - param->offset), numeric, found, fabs(numeric - found) / scale);
        }
    }
    bench_destroy(b);
}

Test(model_gradients, resnet18_agrees_with_central_differences)
{
    check_gradients("resnet18", QD_HEAD_LINEAR);
}

Test(model_gradients, efficientnet_b0_agrees_with_central_differences)
{
    check_gradients("efficientnet_b0", QD_HEAD_LINEAR);
}

/* ---- ways to run the same step ---- */

/* Largest difference of two blocks in units of the largest value. */
static double difference(enum qd_dtype dtype, const void *a, const void *b, int64_t count)
{
    qd_tensor_difference d;
    qd_tensor x = qd_tensor_contiguous(dtype, 1, &count, (void *)(uintptr_t)a);
    qd_tensor y = qd_tensor_contiguous(dtype, 1, &count, (void *)(uintptr_t)b);
    cr_assert_eq(qd_tensor_compare(NULL, &x, &y, &d), QD_OK);
    cr_assert_gt(d.max_abs_a, 0.0, "everything is zero");
    return d.max_abs / d.max_abs_a;
}

/* A step of the unfused plan and of the fused one: the same sums in the same order, but for the derivative of ReLU
 * and SiLU, which a fused BatchNorm computes again from its own input. */
static void check_fusion(const char *model)
{
    qd_plan_config config = QD_PLAN_TRAINING(4);
    bench *fused = bench_create(model, QD_HEAD_LINEAR, 32, 4, QD_F64, 1, &config);
    config.fuse = false;
    bench *unfused = bench_create(model, QD_HEAD_LINEAR, 32, 4, QD_F64, 1, &config);
    qd_tensor a, b;
    double loss_a = run(fused, &a), loss_b = run(unfused, &b);
    cr_expect_float_eq(loss_a, loss_b, 1e-13);
    /* Rounding of 1e-16, amplified by twenty to eighty layers. */
    cr_expect_lt(difference(QD_F64, unfused->state->grads, fused->state->grads, fused->graph->param_elements), 1e-11);
    cr_expect_lt(difference(QD_F64, unfused->state->buffers, fused->state->buffers, fused->graph->buffer_elements),
                 1e-13);
    bench_destroy(fused);
    bench_destroy(unfused);
}

Test(model_gradients, resnet18_fused_equals_unfused)
{
    check_fusion("resnet18");
}

Test(model_gradients, efficientnet_b0_fused_equals_unfused)
{
    check_fusion("efficientnet_b0");
}

/* Everything a step leaves behind, to the bit. */
static void expect_same_bits(const bench *a, const bench *b, const char *what)
{
    size_t size = qd_dtype_size(a->dtype);
    cr_expect_eq(memcmp(a->dlogits, b->dlogits, (size_t)(a->n * CLASSES) * size), 0, "%s: logits differ", what);
    for (int p = 0; p < a->graph->param_count; p++) {
        const qd_param *param = &a->graph->params[p];
        size_t offset = (size_t)param->offset * size;
        cr_expect_eq(
            memcmp((char *)a->state->grads + offset, (char *)b->state->grads + offset, (size_t)param->count * size),
            0, "%s: the gradient of '%s' differs", what, param->name);
    }
    cr_expect_eq(memcmp(a->state->buffers, b->state->buffers, (size_t)a->graph->buffer_elements * size), 0,
                 "%s: running statistics differ", what);
}

static void check_threads(const char *model)
{
    bench *one = bench_create(model, QD_HEAD_LINEAR, 64, 4, QD_F32, 1, &QD_PLAN_TRAINING(4));
    qd_tensor logits;
    run(one, &logits);
    for (int threads = 2; threads <= 3; threads++) {
        bench *more = bench_create(model, QD_HEAD_LINEAR, 64, 4, QD_F32, threads, &QD_PLAN_TRAINING(4));
        run(more, &logits);
        expect_same_bits(one, more, threads == 2 ? "2 threads" : "3 threads");
        bench_destroy(more);
    }
    bench_destroy(one);
}

Test(model_gradients, resnet18_has_the_same_bits_for_any_thread_count)
{
    check_threads("resnet18");
}

Test(model_gradients, efficientnet_b0_has_the_same_bits_for_any_thread_count)
{
    check_threads("efficientnet_b0");
}

/* The last batch of an epoch may be a single image; what a larger plan leaves unused must not matter, nor what an
 * earlier larger batch left in its memory. */
static void check_small_batches(const char *model)
{
    for (int64_t n = 1; n <= 3; n += 2) {
        bench *exact = bench_create(model, QD_HEAD_LINEAR, 64, n, QD_F32, 1, &QD_PLAN_TRAINING(n));
        bench *roomy = bench_create(model, QD_HEAD_LINEAR, 64, 6, QD_F32, 1, &QD_PLAN_TRAINING(6));
        qd_tensor logits;
        run(roomy, &logits);
        memcpy(roomy->state->buffers, exact->state->buffers, (size_t)exact->graph->buffer_elements * sizeof(float));
        memcpy(roomy->x, exact->x, sizeof roomy->x);
        memcpy(roomy->labels, exact->labels, sizeof roomy->labels);
        roomy->n = n;
        run(exact, &logits);
        run(roomy, &logits);
        cr_expect_eq(logits.shape[0], n);
        expect_same_bits(exact, roomy, n == 1 ? "one image" : "three images");
        bench_destroy(exact);
        bench_destroy(roomy);
    }
}

Test(model_gradients, resnet18_accepts_batches_smaller_than_the_plan)
{
    check_small_batches("resnet18");
}

Test(model_gradients, efficientnet_b0_accepts_batches_smaller_than_the_plan)
{
    check_small_batches("efficientnet_b0");
}

/* Two steps in one go, and the second from a saved generator after skipping what the first one takes. */
static void check_draws(const char *model, enum qd_head head)
{
    bench *b = bench_create(model, head, 32, 4, QD_F32, 1, &QD_PLAN_TRAINING(4));
    qd_rng rng, resumed;
    qd_rng_seed(&rng, 5);
    resumed = rng;
    qd_draws draws = qd_draws_from_rng(&rng);
    qd_tensor logits;
    double first = forward(b, &draws, &logits), second = forward(b, &draws, &logits);
    qd_rng_skip(&resumed, (uint64_t)(4 * qd_graph_draw_words_per_sample(b->graph)));
    qd_draws resumed_draws = qd_draws_from_rng(&resumed);
    double again = forward(b, &resumed_draws, &logits);
    cr_expect_neq(first, second, "the masks of two steps should differ");
    cr_expect_eq(second, again);
    cr_expect(qd_rng_equal(&rng, &resumed));
    bench_destroy(b);
}

Test(model_gradients, draws_resume_where_words_per_sample_says)
{
    check_draws("efficientnet_b0", QD_HEAD_LINEAR);
    check_draws("efficientnet_b0", QD_HEAD_BINARY);
    check_draws("resnet18", QD_HEAD_BINARY);
}
