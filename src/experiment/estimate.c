#include "experiment/estimate.h"
#include "base/arena.h"
#include "base/error.h"
#include "experiment/random_steps.h"
#include "quantize/quantize.h"
#include <math.h>
#include <stdlib.h>

/* A forward pass is a third of a training step: backward calculates two products for each of its own. */
#define STEP_OVER_FORWARD 3.0

/* Measuring the noise of INT8 runs the network three times: float, rounded tensor by tensor, and in integers. */
#define SQNR_PASSES 3.0

/* A step of quantization-aware training passes over every tensor once more, to find its range and round it, there and
 * back: ResNet18's took 1.3 plain steps, EfficientNet-B0's 1.6, in a run of each at 64 px. */
#define AWARE_OVER_STEP 1.5

/* Its own last one, and what it leaves. */
#define QAT_CHECKPOINTS 2.0

/* ---- counts ---- */

static int64_t batches_an_epoch(const qd_run *run)
{
    const qd_config *config = run->config;
    return (qd_dataset_count(run->training) + (config->drop_last ? 0 : config->batch_size - 1)) / config->batch_size;
}

int64_t qd_run_steps(const qd_run *run, int64_t *epochs)
{
    const qd_config *config = run->config;
    const int64_t batches = batches_an_epoch(run);
    int64_t steps = batches * config->num_epochs;
    *epochs = config->num_epochs;
    if (config->max_steps != QD_CONFIG_NULL && config->max_steps < steps) {
        steps = config->max_steps;
        *epochs = (steps + batches - 1) / batches;
    }
    return steps;
}

static int64_t logged_epochs(const qd_config *config, int64_t epochs)
{
    return epochs / config->log_every + 1 + (epochs % config->log_every != 0);
}

/* Quantization-aware training measures INT8 whether or not logged epochs do. */
static bool has_int8(const qd_config *config)
{
    return config->quantization.enabled || config->qat.num_epochs > 0;
}

static int64_t at_most(int64_t wanted, int64_t there)
{
    return wanted == QD_CONFIG_NULL || wanted > there ? there : wanted;
}

/* ---- speed ---- */

/* The INT8 network of random weights over one batch of random images. */
static enum qd_status measure_int8(qd_run *run, qd_speed *speed)
{
    const qd_model_config model_config = qd_run_model_config(run);
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    const int64_t n = speed->quantized_batch, values = n * speed->image_size * speed->image_size * 3;
    enum qd_status status = QD_OK;
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    qd_qgraph *qgraph = NULL;
    float *logits = NULL;
    float *images = qd_calloc((size_t)values, sizeof *images);
    qd_rng rng;
    qd_rng_seed(&rng, (uint64_t)run->config->seed);
    QD_TRY_GOTO(qd_model_build(run->ctx, speed->model, &model_config, &graph));
    QD_TRY_GOTO(qd_state_create(run->ctx, graph, QD_F32, false, &state));
    logits = qd_calloc((size_t)(n * qd_dims_count(&graph->values[graph->output].dims)), sizeof *logits);
    if (!images || !logits) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "estimate: out of memory");
        goto fail;
    }
    qd_rng_normal_f32(&rng, images, values, 0.0f, 1.0f);
    speed->model->initialise(&model_config, state, &rng);
    QD_TRY_GOTO(qd_qgraph_create(run->ctx, graph, state, &scheme, n, &qgraph));
    QD_TRY_GOTO(qd_qgraph_calibrate(qgraph, images, n));
    QD_TRY_GOTO(qd_qgraph_finalize(qgraph));
    QD_TRY_GOTO(qd_qgraph_run_integer(qgraph, images, n, logits)); /* the first one touches all memory */
    const double start = qd_now_s();
    QD_TRY_GOTO(qd_qgraph_run_integer(qgraph, images, n, logits));
    speed->int8 = (double)n / (qd_now_s() - start);
fail:
    qd_qgraph_destroy(qgraph);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    free(logits);
    free(images);
    return status;
}

static enum qd_status measure(qd_run *run, qd_speed *speed)
{
    qd_benchmark_config config = {.model = speed->model->name,
                                  .training = true,
                                  .batch = speed->batch_size,
                                  .image_size = speed->image_size,
                                  .steps = 1};
    qd_benchmark_result result;
    QD_TRY(qd_benchmark_run(run->ctx, &config, &result));
    speed->train = result.best_images_per_s;
    config.training = false;
    QD_TRY(qd_benchmark_run(run->ctx, &config, &result));
    speed->forward = result.best_images_per_s;
    return speed->quantized_batch > 0 ? measure_int8(run, speed) : QD_OK;
}

/* Looks the speed up, or measures it. */
static enum qd_status find_speed(qd_run *run, const qd_model_info *model, qd_speed_list *list, qd_speed *out)
{
    const qd_config *config = run->config;
    qd_speed wanted = {.model = model,
                       .image_size = config->image_size,
                       .batch_size = config->batch_size,
                       .quantized_batch = has_int8(config) ? qd_quantize_batch(config) : 0};
    for (int i = 0; i < list->count; i++) {
        const qd_speed *known = &list->speeds[i];
        if (known->model == model && known->image_size == wanted.image_size &&
            known->batch_size == wanted.batch_size && known->quantized_batch == wanted.quantized_batch) {
            *out = *known;
            return QD_OK;
        }
    }
    QD_TRY(measure(run, &wanted));
    qd_speed *larger = realloc(list->speeds, ((size_t)list->count + 1) * sizeof *larger);
    if (!larger)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "estimate: out of memory");
    list->speeds = larger;
    list->speeds[list->count++] = wanted;
    *out = wanted;
    return QD_OK;
}

