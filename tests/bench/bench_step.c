/*
 * Speed of a training step on random images: bench_step [MODEL [SIZE [BATCH [STEPS [THREADS]]]]]; all models without
 * arguments. CSV, a line a model: planned memory, median and best step, images per second of the median, the
 * process's processor time a step (to see what other work on the machine took away) and peak resident memory so far.
 */
#include "graph/plan.h"
#include "models/models.h"
#include "nn/loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void require(const qd_context *ctx, enum qd_status status)
{
    if (status == QD_OK)
        return;
    fprintf(stderr, "bench_step: %s\n", ctx ? qd_context_error(ctx) : qd_status_name(status));
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    require(NULL, memory ? QD_OK : QD_ERR_MEMORY);
    return memory;
}

/* Forward, loss, backward, SGD. */
static void train_step(qd_plan *plan, qd_state *state, const qd_kernels *kernels, const float *x,
                       const int64_t *labels, int64_t n, float *dlogits, qd_rng *rng, bool first,
                       const qd_context *ctx)
{
    qd_tensor logits;
    double loss_sum = 0.0;
    int64_t correct = 0;
    qd_draws draws = qd_draws_from_rng(rng);
    require(ctx, qd_plan_forward(plan, x, n, &draws, NULL, NULL, &logits));
    qd_loss_cross_entropy(QD_F32, logits.data, labels, n, 10, &loss_sum, &correct, dlogits);
    require(ctx, qd_plan_backward(plan, dlogits));
    qd_sgd_args sgd = {.lr = 0.01, .momentum = 0.9, .weight_decay = 1e-4, .first_step = first};
    kernels->sgd_step(&sgd, state->params, state->grads, state->momentum, state->graph->param_elements);
}

/* Processor seconds of all threads so far, and the largest resident memory. */
static double processor_seconds(double *peak_gib)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    *peak_gib = (double)usage.ru_maxrss / 0x1p20;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void bench(qd_context *ctx, const qd_model_info *info, int64_t size, int64_t n, int steps)
{
    qd_model_config model_config = {.image_size = size, .num_classes = 10};
    qd_graph *graph = NULL;
    qd_state *state = NULL;
    qd_plan *plan = NULL;
    qd_rng rng;
    size_t plan_bytes = 0;
    qd_rng_seed(&rng, 42);
    require(ctx, info->build(ctx, &model_config, &graph));
    require(ctx, qd_state_create(ctx, graph, QD_F32, true, &state));
    require(ctx, qd_plan_bytes(ctx, graph, QD_F32, &QD_PLAN_TRAINING(n), &plan_bytes));
    require(ctx, qd_plan_create(ctx, graph, state, &QD_PLAN_TRAINING(n), &plan));
    info->initialise(&model_config, state, &rng);

    float *x = allocate((size_t)(n * size * size * 3), sizeof *x),
          *dlogits = allocate((size_t)n * 10, sizeof *dlogits);
    int64_t *labels = allocate((size_t)n, sizeof *labels);
    double *times = allocate((size_t)steps, sizeof *times);
    qd_rng_normal_f32(&rng, x, n * size * size * 3, 0.0f, 1.0f);
    for (int64_t i = 0; i < n; i++)
        labels[i] = qd_rng_randint(&rng, 10);

    qd_kernels kernels;
    qd_kernels_fill(qd_context_isa(ctx), QD_F32, &kernels);
    /* The first step touches the memory and does not count. */
    train_step(plan, state, &kernels, x, labels, n, dlogits, &rng, true, ctx);
    double peak_gib, processor = processor_seconds(&peak_gib);
    for (int i = 0; i < steps; i++) {
        double start = seconds();
        train_step(plan, state, &kernels, x, labels, n, dlogits, &rng, false, ctx);
        times[i] = seconds() - start;
    }
    processor = processor_seconds(&peak_gib) - processor;
    qsort(times, (size_t)steps, sizeof *times, by_value);
    double median = times[steps / 2];
    printf("%s,%lld,%lld,%d,%.3f,%.3f,%.3f,%.2f,%.3f,%.3f\n", info->name, (long long)size, (long long)n,
           qd_context_threads(ctx), (double)plan_bytes / 0x1p30, median, times[0], (double)n / median,
           processor / steps, peak_gib);
    fflush(stdout);

    free(x);
    free(dlogits);
    free(labels);
    free(times);
    qd_plan_destroy(plan);
    qd_state_destroy(state);
    qd_graph_destroy(graph);
}

int main(int argc, char **argv)
{
    const qd_model_info *chosen = argc > 1 ? qd_model_find(argv[1]) : NULL;
    int64_t size = argc > 2 ? atoll(argv[2]) : 224, n = argc > 3 ? atoll(argv[3]) : 32;
    int steps = argc > 4 ? atoi(argv[4]) : 3;
    qd_context_config config = {.threads = argc > 5 ? atoi(argv[5]) : 0};
    if ((argc > 1 && !chosen) || n < 1 || steps < 1) {
        fprintf(stderr, "usage: bench_step [resnet18|efficientnet_b0 [SIZE [BATCH [STEPS [THREADS]]]]]\n");
        return 2;
    }
    qd_context *ctx = NULL;
    require(NULL, qd_context_create(&config, &ctx));
    puts("model,size,batch,threads,plan_gib,median_s,best_s,images_per_s,processor_s,peak_gib");
    for (const qd_model_info *const *model = qd_model_list(); *model; model++)
        if (!chosen || chosen == *model)
            bench(ctx, *model, size, n, steps);
    qd_context_destroy(ctx);
    return 0;
}
