/* Statistics of every module's output in one forward pass, in the order of a dictionary filled by forward hooks. */
#include "base/arena.h"
#include "base/error.h"
#include "observe/observe.h"
#include <stdlib.h>
#include <string.h>

typedef struct observer {
    const qd_graph *graph;
    int threads;
    bool *wanted;              /* per value: a module returned it */
    bool *seen;                /* per value: the plan has shown it */
    qd_module_stats *by_value; /* per value */
} observer;

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

enum qd_status qd_observe(qd_context *ctx, const qd_graph *graph, qd_plan *plan, const void *x, int64_t n,
                          const qd_draws *draws, qd_observation *out)
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

    qd_tensor logits;
    QD_TRY_GOTO(qd_plan_forward(plan, x, n, draws, on_value, &o, &logits));
    QD_TRY_GOTO(collect(ctx, &o, &observation));
    *out = observation;
    observation.modules = NULL;
fail:
    free(observation.modules);
    free(o.wanted);
    free(o.seen);
    free(o.by_value);
    return status;
}

void qd_observation_free(qd_observation *observation)
{
    free(observation->modules);
    *observation = (qd_observation){0};
}
