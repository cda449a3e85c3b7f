/*
 * Both networks against PyTorch: parameters, images, labels and masks by rule (support/model_rules.h), eval logits,
 * then SGD steps with momentum and weight decay. Fixture: tests/fixtures/models/steps.txt by
 * scripts/fixtures/make_models.py.
 */
#include "graph/plan.h"
#include "nn/loss.h"
#include "support/test_context.h"
#include "support/fixture.h"
#include "support/model_rules.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE      64
#define BATCH     4
#define MAX_STEPS 10

/* What the fixture says of one model with one head. */
typedef struct {
    int steps;
    double eval[2][BATCH * 10], train[2][BATCH * 10]; /* logits by dtype: QD_F32 0, QD_F64 1 */
    double loss[2][MAX_STEPS];
    int loss_count[2];
    char *values; /* the "value" lines, one after the other */
} expectation;

static void read_numbers(char *text, double *numbers, int limit)
{
    char *save = NULL;
    int count = 0;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        cr_assert_lt(count, limit);
        numbers[count++] = strtod(word, NULL);
    }
}

/* Parses the section of `model` and `head`; `text` is the whole fixture and is cut up. */
static expectation find_expectation(char *text, const char *model, const char *head)
{
    expectation e = {0};
    bool inside = false;
    char wanted[64], *save = NULL;
    snprintf(wanted, sizeof wanted, "model %s %s ", model, head);
    e.values = calloc(1, strlen(text) + 1);
    cr_assert_not_null(e.values);
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "model ", 6) == 0) {
            inside = strncmp(line, wanted, strlen(wanted)) == 0;
            if (inside)
                e.steps = atoi(line + strlen(wanted));
        }
        if (!inside)
            continue;
        int d = strstr(line, "_f64 ") ? 1 : 0;
        char *numbers = strchr(line, ' ') + 1;
        if (strncmp(line, "eval_", 5) == 0) {
            read_numbers(numbers, e.eval[d], BATCH * 10);
        } else if (strncmp(line, "train_", 6) == 0) {
            read_numbers(numbers, e.train[d], BATCH * 10);
        } else if (strncmp(line, "loss_", 5) == 0) {
            cr_assert_lt(e.loss_count[d], MAX_STEPS);
            e.loss[d][e.loss_count[d]++] = strtod(numbers, NULL);
        } else if (strncmp(line, "value ", 6) == 0) {
            strcat(strcat(e.values, numbers), "\n");
        }
    }
    cr_assert_gt(e.steps, 0, "no section '%s' in the fixture", wanted);
    cr_assert_eq(e.loss_count[QD_F64], e.steps);
    return e;
}

static double logit(const qd_tensor *logits, int64_t index)
{
    return logits->dtype == QD_F64 ? ((double *)logits->data)[index] : (double)((float *)logits->data)[index];
}

/* Every logit within `tolerance` of the largest expected one. */
static void expect_logits(const char *what, const qd_tensor *logits, const double *expected, double tolerance)
{
    double largest = 0.0;
    int64_t count = logits->shape[0] * logits->shape[1];
    for (int64_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++)
        cr_expect(fabs(logit(logits, i) - expected[i]) <= tolerance * largest,
                  "%s logit %lld: expected %.17g, got %.17g", what, (long long)i, expected[i], logit(logits, i));
}

/* First, inner and mean absolute value of every parameter and running statistic after the last step. */
static void expect_values(const qd_state *state, char *lines, double tolerance)
{
    const qd_graph *graph = state->graph;
    char *save = NULL;
    int seen = 0;
    for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save), seen++) {
        char *numbers = strchr(line, ' ');
        double expected[3];
        *numbers = '\0';
        read_numbers(numbers + 1, expected, 3);
        int param = qd_graph_find_param(graph, line), buffer = qd_graph_find_buffer(graph, line);
        cr_assert(param >= 0 || buffer >= 0, "no parameter '%s'", line);
        const qd_param *p = param >= 0 ? &graph->params[param] : &graph->buffers[buffer];
        qd_tensor view = param >= 0 ? qd_state_param(state, QD_BLOCK_PARAMS, param) : qd_state_buffer(state, buffer);

        double found[3] = {0};
        for (int64_t index = 0; index < p->count; index++) {
            int64_t rest = index, offset = 0;
            for (int d = p->rank - 1; d >= 0; d--) {
                offset += rest % p->shape[d] * view.stride[d];
                rest /= p->shape[d];
            }
            double value = ((double *)view.data)[offset];
            if (index == 0)
                found[0] = value;
            if (index == p->count / 3)
                found[1] = value;
            found[2] += fabs(value) / (double)p->count;
        }
        /* Relative to the tensor's mean magnitude: single values may happen to be near zero. */
        for (int i = 0; i < 3; i++)
            cr_expect(fabs(found[i] - expected[i]) <= tolerance * fmax(fabs(expected[i]), expected[2]),
                      "%s value %d: expected %.17g, got %.17g", line, i, expected[i], found[i]);
    }
    cr_assert_eq(seen, graph->param_count + graph->buffer_count);
}

