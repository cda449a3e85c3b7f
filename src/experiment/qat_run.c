/* Quantization-aware training of one model, after its own training or of a checkpoint from elsewhere: epochs as in
 * model_run.c, over the graph that quantize/ makes. */
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "experiment/grid_file.h"
#include "experiment/qat_run.h"
#include "train/optimizer.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum qd_status qd_qat_fail_memory(const qd_qat_run *r)
{
    return qd_fail(r->m.run->ctx, QD_ERR_MEMORY, "quantization-aware training of %s: out of memory",
                   r->m.model->display_name);
}

/* ---- where it begins ---- */

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static enum qd_status find_paths(qd_qat_run *r)
{
    const qd_run *run = r->m.run;
    const char *from = run->config->qat.from, *folder = run->config->output_dir, *name = r->m.model->name;
    if (strcmp(from, "last") == 0)
        r->from = qd_checkpoint_path(run, r->m.model, "last");
    else if (is_folder(from))
        r->from = qd_format("%s/%s_last.safetensors", from, name);
    else
        r->from = strdup(from);
    r->last_path = qd_checkpoint_path(run, r->m.model, "qat_last");
    r->checkpoint_path = qd_checkpoint_path(run, r->m.model, "qat");
    r->encodings_path = qd_format("%s/%s" QD_QAT_ENCODINGS_SUFFIX, folder, name);
    r->m.results_path = qd_results_path(folder, r->m.model);
    return r->from && r->last_path && r->checkpoint_path && r->encodings_path && r->m.results_path
               ? QD_OK
               : qd_qat_fail_memory(r);
}

/* What a half-trained network must have been begun with to be trained further: the data are checked apart. */
static enum qd_status compute_hash(qd_qat_run *r)
{
    char *recipe = qd_grid_recipe_line(r->m.run->config); /* with the section "qat", but where it begins */
    qd_sha256 hash;
    if (!recipe)
        return qd_qat_fail_memory(r);
    qd_sha256_init(&hash);
    qd_sha256_update(&hash, r->m.config_hash, strlen(r->m.config_hash));
    qd_sha256_update(&hash, recipe, strlen(recipe));
    qd_sha256_update(&hash, r->source_sha256, strlen(r->source_sha256));
    qd_sha256_finish(&hash, r->hash);
    free(recipe);
    return QD_OK;
}

static enum qd_status load_source(qd_qat_run *r)
{
    const qd_run *run = r->m.run;
    const qd_network_config config = {.checkpoint = r->from,
                                      .model = r->m.model->name,
                                      .image_size = r->m.model_config.image_size,
                                      .num_classes = r->m.model_config.num_classes,
                                      .max_batch = run->config->batch_size};
    QD_TRY(qd_network_load(run->ctx, &config, &r->source));
    QD_TRY(qd_network_require_float(r->source, "quantization-aware training"));
    if (r->source->config.head != r->m.model_config.head)
        return qd_fail(run->ctx, QD_ERR_INPUT,
                       "quantization-aware training of %s: '%s' has the head \"%s\", the configuration says \"%s\"",
                       r->m.model->display_name, r->from, qd_head_names[r->source->config.head],
                       qd_head_names[r->m.model_config.head]);
    r->m.graph = r->source->graph;
    r->m.state = r->source->state;
    r->m.inference = r->source->plan;
    return QD_OK;
}

/* ---- setting up ---- */

static enum qd_status lend(void *user)
{
    qd_qat_run *r = user;
    return qd_qat_lend(r->qat, r->state);
}

static void take_back(void *user)
{
    qd_qat_run *r = user;
    qd_qat_take_back(r->qat, r->state);
}

static enum qd_status set_up(qd_qat_run *r)
{
    const qd_run *run = r->m.run;
    const qd_config *config = run->config;
    qd_context *ctx = run->ctx;
    QD_TRY(load_source(r));
    QD_TRY(qd_qat_create(ctx, r->m.graph, &config->quantization.recipe, config->qat.averaging, &r->qat));
    QD_TRY(qd_state_create(ctx, qd_qat_graph(r->qat), QD_F32, true, &r->state));
    qd_qat_load(r->qat, r->m.state, r->state);
    const qd_trainer_config trainer = {
        .batch_size = config->batch_size,
        .head = r->m.model_config.head,
        .sgd = {.momentum = config->momentum,
                .weight_decay = config->weight_decay,
                .spare_batchnorm = !config->weight_decay_batchnorm,
                .levers = {.range_penalty = config->range_penalty, .gamma_clamp = config->gamma_clamp}},
        .loan = {.lend = lend, .take_back = take_back, .user = r}};
    QD_TRY(qd_trainer_create(ctx, qd_qat_graph(r->qat), r->state, &trainer, &r->trainer));
    QD_TRY(qd_plan_create(ctx, qd_qat_graph(r->qat), r->state, &QD_PLAN_INFERENCE(config->batch_size), &r->plan));
    qd_loader_config loader = qd_run_loader_config(run, r->m.graph, true);
    QD_TRY(qd_loader_create(ctx, &loader, &r->m.train_loader));
    loader = qd_run_loader_config(run, r->m.graph, false);
    return qd_loader_create(ctx, &loader, &r->m.val_loader);
}

