#include <quantdrift/evaluation.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/proportion.h"
#include <stdlib.h>
#include <string.h>

/* ---- scores ---- */

static double quotient(int64_t numerator, int64_t denominator)
{
    return denominator > 0 ? (double)numerator / (double)denominator : 0.0;
}

/* Rates of each class from its counts, and their means. */
static void fill_rates(qd_scores *s)
{
    int64_t seen = 0;
    for (int64_t c = 0; c < s->class_count; c++) {
        qd_class_scores *class = &s->classes[c];
        class->precision = quotient(class->correct, class->predicted);
        class->recall = quotient(class->correct, class->images);
        class->f1 = quotient(2 * class->correct, class->predicted + class->images);
        if (class->predicted + class->images == 0)
            continue;
        seen++;
        s->precision += class->precision;
        s->recall += class->recall;
        s->f1 += class->f1;
    }
    if (seen > 0) {
        s->precision /= (double)seen;
        s->recall /= (double)seen;
        s->f1 /= (double)seen;
    }
    s->accuracy_percent = 100.0 * quotient(s->correct, s->count);
}

enum qd_status qd_scores_compute(qd_context *ctx, const int64_t *labels, const int64_t *predicted,
                                 const int64_t *indices, int64_t n, int64_t class_count, qd_scores *out)
{
    qd_scores s = {.count = n, .class_count = class_count};
    s.classes = qd_calloc((size_t)class_count, sizeof *s.classes);
    s.confusion = qd_calloc((size_t)(class_count * class_count), sizeof *s.confusion);
    if (!s.classes || !s.confusion) {
        qd_scores_free(&s);
        return qd_fail(ctx, QD_ERR_MEMORY, "evaluation: out of memory for %lld classes", (long long)class_count);
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t image = indices ? indices[i] : i, label = labels[image], prediction = predicted[image];
        s.classes[label].images++;
        s.classes[prediction].predicted++;
        s.classes[label].correct += label == prediction;
        s.confusion[label * class_count + prediction]++;
        s.correct += label == prediction;
    }
    fill_rates(&s);
    *out = s;
    return QD_OK;
}

void qd_scores_free(qd_scores *scores)
{
    free(scores->classes);
    free(scores->confusion);
    *scores = (qd_scores){0};
}

/* ---- comparison ---- */

qd_comparison qd_comparison_compute(const int64_t *labels, const int64_t *first, const int64_t *second,
                                    const int64_t *indices, int64_t n)
{
    qd_comparison c = {.count = n};
    int64_t both = 0;
    if (n == 0)
        return c;
    for (int64_t i = 0; i < n; i++) {
        const int64_t image = indices ? indices[i] : i;
        const bool a = first[image] == labels[image], b = second[image] == labels[image];
        c.agree += first[image] == second[image];
        both += a && b;
        c.only_first += a && !b;
        c.only_second += b && !a;
    }
    const int64_t neither = n - both - c.only_first - c.only_second;
    const qd_interval ends =
        qd_paired_difference((double)both, (double)c.only_first, (double)c.only_second, (double)neither);
    c.drop = 100.0 * (double)(c.only_first - c.only_second) / (double)n;
    c.low = 100.0 * ends.low;
    c.high = 100.0 * ends.high;
    return c;
}

/* ---- groups ---- */

/* An image and the name of its group, which lies in the data set. */
typedef struct member {
    const char *name;
    size_t length;
    int64_t image;
} member;

static member member_of(const qd_dataset *dataset, int64_t image)
{
    const qd_dataset_item *item = qd_dataset_get(dataset, image);
    const char *class = qd_dataset_class_name(dataset, item->label);
    /* Paths are folder, class and what lies below it, with one slash between them. */
    const char *below = item->path + strlen(qd_dataset_folder(dataset)) + 1 + strlen(class) + 1;
    const char *slash = strchr(below, '/');
    if (slash)
        return (member){below, (size_t)(slash - below), image};
    return (member){class, strlen(class), image};
}

static int compare_names(const member *a, const member *b)
{
    const int order = memcmp(a->name, b->name, a->length < b->length ? a->length : b->length);
    return order != 0 ? order : (a->length > b->length) - (a->length < b->length);
}

static int compare_members(const void *left, const void *right)
{
    const member *a = left, *b = right;
    const int order = compare_names(a, b);
    return order != 0 ? order : (a->image > b->image) - (a->image < b->image);
}

static enum qd_status fill_groups(qd_context *ctx, const member *members, int64_t count, qd_grouping *out)
{
    for (int64_t i = 0; i < count; i++) {
        if (i == 0 || compare_names(&members[i - 1], &members[i]) != 0) {
            out->names[out->count] = strndup(members[i].name, members[i].length);
            if (!out->names[out->count])
                return qd_fail(ctx, QD_ERR_MEMORY, "groups of images: out of memory");
            out->first[out->count++] = i;
        }
        out->indices[i] = members[i].image;
    }
    out->first[out->count] = count;
    return QD_OK;
}

enum qd_status qd_grouping_by_folder(qd_context *ctx, const qd_dataset *dataset, qd_grouping *out)
{
    const int64_t count = qd_dataset_count(dataset);
    enum qd_status status = QD_OK;
    qd_grouping grouping = {0};
    member *members = qd_calloc((size_t)count, sizeof *members);
    grouping.names = qd_calloc((size_t)count, sizeof *grouping.names);
    grouping.first = qd_calloc((size_t)count + 1, sizeof *grouping.first);
    grouping.indices = qd_calloc((size_t)count, sizeof *grouping.indices);
    if (!members || !grouping.names || !grouping.first || !grouping.indices) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "groups of %lld images: out of memory", (long long)count);
        goto fail;
    }
    for (int64_t i = 0; i < count; i++)
        members[i] = member_of(dataset, i);
    qsort(members, (size_t)count, sizeof *members, compare_members);
    QD_TRY_GOTO(fill_groups(ctx, members, count, &grouping));
    *out = grouping;
    grouping = (qd_grouping){0};
fail:
    free(members);
    qd_grouping_free(&grouping);
    return status;
}

void qd_grouping_free(qd_grouping *grouping)
{
    for (int g = 0; g < grouping->count; g++)
        free(grouping->names[g]);
    free((void *)grouping->names);
    free(grouping->first);
    free(grouping->indices);
    *grouping = (qd_grouping){0};
}
