/* A network for other programs. */
#include "base/error.h"
#include "exchange/encodings_export.h"
#include "exchange/onnx_export.h"
#include "exchange/state_export.h"
#include "experiment/network_impl.h"
#include <string.h>

static const char *const format_names[QD_EXPORT_FORMAT_COUNT] = {[QD_EXPORT_SAFETENSORS] = "safetensors",
                                                                 [QD_EXPORT_PTH] = "pth",
                                                                 [QD_EXPORT_ONNX] = "onnx",
                                                                 [QD_EXPORT_ONNX_QDQ] = "onnx-qdq",
                                                                 [QD_EXPORT_ENCODINGS] = "encodings"};

const char *qd_export_format_name(enum qd_export_format format)
{
    return format < QD_EXPORT_FORMAT_COUNT ? format_names[format] : NULL;
}

bool qd_export_format_parse(const char *name, enum qd_export_format *out)
{
    for (int i = 0; i < QD_EXPORT_FORMAT_COUNT; i++) {
        if (strcmp(format_names[i], name) != 0)
            continue;
        *out = (enum qd_export_format)i;
        return true;
    }
    return false;
}

static enum qd_status export_quantized(const qd_network *network, const qd_export_options *options, const char *path)
{
    qd_context *ctx = network->ctx;
    qd_qgraph *qgraph = NULL;
    if (options->quantization.recipe)
        QD_TRY(qd_recipe_require_file(ctx, options->quantization.recipe));
    QD_TRY(qd_network_calibrate(network, &options->quantization, &qgraph));
    enum qd_status status =
        options->format == QD_EXPORT_ONNX_QDQ
            ? qd_onnx_write_folded(ctx, path, network->graph, qgraph, true)
            : qd_qgraph_write_encodings(ctx, path, network->model->name,
                                        qd_quantize_options_calibrator(&options->quantization), qgraph);
    qd_qgraph_destroy(qgraph);
    return status;
}

static enum qd_status export_float(const qd_network *network, const qd_export_options *options, const char *path)
{
    const qd_quant_scheme scheme = qd_quant_scheme_defaults(); /* unused: nothing is quantized */
    qd_qgraph *qgraph = NULL;
    if (options->keep_batchnorm)
        return qd_onnx_write_layers(network->ctx, path, network->graph, network->state);
    QD_TRY(qd_qgraph_create(network->ctx, network->graph, network->state, &scheme, 1, &qgraph));
    enum qd_status status = qd_onnx_write_folded(network->ctx, path, network->graph, qgraph, false);
    qd_qgraph_destroy(qgraph);
    return status;
}

enum qd_status qd_network_export(qd_network *network, const qd_export_options *options, const char *path)
{
    const qd_state_export weights = {.pth = options->format == QD_EXPORT_PTH,
                                     .torchvision_head = options->torchvision_head};
    QD_TRY(qd_network_require_float(network, "exporting"));
    switch (options->format) {
    case QD_EXPORT_SAFETENSORS:
    case QD_EXPORT_PTH:
        return qd_state_write(network->ctx, path, network->model, network->state, &weights);
    case QD_EXPORT_ONNX:
        return export_float(network, options, path);
    case QD_EXPORT_ONNX_QDQ:
    case QD_EXPORT_ENCODINGS:
        return export_quantized(network, options, path);
    case QD_EXPORT_FORMAT_COUNT:
        break;
    }
    return qd_fail(network->ctx, QD_ERR_USAGE, "export: unknown format %d", (int)options->format);
}