static void tear_down(qd_qat_run *r)
{
    qd_plan_destroy(r->plan);
    qd_trainer_destroy(r->trainer);
    qd_loader_destroy(r->m.train_loader);
    qd_loader_destroy(r->m.val_loader);
    qd_state_destroy(r->state);
    qd_qat_destroy(r->qat);
    qd_network_destroy(r->source);
    qd_results_free(&r->m.results);
    qd_results_free(&r->file);
    free(r->m.results_path);
    free(r->from);
    free(r->last_path);
    free(r->checkpoint_path);
    free(r->encodings_path);
}

/* ---- epochs ---- */

static enum qd_status write_checkpoint(const qd_qat_run *r, const qd_epoch_state *begun)
{
    const qd_model_run *m = &r->m;
    qd_checkpoint_info info = {
        .config = m->model_config, .epoch = m->epoch, .step = m->steps, .rng = m->rng, .begun = *begun};
    snprintf(info.model, sizeof info.model, "%s", m->model->name);
    memcpy(info.config_hash, r->hash, sizeof info.config_hash);
    memcpy(info.data_fingerprint, m->run->data_fingerprint, sizeof info.data_fingerprint);
    info.history_json = qd_history_print(&m->results);
    if (!info.history_json)
        return qd_qat_fail_memory(r);
    const enum qd_status status = qd_checkpoint_write(m->run->ctx, r->last_path, r->state, &info);
    qd_checkpoint_info_free(&info);
    return status;
}

/* Goes on with what an earlier run of the same configuration has left; else it stays at the beginning. */
static enum qd_status restore(qd_qat_run *r)
{
    qd_context *ctx = r->m.run->ctx;
    qd_checkpoint_info info = {0};
    enum qd_status status = QD_OK;
    qd_run_seed(r->m.run->config, &r->m.rng);
    if (!qd_file_exists(r->last_path))
        return QD_OK;
    QD_TRY(qd_checkpoint_read_info(ctx, r->last_path, &info));
    if (strcmp(info.config_hash, r->hash) != 0 || strcmp(info.data_fingerprint, r->m.run->data_fingerprint) != 0)
        goto fail;
    QD_TRY_GOTO(qd_checkpoint_read(ctx, r->last_path, r->state));
    if (info.history_json)
        QD_TRY_GOTO(qd_history_parse(ctx, info.history_json, &r->m.results));
    r->m.epoch = info.epoch;
    r->m.steps = info.step;
    r->m.rng = info.rng;
    r->m.begun = info.begun;
    qd_log(ctx, QD_LOG_INFO, "%s: quantization-aware training goes on after epoch %lld, step %lld",
           r->m.model->display_name, (long long)info.epoch, (long long)info.step);
fail:
    qd_checkpoint_info_free(&info);
    return status;
}

static enum qd_status on_train_step(void *user, const qd_step_report *report)
{
    qd_qat_run *r = user;
    return qd_progress_report(&r->m, report->batch, report->batch_count, report->totals->count, report->totals,
                              r->m.train_loader);
}

static enum qd_status on_validation_step(void *user, const qd_step_report *report)
{
    qd_qat_run *r = user;
    return qd_progress_report(&r->m, report->batch, report->batch_count, report->totals->count, report->totals,
                              r->m.val_loader);
}

/* Of the simulated network. */
static enum qd_status validate(qd_qat_run *r, qd_totals *totals)
{
    const qd_evaluate_options options = {
        .epoch = r->m.epoch, .head = r->m.model_config.head, .on_step = on_validation_step, .user = r};
    qd_progress_begin(&r->m, "qat validate");
    QD_TRY(lend(r));
    const enum qd_status status =
        qd_evaluate(r->m.run->ctx, qd_qat_graph(r->qat), r->plan, r->m.val_loader, &r->m.rng, &options, totals);
    take_back(r);
    return status;
}

