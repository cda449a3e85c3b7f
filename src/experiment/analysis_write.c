/* An analysis as JSON: docs/results-format.md. */
#include "base/error.h"
#include "experiment/analysis_head.h"
#include "experiment/analysis_impl.h"
#include <math.h>
#include <stdio.h>

static void put_spread(qd_json_writer *w, cJSON *object, const qd_spread *spread)
{
    qd_json_put_double(w, object, "mean", spread->mean);
    qd_json_put_double(w, object, "std", spread->std);
    qd_json_put_double(w, object, "min", spread->min);
    qd_json_put_double(w, object, "max", spread->max);
}

static void put_module(qd_json_writer *w, cJSON *object, const qd_module_view *view)
{
    const qd_module_report *r = &view->report;
    qd_json_put_string(w, object, "name", r->path);
    qd_json_put_string(w, object, "type", r->class_name);
    cJSON *shape = qd_json_add_array(w, object, "shape");
    for (int d = 0; d < r->rank; d++)
        qd_json_push(w, shape, qd_json_int(r->shape[d]));
    qd_json_put_double(w, object, "min", r->min);
    qd_json_put_double(w, object, "max", r->max);
    qd_json_put_double(w, object, "mean", r->mean);
    qd_json_put_double(w, object, "std", r->std);
    qd_json_put_double(w, object, "zeros_pct", r->zeros_pct);
    qd_json_put_double(w, object, "outlier_ratio", r->outlier_ratio);
    qd_json_put_int(w, object, "nonfinite", r->nonfinite_count);
    qd_json_put_double(w, object, "scale", view->scale);
    qd_json_put_int(w, object, "zero_point", view->zero_point);
    if (view->channel_count == 0) {
        qd_json_put(w, object, "channel_std", cJSON_CreateNull());
        return;
    }
    cJSON *deviations = qd_json_add_object(w, object, "channel_std");
    qd_json_put_int(w, deviations, "count", view->channel_count);
    put_spread(w, deviations, &view->channel_std);
}

static void put_channels(qd_json_writer *w, cJSON *object, const qd_module_view *view)
{
    qd_json_put_string(w, object, "name", view->report.path);
    cJSON *min = qd_json_add_array(w, object, "min"), *max = qd_json_add_array(w, object, "max");
    cJSON *mean = qd_json_add_array(w, object, "mean"), *std = qd_json_add_array(w, object, "std");
    for (int64_t c = 0; c < view->channel_count; c++) {
        qd_json_push_double(w, min, view->channels[c].min);
        qd_json_push_double(w, max, view->channels[c].max);
        qd_json_push_double(w, mean, view->channels[c].mean);
        qd_json_push_double(w, std, view->channels[c].std);
    }
}

static void put_modules(qd_json_writer *w, cJSON *root, const qd_analysis *a)
{
    cJSON *modules = qd_json_add_array(w, root, "modules");
    for (int i = 0; i < a->module_count; i++)
        put_module(w, qd_json_push_object(w, modules), &a->modules[i]);
    cJSON *worst = qd_json_add_array(w, root, "worst");
    for (int i = 0; i < a->range_count && i < QD_ANALYSIS_WORST; i++)
        qd_json_push(w, worst, cJSON_CreateString(a->modules[a->by_range[i]].report.path));
    cJSON *channels = qd_json_add_array(w, root, "channels");
    for (int i = 0; i < a->module_count; i++)
        if (a->modules[i].detailed && a->modules[i].channel_count > 0)
            put_channels(w, qd_json_push_object(w, channels), &a->modules[i]);
}

static void put_batchnorms(qd_json_writer *w, cJSON *root, const qd_analysis *a)
{
    cJSON *array = qd_json_add_array(w, root, "batchnorm");
    for (int i = 0; i < a->batchnorm_count; i++) {
        const qd_batchnorm_view *view = &a->batchnorms[i];
        cJSON *object = qd_json_push_object(w, array);
        qd_json_put_string(w, object, "name", view->name);
        qd_json_put_int(w, object, "channels", view->channels);
        put_spread(w, qd_json_add_object(w, object, "gamma"), &view->gamma);
        cJSON *largest = qd_json_add_object(w, object, "largest");
        qd_json_put_int(w, largest, "channel", view->largest_channel);
        qd_json_put_double(w, largest, "gamma", view->largest_gamma);
        qd_json_put_double(w, largest, "beta", view->largest_beta);
    }
}

