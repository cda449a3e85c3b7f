/* The quantized network's tensors: who uses their codes. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/analysis_impl.h"
#include "experiment/image_series.h"
#include <stdlib.h>

/* The image alone chooses the ranges. */
static enum qd_status use_image(const qd_network *network, const qd_analysis_options *options, qd_analysis *analysis)
{
    const qd_quant_scheme scheme = qd_quantize_options_scheme(options->quantization);
    qd_analysis_memory *memory = analysis->memory;
    QD_TRY(qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, 1, &memory->qgraph));
    QD_TRY(qd_qgraph_calibrate(memory->qgraph, memory->image, 1));
    QD_TRY(qd_qgraph_finalize(memory->qgraph));
    QD_TRY(qd_attribution_create(memory->qgraph, &memory->attribution));
    analysis->calibration_images = 1;
    return qd_attribution_observe(memory->attribution, memory->image, 1);
}

/* The images that chose the ranges once more. */
static enum qd_status show_series(const qd_network *network, const qd_image_series *series,
                                  qd_attribution *attribution)
{
    enum qd_status status = QD_OK;
    float *images =
        qd_calloc((size_t)(QD_CALIBRATION_BATCH * qd_dims_count(&network->graph->input_dims)), sizeof *images);
    if (!images)
        return qd_fail(network->ctx, QD_ERR_MEMORY, "analyzing %s: out of memory for %d images",
                       network->model->display_name, QD_CALIBRATION_BATCH);
    for (int64_t first = 0; first < series->count; first += QD_CALIBRATION_BATCH) {
        const int64_t n = series->count - first < QD_CALIBRATION_BATCH ? series->count - first : QD_CALIBRATION_BATCH;
        QD_TRY_GOTO(qd_image_series_load(series, first, n, images, NULL));
        QD_TRY_GOTO(qd_attribution_observe(attribution, images, n));
    }
fail:
    free(images);
    return status;
}

static enum qd_status use_dataset(const qd_network *network, const qd_quantize_options *quantization,
                                  qd_analysis *analysis)
{
    qd_analysis_memory *memory = analysis->memory;
    qd_image_series series = {0};
    const int64_t wanted =
        quantization->calibration_images ? quantization->calibration_images : QD_DEFAULT_CALIBRATION_IMAGES;
    enum qd_status status = QD_OK;
    QD_TRY(qd_network_calibrate(network, quantization, &memory->qgraph));
    QD_TRY(qd_attribution_create(memory->qgraph, &memory->attribution));
    QD_TRY(qd_image_series_draw(network->ctx, quantization->calibration, quantization->calibration_seed, wanted,
                                network->config.image_size, &series));
    QD_TRY_GOTO(show_series(network, &series, memory->attribution));
    analysis->calibration_images = series.count;
fail:
    qd_image_series_free(&series);
    return status;
}

static double percent(int64_t part, int64_t whole)
{
    return 100.0 * (double)part / (double)whole;
}

static enum qd_status fill_tensor(const qd_analysis_memory *memory, int index, qd_tensor_view *out)
{
    const qd_quant_tensor tensor = qd_qgraph_tensor(memory->qgraph, index);
    qd_tensor_attribution a;
    QD_TRY(qd_attribution_get(memory->attribution, index, &a));
    *out = (qd_tensor_view){
        .name = tensor.name,
        .min = tensor.min,
        .max = tensor.max,
        .scale = tensor.scale,
        .zero_point = tensor.zero_point,
        .channels = a.channels,
        .values = a.values,
        .low_channel = a.low_channel,
        .high_channel = a.high_channel,
        .low = a.low,
        .high = a.high,
        .others_min = a.others_min,
        .others_max = a.others_max,
        .others_codes = a.others_codes,
        .channel_codes_min = a.channel_codes_min,
        .channel_codes_median = a.channel_codes_median,
        .channel_codes_mean = a.channel_codes_mean,
        .channel_codes_max = a.channel_codes_max,
        .used_codes = a.used_codes,
        .all_codes = a.all_codes,
        .low_pct = percent(a.low_count, a.values),
        .high_pct = percent(a.high_count, a.values),
        .zero_pct = percent(a.zero_count, a.values),
        .histogram = a.histogram,
        .channel_min = a.channel_min,
        .channel_max = a.channel_max,
        .detailed = a.of_layer,
    };
    return QD_OK;
}

enum qd_status qd_analysis_add_tensors(const qd_network *network, const qd_analysis_options *options,
                                       qd_analysis *analysis)
{
    _Static_assert(QD_HISTOGRAM_BINS == QD_ATTRIBUTION_BINS, "the public header tells the histograms' size");
    const qd_analysis_memory *memory = analysis->memory;
    if (options->quantization->calibration)
        QD_TRY(use_dataset(network, options->quantization, analysis));
    else
        QD_TRY(use_image(network, options, analysis));
    const int count = qd_qgraph_tensor_count(memory->qgraph);
    analysis->tensors = qd_calloc((size_t)count, sizeof *analysis->tensors);
    if (!analysis->tensors)
        return qd_fail(network->ctx, QD_ERR_MEMORY, "analyzing %s: out of memory for %d tensors",
                       network->model->display_name, count);
    for (int i = 0; i < count; i++) {
        QD_TRY(fill_tensor(memory, i, &analysis->tensors[i]));
        analysis->tensors[i].detailed |= qd_analysis_is_chosen(options, analysis->tensors[i].name);
    }
    analysis->tensor_count = count;
    return QD_OK;
}
