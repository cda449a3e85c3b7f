/* One model from its first draw to its last epoch. */
#include "base/error.h"
#include "base/file.h"
#include "experiment/data_parallel.h"
#include "experiment/run.h"
#include "formats/event_file.h"
#include "train/optimizer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Batches decoded ahead: one being used, one ready, so that a slow image does not hold up a step. */
#define PREFETCH_BATCHES 2

qd_model_config qd_run_model_config(const qd_run *run)
{
    return (qd_model_config){.image_size = run->config->image_size,
                             .num_classes = run->class_count,
                             .head = (enum qd_head)run->config->head};
}

bool qd_run_is_complete(const qd_config *config, int64_t epoch, int64_t steps)
{
    return epoch >= config->num_epochs || (config->max_steps != QD_CONFIG_NULL && steps >= config->max_steps);
}

bool qd_run_is_logged_epoch(const qd_config *config, int64_t epoch, int64_t last_epoch, int64_t steps)
{
    return epoch % config->log_every == 0 || (epoch == last_epoch && qd_run_is_complete(config, last_epoch, steps));
}

qd_loader_config qd_run_loader_config(const qd_run *run, const qd_graph *graph, bool training)
{
    const qd_config *config = run->config;
    return (qd_loader_config){
        .dataset = training ? run->training : run->validation,
        .batch_size = config->batch_size,
        .image_size = (int32_t)config->image_size,
        .training = training,
        .drop_last = training && config->drop_last,
        .draw_words_per_sample = training ? qd_graph_draw_words_per_sample(graph) : 0,
        .loader_threads = (int)run->loader_threads,
        .prefetch_batches = PREFETCH_BATCHES,
        .cache_images = config->cache_images,
        .part = run->processes ? run->processes->rank : 0,
        .parts = run->processes ? run->processes->size : 0,
    };
}

/* ---- what could only be found out after minutes of work ---- */

/* A BatchNorm over 1x1 maps has one value per channel in a batch of one image. */
static enum qd_status check_batch_of_one(const qd_model_run *m)
{
    const qd_config *config = m->run->config;
    int64_t images = qd_dataset_count(m->run->training), batches = qd_loader_batch_count(m->train_loader);
    if (config->num_epochs == 0)
        return QD_OK;
    if (batches == 0)
        return qd_fail(
            m->run->ctx, QD_ERR_USAGE,
            "training %s: drop_last leaves no batch of %lld out of %lld images; set batch_size to %lld or less",
            m->model->display_name, (long long)config->batch_size, (long long)images, (long long)images);
    bool stops_before = config->max_steps != QD_CONFIG_NULL && config->max_steps < batches;
    bool meets_one =
        config->batch_size == 1 || (images % config->batch_size == 1 && !config->drop_last && !stops_before);
    if (!meets_one)
        return QD_OK;
    for (int n = 0; n < m->graph->node_count; n++) {
        const qd_node *node = &m->graph->nodes[n];
        const qd_dims *in = &m->graph->values[node->input[0]].dims;
        if (node->kind == QD_LAYER_batchnorm2d && in->h * in->w == 1)
            return qd_fail(
                m->run->ctx, QD_ERR_USAGE,
                "training %s: '%s' would see one value per channel in a batch of one image (%lld images in "
                "batches of %lld); set drop_last to true, or another batch_size, or a larger image_size",
                m->model->display_name, node->name, (long long)images, (long long)config->batch_size);
    }
    return QD_OK;
}

/* ---- setting up ---- */

