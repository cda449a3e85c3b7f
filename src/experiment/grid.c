#include <quantdrift/grid.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "experiment/grid_file.h"
#include "experiment/grid_rows.h"
#include "experiment/grid_training.h"
#include "experiment/kept_images.h"
#include "experiment/network_impl.h"
#include "experiment/run.h"
#include "experiment/selection.h"
#include "quantize/quantize_recipe.h"
#include <stdlib.h>
#include <string.h>

/* Images that the float and the quantized network are asked about at a time, as `eval` asks the float one. */
#define EVAL_BATCH 64

/* What the images showed of one float network: enough for every recipe that leaves this function as it is. */
typedef struct observation {
    char *function;    /* what of a recipe decides it, as text, owned; NULL: nothing observed */
    qd_qgraph *qgraph; /* the network that was shown the images */
    qd_ranges *ranges;
} observation;

typedef struct work {
    qd_context *ctx;
    const qd_grid_config *config;
    qd_grid_file file;
    qd_folder_lock lock; /* two writers would lose each other's rows */
    qd_grid_rows rows;
    qd_kept_images calibration, validation;
    int64_t *labels; /* [validation] */
    float *images;   /* [EVAL_BATCH][size][size][3] */
    float *logits;
    int64_t *float_classes, *classes; /* [validation] predictions */
    int64_t row_index;
} work;

/* One checkpoint. */
typedef struct subject {
    work *w;
    const char *path;
    char sha256[65];
    qd_network *network;
    bool has_float_classes;
    observation seen;
} subject;

/* ---- setting up ---- */

static enum qd_status fail_memory(const work *w)
{
    return qd_fail(w->ctx, QD_ERR_MEMORY, "grid: out of memory");
}

static enum qd_status choose_calibration(work *w)
{
    const qd_quantization_config *q = &w->file.settings.quantization;
    w->calibration.dataset = w->config->training;
    w->calibration.indices = qd_calloc((size_t)qd_dataset_count(w->config->training), sizeof(int64_t));
    if (!w->calibration.indices)
        return fail_memory(w);
    return qd_select_random(w->ctx, w->config->training, (uint64_t)q->calibration_seed, q->calibration_images,
                            w->calibration.indices, &w->calibration.count);
}

/* All images in the data set's order, or some of every class. */
static enum qd_status choose_validation(work *w)
{
    const qd_dataset *dataset = w->config->validation;
    const int64_t total = qd_dataset_count(dataset), wanted = w->file.settings.quantization.eval_images;
    qd_kept_images *kept = &w->validation;
    kept->dataset = dataset;
    kept->indices = qd_calloc((size_t)total, sizeof(int64_t));
    w->labels = qd_calloc((size_t)total, sizeof *w->labels);
    w->float_classes = qd_calloc((size_t)total, sizeof *w->float_classes);
    w->classes = qd_calloc((size_t)total, sizeof *w->classes);
    if (!kept->indices || !w->labels || !w->float_classes || !w->classes)
        return fail_memory(w);
    kept->count =
        wanted == QD_CONFIG_NULL || wanted >= total ? total : qd_select_balanced(dataset, wanted, kept->indices);
    for (int64_t i = 0; i < kept->count; i++) {
        kept->indices[i] = kept->count == total ? i : kept->indices[i];
        w->labels[i] = qd_dataset_get(dataset, kept->indices[i])->label;
    }
    return QD_OK;
}

