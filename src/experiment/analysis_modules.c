/* What the modules of a network put out for one image, and where given values fall on their grids. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/analysis_impl.h"
#include "experiment/module_reports.h"
#include "experiment/post_layers.h"
#include "observe/channel_stats.h"
#include "quantize/code_place.h"
#include <math.h>
#include <stdlib.h>

/* Value that a module's last call returned. */
static int module_value(const qd_graph *graph, int module)
{
    int value = -1;
    for (int c = 0; c < graph->call_count; c++)
        if (graph->calls[c].module == module)
            value = graph->calls[c].value;
    return value;
}

/* The module that a value is first told of: the leaf that computes it, else the innermost container. Identities of
 * evaluation mode compute nothing. */
static bool is_first_teller(const qd_graph *graph, int module)
{
    const int value = module_value(graph, module);
    const qd_node *node = &graph->nodes[graph->values[value].producer];
    if (node->kind == QD_LAYER_dropout || node->kind == QD_LAYER_stochastic_depth || node->kind == QD_LAYER_flatten)
        return false;
    if (node->module >= 0)
        return node->module == module;
    for (int c = 0; c < graph->call_count; c++)
        if (graph->calls[c].value == value)
            return graph->calls[c].module == module;
    return false;
}

static enum qd_status observe_image(const qd_network *network, qd_analysis *analysis)
{
    qd_analysis_memory *memory = analysis->memory;
    qd_plan *plan = NULL;
    enum qd_status status = QD_OK;
    QD_TRY_GOTO(qd_plan_create(network->ctx, network->graph, network->state, &QD_PLAN_OBSERVING(1), &plan));
    QD_TRY_GOTO(qd_observe_channels(network->ctx, network->graph, plan, memory->image, 1, &memory->observation));
    QD_TRY_GOTO(qd_module_reports_create(network->ctx, network->graph, &memory->observation, &memory->reports));
fail:
    qd_plan_destroy(plan);
    return status;
}

/* Scale and zero point of a module's range, the zero point as the scheme writes it. */
static void fill_grid(const qd_quant_scheme *scheme, qd_module_view *view)
{
    const qd_quant_params params = qd_quant_activation_params(scheme, view->report.min, view->report.max);
    view->scale = (double)params.scale;
    view->zero_point = params.range.zero + (scheme->activation_signed ? 0 : 1 << (scheme->activation_bits - 1));
}

/* Copies the channels' statistics to `place` and sums up their standard deviations; `deviations` has room for them.
 */
static void fill_channels(const qd_module_stats *stats, qd_channel_view *place, double *deviations,
                          qd_module_view *view)
{
    view->channel_count = stats->shape[1];
    view->channels = place;
    for (int64_t c = 0; c < view->channel_count; c++) {
        const qd_stats *s = &stats->channels[c];
        place[c] = (qd_channel_view){s->min, s->max, s->mean, s->std};
        deviations[c] = s->std;
    }
    const qd_stats spread = qd_doubles_stats(deviations, view->channel_count);
    view->channel_std = (qd_spread){spread.mean, spread.std, spread.min, spread.max};
}

static int64_t all_channels(const qd_observation *observation)
{
    int64_t count = 0;
    for (int i = 0; i < observation->count; i++)
        count += observation->modules[i].channels ? observation->modules[i].shape[1] : 0;
    return count;
}

static enum qd_status fill_views(const qd_network *network, const qd_analysis_options *options, qd_analysis *analysis)
{
    const qd_observation *observation = &analysis->memory->observation;
    const qd_quant_scheme scheme = qd_quantize_options_scheme(options->quantization);
    const int64_t channels = all_channels(observation);
    int64_t used = 0;
    analysis->modules = qd_calloc((size_t)observation->count, sizeof *analysis->modules);
    analysis->memory->channels = qd_calloc((size_t)channels, sizeof *analysis->memory->channels);
    double *deviations = qd_calloc((size_t)channels, sizeof *deviations);
    if (!analysis->modules || !analysis->memory->channels || !deviations) {
        free(deviations);
        return qd_fail(network->ctx, QD_ERR_MEMORY, "analyzing %s: out of memory for %d modules",
                       network->model->display_name, observation->count);
    }
    analysis->module_count = observation->count;
    for (int i = 0; i < observation->count; i++) {
        qd_module_view *view = &analysis->modules[i];
        const qd_module_stats *stats = &observation->modules[i];
        view->report = analysis->memory->reports[i];
        view->repeats = !is_first_teller(network->graph, stats->module);
        view->detailed = qd_analysis_is_chosen(options, view->report.path) || qd_post_layers_name(view->report.path);
        fill_grid(&scheme, view);
        if (stats->channels && stats->shape[2] * stats->shape[3] > 1) { /* one value has no deviation */
            fill_channels(stats, analysis->memory->channels + used, deviations, view);
            used += view->channel_count;
        }
    }
    free(deviations);
    return QD_OK;
}

