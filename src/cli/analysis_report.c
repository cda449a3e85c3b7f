#include "cli/analysis_report.h"
#include "cli/cli.h"
#include "cli/module_json.h"
#include "cli/module_table.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Columns of names: torchvision's longest path here has 29 characters, with ".sigmoid" behind it 37. */
enum { NAME_WIDTH = 37 };

/* Characters of a bar. */
enum { BAR_WIDTH = 48 };

static const qd_module_report *worst_report(const qd_analysis *a, int place)
{
    return &a->modules[a->by_range[place]].report;
}

static int worst_count(const qd_analysis *a)
{
    return a->range_count < QD_ANALYSIS_WORST ? a->range_count : QD_ANALYSIS_WORST;
}

static void print_worst(const qd_analysis *a)
{
    printf("\nworst layers by range, over the image (scale and zero point of that range):\n");
    printf("  %-*s  %10s  %10s  %10s  %9s  %10s  %10s\n", NAME_WIDTH, "module", "min", "max", "range", "outliers",
           "scale", "zero point");
    for (int i = 0; i < worst_count(a); i++) {
        const qd_module_view *view = &a->modules[a->by_range[i]];
        printf("  %-*s  %10.4f  %10.4f  %10.4f  %9.2f  %10.6f  %10" PRId64 "\n", NAME_WIDTH,
               cli_module_path(&view->report), view->report.min, view->report.max, cli_module_range(&view->report),
               view->report.outlier_ratio, view->scale, view->zero_point);
    }
}

static const qd_tensor_view *find_tensor(const qd_analysis *a, const char *name)
{
    for (int i = 0; i < a->tensor_count; i++)
        if (strcmp(a->tensors[i].name, name) == 0)
            return &a->tensors[i];
    return NULL;
}

static int by_falling_width(const void *a, const void *b)
{
    const qd_tensor_view *x = a, *y = b;
    const double first = x->max - x->min, second = y->max - y->min;
    return (first < second) - (first > second);
}

static void print_tensor(const qd_tensor_view *t)
{
    char others[64] = "-";
    if (t->others_codes > 0)
        snprintf(others, sizeof others, "[%.3f, %.3f]", t->others_min, t->others_max);
    printf("  %-*s  %9.3f  %9.3f  %9.6f  %5" PRId64 "  %5" PRId64 "  %5" PRId64 "  %-20s  %5" PRId64
           "  %6.0f  %5" PRId64 "  %7.3f\n",
           NAME_WIDTH, t->name, t->min, t->max, t->scale, t->zero_point, t->low_channel, t->high_channel, others,
           t->others_codes, t->channel_codes_median, t->used_codes, t->low_pct + t->high_pct);
}

/* The widest tensors, and chosen ones. */
static void print_tensors(const qd_analyzed *analyzed)
{
    const qd_analysis *a = analyzed->analysis;
    qd_tensor_view *sorted = calloc((size_t)a->tensor_count, sizeof *sorted);
    if (!sorted)
        return; /* the file has them */
    memcpy(sorted, a->tensors, (size_t)a->tensor_count * sizeof *sorted);
    qsort(sorted, (size_t)a->tensor_count, sizeof *sorted, by_falling_width);
    printf("\nquantized tensors with the widest ranges, over %" PRId64
           " images: the channels that hold their ends, and what the others use:\n",
           a->calibration_images);
    printf("  %-*s  %9s  %9s  %9s  %5s  %5s  %5s  %-20s  %5s  %6s  %5s  %7s\n", NAME_WIDTH, "tensor", "min", "max",
           "scale", "zero", "low@", "high@", "other channels", "codes", "median", "used", "ends %");
    for (int i = 0; i < a->tensor_count && i < QD_ANALYSIS_WORST; i++)
        print_tensor(&sorted[i]);
    for (int i = 0; i < analyzed->options->layer_count; i++) {
        const qd_tensor_view *chosen = find_tensor(a, analyzed->options->layers[i]);
        if (chosen)
            print_tensor(chosen);
    }
    free(sorted);
}

