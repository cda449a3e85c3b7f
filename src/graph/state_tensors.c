#include "graph/state_tensors.h"
#include "base/arena.h"
#include "base/error.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACKED_SUFFIX ".num_batches_tracked"
#define NAME_BYTES     (QD_NAME_BYTES + 64)

void qd_state_tensors_free(qd_state_tensors *list)
{
    free(list->tensors);
    free(list->names);
    *list = (qd_state_tensors){0};
}

static void append(qd_state_tensors *list, qd_tensor tensor, const char *prefix, const char *name, const char *suffix)
{
    char *text = list->names + (size_t)list->count * NAME_BYTES;
    snprintf(text, NAME_BYTES, "%s%s%s", prefix, name, suffix);
    tensor.name = text;
    list->tensors[list->count++] = tensor;
}

enum qd_status qd_state_tensors_list(qd_context *ctx, const qd_state *state, qd_state_tensors *out)
{
    const qd_graph *graph = state->graph;
    const size_t most =
        2 * (size_t)graph->param_count + (size_t)graph->buffer_count + (size_t)graph->batches_tracked_count;
    qd_state_tensors list = {.tensors = qd_calloc(most, sizeof(qd_tensor)), .names = qd_calloc(most, NAME_BYTES)};
    if (!list.tensors || !list.names) {
        qd_state_tensors_free(&list);
        return qd_fail(ctx, QD_ERR_MEMORY, "'%s': out of memory for a list of %zu tensors", graph->model_name, most);
    }
    for (int n = 0; n < graph->node_count; n++) {
        const qd_node *node = &graph->nodes[n];
        for (int i = 0; i < QD_MAX_PARAMS; i++)
            if (node->param[i] >= 0)
                append(&list, qd_state_param(state, QD_BLOCK_PARAMS, node->param[i]), "",
                       graph->params[node->param[i]].name, "");
        for (int i = 0; i < QD_MAX_BUFFERS; i++)
            if (node->buffer[i] >= 0)
                append(&list, qd_state_buffer(state, node->buffer[i]), "", graph->buffers[node->buffer[i]].name, "");
        if (node->batches_tracked >= 0)
            append(&list, qd_tensor_contiguous(QD_S64, 0, NULL, &state->batches_tracked[node->batches_tracked]), "",
                   node->name, TRACKED_SUFFIX);
    }
    list.weight_count = list.count;
    for (int p = 0; state->momentum && p < graph->param_count; p++)
        append(&list, qd_state_param(state, QD_BLOCK_MOMENTUM, p), QD_MOMENTUM_PREFIX, graph->params[p].name, "");
    *out = list;
    return QD_OK;
}

/* ---- filling ---- */

/* One kind of difference between a file and a state: a count and the first few names. */
typedef struct name_list {
    const char *what;
    char text[500];
    size_t used;
    int count;
} name_list;

/* Enough to recognise what is wrong; a checkpoint of another model differs in all of its hundred tensors. */
#define NAMES_SHOWN 6

static void add_name(name_list *list, const char *name, const char *detail)
{
    if (list->count++ >= NAMES_SHOWN || list->used >= sizeof list->text)
        return;
    list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s%.96s%s",
                                   list->count > 1 ? ", " : "", name, detail);
}

static void print_list(const name_list *list, char *text, size_t size)
{
    if (list->count == 0)
        text[0] = '\0';
    else if (list->count > NAMES_SHOWN)
        snprintf(text, size, "; %d %s: %s and %d more", list->count, list->what, list->text,
                 list->count - NAMES_SHOWN);
    else
        snprintf(text, size, "; %d %s: %s", list->count, list->what, list->text);
}

static void print_shape(const qd_tensor *tensor, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s[", qd_dtype_name(tensor->dtype));
    for (int d = 0; d < tensor->rank && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", d ? "," : "", (long long)tensor->shape[d]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

static bool is_float(enum qd_dtype dtype)
{
    return dtype == QD_F32 || dtype == QD_F64;
}

static bool fits(const qd_tensor *have, const qd_tensor *need)
{
    const bool same_kind = have->dtype == need->dtype || (is_float(have->dtype) && is_float(need->dtype));
    return same_kind && have->rank == need->rank &&
           memcmp(have->shape, need->shape, (size_t)need->rank * sizeof need->shape[0]) == 0;
}

static const qd_tensor *find(const qd_tensor *tensors, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    return NULL;
}

static bool may_miss(const qd_fill_options *options, const char *name)
{
    const size_t length = strlen(name), end = strlen(TRACKED_SUFFIX);
    return options->counters_may_miss && length > end && strcmp(name + length - end, TRACKED_SUFFIX) == 0;
}

/* Names and shapes of the first `needed` tensors against what there is, into missing, unknown, misshapen; `log`: as
 * lines of the log, too. */
static void compare(qd_context *ctx, const qd_state_tensors *list, int needed, const qd_tensor *have, int count,
                    const qd_fill_options *options, bool log, name_list found[3])
{
    for (int i = 0; i < needed; i++) {
        const qd_tensor *need = &list->tensors[i], *match = find(have, count, need->name);
        char detail[160] = "";
        int kind = 0;
        if (!match && may_miss(options, need->name))
            continue;
        if (match && fits(match, need))
            continue;
        if (match) {
            char expected[64], got[64];
            print_shape(need, expected, sizeof expected);
            print_shape(match, got, sizeof got);
            snprintf(detail, sizeof detail, " (expected %s, found %s)", expected, got);
            kind = 2;
        }
        add_name(&found[kind], need->name, detail);
        if (log)
            qd_log(ctx, QD_LOG_WARNING, "%s: %s%s", found[kind].what, need->name, detail);
    }
    for (int i = 0; i < count; i++) {
        if (find(list->tensors, list->count, have[i].name))
            continue;
        add_name(&found[1], have[i].name, "");
        if (log)
            qd_log(ctx, QD_LOG_WARNING, "%s: %s", found[1].what, have[i].name);
    }
}

static enum qd_status check(qd_context *ctx, const qd_state_tensors *list, int needed, const qd_tensor *have,
                            int count, const qd_fill_options *options)
{
    name_list found[3] = {{.what = "missing"}, {.what = "unknown"}, {.what = "of another shape or type"}};
    char parts[3][560];
    compare(ctx, list, needed, have, count, options, false, found);
    if (found[0].count + found[1].count + found[2].count == 0)
        return QD_OK;
    bool more = false;
    for (int i = 0; i < 3; i++) {
        print_list(&found[i], parts[i], sizeof parts[i]);
        more = more || found[i].count > NAMES_SHOWN;
    }
    if (more && options->log_every_difference)
        compare(ctx, list, needed, have, count, options, true, found);
    return qd_fail(ctx, QD_ERR_INPUT, "%s does not fit the network '%s'%s%s%s", options->source, options->model,
                   parts[0], parts[1], parts[2]);
}

enum qd_status qd_state_tensors_fill(qd_context *ctx, const qd_state_tensors *list, int needed, const qd_tensor *have,
                                     int count, const qd_fill_options *options)
{
    QD_TRY(check(ctx, list, needed, have, count, options));
    for (int i = 0; i < needed; i++) {
        const qd_tensor *match = find(have, count, list->tensors[i].name);
        if (match)
            QD_TRY(qd_tensor_copy(ctx, &list->tensors[i], match));
    }
    return QD_OK;
}
