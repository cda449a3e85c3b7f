#include "exchange/weights.h"
#include "base/arena.h"
#include "base/error.h"
#include "graph/state_tensors.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- files ---- */

static bool has_suffix(const char *text, const char *suffix)
{
    const size_t length = strlen(text), end = strlen(suffix);
    return length >= end && strcmp(text + length - end, suffix) == 0;
}

bool qd_weights_is_pth(const char *path)
{
    char head[4] = {0};
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not be waited for */
    ssize_t got = -1;
    if (descriptor >= 0) {
        got = pread(descriptor, head, sizeof head, 0);
        close(descriptor);
    }
    const bool is_zip = got == 4 && memcmp(head, "PK\3\4", 4) == 0;
    return is_zip || has_suffix(path, ".pth") || has_suffix(path, ".pt");
}

static enum qd_status copy_views(qd_context *ctx, qd_weights *w)
{
    const int count = w->pth ? qd_pth_count(w->pth) : qd_safetensors_count(w->safetensors);
    w->tensors = qd_calloc((size_t)count, sizeof *w->tensors);
    w->types = qd_calloc((size_t)count, sizeof *w->types);
    if (!w->tensors || !w->types)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': out of memory for a list of %d tensors", w->path, count);
    for (int i = 0; i < count; i++) {
        w->tensors[i] = w->pth ? *qd_pth_get(w->pth, i) : *qd_safetensors_get(w->safetensors, i);
        w->types[i] = w->pth ? qd_pth_stored_type(w->pth, i) : qd_safetensors_stored_type(w->safetensors, i);
    }
    w->count = count;
    return QD_OK;
}

enum qd_status qd_weights_open(qd_context *ctx, const char *path, qd_weights *out)
{
    qd_weights w = {.path = path};
    enum qd_status status = QD_OK;
    if (qd_weights_is_pth(path))
        QD_TRY_GOTO(qd_pth_open(ctx, path, &w.pth));
    else
        QD_TRY_GOTO(qd_safetensors_open(ctx, path, &w.safetensors));
    QD_TRY_GOTO(copy_views(ctx, &w));
    *out = w;
    return QD_OK;
fail:
    qd_weights_close(&w);
    return status;
}

void qd_weights_close(qd_weights *weights)
{
    qd_pth_close(weights->pth);
    qd_safetensors_close(weights->safetensors);
    free(weights->tensors);
    free((void *)weights->types);
    free(weights->head_names);
    *weights = (qd_weights){0};
}

/* ---- names ---- */

static const qd_tensor *find(const qd_weights *w, const char *name)
{
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->tensors[i].name, name) == 0)
            return &w->tensors[i];
    return NULL;
}

/* The shortest "<prefix>" such that "<prefix><anchor>" is there; its length, 0 also when there is none. */
static size_t prefix_length(const qd_weights *w, const char *anchor)
{
    size_t shortest = SIZE_MAX;
    for (int i = 0; i < w->count; i++) {
        const char *name = w->tensors[i].name;
        const size_t length = strlen(name) - (has_suffix(name, anchor) ? strlen(anchor) : 0);
        if (has_suffix(name, anchor) && (length == 0 || name[length - 1] == '.') && length < shortest)
            shortest = length;
    }
    return shortest == SIZE_MAX ? 0 : shortest;
}

/* Tensors beside the network's ("criterion.weight") keep their names and are listed as unknown. */
static void strip_prefix(qd_weights *w, const char *anchor)
{
    const size_t length = prefix_length(w, anchor);
    char prefix[QD_NAME_BYTES];
    const char *example = NULL;
    for (int i = 0; i < w->count && length > 0; i++)
        if (strlen(w->tensors[i].name) == length + strlen(anchor) && has_suffix(w->tensors[i].name, anchor))
            example = w->tensors[i].name;
    if (!example || length >= sizeof prefix)
        return;
    memcpy(prefix, example, length); /* a copy: the example's own name moves on, too */
    for (int i = 0; i < w->count; i++)
        if (strncmp(w->tensors[i].name, prefix, length) == 0)
            w->tensors[i].name += length;
}

