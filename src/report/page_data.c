#include "report/page_data.h"
#include "base/error.h"
#include "report/compare.h"
#include "report/json_out.h"
#include "report/print.h"
#include <math.h>
#include <quantdrift/build_info.h>
#include <stdlib.h>
#include <string.h>

/* ---- columns ---- */

enum module_column { MODULE_MIN, MODULE_MAX, MODULE_MEAN, MODULE_STD, MODULE_COLUMNS };
enum tensor_column {
    TENSOR_MIN,
    TENSOR_MAX,
    TENSOR_SCALE,
    TENSOR_ZERO,
    TENSOR_ROUNDING,
    TENSOR_ACCUMULATED,
    TENSOR_COLUMNS
};

static double module_value(const report_module *m, int column)
{
    const double values[MODULE_COLUMNS] = {m->min, m->max, m->mean, m->std};
    return values[column];
}

static double tensor_value(const report_tensor *t, int column)
{
    const double values[TENSOR_COLUMNS] = {
        t->min, t->max, t->scale, t->zero_point, t->sqnr_rounding_db, t->sqnr_accumulated_db};
    return values[column];
}

/* Logs of one series list the same modules in the same order, unless somebody changed the file. */
static const report_module *module_at(const report_log *log, int index, int path)
{
    return index < log->count && log->modules[index].path == path ? &log->modules[index]
                                                                  : report_find_module(log, path);
}

static const report_tensor *tensor_at(const report_quantized *q, int index, int name)
{
    if (index < q->count && q->tensors[index].name == name)
        return &q->tensors[index];
    for (int t = 0; t < q->count; t++)
        if (q->tensors[t].name == name)
            return &q->tensors[t];
    return NULL;
}

static void print_logs(json_out *out, const char *key, const report_series *s, const report_log *logs, int count,
                       int columns)
{
    static const char *const names[MODULE_COLUMNS] = {"min", "max", "mean", "std"};
    const report_log *all = s->log_count > 0 ? &s->logs[s->log_count - 1] : NULL;
    json_open(out, key, '[');
    for (int e = 0; all && e < count; e++) {
        json_open(out, NULL, '{');
        json_int(out, "epoch", logs[e].epoch);
        for (int c = 0; c < columns; c++) {
            json_open(out, names[c], '[');
            for (int m = 0; m < all->count; m++) {
                const report_module *module = module_at(&logs[e], m, all->modules[m].path);
                json_number(out, NULL, module ? module_value(module, c) : NAN);
            }
            json_close(out, ']');
        }
        json_close(out, '}');
    }
    json_close(out, ']');
}

static void print_module_names(json_out *out, const report_series *s)
{
    const report_log *all = s->log_count > 0 ? &s->logs[s->log_count - 1] : NULL;
    json_open(out, "paths", '[');
    for (int m = 0; all && m < all->count; m++)
        json_int(out, NULL, all->modules[m].path);
    json_close(out, ']');
    json_open(out, "types", '[');
    for (int m = 0; all && m < all->count; m++)
        json_int(out, NULL, all->modules[m].type);
    json_close(out, ']');
}

static void print_tensor_columns(json_out *out, const report_quantized *q, const report_quantized *all)
{
    static const char *const names[TENSOR_COLUMNS] = {"min", "max", "scale", "zero", "rounding", "accumulated"};
    for (int c = 0; c < TENSOR_COLUMNS; c++) {
        json_open(out, names[c], '[');
        for (int t = 0; t < all->count; t++) {
            const report_tensor *tensor = tensor_at(q, t, all->tensors[t].name);
            json_number(out, NULL, tensor ? tensor_value(tensor, c) : NAN);
        }
        json_close(out, ']');
    }
}

static void print_quantized(json_out *out, const report_series *s, enum page_detail detail)
{
    const report_quantized *all = report_last_quantized(s);
    json_open(out, "tensors", '[');
    for (int t = 0; all && t < all->count; t++)
        json_int(out, NULL, all->tensors[t].name);
    json_close(out, ']');
    json_open(out, "quantized", '[');
    for (int e = 0; all && e < s->quantized_count; e++) {
        const report_quantized *q = &s->quantized[e];
        json_open(out, NULL, '{');
        json_int(out, "epoch", q->epoch);
        json_int(out, "images", q->images);
        json_number(out, "float", q->float_accuracy);
        json_number(out, "int8", q->int8_accuracy);
        json_number(out, "drop", q->drop);
        json_number(out, "low", q->low);
        json_number(out, "high", q->high);
        if (detail < PAGE_NO_MODULES)
            print_tensor_columns(out, q, all);
        json_close(out, '}');
    }
    json_close(out, ']');
}

static void print_history(json_out *out, const report_series *s)
{
    json_open(out, "history", '[');
    for (int h = 0; h < s->history_count; h++) {
        const report_history *entry = &s->history[h];
        json_open(out, NULL, '[');
        json_int(out, NULL, entry->epoch);
        json_number(out, NULL, entry->train_loss);
        json_number(out, NULL, entry->train_acc);
        json_number(out, NULL, entry->val_loss);
        json_number(out, NULL, entry->val_acc);
        json_close(out, ']');
    }
    json_close(out, ']');
}

