/* The quantized form of a network. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "experiment/calibrated.h"
#include "experiment/network_impl.h"

#define DEFAULT_BITS 8

qd_quant_scheme qd_quantize_options_scheme(const qd_quantize_options *options)
{
    qd_quant_scheme scheme = qd_quant_scheme_defaults();
    scheme.weight_bits = options->weight_bits ? options->weight_bits : DEFAULT_BITS;
    scheme.activation_bits = options->activation_bits ? options->activation_bits : DEFAULT_BITS;
    scheme.weight_per_channel = options->per_channel;
    scheme.activation_signed = !options->unsigned_activations;
    scheme.activation_symmetric = options->symmetric_activations;
    return scheme;
}

enum qd_status qd_network_calibrate(const qd_network *network, const qd_quantize_options *options, qd_qgraph **out)
{
    qd_context *ctx = network->ctx;
    qd_calibration calibration = {
        .images = options->calibration,
        .count = options->calibration_images ? options->calibration_images : QD_DEFAULT_CALIBRATION_IMAGES,
        .seed = options->calibration_seed,
        .batch = QD_CALIBRATION_BATCH,
        .loader_threads = qd_context_threads(ctx),
        .scheme = qd_quantize_options_scheme(options),
        .encodings = options->encodings,
    };
    QD_TRY(qd_network_require_float(network, "quantizing"));
    return qd_calibrate(ctx, network->graph, network->state, &calibration, out);
}

/* 0 alone makes no scale: such a tensor is of a broken network, or of images that do not stand for others. */
static enum qd_status refuse_constant_tensors(const qd_network *network)
{
    for (int i = 0; i < qd_qgraph_tensor_count(network->qgraph); i++) {
        const qd_quant_tensor tensor = qd_qgraph_tensor(network->qgraph, i);
        if (!tensor.is_float && tensor.min == 0.0 && tensor.max == 0.0)
            return qd_fail(
                network->ctx, QD_ERR_INPUT,
                "quantizing %s: tensor '%s' was 0 for every calibration image, so that it has no scale; give "
                "other images, or a range in --encodings",
                network->model->display_name, tensor.name);
    }
    return QD_OK;
}

enum qd_status qd_network_quantize(const qd_network *network, const qd_quantize_options *options, qd_network **out)
{
    enum qd_status status = QD_OK;
    qd_network *quantized = qd_calloc(1, sizeof *quantized);
    if (!quantized)
        return qd_fail(network->ctx, QD_ERR_MEMORY, "quantizing %s: out of memory", network->model->display_name);
    quantized->ctx = network->ctx;
    quantized->model = network->model;
    quantized->config = network->config;
    quantized->max_batch = QD_CALIBRATION_BATCH;
    QD_TRY_GOTO(qd_model_build(network->ctx, network->model, &network->config, &quantized->graph));
    QD_TRY_GOTO(qd_network_calibrate(network, options, &quantized->qgraph));
    QD_TRY_GOTO(refuse_constant_tensors(quantized));
    *out = quantized;
    return QD_OK;
fail:
    qd_network_destroy(quantized);
    return status;
}

enum qd_status qd_network_write_encodings(const qd_network *network, const char *path)
{
    if (!network->qgraph)
        return qd_fail(network->ctx, QD_ERR_USAGE, "encodings of %s: this network is not quantized",
                       network->model->display_name);
    return qd_qgraph_write_encodings(network->ctx, path, network->model->name, QD_CALIBRATOR, network->qgraph);
}
