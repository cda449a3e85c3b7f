#include "support/shared_training.h"
#include "base/error.h"
#include "train/trainer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGE_SIZE = 64 };

/* One process's side of it. */
typedef struct side {
    qd_context *ctx;
    const shared_training *training;
    shared_outcome *out;
    qd_dataset *dataset;
    qd_graph *graph;
    qd_state *state;
    qd_loader *loader;
    qd_trainer *trainer;
    qd_rng rng;
} side;

static enum qd_status on_step(void *user, const qd_step_report *report)
{
    side *s = user;
    s->out->losses[report->step - 1] = report->loss;
    if (s->training->fails && report->step == 3)
        return qd_fail(s->ctx, QD_ERR_IO, "the disk is full");
    return QD_OK;
}

static enum qd_status set_up(side *s, const qd_communicator *processes)
{
    const shared_training *t = s->training;
    QD_TRY(qd_dataset_open(s->ctx, t->images, QD_BAD_IMAGE_ERROR, &s->dataset));
    const qd_model_config model = {.image_size = IMAGE_SIZE, .num_classes = qd_dataset_class_count(s->dataset)};
    QD_TRY(qd_model_build(s->ctx, qd_model_find(t->model), &model, &s->graph));
    QD_TRY(qd_state_create(s->ctx, s->graph, t->dtype, true, &s->state));
    qd_rng_seed(&s->rng, 42);
    qd_model_find(t->model)->initialise(&model, s->state, &s->rng);
    const qd_loader_config loading = {.dataset = s->dataset,
                                      .batch_size = t->batch_size,
                                      .image_size = IMAGE_SIZE,
                                      .training = true,
                                      .draw_words_per_sample = qd_graph_draw_words_per_sample(s->graph),
                                      .loader_threads = 1,
                                      .prefetch_batches = 1,
                                      .part = processes ? processes->rank : 0,
                                      .parts = processes ? processes->size : 0};
    QD_TRY(qd_loader_create(s->ctx, &loading, &s->loader));
    const qd_trainer_config config = {.batch_size = t->batch_size,
                                      .sgd = {.momentum = 0.9, .weight_decay = 1e-4},
                                      .processes = processes,
                                      .sync_batchnorm = t->sync_batchnorm};
    return qd_trainer_create(s->ctx, s->graph, s->state, &config, &s->trainer);
}

static enum qd_status train(side *s)
{
    int64_t steps = 0;
    for (int64_t epoch = 1; steps < SHARED_TRAINING_STEPS; epoch++) {
        qd_epoch_state begun = {.start = s->rng, .consumed = s->rng};
        const qd_epoch_options options = {
            .epoch = epoch, .lr = 0.001, .max_steps = SHARED_TRAINING_STEPS, .on_step = on_step, .user = s};
        QD_TRY(qd_trainer_run_epoch(s->trainer, s->loader, &begun, &steps, &options));
        s->rng = begun.consumed;
    }
    return QD_OK;
}

static void *copy_of(const void *block, int64_t count, enum qd_dtype dtype)
{
    void *copy = malloc((size_t)count * qd_dtype_size(dtype));
    return copy ? memcpy(copy, block, (size_t)count * qd_dtype_size(dtype)) : NULL;
}

static enum qd_status keep(const side *s)
{
    shared_outcome *out = s->out;
    out->param_count = s->graph->param_elements;
    out->buffer_count = s->graph->buffer_elements;
    out->params = copy_of(s->state->params, out->param_count, s->training->dtype);
    out->buffers = copy_of(s->state->buffers, out->buffer_count, s->training->dtype);
    out->consumed = s->rng;
    return out->params && out->buffers ? QD_OK : qd_fail(s->ctx, QD_ERR_MEMORY, "out of memory");
}

enum qd_status shared_training_run(qd_context *ctx, const shared_training *training, const qd_communicator *processes,
                                   shared_outcome *out)
{
    enum qd_status status = QD_OK;
    side s = {.ctx = ctx, .training = training, .out = out};
    *out = (shared_outcome){0};
    QD_TRY_GOTO(set_up(&s, processes));
    QD_TRY_GOTO(train(&s));
    QD_TRY_GOTO(keep(&s));
fail:
    qd_trainer_destroy(s.trainer);
    qd_loader_destroy(s.loader);
    qd_state_destroy(s.state);
    qd_graph_destroy(s.graph);
    qd_dataset_destroy(s.dataset);
    return status;
}

void shared_outcome_free(shared_outcome *outcome)
{
    free(outcome->params);
    free(outcome->buffers);
}

static double element(const void *block, enum qd_dtype dtype, int64_t i)
{
    return dtype == QD_F64 ? ((const double *)block)[i] : (double)((const float *)block)[i];
}

double shared_difference(const void *a, const void *b, enum qd_dtype dtype, int64_t count)
{
    double largest = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double difference = fabs(element(a, dtype, i) - element(b, dtype, i));
        if (isnan(difference))
            return INFINITY;
        largest = difference > largest ? difference : largest;
    }
    return largest;
}
