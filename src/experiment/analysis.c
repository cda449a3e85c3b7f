#include "base/arena.h"
#include "base/error.h"
#include "experiment/analysis_impl.h"
#include <stdlib.h>
#include <string.h>

const char *qd_collapse_side_name(enum qd_collapse_side side)
{
    return side == QD_COLLAPSE_AFTER ? "after" : "before";
}

bool qd_analysis_is_chosen(const qd_analysis_options *options, const char *name)
{
    for (int i = 0; i < options->layer_count; i++)
        if (strcmp(options->layers[i], name) == 0)
            return true;
    return false;
}

static enum qd_status read_image(const qd_network *network, const char *path, float *out)
{
    qd_image image = {0};
    QD_TRY(qd_image_read(network->ctx, path, &image));
    const enum qd_status status =
        qd_image_eval_transform(network->ctx, &image, (int32_t)network->config.image_size, out);
    qd_image_free(&image);
    return status;
}

static bool is_known(const qd_analysis *analysis, const char *name)
{
    for (int i = 0; i < analysis->module_count; i++)
        if (strcmp(analysis->modules[i].report.path, name) == 0)
            return true;
    for (int i = 0; i < analysis->tensor_count; i++)
        if (strcmp(analysis->tensors[i].name, name) == 0)
            return true;
    return false;
}

static enum qd_status check_layers(const qd_network *network, const qd_analysis_options *options,
                                   const qd_analysis *analysis)
{
    for (int i = 0; i < options->layer_count; i++)
        if (!is_known(analysis, options->layers[i]))
            return qd_fail(network->ctx, QD_ERR_USAGE,
                           "analyzing %s: it has no module and no quantized tensor '%s'; names are those of observe, "
                           "such as '%s'",
                           network->model->display_name, options->layers[i], analysis->modules[0].report.path);
    return QD_OK;
}

enum qd_status qd_network_analyze(qd_network *network, const qd_analysis_options *options, qd_analysis **out)
{
    qd_context *ctx = network->ctx;
    enum qd_status status = QD_OK;
    qd_analysis *analysis = NULL;
    QD_TRY(qd_network_require_float(network, "analyzing"));
    if (options->value_count < 0 || options->value_count > QD_ANALYSIS_MAX_VALUES)
        return qd_fail(ctx, QD_ERR_USAGE, "analyzing %s: expected at most %d values, got %d",
                       network->model->display_name, QD_ANALYSIS_MAX_VALUES, options->value_count);
    analysis = qd_calloc(1, sizeof *analysis);
    if (analysis)
        analysis->memory = qd_calloc(1, sizeof *analysis->memory);
    if (analysis && analysis->memory)
        analysis->memory->image =
            qd_calloc((size_t)qd_dims_count(&network->graph->input_dims), sizeof *analysis->memory->image);
    if (!analysis || !analysis->memory || !analysis->memory->image) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "analyzing %s: out of memory", network->model->display_name);
        goto fail;
    }
    QD_TRY_GOTO(read_image(network, options->image, analysis->memory->image));
    QD_TRY_GOTO(qd_analysis_add_modules(network, options, analysis));
    QD_TRY_GOTO(qd_analysis_add_batchnorms(network, analysis));
    if (!options->modules_only)
        QD_TRY_GOTO(qd_analysis_add_tensors(network, options, analysis));
    QD_TRY_GOTO(check_layers(network, options, analysis));
    *out = analysis;
    return QD_OK;
fail:
    qd_analysis_destroy(analysis);
    return status;
}

void qd_analysis_destroy(qd_analysis *analysis)
{
    if (!analysis)
        return;
    qd_analysis_memory *memory = analysis->memory;
    if (memory) {
        free(memory->image);
        free(memory->reports);
        free(memory->channels);
        qd_observation_free(&memory->observation);
        qd_attribution_destroy(memory->attribution);
        qd_qgraph_destroy(memory->qgraph);
    }
    free(memory);
    free(analysis->modules);
    free(analysis->by_range);
    free(analysis->batchnorms);
    free(analysis->ratios);
    free(analysis->tensors);
    free(analysis);
}
