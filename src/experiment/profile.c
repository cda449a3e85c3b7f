/*
 * Where a step's time goes: the plan's tracer timed call by call, beside the floor of each call: its operations at
 * the peak of this machine's multiply-adds, or its fewest bytes at this machine's bandwidth, whichever takes longer.
 */
#include "experiment/random_steps.h"

#include "base/arena.h"
#include "base/error.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A probe of peak or bandwidth is repeated so often, and the best counts: other programs only ever slow it down. */
#define PROBES 5
/* Rounds of multiply-adds a probe: some 20 ms. */
#define CHAIN_ROUNDS 4000000
/* Values of each array of the bandwidth probe: 256 MB, several times a desktop processor's last-level cache. */
#define BANDWIDTH_VALUES (64 << 20)

const char *qd_profile_pass_name(enum qd_profile_pass pass)
{
    static const char *const names[] = {"forward", "backward", "backward-data", "backward-weights"};
    return (unsigned)pass < QD_PROFILE_PASS_COUNT ? names[pass] : "unknown";
}

static double measure_peak(const qd_kernels *k, int threads)
{
    double best = 0.0;
    for (int probe = 0; probe < PROBES; probe++) {
        double operations = 0.0;
        const double begin = qd_random_steps_clock();
#pragma omp parallel for schedule(static) num_threads(threads) reduction(+ : operations)
        for (int t = 0; t < threads; t++) {
            double out[2];
            k->multiply_add_chain(CHAIN_ROUNDS, out);
            operations += out[0];
        }
        best = fmax(best, operations / (qd_random_steps_clock() - begin));
    }
    return best;
}

static enum qd_status measure_bandwidth(qd_context *ctx, const qd_kernels *k, int threads, double *out)
{
    const int64_t piece = BANDWIDTH_VALUES / 256;
    float *a = qd_calloc(BANDWIDTH_VALUES, sizeof *a), *b = qd_calloc(BANDWIDTH_VALUES, sizeof *b);
    double best = 0.0;
    if (!a || !b) {
        free(a);
        free(b);
        return qd_fail(ctx, QD_ERR_MEMORY, "profile: no memory for the arrays that measure bandwidth");
    }
    for (int probe = 0; probe < PROBES; probe++) {
        const double begin = qd_random_steps_clock();
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t i = 0; i < BANDWIDTH_VALUES; i += piece)
            k->add(a + i, b + i, piece, a + i);
        best = fmax(best, 3.0 * sizeof(float) * BANDWIDTH_VALUES / (qd_random_steps_clock() - begin));
    }
    free(a);
    free(b);
    *out = best;
    return QD_OK;
}

/* ---- one traced step ---- */

typedef struct trace {
    const qd_graph *graph;
    qd_profile *profile;
    int capacity;
    int next; /* row of the call that begins next */
    double step_begin;
    bool full; /* more calls than rows: a plan that changes from step to step */
} trace;

/* Multiplications and additions of one pass of a layer that multiplies matrices; the others are bound by memory. */
static double operations_of(const qd_node *node, const qd_layer_call *call)
{
    const double outputs = (double)(call->n * qd_dims_count(&call->out));
    if (node->kind == QD_LAYER_conv2d) {
        const qd_conv2d_config *conv = call->config;
        const int64_t in_channels = conv->in_channels / conv->groups;
        return 2.0 * outputs * (double)(conv->kernel * conv->kernel * in_channels);
    }
    if (node->kind == QD_LAYER_linear)
        return 2.0 * outputs * (double)qd_dims_count(&call->in[0]);
    return 0.0;
}

/* Every value the pass needs read once, every value it makes written once; weights are small beside them. */
static double bytes_of(const qd_node *node, enum qd_plan_pass pass, const qd_layer_call *call)
{
    double inputs = 0.0, outputs = (double)(call->n * qd_dims_count(&call->out)), weights = 0.0, total = 0.0;
    for (int i = 0; i < node->ops->input_count; i++)
        inputs += (double)(call->n * qd_dims_count(&call->in[i]));
    if (node->kind == QD_LAYER_conv2d) {
        const qd_conv2d_config *conv = call->config;
        const int64_t in_channels = conv->in_channels / conv->groups;
        weights = (double)(conv->out_channels * conv->kernel * conv->kernel * in_channels);
    } else if (node->kind == QD_LAYER_linear) {
        weights = (double)(call->in[0].c * call->out.c);
    }
    switch (pass) {
    case QD_PLAN_PASS_FORWARD:
    case QD_PLAN_PASS_BACKWARD_DATA:
    case QD_PLAN_PASS_BACKWARD_WEIGHTS:
        total = inputs + outputs + weights;
        break;
    case QD_PLAN_PASS_BACKWARD: /* dy and what the layer reads again come in, dx goes out */
        total = outputs + inputs + (node->ops->backward_needs(call->config, call->fused) ? inputs : 0.0);
        break;
    }
    return total * sizeof(float);
}

