/* BatchNorm: its gammas, the ranges before and behind it, and what it makes of ten values. */
#include "base/arena.h"
#include "base/error.h"
#include "experiment/analysis_impl.h"
#include "experiment/post_layers.h"
#include <math.h>
#include <string.h>

/* The post's example. */
static const double example_values[QD_EXAMPLE_VALUES] = {5.0, -2.0, 0.0, 2.5, 1.0, 1.25, 2.0, 3.0, 2.33, 10.0};
static const double example_eps = 1e-5;
static const struct {
    double gamma, beta;
} post_cases[] = {{12.0095, -2.5319}, {0.6440, -0.3257}};

qd_batchnorm_example qd_batchnorm_example_make(void)
{
    qd_batchnorm_example example = {.eps = example_eps};
    memcpy(example.x, example_values, sizeof example.x);
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        example.mean += example.x[i] / QD_EXAMPLE_VALUES;
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        example.variance += (example.x[i] - example.mean) * (example.x[i] - example.mean) / QD_EXAMPLE_VALUES;
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        example.normalized[i] = (example.x[i] - example.mean) / sqrt(example.variance + example.eps);
    return example;
}

qd_example_case qd_example_case_make(const qd_batchnorm_example *example, double gamma, double beta)
{
    qd_example_case made = {.gamma = gamma, .beta = beta, .min = INFINITY, .max = -INFINITY};
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++) {
        made.y[i] = gamma * example->normalized[i] + beta;
        made.min = fmin(made.min, made.y[i]);
        made.max = fmax(made.max, made.y[i]);
    }
    return made;
}

/* Gamma and beta of a BatchNorm; their vectors are contiguous. */
static qd_tensor param_of(const qd_network *network, const qd_node *node, int index)
{
    return qd_state_param(network->state, QD_BLOCK_PARAMS, node->param[index]);
}

static qd_batchnorm_view view_of(const qd_network *network, const qd_node *node)
{
    const qd_tensor gamma = param_of(network, node, 0), beta = param_of(network, node, 1);
    const float *values = gamma.data;
    qd_stats stats;
    qd_stats_compute(&gamma, 1, &stats);
    qd_batchnorm_view view = {
        .name = node->name, .channels = gamma.shape[0], .gamma = {stats.mean, stats.std, stats.min, stats.max}};
    for (int64_t c = 1; c < view.channels; c++)
        if (values[c] > values[view.largest_channel])
            view.largest_channel = c;
    view.largest_gamma = (double)values[view.largest_channel];
    view.largest_beta = (double)((const float *)beta.data)[view.largest_channel];
    return view;
}

static int find_view(const qd_analysis *analysis, const char *path)
{
    for (int i = 0; i < analysis->module_count; i++)
        if (strcmp(analysis->modules[i].report.path, path) == 0)
            return i;
    return -1;
}

/* The convolution whose output a BatchNorm reads, as modules; false when it reads something else. */
static bool ratio_of(const qd_network *network, const qd_analysis *analysis, const qd_node *node,
                     qd_batchnorm_ratio *out)
{
    const int producer = network->graph->values[node->input[0]].producer;
    if (producer < 0 || network->graph->nodes[producer].kind != QD_LAYER_conv2d)
        return false;
    *out = (qd_batchnorm_ratio){.convolution = find_view(analysis, network->graph->nodes[producer].name),
                                .batchnorm = find_view(analysis, node->name),
                                .post = qd_post_layers_name(node->name)};
    if (out->convolution < 0 || out->batchnorm < 0)
        return false;
    const qd_module_report *before = &analysis->modules[out->convolution].report;
    const qd_module_report *behind = &analysis->modules[out->batchnorm].report;
    out->ratio = before->max > before->min ? (behind->max - behind->min) / (before->max - before->min) : (double)NAN;
    return true;
}

/* The largest gamma of the network, then the post's. */
static void fill_example(qd_analysis *analysis)
{
    qd_batchnorm_example *example = &analysis->example;
    const qd_batchnorm_view *largest = NULL;
    *example = qd_batchnorm_example_make();
    for (int i = 0; i < analysis->batchnorm_count; i++)
        if (!largest || analysis->batchnorms[i].largest_gamma > largest->largest_gamma)
            largest = &analysis->batchnorms[i];
    if (largest) {
        qd_example_case *first = &example->cases[example->case_count++];
        *first = qd_example_case_make(example, largest->largest_gamma, largest->largest_beta);
        first->batchnorm = largest->name;
        first->channel = largest->largest_channel;
    }
    for (size_t i = 0; i < sizeof post_cases / sizeof post_cases[0]; i++)
        example->cases[example->case_count++] =
            qd_example_case_make(example, post_cases[i].gamma, post_cases[i].beta);
}

enum qd_status qd_analysis_add_batchnorms(const qd_network *network, qd_analysis *analysis)
{
    const qd_graph *graph = network->graph;
    analysis->batchnorms = qd_calloc((size_t)graph->node_count, sizeof *analysis->batchnorms);
    analysis->ratios = qd_calloc((size_t)graph->node_count, sizeof *analysis->ratios);
    if (!analysis->batchnorms || !analysis->ratios)
        return qd_fail(network->ctx, QD_ERR_MEMORY, "analyzing %s: out of memory", network->model->display_name);
    for (int n = 0; n < graph->node_count; n++) {
        const qd_node *node = &graph->nodes[n];
        if (node->kind != QD_LAYER_batchnorm2d)
            continue;
        analysis->batchnorms[analysis->batchnorm_count++] = view_of(network, node);
        if (ratio_of(network, analysis, node, &analysis->ratios[analysis->ratio_count]))
            analysis->ratio_count++;
    }
    fill_example(analysis);
    return QD_OK;
}