/* Places of a log's pairs in its list of modules. */
static enum qd_status print_pairs(json_out *out, const qd_report *report, const report_series *s)
{
    report_pair *pairs = NULL;
    int count = 0;
    QD_TRY(report_find_pairs(report, s, false, &pairs, &count));
    json_open(out, "pairs", '[');
    for (int p = 0; p < count; p++) {
        const report_log *log = &s->logs[s->log_count - 1];
        const long place = report_find_module(log, pairs[p].batchnorm) - log->modules;
        json_int(out, NULL, place); /* the convolution stands just before */
    }
    json_close(out, ']');
    free(pairs);
    return QD_OK;
}

static enum qd_status print_series(json_out *out, const qd_report *report, const report_series *s,
                                   enum page_detail detail)
{
    const report_quantized *first = report_first_drop(s), *last = report_last_quantized(s);
    const report_tensor *noisy = first ? report_first_noisy(first) : last ? report_first_noisy(last) : NULL;
    json_open(out, NULL, '{');
    json_int(out, "run", s->run);
    json_int(out, "file", s->file);
    json_text(out, "model", s->model);
    json_text(out, "key", s->key);
    json_text(out, "seed", s->seed);
    json_int(out, "firstDrop", first ? first->epoch : -1);
    json_int(out, "firstNoisy", noisy ? noisy->name : -1);
    print_history(out, s);
    if (detail < PAGE_NO_MODULES) {
        print_module_names(out, s);
        print_logs(out, "logs", s, s->logs, s->log_count, detail < PAGE_NO_MIXED ? MODULE_COLUMNS : MODULE_MEAN);
        if (detail < PAGE_NO_MIXED)
            print_logs(out, "mixed", s, s->mixed_logs, s->mixed_log_count, MODULE_MEAN);
        QD_TRY(print_pairs(out, report, s));
    }
    print_quantized(out, s, detail);
    json_close(out, '}');
    return QD_OK;
}

/* ---- sensitivity, grid, comparison ---- */

static void print_score(json_out *out, const char *key, const report_score *score)
{
    json_open(out, key, '[');
    json_number(out, NULL, score->accuracy);
    json_number(out, NULL, score->drop);
    json_number(out, NULL, score->kl);
    json_number(out, NULL, score->mse);
    json_close(out, ']');
}

void page_print_runs(json_out *out, const qd_report *report, int file_run, int sha256)
{
    json_open(out, "runs", '[');
    for (int r = 0; r < report->run_count; r++)
        if (report_belongs(report, r, file_run, sha256))
            json_int(out, NULL, r);
    json_close(out, ']');
}

static void print_sensitivity(json_out *out, const qd_report *report, const report_sensitivity *s)
{
    json_open(out, NULL, '{');
    page_print_runs(out, report, s->run, s->sha256);
    json_int(out, "file", s->file);
    json_text(out, "model", s->model);
    json_text(out, "key", s->key);
    json_number(out, "epoch", s->epoch);
    json_number(out, "images", s->images);
    json_number(out, "max_drop", s->max_drop);
    print_score(out, "float", &s->real);
    print_score(out, "int8", &s->int8);
    json_open(out, "modes", '[');
    for (int m = 0; m < s->mode_count; m++) {
        json_open(out, NULL, '{');
        json_int(out, "name", s->modes[m].name);
        print_score(out, "score", &s->modes[m].score);
        json_close(out, '}');
    }
    json_close(out, ']');
    json_open(out, "layers", '[');
    for (int l = 0; l < s->layer_count; l++) {
        json_open(out, NULL, '{');
        json_int(out, "name", s->layers[l].name);
        json_int(out, "kind", s->layers[l].kind);
        print_score(out, "only", &s->layers[l].only);
        print_score(out, "without", &s->layers[l].without);
        json_close(out, '}');
    }
    json_close(out, ']');
    json_open(out, "kept", '[');
    for (int k = 0; k < s->kept_count; k++)
        json_int(out, NULL, s->kept[k]);
    json_close(out, ']');
    json_bool(out, "kept_known", s->kept_known);
    json_bool(out, "kept_reached", s->kept_reached);
    print_score(out, "kept_score", &s->kept_score);
    json_close(out, '}');
}

static void print_grid_row(json_out *out, const report_grid_row *row)
{
    json_open(out, NULL, '{');
    json_int(out, "file", row->file);
    json_int(out, "model", row->model);
    json_int(out, "checkpoint", row->checkpoint);
    json_int(out, "form", row->form);
    json_int(out, "recipe", row->recipe);
    json_number(out, "float", row->float_accuracy);
    json_number(out, "accuracy", row->accuracy);
    json_number(out, "drop", row->drop);
    json_number(out, "low", row->low);
    json_number(out, "high", row->high);
    json_number(out, "recovered", row->recovered);
    json_close(out, '}');
}