/* The matrix "<head>.weight", or the only one among "<head>.<i>.weight"; `inner` then tells its place, "1". */
static const qd_tensor *find_linear(const qd_weights *w, const char *head, char inner[QD_NAME_BYTES])
{
    char name[2 * QD_NAME_BYTES];
    const qd_tensor *found = NULL;
    snprintf(name, sizeof name, "%s.weight", head);
    const qd_tensor *direct = find(w, name);
    inner[0] = '\0';
    if (direct)
        return direct->rank == 2 ? direct : NULL;
    const size_t length = strlen(head);
    for (int i = 0; i < w->count; i++) {
        const qd_tensor *t = &w->tensors[i];
        if (t->rank != 2 || strncmp(t->name, head, length) != 0 || t->name[length] != '.' ||
            !has_suffix(t->name, ".weight"))
            continue;
        const size_t between = strlen(t->name) - length - strlen(".weight") - 1;
        if (found || between >= QD_NAME_BYTES)
            return NULL; /* several */
        found = t;
        memcpy(inner, t->name + length + 1, between);
        inner[between] = '\0';
    }
    return found;
}

/* The post's: Dropout, Linear, ReLU, Dropout, Linear with one row. */
static bool has_binary_head(const qd_weights *w, const char *head)
{
    char names[2][QD_NAME_BYTES + 16];
    snprintf(names[0], sizeof names[0], "%s.1.weight", head);
    snprintf(names[1], sizeof names[1], "%s.4.weight", head);
    const qd_tensor *first = find(w, names[0]), *last = find(w, names[1]);
    return first && first->rank == 2 && last && last->rank == 2 && last->shape[0] == 1;
}

/* "<head>.<inner>.weight" becomes "<head>.weight", the bias likewise. */
static enum qd_status rename_linear(qd_context *ctx, qd_weights *w, const char *head, const char *inner)
{
    static const char *const kinds[] = {"weight", "bias"};
    w->head_names = qd_calloc(2, sizeof *w->head_names);
    if (!w->head_names)
        return qd_fail(ctx, QD_ERR_MEMORY, "reading '%s': out of memory", w->path);
    for (int k = 0; k < 2; k++) {
        char from[3 * QD_NAME_BYTES];
        snprintf(from, sizeof from, "%s.%s.%s", head, inner, kinds[k]);
        snprintf(w->head_names[k], sizeof w->head_names[k], "%s.%s", head, kinds[k]);
        for (int i = 0; i < w->count; i++)
            if (strcmp(w->tensors[i].name, from) == 0)
                w->tensors[i].name = w->head_names[k];
    }
    return QD_OK;
}

enum qd_status qd_weights_recognise(qd_context *ctx, qd_weights *weights, const qd_model_info *model,
                                    qd_model_config *config)
{
    const qd_model_config any = {.image_size = config->image_size, .num_classes = 2};
    qd_graph *graph = NULL;
    char inner[QD_NAME_BYTES];
    QD_TRY(qd_model_build(ctx, model, &any, &graph));
    strip_prefix(weights, graph->params[0].name);
    qd_graph_destroy(graph);
    config->head = has_binary_head(weights, model->head) ? QD_HEAD_BINARY : QD_HEAD_LINEAR;
    if (config->head == QD_HEAD_BINARY) {
        config->num_classes = config->num_classes ? config->num_classes : 2;
        return QD_OK;
    }
    const qd_tensor *linear = find_linear(weights, model->head, inner);
    if (!linear && inner[0])
        return qd_fail(ctx, QD_ERR_INPUT,
                       "'%s' does not fit the network '%s': expected one Linear below '%s', or the binary head's "
                       "'%s.1' and '%s.4', found several others",
                       weights->path, model->name, model->head, model->head, model->head);
    if (!linear) { /* filling the state tells that it is missing */
        config->num_classes = config->num_classes ? config->num_classes : QD_IMAGENET_CLASSES;
        return QD_OK;
    }
    config->num_classes = config->num_classes ? config->num_classes : linear->shape[0];
    return inner[0] ? rename_linear(ctx, weights, model->head, inner) : QD_OK;
}

enum qd_status qd_weights_fill(qd_context *ctx, const qd_weights *weights, qd_state *state)
{
    qd_state_tensors list;
    char source[300];
    const qd_fill_options options = {
        .source = source, .model = state->graph->model_name, .counters_may_miss = true, .log_every_difference = true};
    snprintf(source, sizeof source, "'%.280s'", weights->path);
    QD_TRY(qd_state_tensors_list(ctx, state, &list));
    enum qd_status status =
        qd_state_tensors_fill(ctx, &list, list.weight_count, weights->tensors, weights->count, &options);
    qd_state_tensors_free(&list);
    return status;
}