static void put_ratios(qd_json_writer *w, cJSON *root, const qd_analysis *a)
{
    cJSON *array = qd_json_add_array(w, root, "batchnorm_ranges");
    for (int i = 0; i < a->ratio_count; i++) {
        const qd_module_report *before = &a->modules[a->ratios[i].convolution].report;
        const qd_module_report *behind = &a->modules[a->ratios[i].batchnorm].report;
        cJSON *object = qd_json_push_object(w, array);
        qd_json_put_string(w, object, "convolution", before->path);
        qd_json_put_string(w, object, "batchnorm", behind->path);
        qd_json_put(w, object, "post", cJSON_CreateBool(a->ratios[i].post));
        qd_json_put_double(w, object, "convolution_min", before->min);
        qd_json_put_double(w, object, "convolution_max", before->max);
        qd_json_put_double(w, object, "batchnorm_min", behind->min);
        qd_json_put_double(w, object, "batchnorm_max", behind->max);
        qd_json_put_double(w, object, "convolution_range", before->max - before->min);
        qd_json_put_double(w, object, "batchnorm_range", behind->max - behind->min);
        qd_json_put_double(w, object, "ratio", a->ratios[i].ratio);
    }
}

static void put_collapse_row(qd_json_writer *w, cJSON *object, const qd_analysis *a, enum qd_collapse_side side,
                             int value_count)
{
    const qd_collapse_row *row = &a->collapse[side];
    const qd_module_view *view = &a->modules[row->module];
    qd_json_put_string(w, object, "side", qd_collapse_side_name(side));
    qd_json_put_string(w, object, "module", view->report.path);
    qd_json_put_double(w, object, "min", view->report.min);
    qd_json_put_double(w, object, "max", view->report.max);
    qd_json_put_double(w, object, "scale", view->scale);
    qd_json_put_int(w, object, "zero_point", view->zero_point);
    cJSON *codes = qd_json_add_array(w, object, "codes"), *back = qd_json_add_array(w, object, "values_back");
    cJSON *distances = qd_json_add_array(w, object, "distances");
    cJSON *saturated = qd_json_add_array(w, object, "saturated");
    for (int v = 0; v < value_count; v++) {
        qd_json_push(w, codes, qd_json_int(row->places[v].code));
        qd_json_push_double(w, back, row->places[v].value_back);
        qd_json_push_double(w, distances, row->places[v].distance);
        qd_json_push(w, saturated, cJSON_CreateBool(row->places[v].saturated));
    }
}

static void put_collapse(qd_json_writer *w, cJSON *root, const qd_analyzed *analyzed)
{
    cJSON *collapse = qd_json_add_object(w, root, "collapse");
    cJSON *values = qd_json_add_array(w, collapse, "values"), *rows = qd_json_add_array(w, collapse, "rows");
    for (int v = 0; v < analyzed->options->value_count; v++)
        qd_json_push_double(w, values, analyzed->options->values[v]);
    for (int side = 0; side < QD_COLLAPSE_SIDE_COUNT; side++)
        if (analyzed->analysis->collapse[side].module >= 0)
            put_collapse_row(w, qd_json_push_object(w, rows), analyzed->analysis, (enum qd_collapse_side)side,
                             analyzed->options->value_count);
}

static void put_example_case(qd_json_writer *w, cJSON *object, const qd_example_case *example)
{
    char source[QD_NAME_BYTES + 32];
    if (example->batchnorm)
        snprintf(source, sizeof source, "%s channel %lld", example->batchnorm, (long long)example->channel);
    qd_json_put_string(w, object, "source", example->batchnorm ? source : "post");
    qd_json_put_double(w, object, "gamma", example->gamma);
    qd_json_put_double(w, object, "beta", example->beta);
    cJSON *y = qd_json_add_array(w, object, "y");
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++)
        qd_json_push_double(w, y, example->y[i]);
    qd_json_put_double(w, object, "min", example->min);
    qd_json_put_double(w, object, "max", example->max);
    qd_json_put_double(w, object, "range", example->max - example->min);
}

static void put_example(qd_json_writer *w, cJSON *root, const qd_batchnorm_example *example)
{
    cJSON *object = qd_json_add_object(w, root, "example");
    cJSON *x = qd_json_add_array(w, object, "x");
    qd_json_put_double(w, object, "eps", example->eps);
    qd_json_put_double(w, object, "mean", example->mean);
    qd_json_put_double(w, object, "variance", example->variance);
    cJSON *normalized = qd_json_add_array(w, object, "normalized");
    for (int i = 0; i < QD_EXAMPLE_VALUES; i++) {
        qd_json_push_double(w, x, example->x[i]);
        qd_json_push_double(w, normalized, example->normalized[i]);
    }
    cJSON *cases = qd_json_add_array(w, object, "cases");
    for (int i = 0; i < example->case_count; i++)
        put_example_case(w, qd_json_push_object(w, cases), &example->cases[i]);
}

static void put_tensor_channels(qd_json_writer *w, cJSON *object, const qd_tensor_view *t)
{
    cJSON *min = qd_json_add_array(w, object, "channel_min"), *max = qd_json_add_array(w, object, "channel_max");
    for (int64_t c = 0; c < t->channels; c++) {
        qd_json_push_double(w, min, (double)t->channel_min[c]);
        qd_json_push_double(w, max, (double)t->channel_max[c]);
    }
}