static enum qd_status train_epoch(qd_qat_run *r)
{
    qd_model_run *m = &r->m;
    const qd_qat_config *config = &m->run->config->qat;
    const qd_epoch_options options = {.epoch = m->epoch + 1,
                                      .lr = qd_schedule_cosine(config->lr, m->epoch, config->num_epochs),
                                      .max_steps = -1,
                                      .on_step = on_train_step,
                                      .user = r};
    qd_totals validation;
    if (m->begun.batches == 0)
        m->begun = (qd_epoch_state){.start = m->rng, .consumed = m->rng};
    m->phase_epoch = m->epoch + 1;
    qd_progress_begin(m, "qat train");
    QD_TRY(qd_trainer_run_epoch(r->trainer, m->train_loader, &m->begun, &m->steps, &options));
    m->rng = m->begun.consumed;
    m->epoch++;
    QD_TRY(validate(r, &validation));
    const qd_history_entry entry = {.epoch = m->epoch,
                                    .train_loss = qd_totals_loss(&m->begun.totals),
                                    .train_acc = qd_totals_accuracy_percent(&m->begun.totals),
                                    .val_loss = qd_totals_loss(&validation),
                                    .val_acc = qd_totals_accuracy_percent(&validation)};
    QD_TRY(qd_results_add_history(m->run->ctx, &m->results, &entry));
    m->begun = (qd_epoch_state){0};
    return write_checkpoint(r, &m->begun);
}

/* After an interrupt in an epoch; its validation is done again on resuming. */
static enum qd_status write_begun_checkpoint(qd_qat_run *r)
{
    r->m.epoch = r->m.phase_epoch - 1;
    r->m.rng = r->m.begun.start;
    qd_results_truncate(&r->m.results, r->m.epoch);
    return write_checkpoint(r, &r->m.begun);
}

/* ---- the job ---- */

static enum qd_status write_results(qd_qat_run *r)
{
    qd_model_run m = r->m;
    m.results = r->file;
    return qd_model_run_write_results(&m);
}

static bool is_done(const qd_qat_run *r, const char *settings)
{
    const qd_qat_record *record = &r->file.qat;
    return record->settings && strcmp(record->settings, settings) == 0 &&
           strcmp(record->source_sha256, r->source_sha256) == 0 && qd_file_exists(r->checkpoint_path) &&
           qd_file_exists(r->encodings_path);
}

static enum qd_status train(qd_qat_run *r)
{
    enum qd_status status = QD_OK;
    QD_TRY(compute_hash(r));
    QD_TRY(set_up(r));
    QD_TRY(restore(r));
    while (r->m.begun.batches > 0 || r->m.epoch < r->m.epoch_count)
        QD_TRY_GOTO(train_epoch(r));
    QD_TRY(qd_qat_conclude(r));
    return write_results(r);
fail:
    if (status == QD_ERR_INTERRUPTED && r->m.begun.batches > 0 && write_begun_checkpoint(r) != QD_OK)
        status = QD_ERR_IO; /* whose sentence stands */
    return status;
}

enum qd_status qd_qat_execute(qd_run *run, int model_index)
{
    enum qd_status status = QD_OK;
    if (run->config->qat.num_epochs == 0)
        return QD_OK;
    char *settings = qd_qat_settings(run->config);
    qd_qat_run r = {.m = {.run = run,
                          .model = run->config->models[model_index],
                          .model_config = qd_run_model_config(run),
                          .epoch_count = run->config->qat.num_epochs}};
    qd_results_init(r.m.model, &r.m.results);
    qd_results_init(r.m.model, &r.file);
    QD_TRY_GOTO(find_paths(&r));
    if (!settings) {
        status = qd_qat_fail_memory(&r);
        goto fail;
    }
    QD_TRY_GOTO(qd_config_hash(run->ctx, run->config, model_index, r.m.config_hash));
    QD_TRY_GOTO(qd_results_read(run->ctx, r.m.results_path, r.m.model, &r.file));
    QD_TRY_GOTO(qd_file_sha256(run->ctx, r.from, r.source_sha256));
    if (is_done(&r, settings))
        qd_log(run->ctx, QD_LOG_INFO, "%s: trained for quantization already", r.m.model->display_name);
    else
        status = train(&r);
fail:
    tear_down(&r);
    free(settings);
    return status;
}