static enum qd_status set_up(work *w)
{
    qd_quantization_config *q = &w->file.settings.quantization;
    QD_TRY(qd_grid_file_read(w->ctx, w->config->file, &w->file));
    if (w->config->calibration_images > 0)
        q->calibration_images = w->config->calibration_images;
    if (w->config->eval_images > 0)
        q->eval_images = w->config->eval_images;
    QD_TRY(choose_calibration(w));
    QD_TRY(choose_validation(w));
    qd_grid_header header = {.calibration_images = w->calibration.count,
                             .calibration_seed = q->calibration_seed,
                             .eval_images = w->validation.count,
                             .batch_size = q->batch_size};
    qd_dataset_fingerprint(w->config->training, header.train_fingerprint);
    qd_dataset_fingerprint(w->config->validation, header.val_fingerprint);
    QD_TRY(qd_folder_create(w->ctx, w->config->folder));
    QD_TRY(qd_folder_lock_take(w->ctx, w->config->folder, &w->lock));
    return qd_grid_rows_open(w->ctx, w->config->folder, &header, &w->rows);
}

static void tear_down(work *w)
{
    qd_grid_rows_close(&w->rows);
    qd_grid_file_free(&w->file);
    qd_kept_images_free(&w->calibration);
    qd_kept_images_free(&w->validation);
    free(w->labels);
    free(w->images);
    free(w->logits);
    free(w->float_classes);
    free(w->classes);
    qd_folder_lock_release(&w->lock);
}

/* ---- quantizing ---- */

static void forget(observation *seen)
{
    free(seen->function);
    qd_ranges_destroy(seen->ranges);
    qd_qgraph_destroy(seen->qgraph);
    *seen = (observation){0};
}

/* What of a recipe decides the float network, its tensors and their names. NULL when memory is short. */
static char *function_of(const qd_config *recipe)
{
    const qd_quant_recipe *r = &recipe->quantization.recipe;
    cJSON *lists = cJSON_CreateArray();
    cJSON *excluded = qd_config_key_json(recipe, qd_config_find_key(QD_RECIPE_SECTION "exclude"));
    cJSON *overrides = qd_config_key_json(recipe, qd_config_find_key(QD_RECIPE_SECTION "overrides"));
    char *line = NULL, *text = NULL;
    if (!lists || !cJSON_AddItemToArray(lists, excluded))
        cJSON_Delete(excluded);
    if (!lists || !cJSON_AddItemToArray(lists, overrides))
        cJSON_Delete(overrides);
    line = cJSON_GetArraySize(lists) == 2 ? qd_json_print_line(lists) : NULL;
    if (line)
        text = qd_format("%d %d %d %s", r->remedies.reestimate_batchnorm, r->remedies.equalize, r->scheme.fused_silu,
                         line);
    free(line);
    cJSON_Delete(lists);
    return text;
}

/* Whether a calibrator of the file's recipes needs histograms; any of them may come to choose. */
static enum qd_status need_histograms(const work *w, bool *out)
{
    *out = false;
    for (int i = 0; i < w->file.count && !*out; i++)
        QD_TRY(qd_ranges_need_histograms(w->ctx, &w->file.recipes[i].quantization.recipe.calibrator, out));
    return QD_OK;
}

/* Shows the calibration images to the recipe's float network, unless it was the last one that saw them. */
static enum qd_status observe(subject *s, const qd_config *recipe, const qd_recipe_job *job)
{
    enum qd_status status = QD_OK;
    bool histograms;
    char *function = function_of(recipe);
    if (!function)
        return fail_memory(s->w);
    if (s->seen.function && strcmp(s->seen.function, function) == 0) {
        free(function);
        return QD_OK;
    }
    forget(&s->seen);
    QD_TRY_GOTO(need_histograms(s->w, &histograms));
    QD_TRY_GOTO(qd_recipe_fold(job, &s->seen.qgraph));
    QD_TRY_GOTO(qd_recipe_observe(job, histograms, s->seen.qgraph, &s->seen.ranges));
    s->seen.function = function;
    return QD_OK;
fail:
    free(function);
    return status;
}

/* The network of a row for which it is trained on. */
static enum qd_status train(const subject *s, const qd_config *recipe, qd_qgraph **out)
{
    const qd_grid_training training = {.grid = s->w->config,
                                       .network = s->network,
                                       .checkpoint = s->path,
                                       .checkpoint_sha256 = s->sha256,
                                       .settings = &s->w->file.settings,
                                       .recipe = recipe,
                                       .max_batch = EVAL_BATCH};
    return qd_grid_train(s->w->ctx, &training, out);
}

