/* Every layer's share of what quantization costs. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "experiment/image_series.h"
#include "experiment/sensitivity_impl.h"
#include "train/trainer.h"
#include <math.h>
#include <quantdrift/evaluation.h>
#include <stdlib.h>
#include <string.h>

/* Minutes for EfficientNet-B0 on two cores. */
#define DEFAULT_IMAGES 256

void qd_sensitivity_tell(const qd_sensitivity_stage *stage, const char *phase, int64_t step, int64_t step_count)
{
    const qd_progress progress = {.model = stage->network->model->display_name,
                                  .phase = phase,
                                  .step = step,
                                  .step_count = step_count,
                                  .loss = NAN,
                                  .accuracy_percent = NAN,
                                  .eta_s = NAN,
                                  .wait_share = NAN,
                                  .phase_end = step == step_count};
    if (stage->options->progress)
        stage->options->progress(stage->options->user, &progress);
}

void qd_sensitivity_compare(const qd_sensitivity_stage *stage, int64_t first, int64_t n, const float *logits,
                            qd_logit_tally *tally)
{
    const qd_logit_pair pair = {.head = stage->network->config.head,
                                .n = n,
                                .width = stage->width,
                                .reference = stage->reference + first * stage->width,
                                .logits = logits,
                                .labels = stage->labels + first,
                                .reference_classes = stage->float_predicted + first,
                                .classes = stage->predicted + first};
    qd_logit_tally_add(tally, &pair);
}

qd_sensitivity_score qd_sensitivity_score_all(const qd_sensitivity_stage *stage)
{
    qd_logit_tally tally = {0};
    qd_sensitivity_compare(stage, 0, stage->count, stage->logits, &tally);
    return qd_logit_tally_score(&tally, stage->out->float_accuracy);
}

/* ---- the stage ---- */

static enum qd_status check(const qd_network *network, const qd_sensitivity_options *options)
{
    qd_context *ctx = network->ctx;
    const char *name = network->model->display_name;
    QD_TRY(qd_network_require_float(network, "analyzing the sensitivity of"));
    if (!(options->max_drop >= 0.0 && options->max_drop <= 100.0))
        return qd_fail(ctx, QD_ERR_USAGE,
                       "sensitivity of %s: expected a drop of 0 to 100 points as the limit, got %g", name,
                       options->max_drop);
    if (options->quantization->encodings)
        return qd_fail(ctx, QD_ERR_USAGE, "sensitivity of %s: it chooses encodings and takes none", name);
    if (qd_dataset_class_count(options->evaluation) != network->config.num_classes)
        return qd_fail(ctx, QD_ERR_INPUT, "sensitivity of %s: the network tells %lld classes apart, '%s' has %lld",
                       name, (long long)network->config.num_classes, qd_dataset_folder(options->evaluation),
                       (long long)qd_dataset_class_count(options->evaluation));
    return QD_OK;
}

static enum qd_status load_images(qd_sensitivity_stage *s)
{
    const int64_t wanted = s->options->images ? s->options->images : DEFAULT_IMAGES;
    qd_context *ctx = s->network->ctx;
    qd_image_series series = {0};
    enum qd_status status = QD_OK;
    QD_TRY(qd_image_series_balance(ctx, s->options->evaluation, wanted, s->network->config.image_size, &series));
    s->count = series.count;
    s->pixels = qd_dims_count(&s->network->graph->input_dims);
    s->width = qd_dims_count(&s->network->graph->values[s->network->graph->output].dims);
    s->images = qd_calloc((size_t)(s->count * s->pixels), sizeof *s->images);
    s->labels = qd_calloc((size_t)s->count, sizeof *s->labels);
    s->reference = qd_calloc((size_t)(s->count * s->width), sizeof *s->reference);
    s->logits = qd_calloc((size_t)(s->count * s->width), sizeof *s->logits);
    s->float_predicted = qd_calloc((size_t)s->count, sizeof *s->float_predicted);
    s->predicted = qd_calloc((size_t)s->count, sizeof *s->predicted);
    if (!s->images || !s->labels || !s->reference || !s->logits || !s->float_predicted || !s->predicted) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "sensitivity of %s: out of memory for %lld images; give fewer",
                         s->network->model->display_name, (long long)s->count);
        goto fail;
    }
    for (int64_t first = 0; first < s->count; first += QD_CALIBRATION_BATCH) {
        const int64_t n = s->count - first < QD_CALIBRATION_BATCH ? s->count - first : QD_CALIBRATION_BATCH;
        QD_TRY_GOTO(qd_image_series_load(&series, first, n, s->images + first * s->pixels, s->labels + first));
    }
