/*
 * The INT8 networks at 224 px: every step's time and rate by itself, then those of the whole network, whose
 * steps are merged. Ranges are set, not calibrated: times do not depend on values.
 *     bench_int8 [batch [threads [isa [model]]]]
 * CSV on standard output. A step alone pays for starting a team of threads, which it does not in the network.
 */
#include "models/models.h"
#include "quantize/qgraph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IMAGE_SIZE = 224, CLASSES = 10, REPEATS = 31, TENSOR_RANGE = 4 };

static const char *const kind_names[] = {"conv", "table", "silu", "add", "gate", "maxpool", "mean"};

/* CLOCK_MONOTONIC: what a user waits; CLOCK_PROCESS_CPUTIME_ID: what does not grow when others use the machine (with
 * one thread: several also count while they wait for each other). */
static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Multiply-adds of a sample. */
static double step_macs(const qd_qgraph *q, const qd_qstep *step)
{
    if (step->kind != QD_QSTEP_CONV)
        return 0;
    return (double)(qd_dims_count(&q->values[step->output].dims) * q->convs[step->conv].filter);
}

static enum qd_status time_steps(qd_qgraph *q, const char *model, int64_t n)
{
    for (int i = 0; i < q->step_count; i++) {
        const qd_qstep *step = &q->steps[i];
        const qd_dims *out = &q->values[step->output].dims;
        double times[REPEATS];
        for (int r = 0; r < REPEATS; r++) {
            const double start = seconds(CLOCK_PROCESS_CPUTIME_ID);
            qd_qgraph_step_integer(q, step, n, false);
            times[r] = seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
        }
        qsort(times, REPEATS, sizeof *times, compare_doubles);
        printf("%s,%s,%s,%lldx%lldx%lld,%.3f,,%.1f,%.1f,%.1f\n", model, step->name, kind_names[step->kind],
               (long long)out->h, (long long)out->w, (long long)out->c, step_macs(q, step) * (double)n * 1e-6,
               times[REPEATS / 2] * 1e6, times[0] * 1e6, 2e-9 * step_macs(q, step) * (double)n / times[0]);
    }
    return QD_OK;
}

static enum qd_status time_network(qd_qgraph *q, const char *model, const float *images, int64_t n)
{
    double times[REPEATS], cpu_times[REPEATS], macs = 0;
    float *logits = calloc((size_t)(n * CLASSES), sizeof *logits);

    if (!logits)
        return QD_ERR_MEMORY;
    for (int i = 0; i < q->step_count; i++)
        macs += step_macs(q, &q->steps[i]) * (double)n;
    for (int r = -1; r < REPEATS; r++) { /* the first warms up */
        const double start = seconds(CLOCK_MONOTONIC), cpu_start = seconds(CLOCK_PROCESS_CPUTIME_ID);
        if (qd_qgraph_run_integer(q, images, n, logits) != QD_OK)
            break;
        times[r < 0 ? 0 : r] = seconds(CLOCK_MONOTONIC) - start;
        cpu_times[r < 0 ? 0 : r] = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_start;
    }
    qsort(times, REPEATS, sizeof *times, compare_doubles);
    qsort(cpu_times, REPEATS, sizeof *cpu_times, compare_doubles);
    printf("%s,all,network,,%.3f,%.1f,%.1f,%.1f,%.1f\n", model, macs * 1e-6, times[REPEATS / 2] * 1e6,
           cpu_times[REPEATS / 2] * 1e6, cpu_times[0] * 1e6, 2e-9 * macs / cpu_times[0]);
    free(logits);
    return QD_OK;
}

static enum qd_status bench(qd_context *ctx, const qd_model_info *model, int64_t n)
{
    const qd_model_config config = {IMAGE_SIZE, CLASSES, QD_HEAD_LINEAR};
    const qd_quant_scheme scheme = qd_quant_scheme_defaults();
    const int64_t pixels = n * IMAGE_SIZE * IMAGE_SIZE * 3;
    float *images = calloc((size_t)pixels, sizeof *images);
    enum qd_status status = QD_OK;
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    qd_qgraph *q = NULL;
    qd_rng rng;

    qd_rng_seed(&rng, 1);
    for (int64_t i = 0; images && i < pixels; i++)
        images[i] = qd_rng_uniform_f32(&rng, -2, 2);
    QD_TRY_GOTO(images ? QD_OK : QD_ERR_MEMORY);
    QD_TRY_GOTO(model->build(ctx, model, &config, &graph));
    QD_TRY_GOTO(qd_state_create(ctx, graph, QD_F32, false, &state));
    model->initialise(&config, state, &rng);
    QD_TRY_GOTO(qd_qgraph_create(ctx, graph, state, &scheme, n, &q));
    for (int i = 0; i < qd_qgraph_tensor_count(q); i++)
        QD_TRY_GOTO(qd_qgraph_set_range(q, i, -TENSOR_RANGE, TENSOR_RANGE));
    QD_TRY_GOTO(qd_qgraph_finalize(q));
    QD_TRY_GOTO(qd_qgraph_prepare(q, QD_QMODE_INTEGER));
    qd_qgraph_load_integer(q, images, n);
    QD_TRY_GOTO(time_steps(q, model->name, n));
    QD_TRY_GOTO(time_network(q, model->name, images, n));
fail:
    qd_qgraph_destroy(q);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
    free(images);
    return status;
}

int main(int argc, char **argv)
{
    const int64_t n = argc > 1 ? atoll(argv[1]) : 1;
    qd_context_config config = {.threads = argc > 2 ? atoi(argv[2]) : 2, .limit_isa = argc > 3};
    qd_context *ctx = NULL;

    if (n < 1 || argc > 5 || (argc > 3 && !qd_isa_parse(argv[3], &config.max_isa)) ||
        qd_context_create(&config, &ctx) != QD_OK) {
        fputs("usage: bench_int8 [batch [threads [isa [model]]]]\n", stderr);
        return 2;
    }
    printf("# %s, batch %lld, %d threads\n", qd_isa_name(qd_context_isa(ctx)), (long long)n, qd_context_threads(ctx));
    puts("model,step,kind,output,million multiply-adds,median us,processor us,best processor us,GOP/s of processor "
         "time");
    for (const qd_model_info *const *model = qd_model_list(); *model; model++) {
        if (argc > 4 && strcmp((*model)->name, argv[4]) != 0)
            continue;
        if (bench(ctx, *model, n) != QD_OK) {
            fprintf(stderr, "bench_int8: %s\n", qd_context_error(ctx));
            return 1;
        }
    }
    qd_context_destroy(ctx);
    return 0;
}