/* A row's network. */
static enum qd_status quantize(subject *s, const qd_config *recipe, qd_qgraph **out)
{
    work *w = s->w;
    if (recipe->qat.num_epochs > 0)
        return train(s, recipe, out);
    const qd_recipe_job job = {
        .ctx = w->ctx,
        .graph = s->network->graph,
        .state = s->network->state,
        .recipe = &recipe->quantization.recipe,
        .images = {.source = qd_kept_images_give, .user = &w->calibration, .count = w->calibration.count},
        .batch = w->file.settings.quantization.batch_size};
    enum qd_status status = QD_OK;
    qd_qgraph *qgraph = NULL;
    if (!job.recipe->scheme.activation_dynamic)
        QD_TRY_GOTO(observe(s, recipe, &job));
    QD_TRY_GOTO(qd_recipe_fold(&job, &qgraph));
    if (!job.recipe->scheme.activation_dynamic)
        QD_TRY_GOTO(qd_ranges_choose(s->seen.ranges, &job.recipe->calibrator, qgraph));
    QD_TRY_GOTO(qd_recipe_finish(&job, qgraph));
    *out = qgraph;
    return QD_OK;
fail:
    qd_qgraph_destroy(qgraph);
    return status;
}

/* ---- evaluating ---- */

/* What the network, or `qgraph` in its place, takes every validation image for. */
static enum qd_status predict(subject *s, qd_qgraph *qgraph, int64_t *classes)
{
    work *w = s->w;
    const int64_t width = qd_dims_count(&s->network->graph->values[s->network->graph->output].dims);
    for (int64_t first = 0; first < w->validation.count; first += EVAL_BATCH) {
        const int64_t n = w->validation.count - first < EVAL_BATCH ? w->validation.count - first : EVAL_BATCH;
        const int64_t shape[2] = {n, width};
        const qd_tensor logits = qd_tensor_contiguous(QD_F32, 2, shape, w->logits);
        QD_TRY(qd_kept_images_give(&w->validation, first, n, w->images));
        if (qgraph)
            QD_TRY(qd_qgraph_run(qgraph, w->images, n, w->logits));
        else
            QD_TRY(qd_network_predict(s->network, w->images, n, w->logits));
        qd_head_classes(s->network->config.head, &logits, classes + first);
    }
    return QD_OK;
}

static double accuracy_of(const work *w, const int64_t *classes)
{
    int64_t correct = 0;
    for (int64_t i = 0; i < w->validation.count; i++)
        correct += classes[i] == w->labels[i];
    return w->validation.count > 0 ? 100.0 * (double)correct / (double)w->validation.count : 0.0;
}

/* The float network's answers, once a checkpoint, when a row needs them. */
static enum qd_status prepare(subject *s)
{
    work *w = s->w;
    const int64_t size = s->network->config.image_size;
    if (s->has_float_classes)
        return QD_OK;
    QD_TRY(qd_kept_images_load(w->ctx, &w->calibration, size));
    QD_TRY(qd_kept_images_load(w->ctx, &w->validation, size));
    free(w->images);
    free(w->logits);
    w->images = qd_calloc((size_t)(EVAL_BATCH * size * size * 3), sizeof *w->images);
    w->logits = qd_calloc((size_t)(EVAL_BATCH * s->network->config.num_classes), sizeof *w->logits);
    if (!w->images || !w->logits)
        return fail_memory(w);
    QD_TRY(predict(s, NULL, w->float_classes));
    s->has_float_classes = true;
    return QD_OK;
}

