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
                                                                  : qd_report_find_module(log, path);
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
    qd_json_out_open(out, key, '[');
    for (int e = 0; all && e < count; e++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_int(out, "epoch", logs[e].epoch);
        for (int c = 0; c < columns; c++) {
            qd_json_out_open(out, names[c], '[');
            for (int m = 0; m < all->count; m++) {
                const report_module *module = module_at(&logs[e], m, all->modules[m].path);
                qd_json_out_number(out, NULL, module ? module_value(module, c) : NAN);
            }
            qd_json_out_close(out, ']');
        }
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
}

static void print_module_names(json_out *out, const report_series *s)
{
    const report_log *all = s->log_count > 0 ? &s->logs[s->log_count - 1] : NULL;
    qd_json_out_open(out, "paths", '[');
    for (int m = 0; all && m < all->count; m++)
        qd_json_out_int(out, NULL, all->modules[m].path);
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "types", '[');
    for (int m = 0; all && m < all->count; m++)
        qd_json_out_int(out, NULL, all->modules[m].type);
    qd_json_out_close(out, ']');
}

static void print_tensor_columns(json_out *out, const report_quantized *q, const report_quantized *all)
{
    static const char *const names[TENSOR_COLUMNS] = {"min", "max", "scale", "zero", "rounding", "accumulated"};
    for (int c = 0; c < TENSOR_COLUMNS; c++) {
        qd_json_out_open(out, names[c], '[');
        for (int t = 0; t < all->count; t++) {
            const report_tensor *tensor = tensor_at(q, t, all->tensors[t].name);
            qd_json_out_number(out, NULL, tensor ? tensor_value(tensor, c) : NAN);
        }
        qd_json_out_close(out, ']');
    }
}

static void print_quantized(json_out *out, const report_series *s, enum page_detail detail)
{
    const report_quantized *all = qd_report_last_quantized(s);
    qd_json_out_open(out, "tensors", '[');
    for (int t = 0; all && t < all->count; t++)
        qd_json_out_int(out, NULL, all->tensors[t].name);
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "quantized", '[');
    for (int e = 0; all && e < s->quantized_count; e++) {
        const report_quantized *q = &s->quantized[e];
        qd_json_out_open(out, NULL, '{');
        qd_json_out_int(out, "epoch", q->epoch);
        qd_json_out_int(out, "images", q->images);
        qd_json_out_number(out, "float", q->float_accuracy);
        qd_json_out_number(out, "int8", q->int8_accuracy);
        qd_json_out_number(out, "drop", q->drop);
        qd_json_out_number(out, "low", q->low);
        qd_json_out_number(out, "high", q->high);
        if (detail < PAGE_NO_MODULES)
            print_tensor_columns(out, q, all);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
}

static void print_history(json_out *out, const report_series *s)
{
    qd_json_out_open(out, "history", '[');
    for (int h = 0; h < s->history_count; h++) {
        const report_history *entry = &s->history[h];
        qd_json_out_open(out, NULL, '[');
        qd_json_out_int(out, NULL, entry->epoch);
        qd_json_out_number(out, NULL, entry->train_loss);
        qd_json_out_number(out, NULL, entry->train_acc);
        qd_json_out_number(out, NULL, entry->val_loss);
        qd_json_out_number(out, NULL, entry->val_acc);
        qd_json_out_close(out, ']');
    }
    qd_json_out_close(out, ']');
}

/* Places of a log's pairs in its list of modules. */
static enum qd_status print_pairs(json_out *out, const qd_report *report, const report_series *s)
{
    report_pair *pairs = NULL;
    int count = 0;
    QD_TRY(qd_report_find_pairs(report, s, false, &pairs, &count));
    qd_json_out_open(out, "pairs", '[');
    for (int p = 0; p < count; p++) {
        const report_log *log = &s->logs[s->log_count - 1];
        const long place = qd_report_find_module(log, pairs[p].batchnorm) - log->modules;
        qd_json_out_int(out, NULL, place); /* the convolution stands just before */
    }
    qd_json_out_close(out, ']');
    free(pairs);
    return QD_OK;
}

static void print_qat(json_out *out, const report_qat *qat)
{
    if (!qat)
        return;
    qd_json_out_open(out, "qat", '{');
    qd_json_out_number(out, "float", qat->float_accuracy);
    qd_json_out_number(out, "static", qat->static_int8_accuracy);
    qd_json_out_number(out, "trainedFloat", qat->trained_float_accuracy);
    qd_json_out_number(out, "int8", qat->int8_accuracy);
    qd_json_out_number(out, "images", qat->images);
    qd_json_out_number(out, "epochs", qat->epochs);
    qd_json_out_close(out, '}');
}