static void print_ratios(const qd_analyzed *analyzed)
{
    const qd_analysis *a = analyzed->analysis;
    bool any = false;
    for (int i = 0; i < a->ratio_count; i++) {
        const qd_batchnorm_ratio *ratio = &a->ratios[i];
        if (!a->modules[ratio->convolution].detailed && !a->modules[ratio->batchnorm].detailed)
            continue;
        const qd_module_report *before = &a->modules[ratio->convolution].report;
        const qd_module_report *behind = &a->modules[ratio->batchnorm].report;
        if (!any)
            printf("\nraw convolution -> BatchNorm:\n");
        any = true;
        printf("  %-*s  [%.4f, %.4f] -> [%.4f, %.4f]  range %.4f -> %.4f  ratio %.4f%s\n", NAME_WIDTH, before->path,
               before->min, before->max, behind->min, behind->max, cli_module_range(before), cli_module_range(behind),
               ratio->ratio, ratio->post ? "  (the post's)" : "");
    }
}

static void print_channels(const qd_analysis *a)
{
    printf("\nchannels: standard deviations over the image:\n");
    printf("  %-*s  %8s  %10s  %10s  %10s  %10s\n", NAME_WIDTH, "module", "channels", "mean", "std", "min", "max");
    for (int i = 0; i < a->module_count; i++) {
        const qd_module_view *view = &a->modules[i];
        if (!view->detailed || view->channel_count == 0)
            continue;
        printf("  %-*s  %8" PRId64 "  %10.4f  %10.4f  %10.4f  %10.4f\n", NAME_WIDTH, cli_module_path(&view->report),
               view->channel_count, view->channel_std.mean, view->channel_std.std, view->channel_std.min,
               view->channel_std.max);
    }
}

static void print_batchnorms(const qd_analysis *a)
{
    printf("\nBatchNorm's gamma:\n");
    printf("  %-*s  %8s  %9s  %9s  %9s  %9s\n", NAME_WIDTH, "module", "channels", "mean", "std", "min", "max");
    for (int i = 0; i < a->batchnorm_count; i++) {
        const qd_batchnorm_view *b = &a->batchnorms[i];
        printf("  %-*s  %8" PRId64 "  %9.4f  %9.4f  %9.4f  %9.4f\n", NAME_WIDTH, b->name, b->channels, b->gamma.mean,
               b->gamma.std, b->gamma.min, b->gamma.max);
    }
}

static void print_example_case(const qd_example_case *one, const char *network)
{
    char factors[64];
    snprintf(factors, sizeof factors, "%.4f, %.4f", one->gamma, one->beta);
    printf("  %-24s", factors);
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        printf(" %9.4f", one->y[i]);
    if (one->batchnorm)
        printf("  range %.4f, %s %s channel %" PRId64 "\n", one->max - one->min, network, one->batchnorm,
               one->channel);
    else
        printf("  range %.4f, the post's\n", one->max - one->min);
}

/* The networks' own cases first, then the post's, which all have. */
static void print_example(const qd_analyzed *const *networks, int count)
{
    const qd_batchnorm_example *example = &networks[0]->analysis->example;
    printf("\nten values through BatchNorm (mean %.4f, biased variance %.4f), gamma and beta:\n  %-24s",
           example->mean, example->variance, "x");
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        printf(" %9.4g", example->x[i]);
    putchar('\n');
    for (int post = 0; post < 2; post++)
        for (int n = 0; n < (post ? 1 : count); n++)
            for (int c = 0; c < networks[n]->analysis->example.case_count; c++)
                if ((networks[n]->analysis->example.cases[c].batchnorm == NULL) == (post == 1))
                    print_example_case(&networks[n]->analysis->example.cases[c],
                                       qd_network_model_name(networks[n]->network));
}