static enum qd_status measure(subject *s, const qd_config *recipe, qd_grid_record *out)
{
    work *w = s->w;
    qd_qgraph *qgraph = NULL;
    QD_TRY(prepare(s));
    const double start = qd_now_s();
    QD_TRY(quantize(s, recipe, &qgraph));
    const bool simulated = !qd_qgraph_has_integer_form(qgraph);
    const enum qd_status status = predict(s, qgraph, w->classes);
    qd_qgraph_destroy(qgraph);
    QD_TRY(status);
    *out = (qd_grid_record){
        .model = s->network->model->name,
        .checkpoint = s->path,
        .checkpoint_sha256 = s->sha256,
        .image_size = s->network->config.image_size,
        .recipe = recipe,
        .simulated = simulated,
        .float_accuracy = accuracy_of(w, w->float_classes),
        .accuracy = accuracy_of(w, w->classes),
        .comparison = qd_comparison_compute(w->labels, w->float_classes, w->classes, NULL, w->validation.count),
        .seconds = qd_now_s() - start};
    return QD_OK;
}

/* ---- rows ---- */

static enum qd_status tell(work *w, const qd_config *recipe, const char *path, const qd_grid_record *record)
{
    char *text = qd_grid_recipe_text(recipe);
    qd_grid_row row = {.index = w->row_index,
                       .count = w->config->network_count * w->file.count,
                       .checkpoint = path,
                       .recipe = text,
                       .there_before = record == NULL};
    if (!text)
        return fail_memory(w);
    if (record) {
        row.float_accuracy = record->float_accuracy;
        row.accuracy = record->accuracy;
        row.drop = record->comparison.drop;
        row.low = record->comparison.low;
        row.high = record->comparison.high;
        row.seconds = record->seconds;
    }
    if (w->config->progress)
        w->config->progress(w->config->user, &row);
    free(text);
    return QD_OK;
}

static enum qd_status run_recipe(subject *s, const qd_config *recipe)
{
    work *w = s->w;
    qd_grid_record record;
    w->row_index++;
    if (qd_grid_rows_find(&w->rows, s->sha256, recipe, NULL))
        return tell(w, recipe, s->path, NULL);
    QD_TRY(measure(s, recipe, &record));
    QD_TRY(qd_grid_rows_add(&w->rows, &record));
    return tell(w, recipe, s->path, &record);
}

static enum qd_status check_classes(const subject *s)
{
    const qd_dataset *dataset = s->w->config->validation;
    if (qd_dataset_class_count(dataset) == s->network->config.num_classes)
        return QD_OK;
    return qd_fail(s->w->ctx, QD_ERR_INPUT, "grid, '%s': the network tells %lld classes apart, '%s' has %lld",
                   s->path, (long long)s->network->config.num_classes, qd_dataset_folder(dataset),
                   (long long)qd_dataset_class_count(dataset));
}

static enum qd_status run_network(work *w, const qd_network_config *given)
{
    qd_network_config config = *given;
    enum qd_status status = QD_OK;
    subject s = {.w = w, .path = config.checkpoint};
    config.max_batch = EVAL_BATCH;
    QD_TRY_GOTO(qd_network_load(w->ctx, &config, &s.network));
    QD_TRY_GOTO(qd_network_require_float(s.network, "grid over"));
    QD_TRY_GOTO(check_classes(&s));
    QD_TRY_GOTO(qd_file_sha256(w->ctx, s.path, s.sha256));
    for (int i = 0; i < w->file.count; i++)
        QD_TRY_GOTO(run_recipe(&s, &w->file.recipes[i]));
fail:
    forget(&s.seen);
    qd_network_destroy(s.network);
    return status;
}

enum qd_status qd_grid_run(qd_context *ctx, const qd_grid_config *config)
{
    enum qd_status status = QD_OK;
    work w = {.ctx = ctx, .config = config};
    QD_TRY_GOTO(set_up(&w));
    for (int64_t i = 0; i < config->network_count; i++)
        QD_TRY_GOTO(run_network(&w, &config->networks[i]));
    QD_TRY_GOTO(qd_grid_rows_write_table(&w.rows));
fail:
    tear_down(&w);
    return status;
}