static enum qd_status print_series(json_out *out, const qd_report *report, const report_series *s,
                                   enum page_detail detail)
{
    const report_quantized *first = qd_report_first_drop(s), *last = qd_report_last_quantized(s);
    const report_tensor *noisy = first ? qd_report_first_noisy(first) : last ? qd_report_first_noisy(last) : NULL;
    qd_json_out_open(out, NULL, '{');
    qd_json_out_int(out, "run", s->run);
    qd_json_out_int(out, "file", s->file);
    qd_json_out_text(out, "model", s->model);
    qd_json_out_text(out, "key", s->key);
    qd_json_out_text(out, "seed", s->seed);
    qd_json_out_int(out, "firstDrop", first ? first->epoch : -1);
    qd_json_out_int(out, "firstNoisy", noisy ? noisy->name : -1);
    print_history(out, s);
    if (detail < PAGE_NO_MODULES) {
        print_module_names(out, s);
        print_logs(out, "logs", s, s->logs, s->log_count, detail < PAGE_NO_MIXED ? MODULE_COLUMNS : MODULE_MEAN);
        if (detail < PAGE_NO_MIXED)
            print_logs(out, "mixed", s, s->mixed_logs, s->mixed_log_count, MODULE_MEAN);
        QD_TRY(print_pairs(out, report, s));
    }
    print_quantized(out, s, detail);
    print_qat(out, s->qat);
    qd_json_out_close(out, '}');
    return QD_OK;
}

/* ---- sensitivity, grid, comparison ---- */

static void print_score(json_out *out, const char *key, const report_score *score)
{
    qd_json_out_open(out, key, '[');
    qd_json_out_number(out, NULL, score->accuracy);
    qd_json_out_number(out, NULL, score->drop);
    qd_json_out_number(out, NULL, score->kl);
    qd_json_out_number(out, NULL, score->mse);
    qd_json_out_close(out, ']');
}

void qd_page_print_runs(json_out *out, const qd_report *report, int file_run, int sha256)
{
    qd_json_out_open(out, "runs", '[');
    for (int r = 0; r < report->run_count; r++)
        if (qd_report_belongs(report, r, file_run, sha256))
            qd_json_out_int(out, NULL, r);
    qd_json_out_close(out, ']');
}

static void print_sensitivity(json_out *out, const qd_report *report, const report_sensitivity *s)
{
    qd_json_out_open(out, NULL, '{');
    qd_page_print_runs(out, report, s->run, s->sha256);
    qd_json_out_int(out, "file", s->file);
    qd_json_out_text(out, "model", s->model);
    qd_json_out_text(out, "key", s->key);
    qd_json_out_number(out, "epoch", s->epoch);
    qd_json_out_number(out, "images", s->images);
    qd_json_out_number(out, "max_drop", s->max_drop);
    print_score(out, "float", &s->real);
    print_score(out, "int8", &s->int8);
    qd_json_out_open(out, "modes", '[');
    for (int m = 0; m < s->mode_count; m++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_int(out, "name", s->modes[m].name);
        print_score(out, "score", &s->modes[m].score);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "layers", '[');
    for (int l = 0; l < s->layer_count; l++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_int(out, "name", s->layers[l].name);
        qd_json_out_int(out, "kind", s->layers[l].kind);
        print_score(out, "only", &s->layers[l].only);
        print_score(out, "without", &s->layers[l].without);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "kept", '[');
    for (int k = 0; k < s->kept_count; k++)
        qd_json_out_int(out, NULL, s->kept[k]);
    qd_json_out_close(out, ']');
    qd_json_out_bool(out, "kept_known", s->kept_known);
    qd_json_out_bool(out, "kept_reached", s->kept_reached);
    print_score(out, "kept_score", &s->kept_score);
    qd_json_out_close(out, '}');
}

static void print_grid_row(json_out *out, const report_grid_row *row)
{
    qd_json_out_open(out, NULL, '{');
    qd_json_out_int(out, "file", row->file);
    qd_json_out_int(out, "model", row->model);
    qd_json_out_int(out, "checkpoint", row->checkpoint);
    qd_json_out_int(out, "form", row->form);
    qd_json_out_int(out, "recipe", row->recipe);
    qd_json_out_number(out, "float", row->float_accuracy);
    qd_json_out_number(out, "accuracy", row->accuracy);
    qd_json_out_number(out, "drop", row->drop);
    qd_json_out_number(out, "low", row->low);
    qd_json_out_number(out, "high", row->high);
    qd_json_out_number(out, "recovered", row->recovered);
    qd_json_out_close(out, '}');
}

static void print_spread(json_out *out, const char *key, const qd_spread *s)
{
    qd_json_out_open(out, key, '[');
    qd_json_out_int(out, NULL, s->count);
    qd_json_out_number(out, NULL, s->mean);
    qd_json_out_number(out, NULL, s->std);
    qd_json_out_number(out, NULL, s->low);
    qd_json_out_number(out, NULL, s->high);
    qd_json_out_close(out, ']');
}