fail:
    qd_image_series_free(&series);
    return status;
}

static void free_stage(qd_sensitivity_stage *s)
{
    free(s->images);
    free(s->labels);
    free(s->reference);
    free(s->logits);
    free(s->float_predicted);
    free(s->predicted);
}

/* ---- whole networks ---- */

/* The folded float network, with which everything is compared. */
static enum qd_status run_reference(qd_sensitivity_stage *s)
{
    const int64_t shape[2] = {s->count, s->width};
    const qd_tensor logits = qd_tensor_contiguous(QD_F32, 2, shape, s->reference);
    int64_t correct = 0;
    s->out->images = s->count;
    QD_TRY(qd_qgraph_run_float(s->out->memory->qgraph, false, s->images, s->count, s->reference));
    qd_head_classes(s->network->config.head, &logits, s->float_predicted);
    for (int64_t i = 0; i < s->count; i++)
        correct += s->float_predicted[i] == s->labels[i];
    s->out->float_accuracy = 100.0 * (double)correct / (double)s->count;
    return QD_OK;
}

static enum qd_status run_int8(qd_sensitivity_stage *s)
{
    QD_TRY(qd_qgraph_run_integer(s->out->memory->qgraph, s->images, s->count, s->logits));
    s->out->int8 = qd_sensitivity_score_all(s);
    const qd_comparison interval = qd_comparison_compute(s->labels, s->float_predicted, s->predicted, NULL, s->count);
    s->out->int8_low = interval.low;
    s->out->int8_high = interval.high;
    return QD_OK;
}

static void add_form(qd_sensitivity_stage *s, const char *name)
{
    s->out->forms[s->out->form_count++] = (qd_sensitivity_form){name, qd_sensitivity_score_all(s)};
}

/* The recipe's fused SiLU: the same ranges, no rounding of what SiLU reads. */
static enum qd_status run_fused(qd_sensitivity_stage *s)
{
    const qd_network *network = s->network;
    qd_quant_scheme scheme = qd_quantize_options_scheme(s->options->quantization);
    qd_qgraph *fused = NULL;
    enum qd_status status = QD_OK;
    scheme.fused_silu = true;
    QD_TRY_GOTO(
        qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, QD_CALIBRATION_BATCH, &fused));
    QD_TRY_GOTO(qd_qgraph_take_ranges(fused, s->out->memory->qgraph));
    QD_TRY_GOTO(qd_qgraph_finalize(fused));
    QD_TRY_GOTO(qd_qgraph_run_float(fused, true, s->images, s->count, s->logits));
    add_form(s, "fused_silu");
fail:
    qd_qgraph_destroy(fused);
    return status;
}

static enum qd_status run_forms(qd_sensitivity_stage *s)
{
    static const struct {
        const char *name;
        enum qd_float_part part;
    } forms[] = {{"both", QD_FLOAT_NOTHING},
                 {"weights", QD_FLOAT_TENSORS},
                 {"activations", QD_FLOAT_WEIGHTS},
                 {"silu_input_float", QD_FLOAT_SILU_INPUTS},
                 {"silu_input_and_sigmoid_float", QD_FLOAT_SILU_INPUTS_AND_SIGMOIDS}};
    const int count = (int)(sizeof forms / sizeof forms[0]);
    qd_qgraph *qgraph = s->out->memory->qgraph;
    bool silu = true;
    for (int i = 0; i < count && silu; i++) {
        silu = qd_qgraph_mark_part(qgraph, forms[i].part);
        if (!silu)
            break;
        QD_TRY(qd_qgraph_finalize(qgraph));
        QD_TRY(qd_qgraph_run_float(qgraph, true, s->images, s->count, s->logits));
        add_form(s, forms[i].name);
        qd_sensitivity_tell(s, "forms", i + 1, count + 1);
    }
    qd_qgraph_mark_part(qgraph, QD_FLOAT_NOTHING);
    QD_TRY(qd_qgraph_finalize(qgraph));
    if (silu)
        QD_TRY(run_fused(s));
    qd_sensitivity_tell(s, "forms", count + 1, count + 1);
    return QD_OK;
}

