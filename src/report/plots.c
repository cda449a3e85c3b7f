/* Static plots: gnuplot scripts that hold their data, so that each can be drawn again, elsewhere or otherwise. */
#include "base/error.h"
#include "base/file.h"
#include "report/answers.h"
#include "report/plot_script.h"
#include "report/print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Lines that a panel bears, bars that a reader compares. */
#define RANGE_LINES 5
#define RANGE_BARS  10
#define LAYER_BARS  12

/* ---- parts of a script ---- */

void qd_plot_begin(FILE *out, const char *title)
{
    fputs("# Draws the .png and the .svg of its name beside itself: gnuplot <this file>\n"
          "set encoding utf8\nset datafile missing '?'\nset grid lc rgb '#d9d9d9'\nset border 3 lc rgb '#808080'\n"
          "set tics nomirror textcolor rgb '#333333'\nset key noenhanced\n",
          out);
    fprintf(out, "set title '%s' noenhanced\n", title);
}

void qd_plot_open(FILE *out, const char *name, int width, int height)
{
    fprintf(out,
            "do for [type in 'png svg'] {\n"
            "if (type eq 'png') {\n  set terminal pngcairo noenhanced size %d,%d font 'DejaVu Sans,12'\n"
            "} else {\n  set terminal svg noenhanced size %d,%d font 'DejaVu Sans,12' background '#ffffff'\n}\n"
            "set output '%s.'.type\n",
            width, height, width, height, name);
}

void qd_plot_close(FILE *out)
{
    fputs("unset output\n}\n", out);
}

void qd_plot_value(FILE *out, double value)
{
    if (isfinite(value))
        fprintf(out, " %.6g", value);
    else
        fputs(" ?", out);
}

/* ---- accuracy ---- */

/* Whether an earlier series has the same model: models are panels, runs are lines. */
static bool is_repeated(const qd_report *report, int series)
{
    for (int i = 0; i < series; i++)
        if (strcmp(report->series[i].model, report->series[series].model) == 0)
            return true;
    return false;
}

static int model_count(const qd_report *report)
{
    int count = 0;
    for (int i = 0; i < report->series_count; i++)
        count += !is_repeated(report, i);
    return count;
}

static void write_accuracy_panel(FILE *out, const qd_report *report, int panel)
{
    const char *model = report->series[panel].model;
    bool first = true;
    fputs("set title '", out);
    qd_report_print_gnuplot(out, model);
    fputs("' noenhanced\nplot", out);
    for (int i = 0; i < report->series_count; i++) {
        if (strcmp(report->series[i].model, model) != 0)
            continue;
        fprintf(out,
                "%s $series%d using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '#2b6cb0' %s, \\\n"
                "  $series%d using 1:3 with linespoints pt 5 ps 0.7 lw 2 dt 2 lc rgb '#c05621' %s",
                first ? "" : ", \\\n ", i, first ? "title 'float32'" : "notitle", i,
                first ? "title 'INT8'" : "notitle");
        first = false;
    }
    fputs("\n", out);
}

static enum qd_status write_accuracy(FILE *out, const qd_report *report)
{
    const int panels = model_count(report);
    qd_plot_begin(out, "");
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        fprintf(out, "$series%d << END\n", i);
        for (int h = 0; h < s->history_count; h++) {
            const report_quantized *q = qd_report_find_quantized(s, s->history[h].epoch);
            fprintf(out, "%lld", (long long)s->history[h].epoch);
            qd_plot_value(out, s->history[h].val_acc);
            qd_plot_value(out, q ? q->int8_accuracy : NAN);
            fputs("\n", out);
        }
        fputs("END\n", out);
    }
    fputs("set xlabel 'epoch'\nset ylabel 'validation accuracy, %'\nset yrange [0:100]\nset key bottom right\n", out);
    const int rows = (panels + 1) / 2;
    qd_plot_open(out, "accuracy", panels > 1 ? 1000 : 640, 400 * (rows > 0 ? rows : 1));
    fprintf(out, "set multiplot layout %d,%d\n", rows > 0 ? rows : 1, panels > 1 ? 2 : 1);
    for (int i = 0; i < report->series_count; i++)
        if (!is_repeated(report, i))
            write_accuracy_panel(out, report, i);
    fputs("unset multiplot\n", out);
    qd_plot_close(out);
    return QD_OK;
}

/* ---- ranges by epoch ---- */

/* The next smaller range of a log after `before`; NULL: no more. */
static const report_module *next_widest(const report_log *log, const report_module *before)
{
    const report_module *next = NULL;
    for (int m = 0; log && m < log->count; m++) {
        const report_module *c = &log->modules[m];
        const bool later = !before || c->range < before->range || (c->range == before->range && c > before);
        if (!isnan(c->range) && later && (!next || c->range > next->range))
            next = c;
    }
    return next;
}

static const report_log *last_log(const report_series *s)
{
    return s->log_count > 0 ? &s->logs[s->log_count - 1] : NULL;
}

static bool has_ranges(const report_series *s)
{
    const report_log *log = last_log(s);
    for (int m = 0; log && m < log->count; m++)
        if (!isnan(log->modules[m].range))
            return true;
    return false;
}

