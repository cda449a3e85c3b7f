/* What `compare` leaves: a table for the terminal, the same as Markdown, and a chart. */
#include "base/error.h"
#include "base/file.h"
#include "report/compare.h"
#include "report/plot_script.h"
#include "report/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "80.40 ± 1.20", alone without spread. */
static void print_spread(FILE *out, const qd_spread *s)
{
    qd_report_print_number(out, s->mean, 2);
    if (s->count > 1)
        fprintf(out, " ± %.2f", s->std);
}

static void print_cells(FILE *out, const report_comparison *c)
{
    fputs("| model | setting | runs | epoch | float % | INT8 % | drop, points | widest range |\n"
          "|---|---|--:|--:|--:|--:|--:|--:|\n",
          out);
    for (int i = 0; i < c->cell_count; i++) {
        const report_cell *cell = &c->cells[i];
        const qd_spread *spreads[] = {&cell->float_accuracy, &cell->int8_accuracy, &cell->drop, &cell->widest};
        fputs("| ", out);
        qd_report_print_markdown(out, cell->model);
        fputs(" | ", out);
        qd_report_print_markdown(out, cell->label[0] != '\0' ? cell->label : "-");
        fprintf(out, " | %d |", cell->series_count);
        if (cell->epoch >= 0)
            fprintf(out, " %lld |", (long long)cell->epoch);
        else
            fputs(" - |", out);
        for (size_t s = 0; s < sizeof spreads / sizeof spreads[0]; s++) {
            fputs(" ", out);
            print_spread(out, spreads[s]);
            fputs(" |", out);
        }
        fputs("\n", out);
    }
}

static void print_pairs(FILE *out, const report_comparison *c)
{
    if (c->pair_count > 0)
        fputs("\nModels of the same run or seed: how much more the first loses than the second, in points, with "
              "Student's 95 % "
              "interval of the mean.\n\n| first | second | setting | pairs | difference of drops | interval |\n"
              "|---|---|---|--:|--:|--:|\n",
              out);
    for (int i = 0; i < c->pair_count; i++) {
        const report_paired *pair = &c->pairs[i];
        const report_cell *first = &c->cells[pair->first];
        fputs("| ", out);
        qd_report_print_markdown(out, first->model);
        fputs(" | ", out);
        qd_report_print_markdown(out, c->cells[pair->second].model);
        fputs(" | ", out);
        qd_report_print_markdown(out, first->label[0] != '\0' ? first->label : "-");
        fprintf(out, " | %d | ", pair->difference.count);
        print_spread(out, &pair->difference);
        if (pair->difference.count > 1)
            fprintf(out, " | %.2f to %.2f |\n", pair->difference.low, pair->difference.high);
        else
            fputs(" | - |\n", out);
    }
}

static void print_comparison(FILE *out, const report_comparison *c)
{
    print_cells(out, c);
    print_pairs(out, c);
}

