/* report.md: the page's numbers as tables that read in any viewer. */
#include "base/error.h"
#include "base/file.h"
#include "report/answers.h"
#include "report/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* As many as a reader takes in at once. */
#define WORST_COUNT 5
#define LAYER_COUNT 10
#define GRID_COUNT  12

/* "-0.40 [-3.20, 2.40]" */
static void print_drop(FILE *out, double drop, double low, double high)
{
    fputs(" ", out);
    qd_report_print_number(out, drop, 2);
    if (!isnan(low)) {
        fputs(" \\[", out);
        qd_report_print_number(out, low, 2);
        fputs(", ", out);
        qd_report_print_number(out, high, 2);
        fputs("\\]", out);
    }
    fputs(" |", out);
}

/* ---- drift by epoch ---- */

static void print_drift_row(FILE *out, const qd_report *report, const report_series *s, int64_t epoch)
{
    const report_quantized *q = qd_report_find_quantized(s, epoch);
    const report_module *widest = qd_report_widest(qd_report_find_log(s, epoch));
    const report_tensor *noisiest = q ? qd_report_noisiest(q) : NULL;
    fputs("|", out);
    qd_report_print_text_cell(out, s->model);
    fprintf(out, " %lld |", (long long)epoch);
    qd_report_print_cell(out, qd_report_val_accuracy(s, epoch), 2);
    qd_report_print_cell(out, q ? q->float_accuracy : NAN, 2);
    qd_report_print_cell(out, q ? q->int8_accuracy : NAN, 2);
    print_drop(out, q ? q->drop : NAN, q ? q->low : NAN, q ? q->high : NAN);
    qd_report_print_cell(out, widest ? widest->range : NAN, 2);
    qd_report_print_text_cell(out, widest ? qd_report_module_name(report, widest->path) : "-");
    qd_report_print_cell(out, noisiest ? noisiest->sqnr_accumulated_db : NAN, 1);
    qd_report_print_text_cell(out, noisiest ? qd_report_module_name(report, noisiest->name) : "-");
    fputs("\n", out);
}

static void print_drift(FILE *out, const qd_report *report, int run)
{
    fputs("| model | epoch | val acc % | float % | INT8 % | drop, points | widest range | at module | lowest SQNR, "
          "dB | at "
          "tensor |\n|---|--:|--:|--:|--:|--:|--:|---|--:|---|\n",
          out);
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        if (s->run != run)
            continue;
        for (int e = 0; e < s->log_count; e++)
            print_drift_row(out, report, s, s->logs[e].epoch);
        for (int e = 0; e < s->quantized_count; e++)
            if (!qd_report_find_log(s, s->quantized[e].epoch))
                print_drift_row(out, report, s, s->quantized[e].epoch);
    }
}

/* ---- convolution to BatchNorm ---- */

/* "4.00 → 6.00 (1.500)": range of the convolution's output, range behind BatchNorm, their ratio. */
static void print_ranges(FILE *out, const report_log *log, const report_pair *pair)
{
    const report_module *raw = qd_report_find_module(log, pair->convolution);
    const report_module *behind = qd_report_find_module(log, pair->batchnorm);
    fputs(" ", out);
    qd_report_print_number(out, raw ? raw->range : NAN, 2);
    fputs(" → ", out);
    qd_report_print_number(out, behind ? behind->range : NAN, 2);
    fputs(" (", out);
    qd_report_print_number(out, qd_report_pair_ratio(log, pair), 3);
    fputs(") |", out);
}

/* A row an epoch: there are more epochs than pairs in the blocks. */
static enum qd_status print_ratios(FILE *out, const qd_report *report, const report_series *s)
{
    report_pair *pairs = NULL;
    int count = 0;
    QD_TRY(qd_report_find_pairs(report, s, true, &pairs, &count));
    if (count > 0) {
        fputs("\n| ", out);
        qd_report_print_markdown(out, s->model);
        fputs(": epoch |", out);
        for (int p = 0; p < count; p++) {
            fputs(" ", out);
            qd_report_print_markdown(out, qd_report_module_name(report, pairs[p].convolution));
            fputs(" →", out);
            qd_report_print_text_cell(out, qd_report_module_name(report, pairs[p].batchnorm));
        }
        fputs("\n|--:|", out);
        for (int p = 0; p < count; p++)
            fputs("--:|", out);
        fputs("\n", out);
    }
    for (int e = 0; e < s->log_count && count > 0; e++) {
        fprintf(out, "| %lld |", (long long)s->logs[e].epoch);
        for (int p = 0; p < count; p++)
            print_ranges(out, &s->logs[e], &pairs[p]);
        fputs("\n", out);
    }
    free(pairs);
    return QD_OK;
}

/* ---- the worst ---- */