static enum qd_status print_comparison(json_out *out, const qd_report *report)
{
    report_comparison c = {0};
    QD_TRY(qd_report_compare(report, &c));
    qd_json_out_open(out, "cells", '[');
    for (int i = 0; i < c.cell_count; i++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_text(out, "model", c.cells[i].model);
        qd_json_out_text(out, "label", c.cells[i].label);
        qd_json_out_int(out, "runs", c.cells[i].series_count);
        qd_json_out_int(out, "epoch", c.cells[i].epoch);
        print_spread(out, "float", &c.cells[i].float_accuracy);
        print_spread(out, "int8", &c.cells[i].int8_accuracy);
        print_spread(out, "drop", &c.cells[i].drop);
        print_spread(out, "widest", &c.cells[i].widest);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
    qd_json_out_open(out, "cellPairs", '[');
    for (int i = 0; i < c.pair_count; i++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_int(out, "first", c.pairs[i].first);
        qd_json_out_int(out, "second", c.pairs[i].second);
        print_spread(out, "difference", &c.pairs[i].difference);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
    qd_report_comparison_free(&c);
    return QD_OK;
}

/* ---- the whole ---- */

static void print_texts(json_out *out, const char *key, char *const *texts, int count)
{
    qd_json_out_open(out, key, '[');
    for (int i = 0; i < count; i++)
        qd_json_out_text(out, NULL, texts[i]);
    qd_json_out_close(out, ']');
}

static enum qd_status print_file(json_out *out, const qd_report *report, const report_file *file, const char *folder)
{
    static const char *const kinds[] = {"results", "manifest",      "analysis", "sensitivity",
                                        "grid",    "configuration", "skipped"};
    char *relative = qd_report_relative_path(folder, file->path), *url = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&url, &size);
    if (!stream) {
        free(relative);
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    }
    if (relative)
        qd_report_print_url(stream, relative);
    free(relative);
    if (fclose(stream) != 0) {
        free(url);
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    }
    qd_json_out_open(out, NULL, '{');
    qd_json_out_text(out, "path", file->path);
    qd_json_out_text(out, "url", url);
    qd_json_out_text(out, "kind", kinds[file->kind]);
    qd_json_out_close(out, '}');
    free(url);
    return QD_OK;
}

static void print_head(json_out *out, const qd_report *report, enum page_detail detail)
{
    const qd_build_info build = qd_build_info_get();
    qd_json_out_text(out, "version", build.version);
    qd_json_out_text(out, "commit", build.commit);
    qd_json_out_int(out, "detail", detail);
    qd_json_out_number(out, "noisy", REPORT_NOISY_DB);
    qd_json_out_open(out, "questions", '[');
    for (int a = 0; a < QD_REPORT_ANSWERS; a++)
        qd_json_out_text(out, NULL, qd_report_question(a));
    qd_json_out_close(out, ']');
    print_texts(out, "answers", report->answers, QD_REPORT_ANSWERS);
    qd_json_out_open(out, "runs", '[');
    for (int r = 0; r < report->run_count; r++) {
        qd_json_out_open(out, NULL, '{');
        qd_json_out_text(out, "name", report->runs[r].name);
        qd_json_out_text(out, "state", report->runs[r].state);
        if (qd_report_run_has_series(report, r))
            print_texts(out, "answers", report->runs[r].answers, QD_REPORT_ANSWERS);
        qd_json_out_close(out, '}');
    }
    qd_json_out_close(out, ']');
}

enum qd_status qd_page_print_data(FILE *stream, const qd_report *report, const char *folder, enum page_detail detail)
{
    json_out out = {.stream = stream};
    qd_json_out_open(&out, NULL, '{');
    print_head(&out, report, detail);
    qd_json_out_open(&out, "series", '[');
    for (int i = 0; i < report->series_count; i++)
        QD_TRY(print_series(&out, report, &report->series[i], detail));
    qd_json_out_close(&out, ']');
    qd_json_out_open(&out, "sensitivities", '[');
    for (int i = 0; i < report->sensitivity_count; i++)
        print_sensitivity(&out, report, &report->sensitivities[i]);
    qd_json_out_close(&out, ']');
    qd_json_out_open(&out, "grid", '[');
    for (int i = 0; i < report->grid_count; i++)
        print_grid_row(&out, &report->grid[i]);
    qd_json_out_close(&out, ']');
    qd_page_print_analyses(&out, report, detail);
    QD_TRY(print_comparison(&out, report));
    print_texts(&out, "lacks", report->lacks, report->lack_count);
    print_texts(&out, "skipped", report->skipped, report->skipped_count);
    qd_json_out_open(&out, "files", '[');
    for (int f = 0; f < report->file_count; f++)
        QD_TRY(print_file(&out, report, &report->files[f], folder));
    qd_json_out_close(&out, ']');
    print_texts(&out, "names", report->names.texts, report->names.count);
    qd_json_out_close(&out, '}');
    return QD_OK;
}