enum qd_status qd_model_run_make_network(qd_model_run *m)
{
    const qd_run *run = m->run;
    qd_context *ctx = run->ctx;
    const qd_config *config = run->config;
    QD_TRY(qd_model_build(ctx, m->model, &m->model_config, &m->graph));
    qd_loader_config loader = qd_run_loader_config(run, m->graph, true);
    QD_TRY(qd_loader_create(ctx, &loader, &m->train_loader));
    QD_TRY(check_batch_of_one(m));
    loader = qd_run_loader_config(run, m->graph, false);
    QD_TRY(qd_loader_create(ctx, &loader, &m->val_loader));
    QD_TRY(qd_state_create(ctx, m->graph, QD_F32, true, &m->state));
    const qd_trainer_config trainer = {
        .batch_size = qd_run_batch_part(run),
        .head = m->model_config.head,
        .processes = run->processes,
        .sync_batchnorm = config->sync_batchnorm,
        .sgd = {.momentum = config->momentum,
                .weight_decay = config->weight_decay,
                .spare_batchnorm = !config->weight_decay_batchnorm,
                .levers = {.range_penalty = config->range_penalty, .gamma_clamp = config->gamma_clamp}}};
    QD_TRY(qd_trainer_create(ctx, m->graph, m->state, &trainer, &m->trainer));
    return qd_plan_create(ctx, m->graph, m->state, &QD_PLAN_INFERENCE(config->batch_size), &m->inference);
}

enum qd_status qd_model_run_set_up(qd_model_run *m)
{
    const qd_run *run = m->run;
    int model_index = 0;
    while (run->config->models[model_index] != m->model)
        model_index++;
    QD_TRY(qd_order_set_up(m, model_index));
    m->ordered = true;
    return qd_agree(run->ctx, run->processes, qd_model_run_make_network(m));
}

void qd_model_run_tear_down(qd_model_run *m)
{
    if (m->ordered)
        qd_order_tear_down(m);
    qd_plan_destroy(m->inference);
    qd_trainer_destroy(m->trainer);
    qd_loader_destroy(m->train_loader);
    qd_loader_destroy(m->val_loader);
    qd_state_destroy(m->state);
    qd_graph_destroy(m->graph);
    qd_results_free(&m->results);
    qd_event_file_close(m->events);
    free(m->results_path);
    free(m->last_path);
}

/* ---- writing ---- */

static const qd_epoch_state no_epoch;

static bool is_logged_epoch(const qd_model_run *m, int64_t epoch)
{
    return qd_run_is_logged_epoch(m->run->config, epoch, m->epoch, m->steps);
}

static enum qd_status write_checkpoint(const qd_model_run *m, const char *path, const qd_epoch_state *begun)
{
    qd_checkpoint_info info = {
        .config = m->model_config, .epoch = m->epoch, .step = m->steps, .rng = m->rng, .begun = *begun};
    snprintf(info.model, sizeof info.model, "%s", m->model->name);
    memcpy(info.config_hash, m->config_hash, sizeof info.config_hash);
    memcpy(info.data_fingerprint, m->run->data_fingerprint, sizeof info.data_fingerprint);
    info.history_json = qd_history_print(&m->results);
    if (!info.history_json)
        return qd_fail(m->run->ctx, QD_ERR_MEMORY, "checkpoint '%s': out of memory", path);
    enum qd_status status = qd_checkpoint_write(m->run->ctx, path, m->state, &info);
    qd_checkpoint_info_free(&info);
    return status;
}

static enum qd_status write_logged_checkpoint(const qd_model_run *m)
{
    char which[32];
    snprintf(which, sizeof which, "epoch_%lld", (long long)m->epoch);
    char *path = qd_checkpoint_path(m->run, m->model, which);
    if (!path)
        return qd_fail(m->run->ctx, QD_ERR_MEMORY, "checkpoint of %s: out of memory", m->model->display_name);
    enum qd_status status = write_checkpoint(m, path, &no_epoch);
    free(path);
    return status;
}

/* After an interrupt in an epoch: `last` is the network as its last step left it. What came after the epoch's
 * training is done again on resuming. */
static enum qd_status write_begun_checkpoint(qd_model_run *m)
{
    m->epoch = m->phase_epoch - 1;
    m->rng = m->begun.start;
    qd_results_truncate(&m->results, m->epoch);
    return write_checkpoint(m, m->last_path, &m->begun);
}