static const report_tensor *next_noisy(const report_quantized *q, const report_tensor *before)
{
    const report_tensor *next = NULL;
    for (int t = 0; t < q->count; t++) {
        const report_tensor *c = &q->tensors[t];
        /* After `before` in the order of ratio, then of computation. */
        const bool later = !before || c->sqnr_accumulated_db > before->sqnr_accumulated_db ||
                           (c->sqnr_accumulated_db == before->sqnr_accumulated_db && c > before);
        if (!isnan(c->sqnr_accumulated_db) && later && (!next || c->sqnr_accumulated_db < next->sqnr_accumulated_db))
            next = c;
    }
    return next;
}

static void print_noisy(FILE *out, const qd_report *report, const report_series *s)
{
    const report_quantized *q = qd_report_last_quantized(s);
    const report_tensor *tensor = NULL;
    for (int i = 0; q && i < WORST_COUNT && (tensor = next_noisy(q, tensor)); i++) {
        fputs("|", out);
        qd_report_print_text_cell(out, s->model);
        qd_report_print_text_cell(out, qd_report_module_name(report, tensor->name));
        qd_report_print_cell(out, tensor->sqnr_accumulated_db, 1);
        qd_report_print_cell(out, tensor->sqnr_rounding_db, 1);
        qd_report_print_cell(out, tensor->min, 3);
        qd_report_print_cell(out, tensor->max, 3);
        qd_report_print_cell(out, tensor->scale, 5);
        qd_report_print_cell(out, tensor->zero_point, 0);
        fputs("\n", out);
    }
}

static void print_qat(FILE *out, const report_series *s)
{
    const report_qat *qat = s->qat;
    fputs("\n", out);
    qd_report_print_markdown(out, s->model);
    fprintf(
        out, ", trained %.0f more epochs for INT8: %.2f %% in INT8 and %.2f %% in float; before, %.2f %% and %.2f %%",
        qat->epochs, qat->int8_accuracy, qat->trained_float_accuracy, qat->static_int8_accuracy, qat->float_accuracy);
    fprintf(out, " (%.0f images).\n", qat->images);
}

static enum qd_status print_run(FILE *out, const qd_report *report, int run)
{
    fputs("\n## Run ", out);
    qd_report_print_markdown(out, report->runs[run].name);
    fputs("\n\n", out);
    for (int a = 0; a < QD_REPORT_ANSWERS; a++) {
        fprintf(out, "**%s** ", qd_report_question(a));
        qd_report_print_markdown(out, report->runs[run].answers[a]);
        fputs("\n\n", out);
    }
    fputs("### Drift by epoch\n\n", out);
    print_drift(out, report, run);
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run && report->series[i].qat)
            print_qat(out, &report->series[i]);
    fputs(
        "\nRange of a convolution's raw output → range behind its BatchNorm, and the latter over the former, in the "
        "blocks that are compared:\n",
        out);
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run)
            QD_TRY(print_ratios(out, report, &report->series[i]));
    fputs("\nThe noisiest tensors of the last quantized epoch (signal to noise accumulated through the network, and "
          "of its own "
          "rounding):\n\n| model | tensor | SQNR, dB | rounding, dB | min | max | scale | zero point |\n"
          "|---|---|--:|--:|--:|--:|--:|--:|\n",
          out);
    for (int i = 0; i < report->series_count; i++)
        if (report->series[i].run == run)
            print_noisy(out, report, &report->series[i]);
    return QD_OK;
}

/* ---- sensitivity and grid ---- */

static void print_sensitivity(FILE *out, const qd_report *report, const report_sensitivity *s)
{
    fputs("\n### ", out);
    qd_report_print_markdown(out, s->model);
    fputs(" in ", out);
    qd_report_print_markdown(out, report->runs[s->run].name);
    fputs("\n\n| quantized | accuracy % | drop, points | KL, nats |\n|---|--:|--:|--:|\n| nothing |", out);
    qd_report_print_cell(out, s->real.accuracy, 2);
    qd_report_print_cell(out, 0.0, 2);
    qd_report_print_cell(out, 0.0, 4);
    fputs("\n", out);
    for (int m = 0; m < s->mode_count; m++) {
        fputs("|", out);
        qd_report_print_text_cell(out, qd_names_text(&report->names, s->modes[m].name));
        qd_report_print_cell(out, s->modes[m].score.accuracy, 2);
        qd_report_print_cell(out, s->modes[m].score.drop, 2);
        qd_report_print_cell(out, s->modes[m].score.kl, 4);
        fputs("\n", out);
    }
    fputs("\n| layer | kind | alone quantized: drop, points | KL, nats | all but it: drop, points "
          "|\n|---|---|--:|--:|--:|\n",
          out);
    for (int l = 0; l < s->layer_count && l < LAYER_COUNT; l++) {
        const report_layer *layer = &s->layers[l];
        fputs("|", out);
        qd_report_print_text_cell(out, qd_report_module_name(report, layer->name));
        qd_report_print_text_cell(out, qd_names_text(&report->names, layer->kind));
        qd_report_print_cell(out, layer->only.drop, 2);
        qd_report_print_cell(out, layer->only.kl, 5);
        qd_report_print_cell(out, layer->without.drop, 2);
        fputs("\n", out);
    }
}

