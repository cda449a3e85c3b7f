/* Statistics of every module's output in one forward pass, in the order of a dictionary filled by forward hooks. */
#include "base/arena.h"
#include "base/error.h"
#include "observe/channel_stats.h"
#include "observe/observe.h"
#include <stdlib.h>
#include <string.h>

typedef struct observer {
    const qd_graph *graph;
    int threads;
    bool *wanted;              /* per value: a module returned it */
    bool *seen;                /* per value: the plan has shown it */
    qd_module_stats *by_value; /* per value */
    qd_stats *channels;        /* room for those of all wanted values of rank 4; NULL: not asked for */
    int64_t channels_used;
} observer;

/* Statistics of the channels, in the next free place; a value that several modules return is seen once. */
static void add_channels(observer *o, const qd_tensor *tensor, qd_module_stats *entry)
{
    if (!o->channels || tensor->rank != 4)
        return;
    qd_stats *place = o->channels + o->channels_used;
    qd_channel_stats_compute(tensor, place);
    o->channels_used += tensor->shape[1];
    entry->channels = place;
}

static enum qd_status on_value(void *user, int node, const qd_tensor *tensor)
{
    observer *o = user;
    int value = o->graph->nodes[node].output;
    if (!o->wanted[value])
        return QD_OK;
    qd_module_stats *entry = &o->by_value[value];
    entry->rank = tensor->rank;
    memcpy(entry->shape, tensor->shape, sizeof entry->shape);
    qd_stats_compute(tensor, o->threads, &entry->stats);
    add_channels(o, tensor, entry);
    o->seen[value] = true;
    return QD_OK;
}

/* Walks the calls in order of completion: a module keeps the place of its first call and the values of its last. */
static enum qd_status collect(qd_context *ctx, const observer *o, qd_observation *out)
{
    for (int c = 0; c < o->graph->call_count; c++) {
        const qd_module_call *call = &o->graph->calls[c];
        const qd_module *module = &o->graph->modules[call->module];
        if (!o->seen[call->value])
            return qd_fail(ctx, QD_ERR_INTERNAL,
                           "observe: the plan never showed the output of '%s'; it must not be fused", module->path);
        int place = 0;
        while (place < out->count && out->modules[place].module != call->module)
            place++;
        out->modules[place] = o->by_value[call->value];
        out->modules[place].module = call->module;
        if (place == out->count)
            out->count++;
    }
    return QD_OK;
}

/* Channels of all values that a plan shows and a module returns. */
static int64_t wanted_channels(const observer *o)
{
    int64_t count = 0;
    for (int v = 0; v < o->graph->value_count; v++)
        count += o->wanted[v] ? o->graph->values[v].dims.c : 0;
    return count;
}

static enum qd_status observe(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                              const qd_draws *draws, bool channels, qd_observation *out)
{
    enum qd_status status = QD_OK;
    qd_observation observation = {0};
    size_t values = (size_t)graph->value_count;
    observer o = {
        .graph = graph,
        .threads = qd_context_threads(ctx),
        .wanted = qd_calloc(values, sizeof(bool)),
        .seen = qd_calloc(values, sizeof(bool)),
        .by_value = qd_calloc(values, sizeof(qd_module_stats)),
    };
    observation.modules = qd_calloc((size_t)graph->call_count, sizeof(qd_module_stats));
    if (!o.wanted || !o.seen || !o.by_value || !observation.modules) {
        status =
            qd_fail(ctx, QD_ERR_MEMORY, "observe: out of memory for the statistics of %d modules", graph->call_count);
        goto fail;
    }
    for (int c = 0; c < graph->call_count; c++)
        o.wanted[graph->calls[c].value] = true;
    if (channels) {
        const int64_t count = wanted_channels(&o);
        observation.channels = o.channels = qd_calloc((size_t)count, sizeof *o.channels);
        if (!o.channels) {
            status = qd_fail(ctx, QD_ERR_MEMORY, "observe: out of memory for the statistics of %lld channels",
                             (long long)count);
            goto fail;
        }
    }

    qd_tensor logits;
    QD_TRY_GOTO(qd_plan_forward(plan, x, n, draws, on_value, &o, &logits));
    QD_TRY_GOTO(collect(ctx, &o, &observation));
    *out = observation;
    observation = (qd_observation){0};
fail:
    qd_observation_free(&observation);
    free(o.wanted);
    free(o.seen);
    free(o.by_value);
    return status;
}

enum qd_status qd_observe(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                          const qd_draws *draws, qd_observation *out)
{
    return observe(ctx, graph, plan, x, n, draws, false, out);
}

enum qd_status qd_observe_channels(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                                   qd_observation *out)
{
    return observe(ctx, graph, plan, x, n, NULL, true, out);
}

void qd_observation_free(qd_observation *observation)
{
    free(observation->modules);
    free(observation->channels);
    *observation = (qd_observation){0};
}