/* ---- layers ---- */

typedef struct layer_pass {
    const qd_sensitivity_stage *stage;
    qd_logit_tally *tallies; /* [layers] */
    int64_t first, n;
    int64_t step, step_count;
    const char *phase;
} layer_pass;

static enum qd_status on_layer(void *user, int layer, const float *logits, int64_t n)
{
    layer_pass *pass = user;
    qd_sensitivity_compare(pass->stage, pass->first, n, logits, &pass->tallies[layer]);
    qd_sensitivity_tell(pass->stage, pass->phase, ++pass->step, pass->step_count);
    return QD_OK;
}

/* Fills `only` or `without` of every layer. */
static enum qd_status run_layers(const qd_sensitivity_stage *s, enum qd_sensitivity_mode mode)
{
    qd_sensitivity *out = s->out;
    const int64_t batches = (s->count + QD_CALIBRATION_BATCH - 1) / QD_CALIBRATION_BATCH;
    enum qd_status status = QD_OK;
    layer_pass pass = {.stage = s,
                       .tallies = qd_calloc((size_t)out->layer_count, sizeof *pass.tallies),
                       .step_count = batches * out->layer_count,
                       .phase = mode == QD_SENSITIVITY_ONLY ? "each layer alone" : "all but each layer"};
    if (!pass.tallies)
        return qd_fail(s->network->ctx, QD_ERR_MEMORY, "sensitivity of %s: out of memory",
                       s->network->model->display_name);
    for (pass.first = 0; pass.first < s->count; pass.first += QD_CALIBRATION_BATCH) {
        pass.n = s->count - pass.first < QD_CALIBRATION_BATCH ? s->count - pass.first : QD_CALIBRATION_BATCH;
        QD_TRY_GOTO(qd_sensitivity_run(out->memory->qgraph, mode, out->memory->layers, out->layer_count,
                                       s->images + pass.first * s->pixels, pass.n, on_layer, &pass));
    }
    for (int i = 0; i < out->layer_count; i++) {
        const qd_sensitivity_score score = qd_logit_tally_score(&pass.tallies[i], out->float_accuracy);
        if (mode == QD_SENSITIVITY_ONLY)
            out->layers[i].only = score;
        else
            out->layers[i].without = score;
    }
fail:
    free(pass.tallies);
    return status;
}

static enum qd_status list_layers(const qd_sensitivity_stage *s)
{
    qd_sensitivity *out = s->out;
    const qd_qgraph *qgraph = out->memory->qgraph;
    QD_TRY(qd_quant_layers_list(qgraph, &out->memory->layers, &out->layer_count));
    out->layers = qd_calloc((size_t)out->layer_count, sizeof *out->layers);
    if (!out->layers)
        return qd_fail(s->network->ctx, QD_ERR_MEMORY, "sensitivity of %s: out of memory for %d layers",
                       s->network->model->display_name, out->layer_count);
    for (int i = 0; i < out->layer_count; i++) {
        const qd_quant_layer *from = &out->memory->layers[i];
        qd_sensitivity_layer *layer = &out->layers[i];
        layer->kind = qd_quant_layer_kind_name(from->kind);
        layer->name = from->name;
        layer->weight = from->weight < 0 ? NULL : qd_qgraph_weight_name(qgraph, from->weight);
        layer->tensor_count = from->tensor_count;
        for (int t = 0; t < from->tensor_count; t++)
            layer->tensors[t] = qd_qgraph_tensor(qgraph, from->tensors[t]).name;
    }
    return QD_OK;
}