enum qd_status qd_model_run_write_results(const qd_model_run *m)
{
    const qd_run *run = m->run;
    const qd_results_sources sources = {.config = run->config,
                                        .config_hash = m->config_hash,
                                        .training = run->training,
                                        .validation = run->validation,
                                        .mixed_batch_images = run->mixed.count};
    return qd_results_write(run->ctx, m->results_path, &m->results, &sources);
}

/* Makes `best` what `last` is, when that is the epoch of the highest validation accuracy so far; of equal ones the
 * earlier. `last` is the network after m->epoch. */
static enum qd_status keep_best(const qd_model_run *m)
{
    const qd_results *results = &m->results;
    const qd_history_entry *best = NULL;
    for (int i = 0; i < results->history_count; i++)
        if (!best || results->history[i].val_acc > best->val_acc)
            best = &results->history[i];
    if (!best || best->epoch != m->epoch)
        return QD_OK;
    char *path = qd_checkpoint_path(m->run, m->model, "best");
    if (!path)
        return qd_fail(m->run->ctx, QD_ERR_MEMORY, "checkpoint of %s: out of memory", m->model->display_name);
    enum qd_status status = qd_file_name_too(m->run->ctx, m->last_path, path);
    free(path);
    return status;
}

/* After training and validation of an epoch. `last` is written at the end: it says that everything before it is
 * there, and what was written beyond it is written again on resuming. `best` follows from it. */
static enum qd_status finish_epoch(qd_model_run *m)
{
    const qd_run *run = m->run;
    const bool logged = is_logged_epoch(m, m->epoch);
    if (logged) {
        QD_TRY(qd_log_epoch(m));
        if (run->config->keep_checkpoints == QD_KEEP_ALL)
            QD_TRY(write_logged_checkpoint(m));
    }
    QD_TRY(qd_model_run_write_results(m));
    QD_TRY(qd_metrics_write(run->ctx, run->config, run->metrics, &m->results));
    QD_TRY(qd_tracking_add(m->events, run->config, &m->results, logged ? m->state : NULL));
    QD_TRY(write_checkpoint(m, m->last_path, &no_epoch));
    m->begun = no_epoch;
    return keep_best(m);
}

/* ---- epochs ---- */

static enum qd_status on_train_step(void *user, const qd_step_report *report)
{
    qd_model_run *m = user;
    const qd_run *run = m->run;
    if (run->step_log)
        QD_TRY(qd_step_log_write(run->step_log, m->model->display_name, report));
    return qd_progress_report(m, report->batch, report->batch_count, report->totals->count, report->totals,
                              m->train_loader);
}

static enum qd_status on_validation_step(void *user, const qd_step_report *report)
{
    qd_model_run *m = user;
    return qd_progress_report(m, report->batch, report->batch_count, report->totals->count, report->totals,
                              m->val_loader);
}

enum qd_status qd_model_run_validate(qd_model_run *m)
{
    const qd_evaluate_options options = {.epoch = m->epoch,
                                         .head = m->model_config.head,
                                         .on_step = on_validation_step,
                                         .user = m,
                                         .processes = m->run->processes};
    qd_progress_begin(m, "validate");
    QD_TRY(qd_order_validation(m));
    QD_TRY(qd_evaluate(m->run->ctx, m->graph, m->inference, m->val_loader, &m->rng, &options, &m->validation));
    double seconds = qd_progress_phase_seconds(m);
    m->results.timing.validate_s += seconds;
    m->results.timing.data_wait_s += qd_loader_wait_seconds(m->val_loader);
    m->pace.validate_s += seconds;
    m->pace.validations++;
    return QD_OK;
}

