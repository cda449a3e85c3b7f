#include "cli/eval_report.h"
#include "base/json.h"
#include "cli/cli.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The images of a group, or all of them. */
typedef struct subset {
    const char *name;       /* NULL: all */
    const int64_t *indices; /* NULL: all */
    int64_t count;
    const int64_t *labels; /* of all images */
} subset;

static subset group_at(const qd_grouping *grouping, int g, const int64_t *labels)
{
    const int64_t first = grouping->first[g];
    return (subset){grouping->names[g], grouping->indices + first, grouping->first[g + 1] - first, labels};
}

static enum qd_status score(qd_context *ctx, const cli_eval_report *r, const subset *s, int network, qd_scores *out)
{
    return qd_scores_compute(ctx, s->labels, r->networks[network].predicted, s->indices, s->count,
                             qd_dataset_class_count(r->dataset), out);
}

static qd_comparison compare(const cli_eval_report *r, const subset *s, int network)
{
    return qd_comparison_compute(s->labels, r->networks[0].predicted, r->networks[network].predicted, s->indices,
                                 s->count);
}

/* Freed with free(); NULL when memory is short. */
static int64_t *labels_of(const qd_dataset *dataset)
{
    const int64_t count = qd_dataset_count(dataset);
    int64_t *labels = malloc((size_t)count * sizeof *labels);
    for (int64_t i = 0; labels && i < count; i++)
        labels[i] = qd_dataset_get(dataset, i)->label;
    return labels;
}

/* ---- on the terminal ---- */

static const char *form_of(const cli_evaluated *network)
{
    return network->quantized ? "INT8" : "float32";
}

static int widest_class(const qd_dataset *dataset)
{
    int widest = (int)strlen("class");
    for (int64_t c = 0; c < qd_dataset_class_count(dataset); c++) {
        const int width = cli_text_width(qd_dataset_class_name(dataset, c));
        widest = width > widest ? width : widest;
    }
    return widest;
}

/* "A  file, ResNet18 INT8 at 64 px: loss …": letters stand for the files further down. */
static void print_file(const cli_eval_report *r, int network, const qd_scores *s)
{
    const cli_evaluated *n = &r->networks[network];
    printf("%c  ", 'A' + network);
    cli_print_padded(n->path, 0);
    printf(", %s %s at %" PRId64 " px: loss %.4f, accuracy %.2f %% (%" PRId64
           " correct), precision %.4f, recall %.4f, "
           "F1 %.4f\n",
           n->model, form_of(n), n->image_size, n->result.loss, s->accuracy_percent, s->correct, s->precision,
           s->recall, s->f1);
}

static void print_comparison(int network, const qd_comparison *c)
{
    printf("%c against A: same prediction for %" PRId64 " of %" PRId64 " (%.2f %%), right in A alone %" PRId64
           ", in %c alone %" PRId64 "; accuracy drops %.2f points, 95 %% interval %.2f to %.2f\n",
           'A' + network, c->agree, c->count, 100.0 * (double)c->agree / (double)c->count, c->only_first,
           'A' + network, c->only_second, c->drop, c->low, c->high);
}

/* One row a class, three rates a file. */
static void print_classes(const cli_eval_report *r, const qd_scores *scores)
{
    const int width = widest_class(r->dataset);
    printf("\n%-*s  %7s", width, "class", "images");
    for (int n = 0; n < r->count; n++)
        printf("  %c: precision  recall      F1", 'A' + n);
    for (int64_t c = 0; c < qd_dataset_class_count(r->dataset); c++) {
        putchar('\n');
        cli_print_padded(qd_dataset_class_name(r->dataset, c), width);
        for (int n = 0; n < r->count; n++) {
            const qd_class_scores *s = &scores[n].classes[c];
            if (n == 0)
                printf("  %7" PRId64, s->images);
            printf("  %12.4f  %6.4f  %6.4f", s->precision, s->recall, s->f1);
        }
    }
    putchar('\n');
}

