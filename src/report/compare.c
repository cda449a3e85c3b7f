#include "report/compare.h"
#include "base/error.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static enum qd_status fail_memory(const qd_report *report)
{
    return qd_fail(report->ctx, QD_ERR_MEMORY, "comparing runs: out of memory");
}

/* ---- cells ---- */

static bool same_configuration(const report_series *a, const report_series *b)
{
    if (!a->configuration || !b->configuration)
        return !a->configuration && !b->configuration;
    return cJSON_Compare(a->configuration, b->configuration, true);
}

static enum qd_status add_to_cell(const qd_report *report, report_comparison *c, int number)
{
    const report_series *s = &report->series[number];
    report_cell *cell = NULL;
    for (int i = 0; i < c->cell_count && !cell; i++) {
        const report_series *first = &report->series[c->cells[i].series[0]];
        if (strcmp(first->model, s->model) == 0 && same_configuration(first, s))
            cell = &c->cells[i];
    }
    if (!cell) {
        cell = qd_report_append(&c->cells, &c->cell_count, sizeof *cell);
        if (!cell)
            return fail_memory(report);
        cell->model = s->model;
    }
    int *place = qd_report_append(&cell->series, &cell->series_count, sizeof *place);
    if (!place)
        return fail_memory(report);
    *place = number;
    return QD_OK;
}

static const report_series *first_series(const qd_report *report, const report_cell *cell)
{
    return &report->series[cell->series[0]];
}

/* Whether a key has another value in another cell. */
static bool is_varied(const qd_report *report, const report_comparison *c, const cJSON *item)
{
    for (int i = 0; i < c->cell_count; i++) {
        const cJSON *other = first_series(report, &c->cells[i])->configuration;
        if (other && !cJSON_Compare(item, cJSON_GetObjectItemCaseSensitive(other, item->string), true))
            return true;
    }
    return false;
}

static enum qd_status find_label(const qd_report *report, const report_comparison *c, report_cell *cell)
{
    char text[160] = "";
    size_t used = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, first_series(report, cell)->configuration)
    {
        if (!is_varied(report, c, item))
            continue;
        char *value = qd_json_print_line(item);
        if (!value)
            return fail_memory(report);
        const int written =
            snprintf(text + used, sizeof text - used, "%s%s %s", used > 0 ? ", " : "", item->string, value);
        free(value);
        if (written < 0 || (size_t)written >= sizeof text - used)
            break;
        used += (size_t)written;
    }
    text[used] = '\0';
    cell->label = strdup(text);
    return cell->label ? QD_OK : fail_memory(report);
}

/* ---- numbers ---- */

static int64_t common_epoch(const qd_report *report, const report_cell *cell)
{
    const report_series *first = first_series(report, cell);
    for (int e = first->quantized_count - 1; e >= 0; e--) {
        bool everywhere = true;
        for (int i = 1; i < cell->series_count; i++)
            everywhere = everywhere && qd_report_find_quantized(&report->series[cell->series[i]],
                                                                first->quantized[e].epoch) != NULL;
        if (everywhere)
            return first->quantized[e].epoch;
    }
    return -1;
}

static enum qd_status fill_cell(const qd_report *report, report_cell *cell)
{
    const int n = cell->series_count;
    double *values = malloc((size_t)n * 4 * sizeof *values);
    if (!values)
        return fail_memory(report);
    double *real = values, *int8 = values + n, *drop = values + 2 * n, *widest = values + 3 * n;
    cell->epoch = common_epoch(report, cell);
    for (int i = 0; i < n; i++) {
        const report_series *s = &report->series[cell->series[i]];
        const report_quantized *q = qd_report_find_quantized(s, cell->epoch);
        const report_module *module = qd_report_widest(qd_report_find_log(s, cell->epoch));
        real[i] = q ? q->float_accuracy : NAN;
        int8[i] = q ? q->int8_accuracy : NAN;
        drop[i] = q ? q->drop : NAN;
        widest[i] = module ? module->range : NAN;
    }
    cell->float_accuracy = qd_spread_compute(real, n);
    cell->int8_accuracy = qd_spread_compute(int8, n);
    cell->drop = qd_spread_compute(drop, n);
    cell->widest = qd_spread_compute(widest, n);
    free(values);
    return QD_OK;
}

/* The series of `cell` that belongs to the same repetition: of the same run, else of the same seed. */
static const report_series *partner(const qd_report *report, const report_cell *cell, const report_series *s)
{
    const report_series *same_seed = NULL;
    for (int i = 0; i < cell->series_count; i++) {
        const report_series *other = &report->series[cell->series[i]];
        if (other->run == s->run)
            return other;
        if (!same_seed && s->seed[0] != '\0' && strcmp(other->seed, s->seed) == 0)
            same_seed = other;
    }
    return same_seed;
}

static enum qd_status fill_pair(const qd_report *report, const report_comparison *c, report_paired *pair)
{
    const report_cell *a = &c->cells[pair->first], *b = &c->cells[pair->second];
    double *values = malloc((size_t)a->series_count * sizeof *values);
    if (!values)
        return fail_memory(report);
    for (int i = 0; i < a->series_count; i++) {
        const report_series *s = &report->series[a->series[i]], *other = partner(report, b, s);
        const report_quantized *qa = qd_report_find_quantized(s, a->epoch);
        const report_quantized *qb = other ? qd_report_find_quantized(other, b->epoch) : NULL;
        values[i] = qa && qb ? qa->drop - qb->drop : NAN;
    }
    pair->difference = qd_spread_compute(values, a->series_count);
    free(values);
    return QD_OK;
}

/* The pair with the larger drop first. */
static enum qd_status add_pair(const qd_report *report, report_comparison *c, int i, int j)
{
    const bool swap = c->cells[j].drop.mean > c->cells[i].drop.mean;
    report_paired *pair = qd_report_append(&c->pairs, &c->pair_count, sizeof *pair);
    if (!pair)
        return fail_memory(report);
    *pair = (report_paired){.first = swap ? j : i, .second = swap ? i : j};
    QD_TRY(fill_pair(report, c, pair));
    if (pair->difference.count == 0)
        c->pair_count--;
    return QD_OK;
}

enum qd_status qd_report_compare(const qd_report *report, report_comparison *out)
{
    report_comparison c = {0};
    enum qd_status status = QD_OK;
    for (int s = 0; s < report->series_count; s++)
        QD_TRY_GOTO(add_to_cell(report, &c, s));
    for (int i = 0; i < c.cell_count; i++) {
        QD_TRY_GOTO(find_label(report, &c, &c.cells[i]));
        QD_TRY_GOTO(fill_cell(report, &c.cells[i]));
    }
    for (int i = 0; i < c.cell_count; i++)
        for (int j = i + 1; j < c.cell_count; j++)
            if (strcmp(c.cells[i].model, c.cells[j].model) != 0 &&
                same_configuration(first_series(report, &c.cells[i]), first_series(report, &c.cells[j])))
                QD_TRY_GOTO(add_pair(report, &c, i, j));
    *out = c;
    return QD_OK;
fail:
    qd_report_comparison_free(&c);
    return status;
}

void qd_report_comparison_free(report_comparison *comparison)
{
    for (int i = 0; i < comparison->cell_count; i++) {
        free(comparison->cells[i].label);
        free(comparison->cells[i].series);
    }
    free(comparison->cells);
    free(comparison->pairs);
    *comparison = (report_comparison){0};
}
