/* One logged epoch through the quantizer: quantize as the recipe says, measure, evaluate. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "experiment/run.h"
#include "experiment/selection.h"
#include "quantize/quantize_recipe.h"
#include <math.h>
#include <quantdrift/evaluation.h>
#include <stdlib.h>
#include <string.h>

/* What the steps of this file share. */
typedef struct stage {
    qd_model_run *m;
    qd_qgraph *qgraph;
    int64_t batch;   /* images at a time */
    float *images;   /* [batch][size][size][3] */
    int64_t *labels; /* [batch] */
    float *logits;   /* [batch][logits of a sample] */
    int64_t logit_count;
    int64_t *indices; /* room for the largest selection */
} stage;

int64_t qd_quantize_batch(const qd_config *config)
{
    /* The float network runs over the same images with the plan for validation. */
    return config->quantization.batch_size < config->batch_size ? config->quantization.batch_size
                                                                : config->batch_size;
}

static enum qd_status create_stage(stage *s, qd_model_run *m)
{
    const qd_run *run = m->run;
    int64_t train_count = qd_dataset_count(run->training), val_count = qd_dataset_count(run->validation);
    size_t pixels = (size_t)(run->config->image_size * run->config->image_size * 3);
    s->m = m;
    s->batch = qd_quantize_batch(run->config);
    s->logit_count = qd_dims_count(&m->graph->values[m->graph->output].dims);
    s->images = qd_calloc((size_t)s->batch * pixels, sizeof(float));
    s->labels = qd_calloc((size_t)s->batch, sizeof(int64_t));
    s->logits = qd_calloc((size_t)(s->batch * s->logit_count), sizeof(float));
    s->indices = qd_calloc((size_t)(train_count > val_count ? train_count : val_count), sizeof(int64_t));
    if (!s->images || !s->labels || !s->logits || !s->indices)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "quantizing %s: out of memory for batches of %lld images",
                       m->model->display_name, (long long)s->batch);
    return QD_OK;
}

static void destroy_stage(stage *s)
{
    qd_qgraph_destroy(s->qgraph);
    free(s->images);
    free(s->labels);
    free(s->logits);
    free(s->indices);
}

/* Loads `n` images of the selection from `first` on; labels may be NULL. */
static enum qd_status load(const stage *s, const qd_dataset *dataset, int64_t first, int64_t n, float *images,
                           int64_t *labels)
{
    const qd_run *run = s->m->run;
    return qd_dataset_load_eval(run->ctx, dataset, s->indices + first, n, (int32_t)run->config->image_size,
                                (int)run->loader_threads, images, labels);
}

typedef enum qd_status batch_fn(stage *s, int64_t n, void *user);

/* Calls `work` for each batch of the first `count` selected images. */
static enum qd_status for_batches(stage *s, const qd_dataset *dataset, int64_t count, const qd_totals *totals,
                                  batch_fn *work, void *user)
{
    int64_t batches = (count + s->batch - 1) / s->batch;
    for (int64_t b = 0; b < batches; b++) {
        int64_t first = b * s->batch;
        int64_t n = count - first < s->batch ? count - first : s->batch;
        QD_TRY(load(s, dataset, first, n, s->images, s->labels));
        QD_TRY(work(s, n, user));
        QD_TRY(qd_progress_report(s->m, b + 1, batches, first + n, totals, NULL));
    }
    return QD_OK;
}

/* The calibration images, and how far the pass over them is. */
typedef struct calibration {
    stage *s;
    int64_t count;
} calibration;

static enum qd_status give_images(void *user, int64_t first, int64_t n, float *images)
{
    const calibration *c = user;
    const int64_t batch = c->s->batch, batches = (c->count + batch - 1) / batch;
    QD_TRY(load(c->s, c->s->m->run->training, first, n, images, NULL));
    return qd_progress_report(c->s->m, first / batch + 1, batches, first + n, NULL, NULL);
}

static qd_recipe_job job_of(const stage *s, const qd_quant_recipe *recipe, calibration *images)
{
    return (qd_recipe_job){.ctx = s->m->run->ctx,
                           .graph = s->m->graph,
                           .state = s->m->state,
                           .recipe = recipe,
                           .images = {.source = give_images, .user = images, .count = images->count},
                           .batch = s->batch};
}

