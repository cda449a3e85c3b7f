#include <quantdrift/inference.h>

#include "base/arena.h"
#include "base/error.h"
#include "experiment/energy.h"
#include "experiment/network_impl.h"
#include "experiment/random_steps.h"
#include "quantize/quantize.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Frames that are in memory at a time, and between which the forms take turns: short enough for both to see the same
 * machine, long enough for an energy counter that moves every millisecond. */
#define BLOCK_FRAMES 64

#define DEFAULT_RUNS 100

/* Runs that do not count, of each form: the first lays weights out and touches all memory. */
#define WARM_UP_RUNS 3

#define SEED 42

typedef struct measurement {
    qd_context *ctx;
    const qd_inference_config *config;
    qd_network *network;
    qd_qgraph *made;   /* of a network in float32 */
    qd_qgraph *qgraph; /* that one, or the network's own from a quantized file */
    int first_form;    /* a quantized file has no float form */
    qd_frames *frames; /* NULL: random input */
    qd_energy_meter *meter;
    int64_t block_runs, runs, pixels;
    float *images, *logits;                   /* [block_runs·batch], [batch] */
    double *seconds[QD_INFERENCE_FORM_COUNT]; /* [runs] */
} measurement;

/* The network in both forms, or the only one that a quantized file has. Integers need ranges: those of the block of
 * frames that is loaded. */
static enum qd_status open_forms(measurement *m)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    m->qgraph = m->network->qgraph;
    m->first_form = m->qgraph ? QD_INFERENCE_INT8 : QD_INFERENCE_FLOAT;
    if (m->qgraph)
        return QD_OK;
    QD_TRY(qd_qgraph_create(m->ctx, m->network->graph, m->network->state, &scheme, m->config->batch, &m->made));
    m->qgraph = m->made;
    QD_TRY(qd_qgraph_calibrate(m->qgraph, m->images, m->block_runs * m->config->batch));
    return qd_qgraph_finalize(m->qgraph);
}

static enum qd_status load_block(measurement *m, int64_t first_run)
{
    const int64_t count = m->block_runs * m->config->batch;
    qd_rng rng;
    if (m->frames)
        return qd_frames_load(m->frames, first_run * m->config->batch, count, m->config->transform,
                              (int32_t)m->network->config.image_size, qd_context_threads(m->ctx), m->images);
    if (first_run > 0) /* the same again: random input has no end */
        return QD_OK;
    qd_rng_seed(&rng, SEED);
    qd_rng_normal_f32(&rng, m->images, count * m->pixels, 0.0f, 1.0f);
    return QD_OK;
}

static enum qd_status run_once(measurement *m, enum qd_inference_form form, int64_t run)
{
    const float *images = m->images + run % m->block_runs * m->config->batch * m->pixels;
    return form == QD_INFERENCE_FLOAT ? qd_qgraph_run_float(m->qgraph, false, images, m->config->batch, m->logits)
                                      : qd_qgraph_run_integer(m->qgraph, images, m->config->batch, m->logits);
}

/* Runs first … of one form, of the block that is loaded. */
static enum qd_status time_runs(measurement *m, enum qd_inference_form form, int64_t first, int64_t count,
                                double *joules)
{
    qd_energy_meter_begin(m->meter);
    for (int64_t run = first; run < first + count; run++) {
        const double begin = qd_random_steps_clock();
        QD_TRY(run_once(m, form, run));
        m->seconds[form][run] = qd_random_steps_clock() - begin;
    }
    *joules += qd_energy_meter_end(m->meter);
    return QD_OK;
}

