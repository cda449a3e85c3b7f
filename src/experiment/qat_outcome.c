/* What quantization-aware training was good for: an ordinary checkpoint and encodings, and what INT8 makes of the
 * network that it began with and of the one it ended with. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/qat_run.h"
#include "experiment/selection.h"
#include "quantize/remedies/remedies.h"
#include <stdlib.h>
#include <string.h>

/* What found the ranges, as encodings call it. */
#define CALIBRATOR "qat"

/* ---- BatchNorm re-estimated ---- */

/* Calibration images, a batch at a time. */
typedef struct pool {
    const qd_qat_run *r;
    int64_t *indices, *labels; /* [count], [batch] */
    int64_t count, batch;
    float *images; /* [batch][size][size][3] */
} pool;

static void pool_close(pool *p)
{
    free(p->indices);
    free(p->labels);
    free(p->images);
}

static enum qd_status pool_open(const qd_qat_run *r, pool *p)
{
    const qd_run *run = r->m.run;
    const qd_config *config = run->config;
    *p = (pool){.r = r, .batch = config->batch_size};
    p->indices = qd_calloc((size_t)qd_dataset_count(run->training), sizeof *p->indices);
    p->labels = qd_calloc((size_t)p->batch, sizeof *p->labels);
    p->images = qd_calloc((size_t)(p->batch * config->image_size * config->image_size * 3), sizeof *p->images);
    if (!p->indices || !p->labels || !p->images)
        return qd_qat_fail_memory(r);
    QD_TRY(qd_select_random(run->ctx, run->training, (uint64_t)config->quantization.calibration_seed,
                            config->quantization.calibration_images, p->indices, &p->count));
    /* One image of 1x1 maps has no variance. */
    if (p->count % p->batch == 1)
        p->count--;
    return QD_OK;
}

typedef enum qd_status pool_fn(const pool *p, int64_t n, void *user);

static enum qd_status pool_visit(const pool *p, pool_fn *work, void *user)
{
    const qd_run *run = p->r->m.run;
    for (int64_t first = 0; first < p->count; first += p->batch) {
        const int64_t n = p->count - first < p->batch ? p->count - first : p->batch;
        QD_TRY(qd_dataset_load_eval(run->ctx, run->training, p->indices + first, n, (int32_t)run->config->image_size,
                                    (int)run->loader_threads, p->images, p->labels));
        QD_TRY(work(p, n, user));
    }
    return QD_OK;
}

static enum qd_status add_loss(const pool *p, int64_t n, void *user)
{
    qd_totals *totals = user;
    double loss_sum;
    int64_t correct;
    qd_tensor logits;
    QD_TRY(qd_plan_forward(p->r->plan, p->images, n, NULL, NULL, NULL, &logits));
    qd_head_loss(p->r->m.model_config.head, &logits, p->labels, &loss_sum, &correct, NULL);
    totals->loss_sum += loss_sum;
    totals->count += n;
    return QD_OK;
}

/* Of the simulated network. */
static enum qd_status mean_loss(const qd_qat_run *r, const pool *p, double *loss)
{
    qd_totals totals = {0};
    QD_TRY(qd_qat_lend(r->qat, r->state));
    const enum qd_status status = pool_visit(p, add_loss, &totals);
    qd_qat_take_back(r->qat, r->state);
    *loss = qd_totals_loss(&totals);
    return status;
}

static enum qd_status estimate_batch(const pool *p, int64_t n, void *user)
{
    return qd_bn_estimate_observe(user, p->images, n);
}

static enum qd_status estimate(const qd_qat_run *r, const pool *p)
{
    enum qd_status status = QD_OK;
    qd_bn_estimate *estimate = NULL;
    QD_TRY(qd_qat_lend(r->qat, r->state));
    QD_TRY_GOTO(qd_bn_estimate_create(r->m.run->ctx, qd_qat_graph(r->qat), r->state, p->batch, &estimate));
    QD_TRY_GOTO(pool_visit(p, estimate_batch, estimate));
    QD_TRY_GOTO(qd_bn_estimate_finish(estimate));
fail:
    qd_bn_estimate_destroy(estimate);
    qd_qat_take_back(r->qat, r->state);
    return status;
}