static void print_collapse_row(const qd_analyzed *analyzed, const char *network, enum qd_collapse_side side)
{
    const qd_collapse_row *row = &analyzed->analysis->collapse[side];
    const qd_module_view *view = row->module < 0 ? NULL : &analyzed->analysis->modules[row->module];
    if (!view)
        return;
    printf("  %-15s  %-6s  %-*s  %9.6f  %5" PRId64, network, qd_collapse_side_name(side), NAME_WIDTH,
           view->report.path, view->scale, view->zero_point);
    for (int v = 0; v < analyzed->options->value_count; v++)
        printf("  %6" PRId64 "%s  %9.6f", row->places[v].code, row->places[v].saturated ? "!" : " ",
               row->places[v].distance);
    putchar('\n');
}

static void print_collapse(const qd_analyzed *const *networks, int count)
{
    const qd_analysis_options *options = networks[0]->options;
    printf("\ncodes of given values in the widest module on each side of an activation, and the distance to the next "
           "code's border (! beyond the range):\n  %-15s  %-6s  %-*s  %9s  %5s",
           "network", "side", NAME_WIDTH, "module", "scale", "zero");
    for (int v = 0; v < options->value_count; v++)
        printf("  %7g  %9s", options->values[v], "distance");
    putchar('\n');
    for (int side = 0; side < QD_COLLAPSE_SIDE_COUNT; side++)
        for (int n = 0; n < count; n++)
            print_collapse_row(networks[n], qd_network_model_name(networks[n]->network), (enum qd_collapse_side)side);
}

static void print_modules(const qd_analysis *a)
{
    qd_module_report *reports = calloc((size_t)a->module_count, sizeof *reports);
    if (!reports)
        return; /* the file has them */
    for (int i = 0; i < a->module_count; i++)
        reports[i] = a->modules[i].report;
    putchar('\n');
    cli_module_table_print(reports, a->module_count);
    free(reports);
}

static void print_network(const qd_analyzed *analyzed, bool modules)
{
    const qd_analysis *a = analyzed->analysis;
    printf("%s, ", qd_network_model_name(analyzed->network));
    cli_print_padded(analyzed->options->checkpoint, 0);
    printf(", at %" PRId64 " px; image ", qd_network_image_size(analyzed->network));
    cli_print_padded(analyzed->options->image, 0);
    printf("\n");
    if (modules)
        print_modules(a);
    print_worst(a);
    print_tensors(analyzed);
    print_ratios(analyzed);
    print_channels(a);
    print_batchnorms(a);
}

/* A range on the axis from `low` to `high`. */
static void print_bar(const qd_module_report *report, double low, double high)
{
    char bar[BAR_WIDTH + 1];
    const double step = (high - low) / BAR_WIDTH;
    memset(bar, ' ', BAR_WIDTH);
    bar[BAR_WIDTH] = '\0';
    for (int i = 0; i < BAR_WIDTH; i++) {
        const double left = low + i * step;
        if (left + step > report->min && left < report->max)
            bar[i] = '=';
        if (left <= 0.0 && left + step > 0.0)
            bar[i] = '|';
    }
    printf("  %-*s  %s  %.4f to %.4f\n", NAME_WIDTH, cli_module_path(report), bar, report->min, report->max);
}

static void print_bars(const qd_analyzed *const *networks, int count)
{
    double low = 0.0, high = 0.0;
    for (int n = 0; n < count; n++) {
        for (int i = 0; i < worst_count(networks[n]->analysis); i++) {
            low = fmin(low, worst_report(networks[n]->analysis, i)->min);
            high = fmax(high, worst_report(networks[n]->analysis, i)->max);
        }
    }
    printf("\ndynamic ranges on one axis, %.4f to %.4f:\n", low, high);
    for (int n = 0; n < count; n++) {
        printf(" %s, ", qd_network_model_name(networks[n]->network));
        cli_print_padded(networks[n]->options->checkpoint, 0);
        putchar('\n');
        for (int i = 0; high > low && i < worst_count(networks[n]->analysis); i++)
            print_bar(worst_report(networks[n]->analysis, i), low, high);
    }
}

void cli_analysis_print(const qd_analyzed *analyzed, const qd_analyzed *compared, bool modules)
{
    const qd_analyzed *const networks[] = {analyzed, compared};
    const int count = compared ? 2 : 1;
    print_network(analyzed, modules);
    print_bars(networks, count);
    print_example(networks, count);
    print_collapse(networks, count);
}