static enum qd_status select_images(const stage *s, calibration *c)
{
    const qd_run *run = s->m->run;
    const qd_quantization_config *config = &run->config->quantization;
    return qd_select_random(run->ctx, run->training, (uint64_t)config->calibration_seed, config->calibration_images,
                            s->indices, &c->count);
}

static enum qd_status quantize(stage *s, int64_t *image_count)
{
    calibration c = {.s = s};
    qd_progress_begin(s->m, "calibrate");
    QD_TRY(select_images(s, &c));
    const qd_recipe_job job = job_of(s, &s->m->run->config->quantization.recipe, &c);
    *image_count = c.count;
    return qd_recipe_quantize(&job, &s->qgraph);
}

/* Scheme, overrides and exclusions of the recipe; what its remedies would mend, the network was trained for. */
static enum qd_status quantize_with(stage *s, const qd_known_ranges *ranges)
{
    const qd_run *run = s->m->run;
    qd_quant_recipe recipe = run->config->quantization.recipe;
    calibration c = {.s = s};
    recipe.remedies = qd_quant_recipe_defaults().remedies;
    QD_TRY(select_images(s, &c));
    const qd_recipe_job job = job_of(s, &recipe, &c);
    QD_TRY(qd_recipe_fold(&job, &s->qgraph));
    QD_TRY(ranges->set(ranges->user, s->qgraph));
    QD_TRY(qd_qgraph_finalize(s->qgraph));
    return qd_qgraph_write_encodings(run->ctx, ranges->encodings, s->m->model->name, ranges->calibrator, s->qgraph);
}

static enum qd_status measure_batch(stage *s, int64_t n, void *user)
{
    (void)user;
    return qd_qgraph_measure_sqnr(s->qgraph, s->images, n);
}

/* Results of the quantized and the float network over the same images. */
typedef struct comparison {
    qd_totals int8, real;
    int64_t *labels, *int8_classes, *float_classes; /* [images], filled as far as int8.count */
} comparison;

static void judge(const stage *s, const qd_tensor *logits, int64_t *classes, qd_totals *totals)
{
    double loss_sum;
    int64_t correct;
    qd_head_loss(s->m->model_config.head, logits, s->labels, &loss_sum, &correct, NULL);
    qd_head_classes(s->m->model_config.head, logits, classes + totals->count);
    totals->count += logits->shape[0];
    totals->correct += correct;
    totals->loss_sum += loss_sum;
}

static enum qd_status evaluate_batch(stage *s, int64_t n, void *user)
{
    comparison *c = user;
    const int64_t shape[2] = {n, s->logit_count};
    qd_tensor logits = qd_tensor_contiguous(QD_F32, 2, shape, s->logits);
    memcpy(c->labels + c->int8.count, s->labels, (size_t)n * sizeof *c->labels);
    QD_TRY(qd_qgraph_run(s->qgraph, s->images, n, s->logits));
    judge(s, &logits, c->int8_classes, &c->int8);
    QD_TRY(qd_plan_forward(s->m->inference, s->images, n, NULL, NULL, NULL, &logits));
    judge(s, &logits, c->float_classes, &c->real);
    return QD_OK;
}

static void conclude(const comparison *c, qd_quantized_epoch *out)
{
    const qd_comparison paired =
        qd_comparison_compute(c->labels, c->float_classes, c->int8_classes, NULL, c->int8.count);
    out->float_loss = qd_totals_loss(&c->real);
    out->float_accuracy = qd_totals_accuracy_percent(&c->real);
    out->int8_loss = qd_totals_loss(&c->int8);
    out->int8_accuracy = qd_totals_accuracy_percent(&c->int8);
    out->agree = paired.agree;
    out->only_float = paired.only_first;
    out->only_int8 = paired.only_second;
}

