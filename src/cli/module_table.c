#include "cli/module_table.h"
#include "cli/cli.h"
#include "cli/module_json.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *cli_module_path(const qd_module_report *report)
{
    return report->path[0] != '\0' ? report->path : "(network)";
}

static void format_shape(const qd_module_report *report, char *text, size_t size)
{
    size_t used = 0;
    for (int d = 0; d < report->rank && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, d > 0 ? "x" : "", report->shape[d]);
}

int cli_module_table_print(const qd_module_report *reports, int count)
{
    int path_width = (int)strlen("module"), type_width = (int)strlen("type"), shape_width = (int)strlen("shape");
    for (int i = 0; i < count; i++) {
        char shape[96];
        format_shape(&reports[i], shape, sizeof shape);
        int path = cli_text_width(cli_module_path(&reports[i])), type = cli_text_width(reports[i].class_name);
        path_width = path > path_width ? path : path_width;
        type_width = type > type_width ? type : type_width;
        shape_width = (int)strlen(shape) > shape_width ? (int)strlen(shape) : shape_width;
    }
    printf("%-*s  %-*s  %-*s  %10s  %10s  %10s  %10s  %10s  %7s  %8s\n", path_width, "module", type_width, "type",
           shape_width, "shape", "min", "max", "mean", "std", "range", "zeros %", "outliers");
    for (int i = 0; i < count; i++) {
        const qd_module_report *r = &reports[i];
        char shape[96];
        format_shape(r, shape, sizeof shape);
        printf("%-*s  %-*s  %-*s  %10.4f  %10.4f  %10.4f  %10.4f  %10.4f  %7.2f  %8.2f", path_width,
               cli_module_path(r), type_width, r->class_name, shape_width, shape, r->min, r->max, r->mean, r->std,
               cli_module_range(r), r->zeros_pct, r->outlier_ratio);
        if (r->nonfinite_count > 0)
            printf("  %" PRId64 " values not finite", r->nonfinite_count);
        putchar('\n');
    }
    printf("total layers captured: %d\n", count);
    return path_width;
}