static enum qd_status time_all(measurement *m, double joules[QD_INFERENCE_FORM_COUNT])
{
    for (int form = m->first_form; form < QD_INFERENCE_FORM_COUNT; form++)
        for (int64_t run = 0; run < WARM_UP_RUNS; run++)
            QD_TRY(run_once(m, (enum qd_inference_form)form, run));
    for (int64_t first = 0; first < m->runs; first += m->block_runs) {
        const int64_t count = m->runs - first < m->block_runs ? m->runs - first : m->block_runs;
        if (first > 0)
            QD_TRY(load_block(m, first));
        for (int form = m->first_form; form < QD_INFERENCE_FORM_COUNT; form++)
            QD_TRY(time_runs(m, (enum qd_inference_form)form, first, count, &joules[form]));
    }
    return QD_OK;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the times. */
static qd_inference_speed summarise(const measurement *m, enum qd_inference_form form, double joules)
{
    double *seconds = m->seconds[form];
    const double ms = 1e3 / (double)m->config->batch;
    const int64_t n = m->runs;
    qd_inference_speed speed = {.stored_bytes = qd_qgraph_stored_bytes(m->qgraph, form == QD_INFERENCE_INT8),
                                .joules = joules};
    for (int64_t i = 0; i < n; i++)
        speed.seconds += seconds[i];
    qsort(seconds, (size_t)n, sizeof *seconds, by_value);
    speed.median_ms = ms * (n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2);
    speed.p90_ms = ms * seconds[(9 * n + 9) / 10 - 1]; /* the smallest time that nine tenths do not exceed */
    return speed;
}

static int64_t logit_count(const qd_graph *graph)
{
    return qd_dims_count(&graph->values[graph->output].dims);
}

static enum qd_status prepare(measurement *m)
{
    const qd_inference_config *config = m->config;
    const int64_t batch = config->batch;
    qd_network_config network = config->network;
    network.max_batch = batch;
    if (batch < 1 || config->runs < 0)
        return qd_fail(m->ctx, QD_ERR_USAGE,
                       "inference: expected at least 1 frame at a time and 0 runs, got %lld and %lld",
                       (long long)batch, (long long)config->runs);
    if (config->frames)
        QD_TRY(qd_frames_open(m->ctx, config->frames, &m->frames));
    QD_TRY(qd_network_load(m->ctx, &network, &m->network));
    QD_TRY(qd_energy_meter_create(m->ctx, config->powercap, &m->meter));
    m->runs = config->runs ? config->runs
              : m->frames  ? (qd_frames_count(m->frames) + batch - 1) / batch
                           : DEFAULT_RUNS;
    m->block_runs = batch < BLOCK_FRAMES ? BLOCK_FRAMES / batch : 1;
    m->block_runs = m->block_runs < m->runs ? m->block_runs : m->runs;
    m->pixels = qd_dims_count(&m->network->graph->input_dims);
    m->images = qd_calloc((size_t)(m->block_runs * batch * m->pixels), sizeof *m->images);
    m->logits = qd_calloc((size_t)(batch * logit_count(m->network->graph)), sizeof *m->logits);
    for (int form = 0; form < QD_INFERENCE_FORM_COUNT; form++)
        m->seconds[form] = qd_calloc((size_t)m->runs, sizeof *m->seconds[form]);
    if (!m->images || !m->logits || !m->seconds[0] || !m->seconds[1])
        return qd_fail(m->ctx, QD_ERR_MEMORY, "inference: no memory for %lld frames of %lld values",
                       (long long)(m->block_runs * batch), (long long)m->pixels);
    QD_TRY(load_block(m, 0));
    return open_forms(m);
}

enum qd_status qd_inference_measure(qd_context *ctx, const qd_inference_config *config, qd_inference_result *out)
{
    enum qd_status status = QD_OK;
    measurement m = {.ctx = ctx, .config = config};
    double joules[QD_INFERENCE_FORM_COUNT] = {0};
    const char *problem;

    QD_TRY_GOTO(prepare(&m));
    QD_TRY_GOTO(time_all(&m, joules));
    *out = (qd_inference_result){.model = qd_network_model_name(m.network),
                                 .image_size = qd_network_image_size(m.network),
                                 .int8_alone = m.first_form == QD_INFERENCE_INT8,
                                 .runs = m.runs,
                                 .frame_count = m.runs * config->batch};
    problem = qd_energy_meter_problem(m.meter);
    snprintf(out->energy_problem, sizeof out->energy_problem, "%s", problem ? problem : "");
    for (int form = m.first_form; form < QD_INFERENCE_FORM_COUNT; form++)
        out->form[form] = summarise(&m, (enum qd_inference_form)form, problem ? NAN : joules[form]);
fail:
    for (int form = 0; form < QD_INFERENCE_FORM_COUNT; form++)
        free(m.seconds[form]);
    free(m.images);
    free(m.logits);
    qd_energy_meter_destroy(m.meter);
    qd_qgraph_destroy(m.made);
    qd_network_destroy(m.network);
    qd_frames_destroy(m.frames);
    return status;
}