static enum qd_status evaluate(stage *s, qd_quantized_epoch *out)
{
    const qd_run *run = s->m->run;
    const int64_t total = qd_dataset_count(run->validation), wanted = run->config->quantization.eval_images;
    if (wanted == QD_CONFIG_NULL || wanted >= total) {
        for (int64_t i = 0; i < total; i++)
            s->indices[i] = i;
        out->eval_images = total;
    } else {
        out->eval_images = qd_select_balanced(run->validation, wanted, s->indices);
    }
    int64_t *memory = qd_calloc((size_t)out->eval_images * 3, sizeof *memory);
    if (!memory)
        return qd_fail(run->ctx, QD_ERR_MEMORY, "quantizing %s: out of memory for the classes of %lld images",
                       s->m->model->display_name, (long long)out->eval_images);
    comparison c = {
        .labels = memory, .int8_classes = memory + out->eval_images, .float_classes = memory + 2 * out->eval_images};
    qd_progress_begin(s->m, "int8");
    const enum qd_status status = for_batches(s, run->validation, out->eval_images, &c.int8, evaluate_batch, &c);
    if (status == QD_OK)
        conclude(&c, out);
    free(memory);
    return status;
}

/* What has no scale (float tensors, dynamic ranges) has none in results either. */
static qd_tensor_record record_of(const stage *s, int index)
{
    const qd_quant_tensor from = qd_qgraph_tensor(s->qgraph, index);
    const bool ranged = !from.is_float && !s->m->run->config->quantization.recipe.scheme.activation_dynamic;
    qd_tensor_record record = {.min = ranged ? from.min : NAN,
                               .max = ranged ? from.max : NAN,
                               .scale = ranged ? from.scale : NAN,
                               .zero_point = ranged ? from.zero_point : 0,
                               .sqnr_rounding_db = from.sqnr_rounding_db,
                               .sqnr_accumulated_db = from.sqnr_accumulated_db};
    snprintf(record.name, sizeof record.name, "%s", from.name);
    return record;
}

static enum qd_status copy_records(const stage *s, qd_quantized_epoch *out)
{
    int tensors = qd_qgraph_tensor_count(s->qgraph), weights = qd_qgraph_weight_count(s->qgraph);
    out->tensors = qd_calloc((size_t)tensors, sizeof *out->tensors);
    out->weights = qd_calloc((size_t)weights, sizeof *out->weights);
    if (!out->tensors || !out->weights)
        return qd_fail(s->m->run->ctx, QD_ERR_MEMORY, "quantizing %s: out of memory", s->m->model->display_name);
    for (int t = 0; t < tensors; t++)
        out->tensors[t] = record_of(s, t);
    for (int w = 0; w < weights; w++) {
        snprintf(out->weights[w].name, sizeof out->weights[w].name, "%s", qd_qgraph_weight_name(s->qgraph, w));
        out->weights[w].scale =
            qd_qgraph_weight_has_one_scale(s->qgraph, w) ? qd_qgraph_weight_scale(s->qgraph, w, 0) : NAN;
    }
    out->tensor_count = tensors;
    out->weight_count = weights;
    return QD_OK;
}

enum qd_status qd_quantize_epoch(qd_model_run *m, int64_t epoch, qd_quantized_epoch *out)
{
    return qd_quantize_epoch_with(m, epoch, NULL, out);
}

enum qd_status qd_quantize_epoch_with(qd_model_run *m, int64_t epoch, const qd_known_ranges *ranges,
                                      qd_quantized_epoch *out)
{
    const qd_run *run = m->run;
    const qd_quantization_config *config = &run->config->quantization;
    enum qd_status status = QD_OK;
    qd_quantized_epoch q = {.epoch = epoch};
    stage s = {0};
    QD_TRY_GOTO(create_stage(&s, m));

    QD_TRY_GOTO(ranges ? quantize_with(&s, ranges) : quantize(&s, &q.calibration_images));

    qd_progress_begin(m, "sqnr");
    q.sqnr_images = qd_select_balanced(run->validation, config->sqnr_images, s.indices);
    QD_TRY_GOTO(for_batches(&s, run->validation, q.sqnr_images, NULL, measure_batch, NULL));

    QD_TRY_GOTO(evaluate(&s, &q));
    QD_TRY_GOTO(copy_records(&s, &q));
    destroy_stage(&s);
    *out = q;
    return QD_OK;
fail:
    destroy_stage(&s);
    free(q.tensors);
    free(q.weights);
    return status;
}