static enum qd_profile_pass pass_of(enum qd_plan_pass pass)
{
    switch (pass) {
    case QD_PLAN_PASS_BACKWARD:
        return QD_PROFILE_BACKWARD;
    case QD_PLAN_PASS_BACKWARD_DATA:
        return QD_PROFILE_BACKWARD_DATA;
    case QD_PLAN_PASS_BACKWARD_WEIGHTS:
        return QD_PROFILE_BACKWARD_WEIGHTS;
    case QD_PLAN_PASS_FORWARD:
        break;
    }
    return QD_PROFILE_FORWARD;
}

static void describe(const trace *t, int reported, enum qd_plan_pass pass, const qd_layer_call *call,
                     qd_profile_row *row)
{
    const qd_graph *graph = t->graph;
    const qd_node *node = &graph->nodes[qd_graph_find_node(graph, call->name)];
    const double peak = t->profile->peak_flops, bandwidth = t->profile->bandwidth;
    *row = (qd_profile_row){.layer = node->ops->name,
                            .pass = pass_of(pass),
                            .operations = operations_of(node, call),
                            .bytes = bytes_of(node, pass, call),
                            .best_s = INFINITY};
    snprintf(row->module, sizeof row->module, "%s%s", node->name,
             &graph->nodes[reported] != node ? " + activation" : "");
    snprintf(row->shape, sizeof row->shape, "%" PRId64 "x%" PRId64 "x%" PRId64, call->out.c, call->out.h,
             call->out.w);
    row->floor_s = fmax(row->operations / peak, row->bytes / bandwidth);
}

static void on_call(void *user, int node, enum qd_plan_pass pass, const qd_layer_call *call, bool begin)
{
    trace *t = user;
    const double now = qd_random_steps_clock();
    if (t->next >= t->capacity) {
        t->full = true;
        return;
    }
    qd_profile_row *row = &t->profile->rows[t->next];
    if (begin) {
        if (t->next == t->profile->row_count) {
            describe(t, node, pass, call, row);
            t->profile->row_count++;
        }
        row->begin_s = now - t->step_begin;
        return;
    }
    row->end_s = now - t->step_begin;
    row->best_s = fmin(row->best_s, row->end_s - row->begin_s);
    t->next++;
}

enum qd_status qd_profile_run(qd_context *ctx, const qd_benchmark_config *config, qd_profile *out)
{
    enum qd_status status = QD_OK;
    qd_random_steps steps = {0};
    qd_profile profile = {.step_s = INFINITY};
    qd_kernels kernels;

    QD_TRY(qd_random_steps_create(ctx, config, &steps));
    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &kernels);
    profile.peak_flops = measure_peak(&kernels, qd_context_threads(ctx));
    QD_TRY_GOTO(measure_bandwidth(ctx, &kernels, qd_context_threads(ctx), &profile.bandwidth));
    trace t = {.graph = steps.graph, .profile = &profile, .capacity = 3 * steps.graph->node_count};
    profile.rows = qd_calloc((size_t)t.capacity, sizeof *profile.rows);
    if (!profile.rows) {
        status = qd_fail(ctx, QD_ERR_MEMORY, "profile: no memory for %d rows", t.capacity);
        goto fail;
    }
    QD_TRY_GOTO(qd_random_steps_run(&steps));
    qd_plan_set_tracer(steps.plan, on_call, &t);
    for (int64_t i = 0; i < config->steps; i++) {
        t.next = 0;
        t.step_begin = qd_random_steps_clock();
        QD_TRY_GOTO(qd_random_steps_run(&steps));
        profile.step_s = fmin(profile.step_s, qd_random_steps_clock() - t.step_begin);
    }
    if (t.full) {
        status = qd_fail(ctx, QD_ERR_INTERNAL, "profile: more layer calls than %d", t.capacity);
        goto fail;
    }
    qd_random_steps_destroy(&steps);
    *out = profile;
    return QD_OK;
fail:
    qd_profile_free(&profile);
    qd_random_steps_destroy(&steps);
    return status;
}

void qd_profile_free(qd_profile *profile)
{
    free(profile->rows);
    *profile = (qd_profile){0};
}
