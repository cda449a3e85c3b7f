/* The three answers in words. What is not in the files is said to be missing, never guessed. */
#include "base/error.h"
#include "report/answers.h"
#include "report/compare.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A paragraph as it is written; NULL: memory is short. */
typedef struct paragraph {
    char *text;
    size_t size;
    FILE *stream;
} paragraph;

static enum qd_status begin(const qd_report *report, paragraph *p)
{
    *p = (paragraph){0};
    p->stream = open_memstream(&p->text, &p->size);
    return p->stream ? QD_OK : qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
}

/* *text gets what was written, in place of what it had. */
static enum qd_status end(const qd_report *report, paragraph *p, char **text)
{
    const bool failed = ferror(p->stream);
    if (fclose(p->stream) != 0 || failed) {
        free(p->text);
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    }
    free(*text);
    *text = p->text;
    return QD_OK;
}

/* " (paired 95 % interval 0.8 to 13.5, 250 images)", or what of it is known. */
static void print_interval(FILE *out, const report_quantized *q)
{
    if (!isnan(q->low))
        fprintf(out, " (%s95 %% interval %.2f to %.2f, %lld images)", q->paired ? "paired " : "", q->low, q->high,
                (long long)q->images);
}

/* ---- how much ---- */

/* Difference of two drops with an interval that combines both. Source: G. Y. Zou and A. Donner, Construction of
 * confidence limits about effect measures, Statistics in Medicine 27 (2008). */
static void print_difference(FILE *out, const report_series *a, const report_series *b)
{
    const report_quantized *qa = qd_report_last_quantized(a), *qb = qd_report_last_quantized(b);
    const double d = qa->drop - qb->drop;
    fprintf(out, " That is %.2f points more than %s", d, b->model);
    if (isnan(qa->low) || isnan(qb->low)) {
        fprintf(out, ".");
        return;
    }
    const double low = d - sqrt(pow(qa->drop - qa->low, 2.0) + pow(qb->high - qb->drop, 2.0));
    const double high = d + sqrt(pow(qa->high - qa->drop, 2.0) + pow(qb->drop - qb->low, 2.0));
    fprintf(out, " (95 %% interval %.2f to %.2f): %s.", low, high,
            low > 0.0 ? "more than chance explains" : "not more than chance may explain");
}

static enum qd_status answer_how_much(const qd_report *report, int run, char **text)
{
    const report_series *worst = qd_report_worst_series(report, run), *next = NULL;
    paragraph p;
    QD_TRY(begin(report, &p));
    if (!worst) {
        fprintf(p.stream, "These files do not say: no model was quantized.");
        return end(report, &p, text);
    }
    const report_quantized *q = qd_report_last_quantized(worst);
    fprintf(p.stream, "%s: %.2f points at epoch %lld, from %.2f to %.2f %%", worst->model, q->drop,
            (long long)q->epoch, q->float_accuracy, q->int8_accuracy);
    print_interval(p.stream, q);
    fprintf(p.stream, ".");
    for (int i = 0; i < report->series_count; i++) {
        const report_series *s = &report->series[i];
        const report_quantized *other = qd_report_last_quantized(s);
        if (s == worst || s->run != worst->run || !other || isnan(other->drop))
            continue;
        fprintf(p.stream, " %s: %.2f", s->model, other->drop);
        print_interval(p.stream, other);
        fprintf(p.stream, ".");
        if (!next || other->drop > qd_report_last_quantized(next)->drop)
            next = s;
    }
    if (next)
        print_difference(p.stream, worst, next);
    else
        fprintf(p.stream, " No other model of this run was quantized.");
    return end(report, &p, text);
}

/* ---- where it starts ---- */

static void print_noise(FILE *out, const qd_report *report, const report_quantized *q)
{
    const report_tensor *noisy = qd_report_first_noisy(q), *worst = qd_report_noisiest(q);
    if (noisy)
        fprintf(out,
                " There, the first tensor on the way through the network with noise above 1 %% of its energy (SQNR "
                "below %.0f dB) is %s (%.1f dB)",
                REPORT_NOISY_DB, qd_report_module_name(report, noisy->name), noisy->sqnr_accumulated_db);
    else if (worst)
        fprintf(out, " No tensor's noise is above 1 %% of its energy");
    else
        return;
    if (worst != noisy)
        fprintf(out, "%s the noisiest is %s (%.1f dB).", noisy ? ";" : ":",
                qd_report_module_name(report, worst->name), worst->sqnr_accumulated_db);
    else
        fprintf(out, ".");
}

