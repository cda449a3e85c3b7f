#include "cli/module_json.h"

double cli_module_range(const qd_module_report *report)
{
    return report->max - report->min;
}

static bool add_shape(cJSON *object, const qd_module_report *report)
{
    cJSON *shape = cJSON_AddArrayToObject(object, "shape");
    for (int d = 0; shape && d < report->rank; d++)
        if (!cJSON_AddItemToArray(shape, qd_json_int(report->shape[d])))
            return false;
    return shape != NULL;
}

bool cli_module_add_json(cJSON *parent, const qd_module_report *report, bool with_outliers)
{
    const struct {
        const char *key;
        double value;
        bool wanted;
    } numbers[] = {
        {"min", report->min, true},
        {"max", report->max, true},
        {"mean", report->mean, true},
        {"std", report->std, true},
        {"range", cli_module_range(report), true},
        {"zeros_pct", report->zeros_pct, true},
        {"outlier_ratio", report->outlier_ratio, with_outliers},
    };
    cJSON *object = cJSON_AddObjectToObject(parent, report->path);
    bool ok = object && add_shape(object, report);
    for (size_t i = 0; ok && i < sizeof numbers / sizeof numbers[0]; i++)
        if (numbers[i].wanted)
            ok = cJSON_AddItemToObject(object, numbers[i].key, qd_json_double(numbers[i].value));
    return ok && cJSON_AddStringToObject(object, "layer_type", report->class_name);
}