static void put_tensor(qd_json_writer *w, cJSON *object, const qd_tensor_view *t)
{
    qd_json_put_string(w, object, "name", t->name);
    qd_json_put_double(w, object, "min", t->min);
    qd_json_put_double(w, object, "max", t->max);
    qd_json_put_double(w, object, "scale", t->scale);
    qd_json_put_int(w, object, "zero_point", t->zero_point);
    qd_json_put_int(w, object, "channels", t->channels);
    qd_json_put_int(w, object, "values", t->values);
    qd_json_put_int(w, object, "low_channel", t->low_channel);
    qd_json_put_int(w, object, "high_channel", t->high_channel);
    qd_json_put_double(w, object, "low", t->low);
    qd_json_put_double(w, object, "high", t->high);
    qd_json_put_double(w, object, "others_min", t->others_min);
    qd_json_put_double(w, object, "others_max", t->others_max);
    qd_json_put_int(w, object, "others_codes", t->others_codes);
    cJSON *codes = qd_json_add_object(w, object, "channel_codes");
    qd_json_put_double(w, codes, "min", t->channel_codes_min);
    qd_json_put_double(w, codes, "median", t->channel_codes_median);
    qd_json_put_double(w, codes, "mean", t->channel_codes_mean);
    qd_json_put_double(w, codes, "max", t->channel_codes_max);
    qd_json_put_int(w, object, "used_codes", t->used_codes);
    qd_json_put_double(w, object, "unused_pct", 100.0 - 100.0 * (double)t->used_codes / (double)t->all_codes);
    qd_json_put_double(w, object, "low_pct", t->low_pct);
    qd_json_put_double(w, object, "high_pct", t->high_pct);
    qd_json_put_double(w, object, "zero_pct", t->zero_pct);
    cJSON *histogram = qd_json_add_array(w, object, "histogram");
    for (int b = 0; b < QD_HISTOGRAM_BINS; b++)
        qd_json_push(w, histogram, qd_json_int(t->histogram[b]));
    if (t->detailed)
        put_tensor_channels(w, object, t);
}

static enum qd_status put_compared(qd_json_writer *w, cJSON *root, const qd_analyzed *compared)
{
    if (!compared) {
        qd_json_put(w, root, "compared", cJSON_CreateNull());
        return QD_OK;
    }
    const qd_analysis *a = compared->analysis;
    cJSON *object = qd_json_add_object(w, root, "compared");
    QD_TRY(qd_analysis_head_identify(w, object, compared->network, compared->options->checkpoint));
    cJSON *worst = qd_json_add_array(w, object, "worst");
    for (int i = 0; i < a->range_count && i < QD_ANALYSIS_WORST; i++) {
        const qd_module_report *report = &a->modules[a->by_range[i]].report;
        cJSON *entry = qd_json_push_object(w, worst);
        qd_json_put_string(w, entry, "name", report->path);
        qd_json_put_double(w, entry, "min", report->min);
        qd_json_put_double(w, entry, "max", report->max);
        qd_json_put_double(w, entry, "range", report->max - report->min);
    }
    put_collapse(w, object, compared);
    put_example(w, object, &a->example);
    return QD_OK;
}

static enum qd_status fill(qd_json_writer *w, cJSON *root, const qd_analyzed *analyzed, const qd_analyzed *compared)
{
    const qd_analysis *a = analyzed->analysis;
    const qd_analysis_head head = {.format = "quantdrift-analysis",
                                   .checkpoint = analyzed->options->checkpoint,
                                   .data = analyzed->options->data,
                                   .quantization = analyzed->options->quantization,
                                   .calibration_images = a->calibration_images};
    QD_TRY(qd_analysis_head_write(w, root, analyzed->network, &head));
    qd_json_put_string(w, root, "image", analyzed->options->image);
    put_modules(w, root, a);
    put_batchnorms(w, root, a);
    put_ratios(w, root, a);
    put_collapse(w, root, analyzed);
    put_example(w, root, &a->example);
    cJSON *tensors = qd_json_add_array(w, root, "tensors");
    for (int i = 0; i < a->tensor_count; i++)
        put_tensor(w, qd_json_push_object(w, tensors), &a->tensors[i]);
    return put_compared(w, root, compared);
}

enum qd_status qd_analysis_write(qd_context *ctx, const char *path, const qd_analyzed *analyzed,
                                 const qd_analyzed *compared)
{
    qd_json_writer w = {.ok = true, .digits = QD_ANALYSIS_DIGITS};
    cJSON *root = cJSON_CreateObject();
    enum qd_status status = fill(&w, root, analyzed, compared);
    if (status == QD_OK)
        status = root && w.ok ? qd_json_write_line(ctx, path, root)
                              : qd_fail(ctx, QD_ERR_MEMORY, "analysis '%s': out of memory", path);
    cJSON_Delete(root);
    return status;
}