static enum qd_status add_history(qd_model_run *m, const qd_totals *training)
{
    const qd_history_entry entry = {
        .epoch = m->epoch,
        .train_loss = training ? qd_totals_loss(training) : NAN,
        .train_acc = training ? qd_totals_accuracy_percent(training) : NAN,
        .val_loss = qd_totals_loss(&m->validation),
        .val_acc = qd_totals_accuracy_percent(&m->validation),
    };
    return qd_results_add_history(m->run->ctx, &m->results, &entry);
}

/* Epoch 0: the network as initialised. */
static enum qd_status start(qd_model_run *m)
{
    m->phase_epoch = 0;
    m->model->initialise(&m->model_config, m->state, &m->rng);
    QD_TRY(qd_model_run_validate(m));
    QD_TRY(add_history(m, NULL));
    return finish_epoch(m);
}

static enum qd_status train_epoch(qd_model_run *m)
{
    const qd_config *config = m->run->config;
    const qd_epoch_options options = {
        .epoch = m->epoch + 1,
        .lr = qd_schedule_cosine(config->lr, m->epoch, config->num_epochs),
        .max_steps = config->max_steps == QD_CONFIG_NULL ? -1 : config->max_steps,
        .on_step = on_train_step,
        .user = m,
    };
    if (m->begun.batches == 0)
        m->begun = (qd_epoch_state){.start = m->rng, .consumed = m->rng};
    const int64_t steps_before = m->steps, images_before = m->begun.totals.count;
    m->phase_epoch = m->epoch + 1;
    qd_progress_begin(m, "train");
    QD_TRY(qd_order_training(m, &options));
    QD_TRY(qd_trainer_run_epoch(m->trainer, m->train_loader, &m->begun, &m->steps, &options));
    m->rng = m->begun.consumed;
    double seconds = qd_progress_phase_seconds(m);
    m->results.timing.train_s += seconds;
    m->results.timing.train_images += m->begun.totals.count - images_before;
    m->results.timing.data_wait_s += qd_loader_wait_seconds(m->train_loader);
    m->pace.train_s += seconds;
    m->pace.steps += m->steps - steps_before;
    m->epoch++;
    QD_TRY(qd_model_run_validate(m));
    QD_TRY(add_history(m, &m->begun.totals));
    return finish_epoch(m);
}

/* ---- resuming ---- */

static enum qd_status restore(qd_model_run *m, const qd_checkpoint_info *info)
{
    qd_context *ctx = m->run->ctx;
    qd_results_free(&m->results);
    QD_TRY(qd_results_read(ctx, m->results_path, m->model, &m->results));
    qd_results_truncate(&m->results, info->epoch);
    if (info->history_json)
        QD_TRY(qd_history_parse(ctx, info->history_json, &m->results));
    m->epoch = info->epoch;
    m->steps = info->step - info->begun.batches; /* at that epoch's end */
    m->rng = info->rng;
    for (int64_t epoch = 0; epoch <= m->epoch; epoch++)
        if (is_logged_epoch(m, epoch) && !qd_results_find_log(&m->results, epoch))
            return qd_fail(
                ctx, QD_ERR_INPUT,
                "resuming %s: '%s' has no activation log of epoch %lld although '%s' is past it; the two files "
                "are not of one run",
                m->model->display_name, m->results_path, (long long)epoch, m->last_path);
    if (qd_requantize_is_needed(m, m->epoch))
        QD_TRY(qd_requantize(m, m->epoch));
    m->steps = info->step;
    m->begun = info->begun;
    if (m->begun.batches == 0)
        QD_TRY(keep_best(m)); /* a process that was killed between the two files */
    if (m->run->step_log)
        QD_TRY(qd_step_log_rewind(m->run->step_log, m->model->display_name, m->steps));
    QD_TRY(qd_checkpoint_read(ctx, m->last_path, m->state));
    qd_log(ctx, QD_LOG_INFO, "%s: resuming after epoch %lld, step %lld", m->model->display_name, (long long)m->epoch,
           (long long)m->steps);
    return QD_OK;
}