void qd_speed_list_free(qd_speed_list *list)
{
    free(list->speeds);
    *list = (qd_speed_list){0};
}

/* ---- the sums ---- */

/* One quantized network: its noise, then its accuracy beside the float one's. */
static double int8_seconds(const qd_run *run, const qd_speed *speed)
{
    const qd_quantization_config *q = &run->config->quantization;
    const int64_t validation = qd_dataset_count(run->validation);
    const double evaluated = (double)at_most(q->eval_images, validation);
    return SQNR_PASSES * (double)at_most(q->sqnr_images, validation) / speed->int8 + evaluated / speed->int8 +
           evaluated / speed->forward;
}

static double model_seconds(const qd_run *run, const qd_speed *speed, int64_t steps, int64_t epochs)
{
    const qd_config *config = run->config;
    const qd_quantization_config *q = &config->quantization;
    const int64_t training = qd_dataset_count(run->training), validation = qd_dataset_count(run->validation);
    const double logs = (double)logged_epochs(config, epochs);
    double seconds = (double)(steps * config->batch_size) / speed->train;
    seconds += (double)((epochs + 1) * validation) / speed->forward;
    seconds += logs * 2.0 * (double)at_most(config->batch_size, validation) / speed->forward;
    if (q->enabled)
        seconds +=
            logs * ((double)at_most(q->calibration_images, training) / speed->forward + int8_seconds(run, speed));
    return seconds;
}

/*
 * Quantization-aware training after it. At its end the calibration images are looked at three times in simulation
 * (BatchNorm's statistics are taken again, the loss before and after) and once to quantize the network it began with;
 * that one and the one it ended with are measured.
 */
static double qat_seconds(const qd_run *run, const qd_speed *speed)
{
    const qd_config *config = run->config;
    const int64_t epochs = config->qat.num_epochs, steps = epochs * batches_an_epoch(run);
    const double images = (double)at_most(config->quantization.calibration_images, qd_dataset_count(run->training));
    if (epochs == 0)
        return 0.0;
    return AWARE_OVER_STEP * (double)(steps * config->batch_size) / speed->train +
           AWARE_OVER_STEP * (double)(epochs * qd_dataset_count(run->validation)) / speed->forward +
           (3.0 * AWARE_OVER_STEP + 1.0) * images / speed->forward + 2.0 * int8_seconds(run, speed);
}

/* Weights, momentum and buffers of one checkpoint. */
static enum qd_status checkpoint_bytes(const qd_run *run, const qd_model_info *model, double *out)
{
    const qd_model_config config = qd_run_model_config(run);
    qd_graph *graph = NULL;
    QD_TRY(qd_model_build(run->ctx, model, &config, &graph));
    *out = (2.0 * (double)graph->param_elements + (double)graph->buffer_elements) * sizeof(float);
    qd_graph_destroy(graph);
    return QD_OK;
}

enum qd_status qd_run_estimate_all(qd_run *run, enum qd_estimate_time time, double train_images_per_s,
                                   qd_speed_list *list, qd_run_estimate *out)
{
    const qd_config *config = run->config;
    qd_run_estimate sum = {.seconds = time == QD_TIME_NONE ? NAN : 0.0};
    const qd_model_info *largest;
    int64_t epochs;
    const int64_t steps = qd_run_steps(run, &epochs);
    /* The best one is another name of one of the others until the last of them differs. */
    const double kept = config->keep_checkpoints == QD_KEEP_ALL ? (double)logged_epochs(config, epochs) + 2.0 : 2.0;
    double largest_checkpoint = 0.0;
    QD_TRY(qd_run_planned_bytes(run, &sum.memory_bytes, &largest));
    for (int i = 0; i < config->model_count; i++) {
        double bytes;
        qd_speed speed = {.train = train_images_per_s,
                          .forward = STEP_OVER_FORWARD * train_images_per_s,
                          .int8 = STEP_OVER_FORWARD * train_images_per_s};
        QD_TRY(checkpoint_bytes(run, config->models[i], &bytes));
        if (time == QD_TIME_MEASURED)
            QD_TRY(find_speed(run, config->models[i], list, &speed));
        if (time != QD_TIME_NONE)
            sum.seconds += model_seconds(run, &speed, steps, epochs) + qat_seconds(run, &speed);
        sum.steps += steps + config->qat.num_epochs * batches_an_epoch(run);
        sum.disk_bytes += (kept + (config->qat.num_epochs > 0 ? QAT_CHECKPOINTS : 0.0)) * bytes;
        largest_checkpoint = fmax(largest_checkpoint, bytes);
    }
    sum.disk_bytes += largest_checkpoint;
    *out = sum;
    return QD_OK;
}
