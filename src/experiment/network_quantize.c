/* The quantized form of a network. */
#include "base/arena.h"
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "experiment/calibrated.h"
#include "experiment/network_impl.h"
#include <stdio.h>
#include <string.h>

qd_quant_scheme qd_quantize_options_scheme(const qd_quantize_options *options)
{
    return options->recipe ? options->recipe->scheme : qd_quant_scheme_defaults();
}

const char *qd_quantize_options_calibrator(const qd_quantize_options *options)
{
    const char *wanted = options->recipe ? options->recipe->calibrator.name : NULL, *name = NULL;
    /* The list's entry lives longer than who owns the recipe. */
    for (int i = 0; (name = qd_calibrator_name(i)) != NULL; i++)
        if (wanted && strcmp(name, wanted) == 0)
            return name;
    return qd_calibrator_name(0);
}

enum qd_status qd_network_calibrate(const qd_network *network, const qd_quantize_options *options, qd_qgraph **out)
{
    qd_context *ctx = network->ctx;
    const qd_quant_recipe defaults = qd_quant_recipe_defaults();
    const qd_calibration calibration = {
        .images = options->calibration,
        .count = options->calibration_images ? options->calibration_images : QD_DEFAULT_CALIBRATION_IMAGES,
        .seed = options->calibration_seed,
        .batch = QD_CALIBRATION_BATCH,
        .loader_threads = qd_context_threads(ctx),
        .recipe = options->recipe ? options->recipe : &defaults,
        .encodings = options->encodings,
    };
    QD_TRY(qd_network_require_float(network, "quantizing"));
    return qd_calibrate(ctx, network->graph, network->state, &calibration, out);
}

/* More bits than codes of a file have, anywhere in the recipe; 0: none. */
static int wide_bits(const qd_quant_recipe *recipe)
{
    int widest = recipe->scheme.weight_bits;
    if (recipe->scheme.activation_bits > widest)
        widest = recipe->scheme.activation_bits;
    for (int i = 0; i < recipe->tensor_count; i++)
        widest = recipe->tensors[i].bits > widest ? recipe->tensors[i].bits : widest;
    for (int i = 0; i < recipe->weight_count; i++)
        widest = recipe->weights[i].bits > widest ? recipe->weights[i].bits : widest;
    return widest > 8 ? widest : 0;
}

enum qd_status qd_recipe_require_file(qd_context *ctx, const qd_quant_recipe *recipe)
{
    const bool dynamic = recipe->scheme.activation_dynamic, fused = recipe->scheme.fused_silu;
    const int bits = wide_bits(recipe);
    char wide[32];
    snprintf(wide, sizeof wide, "%d bits", bits);
    if (!dynamic && !fused && bits == 0)
        return QD_OK;
    return qd_fail(ctx, QD_ERR_USAGE,
                   "quantizing into a file: %s exist in simulation only; `quantdrift grid` and an experiment's "
                   "\"quantization\" evaluate them",
                   dynamic ? "dynamic ranges"
                   : fused ? "steps of a fused SiLU"
                           : wide);
}

/* 0 alone makes no scale: such a tensor is of a broken network, or of images that do not stand for others. */
static enum qd_status refuse_constant_tensors(const qd_network *network)
{
    for (int i = 0; i < qd_qgraph_tensor_count(network->qgraph); i++) {
        const qd_quant_tensor tensor = qd_qgraph_tensor(network->qgraph, i);
        if (!tensor.is_float && tensor.min >= 0.0 && tensor.max <= 0.0 && tensor.min <= tensor.max)
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
    quantized->calibrator = qd_quantize_options_calibrator(options);
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
    return qd_qgraph_write_encodings(network->ctx, path, network->model->name, network->calibrator, network->qgraph);
}