/* A model that is complete is not trained again; what is measured on its checkpoints may have to be. */
static enum qd_status finish_complete(qd_model_run *m, const qd_checkpoint_info *info)
{
    qd_run *run = m->run;
    if (!qd_file_exists(m->results_path))
        return qd_fail(run->ctx, QD_ERR_INPUT,
                       "resuming %s: '%s' is of a complete run, and its results '%s' are gone; put them back, or "
                       "remove the checkpoint to train again",
                       m->model->display_name, m->last_path, m->results_path);
    QD_TRY(qd_results_read(run->ctx, m->results_path, m->model, &m->results));
    m->epoch = info->epoch;
    m->steps = info->step;
    QD_TRY(keep_best(m));
    if (qd_requantize_is_needed(m, m->epoch)) {
        QD_TRY(qd_model_run_set_up(m));
        QD_TRY(qd_requantize(m, m->epoch));
        qd_log(run->ctx, QD_LOG_INFO, "%s: complete, its checkpoints quantized again", m->model->display_name);
    } else {
        qd_log(run->ctx, QD_LOG_INFO, "%s: complete, not trained again", m->model->display_name);
    }
    run->rng = info->rng;
    QD_TRY(qd_metrics_add(run->ctx, run->config, &run->metrics, &m->results));
    return qd_metrics_write(run->ctx, run->config, run->metrics, NULL);
}

enum qd_status qd_model_run_execute(qd_run *run, int model_index)
{
    qd_model_run m = {.run = run,
                      .model = run->config->models[model_index],
                      .model_config = qd_run_model_config(run),
                      .rng = run->rng,
                      .epoch_count = run->config->num_epochs};
    qd_resume_point point = {0};
    enum qd_status status = QD_OK;
    qd_results_init(m.model, &m.results);
    m.results_path = qd_results_path(run->config->output_dir, m.model);
    m.last_path = qd_checkpoint_path(run, m.model, "last");
    if (!m.results_path || !m.last_path) {
        status = qd_fail(run->ctx, QD_ERR_MEMORY, "running %s: out of memory", m.model->display_name);
        goto fail;
    }
    QD_TRY_GOTO(qd_config_hash(run->ctx, run->config, model_index, m.config_hash));
    if (run->options->resume)
        QD_TRY_GOTO(qd_resume_find(run, model_index, m.config_hash, &point));
    if (point.found && point.info.begun.batches == 0 &&
        qd_run_is_complete(run->config, point.info.epoch, point.info.step)) {
        status = finish_complete(&m, &point.info);
        goto fail;
    }
    QD_TRY_GOTO(qd_model_run_set_up(&m));
    QD_TRY_GOTO(qd_tracking_open(run->ctx, run->config, m.model, point.found ? point.info.epoch + 1 : 0, &m.events));
    m.results.timing.threads = qd_context_threads(run->ctx);
    m.results.timing.loader_threads = run->loader_threads;
    if (point.found) {
        QD_TRY_GOTO(restore(&m, &point.info));
    } else {
        if (run->step_log)
            QD_TRY_GOTO(qd_step_log_rewind(run->step_log, m.model->display_name, 0));
        QD_TRY_GOTO(start(&m));
    }
    while (m.begun.batches > 0 || !qd_run_is_complete(run->config, m.epoch, m.steps))
        QD_TRY_GOTO(train_epoch(&m));
    run->rng = m.rng;
    QD_TRY_GOTO(qd_metrics_add(run->ctx, run->config, &run->metrics, &m.results));
fail:
    if (status == QD_ERR_INTERRUPTED && m.begun.batches > 0 && write_begun_checkpoint(&m) != QD_OK)
        status = QD_ERR_IO; /* whose sentence stands */
    qd_checkpoint_info_free(&point.info);
    qd_model_run_tear_down(&m);
    return status;
}