/* Rows are classes, columns what their images were taken for, in the same order. */
static void print_confusion(const cli_eval_report *r, int network, const qd_scores *s)
{
    const int width = widest_class(r->dataset);
    printf("\nconfusion of %c: a row a class, a column a prediction\n", 'A' + network);
    for (int64_t label = 0; label < s->class_count; label++) {
        cli_print_padded(qd_dataset_class_name(r->dataset, label), width);
        for (int64_t c = 0; c < s->class_count; c++)
            printf(" %5" PRId64, s->confusion[label * s->class_count + c]);
        putchar('\n');
    }
}

static enum qd_status print_groups(qd_context *ctx, const cli_eval_report *r, const int64_t *labels)
{
    int width = (int)strlen("group");
    for (int g = 0; g < r->grouping->count; g++) {
        const int name = cli_text_width(r->grouping->names[g]);
        width = name > width ? name : width;
    }
    printf("\n%-*s  %7s", width, "group", "images");
    for (int n = 0; n < r->count; n++)
        printf("  %c: acc %%  precision  recall      F1%s", 'A' + n, n > 0 ? "    drop  95 % interval" : "");
    putchar('\n');
    for (int g = 0; g < r->grouping->count; g++) {
        const subset s = group_at(r->grouping, g, labels);
        cli_print_padded(s.name, width);
        printf("  %7" PRId64, s.count);
        for (int n = 0; n < r->count; n++) {
            qd_scores scores;
            QD_TRY(score(ctx, r, &s, n, &scores));
            printf("  %8.2f  %9.4f  %6.4f  %6.4f", scores.accuracy_percent, scores.precision, scores.recall,
                   scores.f1);
            qd_scores_free(&scores);
            if (n == 0)
                continue;
            const qd_comparison c = compare(r, &s, n);
            printf("  %6.2f  %6.2f to %6.2f", c.drop, c.low, c.high);
        }
        putchar('\n');
    }
    return QD_OK;
}

enum qd_status cli_eval_print(qd_context *ctx, const cli_eval_report *report)
{
    enum qd_status status = QD_OK;
    int64_t *labels = labels_of(report->dataset);
    qd_scores *scores = calloc((size_t)report->count, sizeof *scores);
    if (!labels || !scores) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    const subset all = {.count = qd_dataset_count(report->dataset), .labels = labels};
    for (int n = 0; n < report->count; n++)
        QD_TRY_GOTO(score(ctx, report, &all, n, &scores[n]));
    cli_print_padded(qd_dataset_folder(report->dataset), 0);
    printf(": %" PRId64 " images, %" PRId64 " classes\n", all.count, qd_dataset_class_count(report->dataset));
    for (int n = 0; n < report->count; n++)
        print_file(report, n, &scores[n]);
    for (int n = 1; n < report->count; n++) {
        const qd_comparison c = compare(report, &all, n);
        print_comparison(n, &c);
    }
    print_classes(report, scores);
    for (int n = 0; n < report->count; n++)
        print_confusion(report, n, &scores[n]);
    if (report->grouping)
        QD_TRY_GOTO(print_groups(ctx, report, labels));
fail:
    for (int n = 0; scores && n < report->count; n++)
        qd_scores_free(&scores[n]);
    free(scores);
    free(labels);
    return status;
}

/* ---- as JSON ---- */

/* Adds to an object, or to an array when there is no key; notes failures, of memory alone. */
static cJSON *add(bool *ok, cJSON *parent, const char *key, cJSON *child)
{
    const bool added =
        parent && child && (key ? cJSON_AddItemToObject(parent, key, child) : cJSON_AddItemToArray(parent, child));
    if (!added)
        cJSON_Delete(child);
    *ok = *ok && added;
    return added ? child : NULL;
}

static void add_classes(bool *ok, cJSON *parent, const qd_dataset *dataset, const qd_scores *s)
{
    cJSON *classes = add(ok, parent, "classes", cJSON_CreateArray());
    cJSON *confusion = add(ok, parent, "confusion", cJSON_CreateArray());
    for (int64_t c = 0; c < s->class_count; c++) {
        const qd_class_scores *scores = &s->classes[c];
        cJSON *entry = add(ok, classes, NULL, cJSON_CreateObject());
        add(ok, entry, "class", cJSON_CreateString(qd_dataset_class_name(dataset, c)));
        add(ok, entry, "images", qd_json_int(scores->images));
        add(ok, entry, "predicted", qd_json_int(scores->predicted));
        add(ok, entry, "correct", qd_json_int(scores->correct));
        add(ok, entry, "precision", qd_json_double(scores->precision));
        add(ok, entry, "recall", qd_json_double(scores->recall));
        add(ok, entry, "f1", qd_json_double(scores->f1));
        cJSON *row = add(ok, confusion, NULL, cJSON_CreateArray());
        for (int64_t k = 0; k < s->class_count; k++)
            add(ok, row, NULL, qd_json_int(s->confusion[c * s->class_count + k]));
    }
}

