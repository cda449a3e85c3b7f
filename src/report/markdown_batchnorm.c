/* What report.md tells of BatchNorm, from files of `quantdrift analyze`: gammas, raw ranges before it, and the
 * ten-value example. */
#include "report/print.h"
#include "report/report_impl.h"
#include <math.h>
#include <stdlib.h>

/* As many gammas as a reader takes in at once. */
#define GAMMA_COUNT 5

/* An example of more values, or a network of more BatchNorms, is none of these. */
#define MAX_VALUES     16
#define MAX_BATCHNORMS 1024

static const cJSON *item_of(const cJSON *object, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = qd_report_text(object, key);
    return text ? text : "-";
}

typedef struct batchnorm {
    const cJSON *json;
    double largest; /* gamma */
} batchnorm;

/* The largest first; what has none last. */
static int compare_gammas(const void *a, const void *b)
{
    const double left = ((const batchnorm *)a)->largest, right = ((const batchnorm *)b)->largest;
    return (left < right || isnan(left)) - (left > right || isnan(right));
}

static void print_gammas(FILE *out, const report_analysis *a)
{
    batchnorm entries[MAX_BATCHNORMS] = {{0}};
    const cJSON *item;
    int count = 0;
    cJSON_ArrayForEach(item, item_of(a->json, "batchnorm"))
    {
        if (cJSON_IsObject(item) && count < MAX_BATCHNORMS)
            entries[count++] = (batchnorm){item, qd_report_number(item_of(item, "gamma"), "max")};
    }
    qsort(entries, (size_t)count, sizeof entries[0], compare_gammas);
    for (int i = 0; i < count && i < GAMMA_COUNT; i++) {
        static const char *const spread[] = {"mean", "std", "min", "max"};
        fputs("|", out);
        qd_report_print_text_cell(out, a->model);
        qd_report_print_text_cell(out, text_of(entries[i].json, "name"));
        for (size_t k = 0; k < sizeof spread / sizeof spread[0]; k++)
            qd_report_print_cell(out, qd_report_number(item_of(entries[i].json, "gamma"), spread[k]), 4);
        qd_report_print_cell(out, qd_report_number(item_of(entries[i].json, "largest"), "channel"), 0);
        qd_report_print_cell(out, qd_report_number(item_of(entries[i].json, "largest"), "beta"), 4);
        fputs("\n", out);
    }
}

/* Rows of the layers that the post lists: what its figures say of its networks, these say of this checkpoint. */
static void print_raw_ranges(FILE *out, const report_analysis *a)
{
    static const char *const keys[] = {"convolution_range", "batchnorm_range", "ratio"};
    const cJSON *item;
    cJSON_ArrayForEach(item, item_of(a->json, "batchnorm_ranges"))
    {
        if (!cJSON_IsTrue(item_of(item, "post")))
            continue;
        fputs("|", out);
        qd_report_print_text_cell(out, a->model);
        qd_report_print_cell(out, a->epoch, 0);
        qd_report_print_text_cell(out, text_of(item, "convolution"));
        qd_report_print_text_cell(out, text_of(item, "batchnorm"));
        for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++)
            qd_report_print_cell(out, qd_report_number(item, keys[k]), 4);
        fputs("\n", out);
    }
}

static void print_values(FILE *out, const cJSON *array)
{
    const cJSON *item;
    int count = 0;
    cJSON_ArrayForEach(item, array)
    {
        if (count++ < MAX_VALUES)
            qd_report_print_cell(out, cJSON_IsNumber(item) ? item->valuedouble : NAN, 2);
    }
}

static void print_example(FILE *out, const report_analysis *a)
{
    const cJSON *example = item_of(a->json, "example"), *item;
    const cJSON *x = item_of(example, "x");
    int columns = cJSON_GetArraySize(x);
    if (columns < 1 || columns > MAX_VALUES)
        return;
    fputs("\nTen values, normalized, times a gamma, plus its beta: ", out);
    qd_report_print_markdown(out, a->model);
    fputs("\n\n| gamma of | gamma | beta |", out);
    print_values(out, x);
    fputs(" range |\n|---|--:|--:|", out);
    for (int i = 0; i <= columns; i++)
        fputs("--:|", out);
    fputs("\n", out);
    cJSON_ArrayForEach(item, item_of(example, "cases"))
    {
        if (cJSON_GetArraySize(item_of(item, "y")) != columns)
            continue;
        fputs("|", out);
        qd_report_print_text_cell(out, text_of(item, "source"));
        qd_report_print_cell(out, qd_report_number(item, "gamma"), 4);
        qd_report_print_cell(out, qd_report_number(item, "beta"), 4);
        print_values(out, item_of(item, "y"));
        qd_report_print_cell(out, qd_report_number(item, "range"), 2);
        fputs("\n", out);
    }
}

void qd_report_print_batchnorm(FILE *out, const qd_report *report)
{
    if (report->analysis_count == 0)
        return;
    fputs("\n## BatchNorm\n\nThe largest gammas of each network, over the channels of a BatchNorm, and the beta "
          "beside the "
          "largest.\n\n| model | BatchNorm | mean | std | min | max | of channel | its beta "
          "|\n|---|---|--:|--:|--:|--:|--:|--:|\n",
          out);
    for (int i = 0; i < report->analysis_count; i++)
        print_gammas(out, &report->analyses[i]);
    fputs("\nOne image's raw range of each convolution that the post lists, and the range behind its BatchNorm.\n\n"
          "| model | epoch | convolution | BatchNorm | raw range | range behind BatchNorm | ratio "
          "|\n|---|--:|---|---|--:|--:|--:|\n",
          out);
    for (int i = 0; i < report->analysis_count; i++)
        print_raw_ranges(out, &report->analyses[i]);
    for (int i = 0; i < report->analysis_count; i++)
        print_example(out, &report->analyses[i]);
}