/* The run that has ranges of most models; of equal ones the first. -1: none has any. */
static int widest_run(const qd_report *report)
{
    int run = -1, most = 0;
    for (int r = 0; r < report->run_count; r++) {
        int count = 0;
        for (int i = 0; i < report->series_count; i++)
            count += report->series[i].run == r && has_ranges(&report->series[i]);
        if (count > most) {
            run = r;
            most = count;
        }
    }
    return run;
}

/* Whether the ranges of a series are drawn. Models are what one compares, so each is drawn once: of `run`, where they
 * were trained alike, else of the first run that has it. */
static bool is_drawn(const qd_report *report, int series, int run)
{
    const report_series *s = &report->series[series];
    if (!has_ranges(s))
        return false;
    for (int i = 0; i < report->series_count; i++) {
        const report_series *other = &report->series[i];
        const bool goes_first = (other->run == run) == (s->run == run) ? i < series : other->run == run;
        if (goes_first && strcmp(other->model, s->model) == 0 && has_ranges(other))
            return false;
    }
    return true;
}

/* A model, and whose training it is where a reader could take it for another's. */
static void print_model(FILE *out, const qd_report *report, const char *model, int run)
{
    qd_report_print_gnuplot(out, model);
    if (qd_report_run_count(report) > 1) {
        fputs(", run ", out);
        qd_report_print_gnuplot(out, report->runs[run].name);
    }
}

static void write_range_data(FILE *out, const report_series *s, int number, double *top)
{
    const report_module *line = NULL;
    for (int l = 0; l < RANGE_LINES && (line = next_widest(last_log(s), line)); l++) {
        fprintf(out, "$line%d_%d << END\n", number, l);
        for (int e = 0; e < s->log_count; e++) {
            const report_module *module = qd_report_find_module(&s->logs[e], line->path);
            fprintf(out, "%lld", (long long)s->logs[e].epoch);
            qd_plot_value(out, module ? module->range : NAN);
            fputs("\n", out);
            if (module && module->range > *top)
                *top = module->range;
        }
        fputs("END\n", out);
    }
}

static void write_range_panel(FILE *out, const qd_report *report, int number)
{
    static const char *const colours[RANGE_LINES] = {"#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#718096"};
    const report_series *s = &report->series[number];
    const report_module *line = NULL;
    fputs("set title '", out);
    print_model(out, report, s->model, s->run);
    fputs("' noenhanced\nplot", out);
    for (int l = 0; l < RANGE_LINES && (line = next_widest(last_log(s), line)); l++) {
        fprintf(out, "%s $line%d_%d using 1:2 with linespoints pt 7 ps 0.6 lw 2 lc rgb '%s' title '",
                l ? ", \\\n " : "", number, l, colours[l]);
        qd_report_print_gnuplot(out, qd_report_module_name(report, line->path));
        fputs("'", out);
    }
    fputs("\n", out);
}

static enum qd_status write_ranges(FILE *out, const qd_report *report)
{
    const int run = widest_run(report);
    double top = 0.0;
    int panels = 0;
    qd_plot_begin(out, "");
    for (int i = 0; i < report->series_count; i++) {
        if (is_drawn(report, i, run)) {
            write_range_data(out, &report->series[i], i, &top);
            panels++;
        }
    }
    fprintf(out,
            "set xlabel 'epoch'\nset ylabel 'range (max - min) of activations'\nset yrange [0:%.6g]\n"
            "set key outside bottom center vertical maxrows 3 font ',10'\n",
            top > 0.0 ? 1.05 * top : 1.0);
    const int rows = panels > 2 ? (panels + 1) / 2 : 1;
    qd_plot_open(out, "ranges", panels > 1 ? 1000 : 640, 460 * rows);
    fprintf(out, "set multiplot layout %d,%d\n", rows, panels > 1 ? 2 : 1);
    for (int i = 0; i < report->series_count; i++)
        if (is_drawn(report, i, run))
            write_range_panel(out, report, i);
    if (panels == 0)
        fputs("set title 'no activation log'\nplot NaN notitle\n", out);
    fputs("unset multiplot\n", out);
    qd_plot_close(out);
    return QD_OK;
}

/* ---- dynamic ranges on one axis ---- */