static void print_growth(FILE *out, const qd_report *report, const report_series *series, int64_t epoch)
{
    double factor = NAN;
    const report_module *most = qd_report_most_grown(report, series, epoch, &factor);
    if (most && factor > 1.0)
        fprintf(out,
                " Of the logged BatchNorms, %s grew most by then: its range is %.3g, %.3g times that of epoch %lld.",
                qd_report_module_name(report, most->path), most->range, factor, (long long)series->logs[0].epoch);
}

static enum qd_status answer_where(const qd_report *report, int run, char **text)
{
    const report_series *worst = qd_report_worst_series(report, run);
    paragraph p;
    QD_TRY(begin(report, &p));
    if (!worst) {
        fprintf(p.stream, "These files do not say: no model was quantized.");
        return end(report, &p, text);
    }
    const report_quantized *first = qd_report_first_drop(worst), *q = first ? first : qd_report_last_quantized(worst);
    if (first)
        fprintf(p.stream,
                "%s, epoch %lld: the first logged epoch whose drop (%.2f points, 95 %% interval %.2f to %.2f) "
                "is above 0.",
                worst->model, (long long)q->epoch, q->drop, q->low, q->high);
    else
        fprintf(p.stream,
                "At no logged epoch is %s's drop above 0 by more than chance explains; its last, epoch %lld:",
                worst->model, (long long)q->epoch);
    print_noise(p.stream, report, q);
    print_growth(p.stream, report, worst, q->epoch);
    return end(report, &p, text);
}

/* ---- why, and what helps ---- */

static const report_score *mode_score(const qd_report *report, const report_sensitivity *s, const char *name)
{
    const int wanted = qd_names_find(&report->names, name);
    for (int i = 0; s && wanted >= 0 && i < s->mode_count; i++)
        if (s->modes[i].name == wanted && !isnan(s->modes[i].score.drop))
            return &s->modes[i].score;
    return NULL;
}

/* Whether two accuracies of so many images differ by more than chance explains; as far as is known without pairs. */
static bool is_told_apart(const report_score *a, const report_score *b, double images)
{
    const bool shares = a->accuracy >= 0.0 && a->accuracy <= 100.0 && b->accuracy >= 0.0 && b->accuracy <= 100.0;
    if (!shares || !(images >= 1.0))
        return false;
    const qd_interval d = qd_unpaired_difference(a->accuracy / 100.0 * images, b->accuracy / 100.0 * images, images);
    return d.low > 0.0 || d.high < 0.0;
}

static void print_cause(FILE *out, const qd_report *report, const report_series *series)
{
    const report_sensitivity *s = qd_report_find_sensitivity(report, series);
    const report_score *weights = mode_score(report, s, "weights"),
                       *activations = mode_score(report, s, "activations");
    if (!weights || !activations) {
        fprintf(out,
                "Weights or activations: these files do not say; `quantdrift sensitivity` with %s's checkpoint does.",
                series->model);
        return;
    }
    const double difference = weights->drop - activations->drop;
    fprintf(out, "%s in %s: INT8 weights alone cost %.2f points, INT8 activations alone %.2f",
            difference > 0.0   ? "Weights"
            : difference < 0.0 ? "Activations"
                               : "Both alike",
            series->model, weights->drop, activations->drop);
    if (!isnan(s->images))
        fprintf(out, " (%.0f images)", s->images);
    fprintf(out, ".%s",
            is_told_apart(weights, activations, s->images)
                ? ""
                : " On so many images chance alone may explain that difference.");
    if (!isnan(weights->kl) && !isnan(activations->kl))
        fprintf(out, " The softmax outputs move by %.3g nats (KL) with weights, %.3g with activations.", weights->kl,
                activations->kl);
    if (s->layer_count > 0)
        fprintf(out, " The layer that alone costs most is %s (%.2f points).",
                qd_report_module_name(report, s->layers[0].name), s->layers[0].only.drop);
    if (s->kept_known && s->kept_reached && s->kept_count > 0)
        fprintf(out, " With %d layer%s left in float the drop is %.2f.", s->kept_count, s->kept_count > 1 ? "s" : "",
                s->kept_score.drop);
}

