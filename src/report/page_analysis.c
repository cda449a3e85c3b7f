/* Analyses on their way into the page: known keys of the right type only, since the file may be anybody's. */
#include "report/json_out.h"
#include "report/page_data.h"
#include <math.h>

/* A tensor of more channels or bins is no tensor of these networks. */
#define MAX_ITEMS 8192

static const cJSON *item_of(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static void copy_numbers(json_out *out, const cJSON *object, const char *const *keys, int count)
{
    for (int i = 0; i < count; i++)
        qd_json_out_number(out, keys[i], qd_report_number(object, keys[i]));
}

/* An array of numbers; left out when there is none. */
static void copy_array(json_out *out, const cJSON *object, const char *key)
{
    const cJSON *array = item_of(object, key), *item;
    int count = 0;
    if (!cJSON_IsArray(array))
        return;
    qd_json_out_open(out, key, '[');
    cJSON_ArrayForEach(item, array)
    {
        if (count++ < MAX_ITEMS)
            qd_json_out_number(out, NULL, cJSON_IsNumber(item) ? item->valuedouble : NAN);
    }
    qd_json_out_close(out, ']');
}

static void print_tensor(json_out *out, const cJSON *tensor, enum page_detail detail)
{
    static const char *const keys[] = {"min",          "max",        "scale",      "zero_point",   "low_channel",
                                       "high_channel", "others_min", "others_max", "others_codes", "used_codes",
                                       "unused_pct",   "low_pct",    "high_pct",   "zero_pct",     "channels"};
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "name", qd_report_text(tensor, "name"));
    copy_numbers(out, tensor, keys, sizeof keys / sizeof keys[0]);
    if (detail < PAGE_NO_HISTOGRAMS)
        copy_array(out, tensor, "histogram");
    if (detail < PAGE_NO_TENSOR_CHANNELS) {
        copy_array(out, tensor, "channel_min");
        copy_array(out, tensor, "channel_max");
    }
    qd_json_out_close(out, '}');
}

static void print_channels(json_out *out, const cJSON *entry)
{
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "name", qd_report_text(entry, "name"));
    copy_array(out, entry, "min");
    copy_array(out, entry, "max");
    copy_array(out, entry, "std");
    qd_json_out_close(out, '}');
}

static void print_collapse(json_out *out, const cJSON *collapse)
{
    static const char *const keys[] = {"min", "max", "scale", "zero_point"};
    const cJSON *row;
    qd_json_out_open(out, "collapse", '{');
    copy_array(out, collapse, "values");
    qd_json_out_open(out, "rows", '[');
    cJSON_ArrayForEach(row, item_of(collapse, "rows"))
    {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_text(out, "side", qd_report_text(row, "side"));
        qd_json_out_text(out, "module", qd_report_text(row, "module"));
        copy_numbers(out, row, keys, sizeof keys / sizeof keys[0]);
        copy_array(out, row, "codes");
        copy_array(out, row, "values_back");
        copy_array(out, row, "distances");
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
    qd_json_out_close(out, '}');
}

/* [mean, std, min, max] and the largest with its channel and beta. */
static void print_batchnorm(json_out *out, const cJSON *entry)
{
    static const char *const spread[] = {"mean", "std", "min", "max"}, *const largest[] = {"channel", "gamma",
                                                                                           "beta"};
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "name", qd_report_text(entry, "name"));
    qd_json_out_number(out, "channels", qd_report_number(entry, "channels"));
    copy_numbers(out, item_of(entry, "gamma"), spread, sizeof spread / sizeof spread[0]);
    copy_numbers(out, item_of(entry, "largest"), largest, sizeof largest / sizeof largest[0]);
    qd_json_out_close(out, '}');
}

static void print_batchnorm_range(json_out *out, const cJSON *entry)
{
    static const char *const keys[] = {"convolution_range", "batchnorm_range", "ratio"};
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "convolution", qd_report_text(entry, "convolution"));
    qd_json_out_text(out, "batchnorm", qd_report_text(entry, "batchnorm"));
    copy_numbers(out, entry, keys, sizeof keys / sizeof keys[0]);
    qd_json_out_close(out, '}');
}

/* Objects of an array, each by `print`. */
static void print_entries(json_out *out, const cJSON *json, const char *key, const char *as,
                          void (*print)(json_out *out, const cJSON *entry))
{
    const cJSON *item;
    qd_json_out_open(out, as, '[');
    cJSON_ArrayForEach(item, item_of(json, key))
    {
        if (cJSON_IsObject(item))
            print(out, item);
    }
    qd_json_out_close(out, ']');
}

static void print_case(json_out *out, const cJSON *entry)
{
    static const char *const keys[] = {"gamma", "beta", "min", "max", "range"};
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "source", qd_report_text(entry, "source"));
    copy_numbers(out, entry, keys, sizeof keys / sizeof keys[0]);
    copy_array(out, entry, "y");
    qd_json_out_close(out, '}');
}

static void print_example(json_out *out, const cJSON *example)
{
    qd_json_out_open(out, "example", '{');
    copy_array(out, example, "x");
    copy_array(out, example, "normalized");
    print_entries(out, example, "cases", "cases", print_case);
    qd_json_out_close(out, '}');
}

static void print_analysis(json_out *out, const qd_report *report, const report_analysis *a, enum page_detail detail)
{
    const cJSON *item;
    qd_json_out_open(out, NULL, '{');
    qd_page_print_runs(out, report, a->run, a->sha256);
    qd_json_out_int(out, "file", a->file);
    qd_json_out_text(out, "model", a->model);
    qd_json_out_text(out, "key", a->key);
    qd_json_out_number(out, "epoch", a->epoch);
    qd_json_out_number(out, "images", qd_report_number(a->json, "calibration_images"));
    qd_json_out_open(out, "tensors", '[');
    cJSON_ArrayForEach(item, item_of(a->json, "tensors"))
    {
        if (cJSON_IsObject(item))
            print_tensor(out, item, detail);
    }
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "channels", '[');
    cJSON_ArrayForEach(item, item_of(a->json, "channels"))
    {
        if (cJSON_IsObject(item) && detail < PAGE_NO_MODULES)
            print_channels(out, item);
    }
    qd_json_out_close(out, ']');
    print_entries(out, a->json, "batchnorm", "batchnorm", print_batchnorm);
    print_entries(out, a->json, "batchnorm_ranges", "batchnormRanges", print_batchnorm_range);
    print_example(out, item_of(a->json, "example"));
    print_collapse(out, item_of(a->json, "collapse"));
    qd_json_out_close(out, '}');
}

void qd_page_print_analyses(json_out *out, const qd_report *report, enum page_detail detail)
{
    qd_json_out_open(out, "analyses", '[');
    for (int i = 0; i < report->analysis_count; i++)
        print_analysis(out, report, &report->analyses[i], detail);
    qd_json_out_close(out, ']');
}