static void add_comparison(bool *ok, cJSON *parent, const qd_comparison *c)
{
    cJSON *entry = add(ok, parent, "against_first", cJSON_CreateObject());
    add(ok, entry, "agree", qd_json_int(c->agree));
    add(ok, entry, "only_first_correct", qd_json_int(c->only_first));
    add(ok, entry, "only_this_correct", qd_json_int(c->only_second));
    add(ok, entry, "drop_points", qd_json_double(c->drop));
    add(ok, entry, "drop_low_points", qd_json_double(c->low));
    add(ok, entry, "drop_high_points", qd_json_double(c->high));
}

/* Scores of one network on a subset into `entry`. */
static enum qd_status add_scores(qd_context *ctx, bool *ok, cJSON *entry, const cli_eval_report *r, const subset *s,
                                 int network)
{
    qd_scores scores;
    QD_TRY(score(ctx, r, s, network, &scores));
    add(ok, entry, "correct", qd_json_int(scores.correct));
    add(ok, entry, "accuracy_percent", qd_json_double(scores.accuracy_percent));
    add(ok, entry, "precision", qd_json_double(scores.precision));
    add(ok, entry, "recall", qd_json_double(scores.recall));
    add(ok, entry, "f1", qd_json_double(scores.f1));
    if (network > 0) {
        const qd_comparison c = compare(r, s, network);
        add_comparison(ok, entry, &c);
    }
    add_classes(ok, entry, r->dataset, &scores);
    qd_scores_free(&scores);
    return QD_OK;
}

static enum qd_status add_subset(qd_context *ctx, bool *ok, cJSON *parent, const cli_eval_report *r, const subset *s)
{
    cJSON *networks = add(ok, parent, "networks", cJSON_CreateArray());
    add(ok, parent, "images", qd_json_int(s->count));
    for (int n = 0; n < r->count; n++) {
        const cli_evaluated *network = &r->networks[n];
        cJSON *entry = add(ok, networks, NULL, cJSON_CreateObject());
        add(ok, entry, "file", cJSON_CreateString(network->path));
        if (!s->name) {
            add(ok, entry, "model", cJSON_CreateString(network->model));
            add(ok, entry, "form", cJSON_CreateString(form_of(network)));
            add(ok, entry, "image_size", qd_json_int(network->image_size));
            add(ok, entry, "loss", qd_json_double(network->result.loss));
        }
        QD_TRY(add_scores(ctx, ok, entry, r, s, n));
    }
    return QD_OK;
}

enum qd_status cli_eval_write_json(qd_context *ctx, const cli_eval_report *report, const char *path)
{
    enum qd_status status = QD_OK;
    bool ok = true;
    int64_t *labels = labels_of(report->dataset);
    cJSON *root = cJSON_CreateObject();
    if (!labels || !root) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    const subset all = {.count = qd_dataset_count(report->dataset), .labels = labels};
    add(&ok, root, "data", cJSON_CreateString(qd_dataset_folder(report->dataset)));
    QD_TRY_GOTO(add_subset(ctx, &ok, root, report, &all));
    cJSON *groups = report->grouping ? add(&ok, root, "groups", cJSON_CreateArray()) : NULL;
    for (int g = 0; report->grouping && g < report->grouping->count; g++) {
        const subset s = group_at(report->grouping, g, labels);
        cJSON *entry = add(&ok, groups, NULL, cJSON_CreateObject());
        add(&ok, entry, "group", cJSON_CreateString(s.name));
        QD_TRY_GOTO(add_subset(ctx, &ok, entry, report, &s));
    }
    status = ok ? qd_json_write(ctx, path, root) : QD_ERR_MEMORY;
fail:
    cJSON_Delete(root);
    free(labels);
    return status;
}