const report_grid_row *qd_report_best_remedy(const qd_report *report, const report_series *series)
{
    const report_grid_row *best = NULL;
    for (int i = 0; i < report->grid_count; i++) {
        const report_grid_row *row = &report->grid[i];
        const char *model = qd_names_text(&report->names, row->model);
        const bool same = strcmp(model, series->key) == 0 || strcmp(model, series->model) == 0;
        if (same && qd_report_belongs(report, series->run, report->files[row->file].run, row->sha256) &&
            !isnan(row->recovered) && (!best || row->recovered > best->recovered))
            best = row;
    }
    return best;
}

static void print_remedy(FILE *out, const qd_report *report, const report_series *series)
{
    const report_grid_row *best = qd_report_best_remedy(report, series);
    if (!best) {
        fprintf(out, " Which remedy helps most: these files do not say; `quantdrift grid` measures them.");
        return;
    }
    if (!(best->recovered > 0.0)) {
        fprintf(out, " No recipe of the grid gains anything over the reference.");
        return;
    }
    fprintf(out, " The recipe that helps most: %s, which gains %.2f points and leaves a drop of %.2f",
            qd_names_text(&report->names, best->recipe), best->recovered, best->drop);
    if (!isnan(best->low))
        fprintf(out, " (95 %% interval %.2f to %.2f)", best->low, best->high);
    if (best->checkpoint >= 0)
        fprintf(out, ", measured on %s", qd_names_text(&report->names, best->checkpoint));
    fprintf(out, ".");
}

static enum qd_status answer_why(const qd_report *report, int run, char **text)
{
    const report_series *worst = qd_report_worst_series(report, run);
    paragraph p;
    QD_TRY(begin(report, &p));
    if (worst) {
        print_cause(p.stream, report, worst);
        print_remedy(p.stream, report, worst);
    } else {
        fprintf(p.stream, "These files do not say: no model was quantized.");
    }
    return end(report, &p, text);
}

/* ---- several runs ---- */

static void print_spread(FILE *out, const qd_spread *s)
{
    fprintf(out, "%.2f", s->mean);
    if (s->count > 1)
        fprintf(out, " ± %.2f", s->std);
}

/* With repetitions the spread between them says more than one run's interval. */
static enum qd_status answer_over_runs(const qd_report *report, const report_comparison *c, char **text)
{
    paragraph p;
    QD_TRY(begin(report, &p));
    const report_cell *worst = NULL;
    for (int i = 0; i < c->cell_count; i++)
        if (!isnan(c->cells[i].drop.mean) && (!worst || c->cells[i].drop.mean > worst->drop.mean))
            worst = &c->cells[i];
    if (!worst) {
        fprintf(p.stream, "These files do not say: no model was quantized.");
        return end(report, &p, text);
    }
    fprintf(p.stream, "%s%s%s: ", worst->model, worst->label[0] ? ", " : "", worst->label);
    print_spread(p.stream, &worst->drop);
    fprintf(p.stream, " points (mean%s of %d run%s, epoch %lld).",
            worst->drop.count > 1 ? " ± standard deviation" : "", worst->drop.count, worst->drop.count > 1 ? "s" : "",
            (long long)worst->epoch);
    for (int i = 0; i < c->pair_count; i++) {
        const report_paired *pair = &c->pairs[i];
        if (pair->first != worst - c->cells && pair->second != worst - c->cells)
            continue;
        fprintf(p.stream, " %s loses ", c->cells[pair->first].model);
        print_spread(p.stream, &pair->difference);
        fprintf(p.stream, " points more than %s in the same run", c->cells[pair->second].model);
        if (pair->difference.count > 1)
            fprintf(p.stream, " (95 %% interval of the mean %.2f to %.2f)", pair->difference.low,
                    pair->difference.high);
        fprintf(p.stream, ".");
    }
    return end(report, &p, text);
}

static enum qd_status answer_run(const qd_report *report, int run, char **answers)
{
    QD_TRY(answer_how_much(report, run, &answers[0]));
    QD_TRY(answer_where(report, run, &answers[1]));
    return answer_why(report, run, &answers[2]);
}

enum qd_status qd_report_find_answers(qd_report *report)
{
    for (int r = 0; r < report->run_count; r++)
        if (qd_report_run_has_series(report, r))
            QD_TRY(answer_run(report, r, report->runs[r].answers));
    QD_TRY(answer_run(report, -1, report->answers));
    if (qd_report_run_count(report) < 2)
        return QD_OK;
    report_comparison comparison = {0};
    QD_TRY(qd_report_compare(report, &comparison));
    const enum qd_status status = answer_over_runs(report, &comparison, &report->answers[0]);
    qd_report_comparison_free(&comparison);
    return status;
}