/*
 * Statistics of the network as it has become, in place of those that it was trained with: kept where the simulated
 * network's loss on the calibration images falls. They change what BatchNorm multiplies the weights with, hence their
 * rounding, which the training knew; with few bits that costs more than it mends.
 */
static enum qd_status reestimate(qd_qat_run *r, bool *kept)
{
    const size_t bytes = (size_t)qd_qat_graph(r->qat)->buffer_elements * sizeof(float);
    enum qd_status status = QD_OK;
    pool p;
    double before, after;
    void *buffers = qd_calloc(bytes, 1);
    QD_TRY_GOTO(pool_open(r, &p));
    *kept = false;
    if (p.batch < 2 || p.count < 2)
        goto fail;
    if (!buffers) {
        status = qd_qat_fail_memory(r);
        goto fail;
    }
    memcpy(buffers, r->state->buffers, bytes);
    QD_TRY_GOTO(mean_loss(r, &p, &before));
    QD_TRY_GOTO(estimate(r, &p));
    QD_TRY_GOTO(mean_loss(r, &p, &after));
    *kept = after < before;
    if (!*kept)
        memcpy(r->state->buffers, buffers, bytes);
    qd_log(r->m.run->ctx, QD_LOG_INFO,
           "%s: BatchNorm re-estimated: loss on the calibration images %.4f, before %.4f; %s",
           r->m.model->display_name, after, before, *kept ? "kept" : "dropped");
fail:
    pool_close(&p);
    free(buffers);
    return status;
}

/* ---- measuring ---- */

static enum qd_status set_ranges(void *user, qd_qgraph *qgraph)
{
    const qd_qat_run *r = user;
    return qd_qat_set_ranges(r->qat, r->state, qgraph);
}

/* Float and INT8 accuracy of the network in r->m.state. */
static enum qd_status measure(const qd_qat_run *r, const qd_known_ranges *ranges, qd_quantized_epoch *out)
{
    qd_model_run m = r->m;
    QD_TRY(qd_quantize_epoch_with(&m, m.epoch, ranges, out));
    free(out->tensors);
    free(out->weights);
    return QD_OK;
}

/* Moves the training's history and settings into the record. */
static enum qd_status describe(qd_qat_run *r, qd_qat_record *record)
{
    record->settings = qd_qat_settings(r->m.run->config);
    record->from = strdup(r->m.run->config->qat.from);
    memcpy(record->source_sha256, r->source_sha256, sizeof record->source_sha256);
    record->history = r->m.results.history;
    record->history_count = r->m.results.history_count;
    r->m.results.history = NULL;
    r->m.results.history_count = 0;
    return record->settings && record->from ? QD_OK : qd_qat_fail_memory(r);
}

/* Both measurements, the checkpoint between them. */
enum qd_status qd_qat_conclude(qd_qat_run *r)
{
    const qd_known_ranges ranges = {
        .set = set_ranges, .user = r, .encodings = r->encodings_path, .calibrator = CALIBRATOR};
    qd_quantized_epoch before, after;
    qd_qat_record *record = &r->file.qat;
    bool reestimated;
    r->m.phase_epoch = r->m.epoch;
    QD_TRY(reestimate(r, &reestimated));
    QD_TRY(measure(r, NULL, &before));
    qd_qat_store(r->qat, r->state, r->m.state);
    QD_TRY(qd_network_save(r->source, r->checkpoint_path));
    QD_TRY(measure(r, &ranges, &after));
    qd_qat_record_free(record);
    QD_TRY(describe(r, record));
    record->reestimated = reestimated;
    record->eval_images = after.eval_images;
    record->float_loss = before.float_loss;
    record->float_accuracy = before.float_accuracy;
    record->static_int8_loss = before.int8_loss;
    record->static_int8_accuracy = before.int8_accuracy;
    record->trained_float_loss = after.float_loss;
    record->trained_float_accuracy = after.float_accuracy;
    record->int8_loss = after.int8_loss;
    record->int8_accuracy = after.int8_accuracy;
    qd_log(r->m.run->ctx, QD_LOG_INFO, "%s: float %.2f %%, static INT8 %.2f %%, INT8 after training for it %.2f %%",
           r->m.model->display_name, record->float_accuracy, record->static_int8_accuracy, record->int8_accuracy);
    return QD_OK;
}