static int compare_rows(const void *left, const void *right)
{
    const report_grid_row *a = left, *b = right;
    const double gain_a = isnan(a->recovered) ? -INFINITY : a->recovered;
    const double gain_b = isnan(b->recovered) ? -INFINITY : b->recovered;
    if (gain_a != gain_b)
        return gain_a < gain_b ? 1 : -1;
    /* Names are numbered as the files have them. */
    return a->model != b->model ? a->model - b->model : a->recipe - b->recipe;
}

/* Rows of every model in order of what they gain. */
static enum qd_status print_grid(FILE *out, const qd_report *report)
{
    report_grid_row *rows = malloc((size_t)report->grid_count * sizeof *rows);
    if (!rows)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    for (int i = 0; i < report->grid_count; i++)
        rows[i] = report->grid[i];
    qsort(rows, (size_t)report->grid_count, sizeof *rows, compare_rows);
    fputs("\n## Recipes\n\nThe recipes that gain most, by what differs from the first row of their file. All are "
          "scored on "
          "the same images, so part of the best one's gain is luck of the choice.\n\n"
          "| model | recipe | form | float % | accuracy % | drop, points | gains, points "
          "|\n|---|---|---|--:|--:|--:|--:|\n",
          out);
    for (int i = 0; i < report->grid_count && i < GRID_COUNT; i++) {
        const report_grid_row *row = &rows[i];
        fputs("|", out);
        qd_report_print_text_cell(out, qd_names_text(&report->names, row->model));
        qd_report_print_text_cell(out, qd_names_text(&report->names, row->recipe));
        qd_report_print_text_cell(out, qd_names_text(&report->names, row->form));
        qd_report_print_cell(out, row->float_accuracy, 2);
        qd_report_print_cell(out, row->accuracy, 2);
        print_drop(out, row->drop, row->low, row->high);
        qd_report_print_cell(out, row->recovered, 2);
        fputs("\n", out);
    }
    free(rows);
    return QD_OK;
}

/* ---- the file ---- */

static void print_sentences(FILE *out, const char *title, char *const *texts, int count)
{
    if (count > 0)
        fprintf(out, "\n## %s\n\n", title);
    for (int i = 0; i < count; i++) {
        fputs("- ", out);
        qd_report_print_markdown(out, texts[i]);
        fputs("\n", out);
    }
}

static void print_plots(FILE *out, const qd_report *report)
{
    static const char *const names[][2] = {{"accuracy", "Accuracy in float and INT8 by epoch"},
                                           {"ranges", "Widest activation range by epoch"},
                                           {"dynamic_range", "Dynamic ranges of the widest modules"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        fprintf(out, "![%s](plots/%s.png)\n\n", names[i][1], names[i][0]);
    if (report->sensitivity_count > 0)
        fputs("![Layers by what they alone cost](plots/sensitivity.png)\n\n", out);
}

static enum qd_status print_report(FILE *out, const qd_report *report, bool plots)
{
    fputs("# What the files of these runs say\n\n", out);
    for (int a = 0; a < QD_REPORT_ANSWERS; a++) {
        fprintf(out, "**%s** ", qd_report_question(a));
        qd_report_print_markdown(out, report->answers[a]);
        fputs("\n\n", out);
    }
    fputs("Drops are float accuracy minus INT8 accuracy on the same images, in points. Intervals are 95 %: "
          "Newcombe's for "
          "paired shares; of results files that do not tell how many images one network alone gets right, his for "
          "independent shares, which is wider.\n\n",
          out);
    if (plots && report->series_count > 0)
        print_plots(out, report);
    for (int r = 0; r < report->run_count; r++)
        if (qd_report_run_has_series(report, r))
            QD_TRY(print_run(out, report, r));
    if (report->sensitivity_count > 0)
        fputs("\n## Sensitivity\n", out);
    for (int i = 0; i < report->sensitivity_count; i++)
        print_sensitivity(out, report, &report->sensitivities[i]);
    qd_report_print_batchnorm(out, report);
    if (report->grid_count > 0)
        QD_TRY(print_grid(out, report));
    print_sentences(out, "What these files do not say", report->lacks, report->lack_count);
    print_sentences(out, "Files that were left out", report->skipped, report->skipped_count);
    return QD_OK;
}

enum qd_status qd_report_write_markdown(const qd_report *report, const char *folder, bool plots)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char *path = qd_format("%s/report.md", folder);
    if (!path)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    QD_TRY_GOTO(qd_atomic_open(report->ctx, path, &file));
    QD_TRY_GOTO(print_report(file.stream, report, plots));
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(path);
    return status;
}