static void print_spread(json_out *out, const char *key, const qd_spread *s)
{
    json_open(out, key, '[');
    json_int(out, NULL, s->count);
    json_number(out, NULL, s->mean);
    json_number(out, NULL, s->std);
    json_number(out, NULL, s->low);
    json_number(out, NULL, s->high);
    json_close(out, ']');
}

static enum qd_status print_comparison(json_out *out, const qd_report *report)
{
    report_comparison c = {0};
    QD_TRY(report_compare(report, &c));
    json_open(out, "cells", '[');
    for (int i = 0; i < c.cell_count; i++) {
        json_open(out, NULL, '{');
        json_text(out, "model", c.cells[i].model);
        json_text(out, "label", c.cells[i].label);
        json_int(out, "runs", c.cells[i].series_count);
        json_int(out, "epoch", c.cells[i].epoch);
        print_spread(out, "float", &c.cells[i].float_accuracy);
        print_spread(out, "int8", &c.cells[i].int8_accuracy);
        print_spread(out, "drop", &c.cells[i].drop);
        print_spread(out, "widest", &c.cells[i].widest);
        json_close(out, '}');
    }
    json_close(out, ']');
    json_open(out, "cellPairs", '[');
    for (int i = 0; i < c.pair_count; i++) {
        json_open(out, NULL, '{');
        json_int(out, "first", c.pairs[i].first);
        json_int(out, "second", c.pairs[i].second);
        print_spread(out, "difference", &c.pairs[i].difference);
        json_close(out, '}');
    }
    json_close(out, ']');
    report_comparison_free(&c);
    return QD_OK;
}

/* ---- the whole ---- */

static void print_texts(json_out *out, const char *key, char *const *texts, int count)
{
    json_open(out, key, '[');
    for (int i = 0; i < count; i++)
        json_text(out, NULL, texts[i]);
    json_close(out, ']');
}

static enum qd_status print_file(json_out *out, const qd_report *report, const report_file *file, const char *folder)
{
    static const char *const kinds[] = {"results", "manifest",      "analysis", "sensitivity",
                                        "grid",    "configuration", "skipped"};
    char *relative = report_relative_path(folder, file->path), *url = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&url, &size);
    if (!stream) {
        free(relative);
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    }
    if (relative)
        report_print_url(stream, relative);
    free(relative);
    if (fclose(stream) != 0) {
        free(url);
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    }
    json_open(out, NULL, '{');
    json_text(out, "path", file->path);
    json_text(out, "url", url);
    json_text(out, "kind", kinds[file->kind]);
    json_close(out, '}');
    free(url);
    return QD_OK;
}

static void print_head(json_out *out, const qd_report *report, enum page_detail detail)
{
    const qd_build_info build = qd_build_info_get();
    json_text(out, "version", build.version);
    json_text(out, "commit", build.commit);
    json_int(out, "detail", detail);
    json_number(out, "noisy", REPORT_NOISY_DB);
    json_open(out, "questions", '[');
    for (int a = 0; a < QD_REPORT_ANSWERS; a++)
        json_text(out, NULL, qd_report_question(a));
    json_close(out, ']');
    print_texts(out, "answers", report->answers, QD_REPORT_ANSWERS);
    json_open(out, "runs", '[');
    for (int r = 0; r < report->run_count; r++) {
        json_open(out, NULL, '{');
        json_text(out, "name", report->runs[r].name);
        json_text(out, "state", report->runs[r].state);
        if (report_run_has_series(report, r))
            print_texts(out, "answers", report->runs[r].answers, QD_REPORT_ANSWERS);
        json_close(out, '}');
    }
    json_close(out, ']');
}

enum qd_status page_print_data(FILE *stream, const qd_report *report, const char *folder, enum page_detail detail)
{
    json_out out = {.stream = stream};
    json_open(&out, NULL, '{');
    print_head(&out, report, detail);
    json_open(&out, "series", '[');
    for (int i = 0; i < report->series_count; i++)
        QD_TRY(print_series(&out, report, &report->series[i], detail));
    json_close(&out, ']');
    json_open(&out, "sensitivities", '[');
    for (int i = 0; i < report->sensitivity_count; i++)
        print_sensitivity(&out, report, &report->sensitivities[i]);
    json_close(&out, ']');
    json_open(&out, "grid", '[');
    for (int i = 0; i < report->grid_count; i++)
        print_grid_row(&out, &report->grid[i]);
    json_close(&out, ']');
    page_print_analyses(&out, report, detail);
    QD_TRY(print_comparison(&out, report));
    print_texts(&out, "lacks", report->lacks, report->lack_count);
    print_texts(&out, "skipped", report->skipped, report->skipped_count);
    json_open(&out, "files", '[');
    for (int f = 0; f < report->file_count; f++)
        QD_TRY(print_file(&out, report, &report->files[f], folder));
    json_close(&out, ']');
    print_texts(&out, "names", report->names.texts, report->names.count);
    json_close(&out, '}');
    return QD_OK;
}