static char *comparison_text(const report_comparison *c)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    print_comparison(out, c);
    const bool failed = ferror(out);
    if (fclose(out) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

/* ---- the chart: every run's drop beside its mean ---- */

static void print_points(FILE *out, const qd_report *report, const report_comparison *c)
{
    fputs("$runs << END\n", out);
    for (int i = 0; i < c->cell_count; i++) {
        for (int s = 0; s < c->cells[i].series_count; s++) {
            const report_quantized *q =
                qd_report_find_quantized(&report->series[c->cells[i].series[s]], c->cells[i].epoch);
            if (!q)
                continue;
            fprintf(out, "%d", i);
            qd_plot_value(out, q->drop);
            fputs("\n", out);
        }
    }
    fputs("? ?\nEND\n$means << END\n", out);
    for (int i = 0; i < c->cell_count; i++) {
        const report_cell *cell = &c->cells[i];
        const double std = cell->drop.count > 1 ? cell->drop.std : 0.0;
        fprintf(out, "%d", i);
        qd_plot_value(out, cell->drop.mean);
        qd_plot_value(out, cell->drop.mean - std);
        qd_plot_value(out, cell->drop.mean + std);
        fputs(" \"", out);
        qd_report_print_gnuplot(out, cell->model);
        if (cell->label[0] != '\0')
            fputs(", ", out);
        qd_report_print_gnuplot(out, cell->label);
        fputs("\"\n", out);
    }
    fputs("END\n", out);
}

/* NaN changes nothing. */
static void include_value(double value, double *low, double *high)
{
    if (value < *low)
        *low = value;
    if (value > *high)
        *high = value;
}

/* From the smallest to the largest drop with no drop in sight, and of some width even when all are 0. */
static void print_range(FILE *out, const qd_report *report, const report_comparison *c)
{
    double low = -0.1, high = 0.1;
    for (int i = 0; i < c->cell_count; i++) {
        const report_cell *cell = &c->cells[i];
        const double std = cell->drop.count > 1 ? cell->drop.std : 0.0;
        include_value(cell->drop.mean - std, &low, &high);
        include_value(cell->drop.mean + std, &low, &high);
        for (int s = 0; s < cell->series_count; s++) {
            const report_quantized *q = qd_report_find_quantized(&report->series[cell->series[s]], cell->epoch);
            include_value(q ? q->drop : NAN, &low, &high);
        }
    }
    const double margin = 0.05 * (high - low);
    fprintf(out, "set xrange [%.6g:%.6g]\n", low - margin, high + margin);
}

static enum qd_status print_chart(FILE *out, const qd_report *report)
{
    report_comparison c = {0};
    QD_TRY(qd_report_compare(report, &c));
    qd_plot_begin(out, "Accuracy lost in INT8: each run, mean and standard deviation");
    print_points(out, report, &c);
    print_range(out, report, &c);
    fprintf(out,
            "set xlabel 'float accuracy minus INT8 accuracy, points'\nset yrange [%d:-1]\n"
            "set ytics nomirror noenhanced font ',10'\nunset key\nset yzeroaxis lc rgb '#808080'\n",
            c.cell_count > 0 ? c.cell_count : 1);
    qd_plot_open(out, "compare", 1000, 140 + 44 * (c.cell_count > 1 ? c.cell_count : 2));
    fputs("plot $means using 2:1:3:4:ytic(5) with xerrorbars pt 7 ps 1 lw 2 lc rgb '#2b6cb0', \\\n"
          "  $runs using 2:($1+0.22) with points pt 6 ps 0.9 lw 1.5 lc rgb '#c05621'\n",
          out);
    qd_plot_close(out);
    qd_report_comparison_free(&c);
    return QD_OK;
}

static enum qd_status write_file(const qd_report *report, const char *folder, const char *text, bool plots)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char *path = qd_format("%s/compare.md", folder);
    if (!path)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "comparing runs: out of memory");
    QD_TRY_GOTO(qd_atomic_open(report->ctx, path, &file));
    fprintf(file.stream,
            "# Runs side by side\n\nMean ± standard deviation over runs that differ in their seed alone, at the last "
            "epoch that all "
            "of them quantized. Drops are float minus INT8 accuracy on the same images.\n\n%s",
            text);
    if (plots)
        fputs("\n![Drop of each run](compare.png)\n", file.stream);
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(path);
    return status;
}

enum qd_status qd_report_write_compare(const qd_report *report, const char *folder, bool plots, char **text)
{
    report_comparison c = {0};
    enum qd_status status = QD_OK;
    bool quantized = false;
    char *table = NULL;
    QD_TRY_GOTO(qd_report_compare(report, &c));
    for (int i = 0; i < c.cell_count; i++)
        quantized = quantized || c.cells[i].drop.count > 0;
    if (!quantized) {
        status = qd_fail(report->ctx, QD_ERR_INPUT,
                         "compare: no model of these runs was quantized; there is nothing to compare");
        goto fail;
    }
    table = comparison_text(&c);
    if (!table) {
        status = qd_fail(report->ctx, QD_ERR_MEMORY, "comparing runs: out of memory");
        goto fail;
    }
    QD_TRY_GOTO(write_file(report, folder, table, plots));
    *text = table;
    table = NULL;
fail:
    free(table);
    qd_report_comparison_free(&c);
    return status;
}

enum qd_status qd_report_write_compare_plot(const qd_report *report, const char *folder)
{
    return qd_plot_write(report, folder, "compare.gp", print_chart);
}
