#include "experiment/random_steps.h"

#include "base/arena.h"
#include "base/error.h"
#include "models/models.h"
#include "nn/loss.h"

#include <stdlib.h>
#include <time.h>

#define CLASSES 10 /* ImageWoof's */
#define SEED    42 /* the recipe's */

double qd_random_steps_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum qd_status allocate(qd_random_steps *s)
{
    const int64_t n = s->config.batch, side = s->config.image_size;
    s->images = qd_calloc((size_t)(n * side * side * 3), sizeof *s->images);
    s->dlogits = qd_calloc((size_t)(n * CLASSES), sizeof *s->dlogits);
    s->labels = qd_calloc((size_t)n, sizeof *s->labels);
    if (!s->images || !s->dlogits || !s->labels)
        return qd_fail(s->ctx, QD_ERR_MEMORY, "benchmark: no memory for %lld images of %lld pixels", (long long)n,
                       (long long)side);
    qd_rng_normal_f32(&s->rng, s->images, n * side * side * 3, 0.0f, 1.0f);
    for (int64_t i = 0; i < n; i++)
        s->labels[i] = qd_rng_randint(&s->rng, CLASSES);
    return QD_OK;
}

enum qd_status qd_random_steps_create(qd_context *ctx, const qd_benchmark_config *config, qd_random_steps *out)
{
    enum qd_status status = QD_OK;
    const qd_model_info *model = qd_model_find(config->model);
    const qd_model_config model_config = {.image_size = config->image_size, .num_classes = CLASSES};
    const qd_plan_config plan = config->training ? QD_PLAN_TRAINING(config->batch) : QD_PLAN_INFERENCE(config->batch);
    qd_random_steps s = {.ctx = ctx, .config = *config};

    if (!model)
        return qd_fail(ctx, QD_ERR_USAGE, "benchmark: unknown model '%s'; there are resnet18 and efficientnet_b0",
                       config->model);
    if (config->steps < 1 || config->batch < 1)
        return qd_fail(ctx, QD_ERR_USAGE, "benchmark: expected at least 1 step of at least 1 image, got %lld of %lld",
                       (long long)config->steps, (long long)config->batch);
    qd_rng_seed(&s.rng, SEED);
    QD_TRY_GOTO(qd_model_build(ctx, model, &model_config, &s.graph));
    QD_TRY_GOTO(qd_state_create(ctx, s.graph, QD_F32, config->training, &s.state));
    QD_TRY_GOTO(qd_plan_create(ctx, s.graph, s.state, &plan, &s.plan));
    if (config->training)
        QD_TRY_GOTO(qd_sgd_create(ctx, s.state, &(qd_sgd_config){.momentum = 0.9, .weight_decay = 1e-4}, &s.sgd));
    model->initialise(&model_config, s.state, &s.rng);
    QD_TRY_GOTO(allocate(&s));
    *out = s;
    return QD_OK;
fail:
    qd_random_steps_destroy(&s);
    return status;
}

void qd_random_steps_destroy(qd_random_steps *steps)
{
    free(steps->images);
    free(steps->dlogits);
    free(steps->labels);
    qd_sgd_destroy(steps->sgd);
    qd_plan_destroy(steps->plan);
    qd_state_destroy(steps->state);
    qd_graph_destroy(steps->graph);
}

enum qd_status qd_random_steps_run(qd_random_steps *s)
{
    qd_tensor logits;
    qd_draws draws = qd_draws_from_rng(&s->rng);
    QD_TRY(qd_plan_forward(s->plan, s->images, s->config.batch, &draws, NULL, NULL, &logits));
    if (s->config.training) {
        double loss_sum = 0.0;
        int64_t correct = 0;
        qd_loss_cross_entropy(QD_F32, logits.data, s->labels, s->config.batch, CLASSES, &loss_sum, &correct,
                              s->dlogits);
        QD_TRY(qd_plan_backward(s->plan, s->dlogits));
        qd_sgd_apply_step(s->sgd, 0.01, s->done == 0);
    }
    s->done++;
    return QD_OK;
}