static double range_of(const qd_module_view *view)
{
    return view->report.max - view->report.min;
}

/* Sorts by insertion: a few hundred modules, and of equal ranges the earlier one first. */
static enum qd_status sort_ranges(const qd_network *network, qd_analysis *analysis)
{
    analysis->by_range = qd_calloc((size_t)analysis->module_count, sizeof *analysis->by_range);
    if (!analysis->by_range)
        return qd_fail(network->ctx, QD_ERR_MEMORY, "analyzing %s: out of memory", network->model->display_name);
    for (int i = 0; i < analysis->module_count; i++) {
        if (analysis->modules[i].repeats)
            continue;
        int at = analysis->range_count++;
        for (; at > 0 && range_of(&analysis->modules[analysis->by_range[at - 1]]) < range_of(&analysis->modules[i]);
             at--)
            analysis->by_range[at] = analysis->by_range[at - 1];
        analysis->by_range[at] = i;
    }
    for (int i = 0; i < analysis->range_count && i < QD_ANALYSIS_WORST; i++)
        analysis->modules[analysis->by_range[i]].detailed = true;
    return QD_OK;
}

/* Of a clamp or a smooth one: not a squeeze-excite gate's sigmoid. */
static bool is_activation(const qd_node *node)
{
    return node->kind == QD_LAYER_activation &&
           ((const qd_activation_config *)node->config)->kind != QD_ACTIVATION_SIGMOID;
}

static bool is_on_side(const qd_graph *graph, int module, enum qd_collapse_side side)
{
    const int value = module_value(graph, module);
    const qd_node *producer = &graph->nodes[graph->values[value].producer];
    if (side == QD_COLLAPSE_AFTER)
        return is_activation(producer);
    if (producer->kind != QD_LAYER_batchnorm2d)
        return false;
    for (int n = 0; n < graph->node_count; n++)
        if (is_activation(&graph->nodes[n]) && graph->nodes[n].input[0] == value)
            return true;
    return false;
}

static void fill_collapse(const qd_network *network, const qd_analysis_options *options, qd_analysis *analysis)
{
    const qd_quant_scheme scheme = qd_quantize_options_scheme(options->quantization);
    const int32_t offset = scheme.activation_signed ? 0 : 1 << (scheme.activation_bits - 1);
    for (int side = 0; side < QD_COLLAPSE_SIDE_COUNT; side++) {
        qd_collapse_row *row = &analysis->collapse[side];
        row->module = -1;
        for (int i = 0; i < analysis->range_count && row->module < 0; i++)
            if (is_on_side(network->graph, analysis->memory->observation.modules[analysis->by_range[i]].module,
                           (enum qd_collapse_side)side))
                row->module = analysis->by_range[i];
        if (row->module < 0)
            continue;
        const qd_module_report *report = &analysis->modules[row->module].report;
        const qd_quant_params params = qd_quant_activation_params(&scheme, report->min, report->max);
        for (int v = 0; v < options->value_count; v++) {
            const qd_code_place place = qd_code_place_of(&params, (float)options->values[v]);
            row->places[v] =
                (qd_placed_value){place.code + offset, place.value_back, place.distance, place.saturated};
        }
    }
}

enum qd_status qd_analysis_add_modules(const qd_network *network, const qd_analysis_options *options,
                                       qd_analysis *analysis)
{
    QD_TRY(observe_image(network, analysis));
    QD_TRY(fill_views(network, options, analysis));
    QD_TRY(sort_ranges(network, analysis));
    fill_collapse(network, options, analysis);
    return QD_OK;
}