/* Eval logits, then `steps` training steps in one dtype. */
static void run_steps(qd_context *ctx, const qd_graph *graph, const expectation *e, bool binary, enum qd_dtype dtype,
                      int steps, double loss_tolerance, double logit_tolerance)
{
    qd_state *state = NULL;
    qd_plan *eval = NULL, *training = NULL;
    TEST_OK(ctx, qd_state_create(ctx, graph, dtype, true, &state));
    rule_fill_state(state);
    TEST_OK(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_INFERENCE(BATCH), &eval));
    TEST_OK(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_TRAINING(BATCH), &training));
    double *x = calloc(BATCH * SIZE * SIZE * 3, sizeof *x), *dlogits = calloc(BATCH * 10, sizeof *dlogits);
    cr_assert(x && dlogits);

    qd_tensor logits;
    rule_fill_images(dtype, 0, BATCH, SIZE, x);
    TEST_OK(ctx, qd_plan_forward(eval, x, BATCH, NULL, NULL, NULL, &logits));
    expect_logits("eval", &logits, e->eval[dtype], logit_tolerance);

    qd_kernels kernels;
    qd_kernels_fill(qd_context_isa(ctx), dtype, &kernels);
    int step = 0;
    qd_draws draws = rule_draws(&step);
    for (; step < steps; step++) {
        int64_t labels[BATCH], correct = 0, classes = graph->values[graph->output].dims.c;
        double loss_sum = 0.0;
        rule_fill_images(dtype, step, BATCH, SIZE, x);
        rule_fill_labels(step, BATCH, binary ? 2 : classes, labels);
        TEST_OK(ctx, qd_plan_forward(training, x, BATCH, &draws, NULL, NULL, &logits));
        if (step == 0)
            expect_logits("train", &logits, e->train[dtype], logit_tolerance);
        if (binary)
            qd_loss_bce_logits(dtype, logits.data, labels, BATCH, &loss_sum, &correct, dlogits);
        else
            qd_loss_cross_entropy(dtype, logits.data, labels, BATCH, classes, &loss_sum, &correct, dlogits);
        double loss = loss_sum / BATCH, expected = e->loss[dtype][step];
        cr_expect(fabs(loss - expected) <= loss_tolerance * fabs(expected), "step %d: expected loss %.17g, got %.17g",
                  step, expected, loss);
        TEST_OK(ctx, qd_plan_backward(training, dlogits));
        qd_sgd_args sgd = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4, .first_step = step == 0};
        kernels.sgd_step(&sgd, state->params, state->grads, state->momentum, graph->param_elements);
    }
    if (dtype == QD_F64) {
        /* As for the losses: what ten steps make of differences of 1e-16 stays below 1e-8. */
        expect_values(state, e->values, 1e-8);
        for (int i = 0; i < graph->batches_tracked_count; i++)
            cr_expect_eq(state->batches_tracked[i], steps);
    }
    free(x);
    free(dlogits);
    qd_plan_destroy(eval);
    qd_plan_destroy(training);
    qd_state_destroy(state);
}

static void run_model(const char *name, enum qd_head head)
{
    qd_context *ctx = test_context_create(1);
    char *text = fixture_read("models/steps.txt", NULL);
    bool binary = head == QD_HEAD_BINARY;
    expectation e = find_expectation(text, name, binary ? "binary" : "linear");
    qd_graph *graph = NULL;
    qd_model_config config = {.image_size = SIZE, .num_classes = 10, .head = head};
    TEST_OK(ctx, qd_model_build(ctx, qd_model_find(name), &config, &graph));
    /* float64: sums of up to 10^4 terms in another order differ by 1e-13 or less, training amplifies that; the issue
     * asks for 1e-8. float32: one forward pass, 2^-24 times the root of the same lengths and some twenty layers. */
    run_steps(ctx, graph, &e, binary, QD_F64, e.steps, 1e-8, 1e-10);
    run_steps(ctx, graph, &e, binary, QD_F32, 1, 1e-5, 1e-4);
    free(e.values);
    free(text);
    qd_graph_destroy(graph);
    qd_context_destroy(ctx);
}

Test(model_steps, resnet18_with_a_linear_head)
{
    run_model("resnet18", QD_HEAD_LINEAR);
}

Test(model_steps, resnet18_with_the_binary_head)
{
    run_model("resnet18", QD_HEAD_BINARY);
}

Test(model_steps, efficientnet_b0_with_a_linear_head)
{
    run_model("efficientnet_b0", QD_HEAD_LINEAR);
}

Test(model_steps, efficientnet_b0_with_the_binary_head)
{
    run_model("efficientnet_b0", QD_HEAD_BINARY);
}