/* Places by harm: a layer's is 1 + how many do more. */
static void rank_layers(qd_sensitivity *out)
{
    for (int i = 0; i < out->layer_count; i++) {
        qd_sensitivity_layer *layer = &out->layers[i];
        layer->rank_accuracy = layer->rank_kl = layer->rank_mse = 1;
        for (int k = 0; k < out->layer_count; k++) {
            const qd_sensitivity_score *other = &out->layers[k].only, *own = &layer->only;
            const bool earlier = k < i; /* of equal ones */
            const bool more_kl = other->kl > own->kl || (other->kl == own->kl && earlier);
            layer->rank_accuracy += other->drop > own->drop || (other->drop == own->drop && more_kl && k != i);
            layer->rank_kl += more_kl && k != i;
            layer->rank_mse += other->mse > own->mse || (other->mse == own->mse && earlier);
        }
    }
}

enum qd_status qd_sensitivity_measure(qd_sensitivity_stage *stage)
{
    QD_TRY(run_reference(stage));
    QD_TRY(run_int8(stage));
    QD_TRY(run_forms(stage));
    QD_TRY(list_layers(stage));
    QD_TRY(run_layers(stage, QD_SENSITIVITY_ONLY));
    QD_TRY(run_layers(stage, QD_SENSITIVITY_WITHOUT));
    rank_layers(stage->out);
    return qd_sensitivity_search(stage);
}

static enum qd_status calibrate(const qd_sensitivity_stage *s)
{
    const qd_quantize_options *quantization = s->options->quantization;
    const int64_t wanted =
        quantization->calibration_images ? quantization->calibration_images : QD_DEFAULT_CALIBRATION_IMAGES;
    qd_sensitivity_tell(s, "calibrate", 0, 1);
    QD_TRY(qd_network_calibrate(s->network, quantization, &s->out->memory->qgraph));
    s->out->memory->calibrator = qd_quantize_options_calibrator(quantization);
    const int64_t there = qd_dataset_count(quantization->calibration);
    s->out->calibration_images = wanted < there ? wanted : there;
    qd_sensitivity_tell(s, "calibrate", 1, 1);
    return QD_OK;
}

enum qd_status qd_network_sensitivity(qd_network *network, const qd_sensitivity_options *options,
                                      qd_sensitivity **out)
{
    enum qd_status status = QD_OK;
    qd_sensitivity_stage stage = {.network = network, .options = options};
    QD_TRY(check(network, options));
    stage.out = qd_calloc(1, sizeof *stage.out);
    if (stage.out)
        stage.out->memory = qd_calloc(1, sizeof *stage.out->memory);
    if (!stage.out || !stage.out->memory) {
        status =
            qd_fail(network->ctx, QD_ERR_MEMORY, "sensitivity of %s: out of memory", network->model->display_name);
        goto fail;
    }
    QD_TRY_GOTO(load_images(&stage));
    QD_TRY_GOTO(calibrate(&stage));
    QD_TRY_GOTO(qd_sensitivity_measure(&stage));
    *out = stage.out;
    stage.out = NULL;
fail:
    qd_sensitivity_destroy(stage.out);
    free_stage(&stage);
    return status;
}

void qd_sensitivity_destroy(qd_sensitivity *sensitivity)
{
    if (!sensitivity)
        return;
    if (sensitivity->memory) {
        qd_qgraph_destroy(sensitivity->memory->qgraph);
        free(sensitivity->memory->layers);
    }
    free(sensitivity->memory);
    free(sensitivity->layers);
    free(sensitivity->kept);
    free(sensitivity->trials);
    free(sensitivity);
}

enum qd_status qd_sensitivity_write_encodings(const qd_sensitivity *sensitivity, const qd_network *network,
                                              const char *path)
{
    return qd_qgraph_write_encodings(network->ctx, path, network->model->name, sensitivity->memory->calibrator,
                                     sensitivity->memory->qgraph);
}