static enum qd_status write_bars(FILE *out, const qd_report *report)
{
    static const char *const colours[] = {"#2b6cb0", "#c05621", "#2f855a", "#805ad5"};
    enum { COLOURS = sizeof colours / sizeof colours[0] };
    const int run = widest_run(report);
    int row = 0, models = 0;
    qd_plot_begin(out, "Widest activation ranges at the last logged epoch");
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        const report_module *bar = NULL;
        if (!is_drawn(report, i, run))
            continue;
        fprintf(out, "$bars%d << END\n", i);
        for (int b = 0; b < RANGE_BARS && (bar = next_widest(last_log(s), bar)); b++) {
            fprintf(out, "%d", row++);
            qd_plot_value(out, bar->min);
            qd_plot_value(out, bar->max);
            fputs(" \"", out);
            qd_report_print_gnuplot(out, qd_report_module_name(report, bar->path));
            fputs("\"\n", out);
        }
        fputs("END\n", out);
        row++; /* a gap between models */
    }
    fprintf(out,
            "set xlabel 'activation value: smallest to largest'\nset yrange [%d:-1]\nset key outside top center "
            "horizontal\nunset ytics\nset ytics nomirror noenhanced font ',10'\nset xzeroaxis\n",
            row > 0 ? row : 1);
    qd_plot_open(out, "dynamic_range", 1000, 120 + 24 * (row > 4 ? row : 4));
    fputs("plot", out);
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        if (!is_drawn(report, i, run))
            continue;
        fprintf(out,
                "%s $bars%d using (0.5*($2+$3)):1:2:3:($1-0.36):($1+0.36):ytic(4) with boxxyerror fs solid 0.85 "
                "noborder lc rgb '%s' title '",
                models ? ", \\\n " : "", i, colours[models % COLOURS]);
        print_model(out, report, s->model, s->run);
        fputs("'", out);
        models++;
    }
    fputs(models ? "\n" : " NaN notitle\n", out);
    qd_plot_close(out);
    return QD_OK;
}

/* ---- sensitivity ---- */

static enum qd_status write_sensitivity(FILE *out, const qd_report *report)
{
    double top = 0.0, bottom = 0.0;
    qd_plot_begin(out, "");
    for (int i = 0; i < report->sensitivity_count; i++) {
        const report_sensitivity *s = &report->sensitivities[i];
        fprintf(out, "$layers%d << END\n", i);
        for (int l = 0; l < s->layer_count && l < LAYER_BARS; l++) {
            const double drop = s->layers[l].only.drop;
            fprintf(out, "%d", l);
            qd_plot_value(out, drop);
            fputs(" \"", out);
            qd_report_print_gnuplot(out, qd_report_module_name(report, s->layers[l].name));
            fputs("\"\n", out);
            top = drop > top ? drop : top;
            bottom = drop < bottom ? drop : bottom;
        }
        fputs("END\n", out);
    }
    fprintf(out,
            "set xlabel 'drop of accuracy with this layer alone in INT8, points'\nset xrange [%.6g:%.6g]\n"
            "set yrange [%d:-1]\nset ytics nomirror noenhanced font ',10'\nunset key\nset lmargin 30\n",
            1.05 * bottom, top > bottom ? 1.05 * top : bottom + 1.0, LAYER_BARS);
    qd_plot_open(out, "sensitivity", 820, 380 * report->sensitivity_count);
    fprintf(out, "set multiplot layout %d,1\n", report->sensitivity_count);
    for (int i = 0; i < report->sensitivity_count; i++) {
        fputs("set title '", out);
        print_model(out, report, report->sensitivities[i].model, report->sensitivities[i].run);
        fputs("' noenhanced\n", out);
        if (report->sensitivities[i].layer_count > 0)
            fprintf(out,
                    "plot $layers%d using ($2/2):1:(0):2:($1-0.36):($1+0.36):ytic(3) with boxxyerror fs solid 0.85 "
                    "noborder lc rgb '#2b6cb0'\n",
                    i);
        else
            fputs("plot NaN notitle\n", out);
    }
    fputs("unset multiplot\n", out);
    qd_plot_close(out);
    return QD_OK;
}

/* ---- the files ---- */

enum qd_status qd_plot_write(const qd_report *report, const char *folder, const char *name, plot_writer *write)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    char *path = qd_format("%s/%s", folder, name);
    if (!path)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "plots: out of memory");
    QD_TRY_GOTO(qd_atomic_open(report->ctx, path, &file));
    QD_TRY_GOTO(write(file.stream, report));
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(path);
    return status;
}

enum qd_status qd_report_write_plots(const qd_report *report, const char *folder, char ***names)
{
    static const struct {
        const char *name;
        plot_writer *write;
    } plots[] = {{"accuracy.gp", write_accuracy},
                 {"ranges.gp", write_ranges},
                 {"dynamic_range.gp", write_bars},
                 {"sensitivity.gp", write_sensitivity}};
    enum { COUNT = sizeof plots / sizeof plots[0] };
    enum qd_status status = QD_OK;
    int written = 0;
    char **list = calloc(COUNT + 1, sizeof *list);
    if (!list)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "plots: out of memory");
    for (int i = 0; i < COUNT; i++) {
        const bool of_layers = plots[i].write == write_sensitivity;
        if (of_layers ? report->sensitivity_count == 0 : report->series_count == 0)
            continue;
        QD_TRY_GOTO(qd_plot_write(report, folder, plots[i].name, plots[i].write));
        list[written] = strdup(plots[i].name);
        if (!list[written++]) {
            status = qd_fail(report->ctx, QD_ERR_MEMORY, "plots: out of memory");
            goto fail;
        }
    }
    *names = list;
    return QD_OK;
fail:
    qd_report_plots_free(list);
    return status;
}

void qd_report_plots_free(char **names)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free((void *)names);
}
