#include "experiment/random_steps.h"

#include "base/arena.h"
#include "base/error.h"

#include <stdlib.h>
#include <sys/resource.h>

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Processor seconds of all threads so far, and the largest resident memory. */
static double processor_seconds(int64_t *peak_rss_bytes)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    *peak_rss_bytes = (int64_t)usage.ru_maxrss * 1024;
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

enum qd_status qd_benchmark_run(qd_context *ctx, const qd_benchmark_config *config, qd_benchmark_result *result)
{
    enum qd_status status = QD_OK;
    const qd_plan_config plan = config->training ? QD_PLAN_TRAINING(config->batch) : QD_PLAN_INFERENCE(config->batch);
    qd_random_steps steps = {0};
    qd_benchmark_result r = {0};
    double *seconds = NULL;

    QD_TRY(qd_random_steps_create(ctx, config, &steps));
    QD_TRY_GOTO(qd_plan_bytes(ctx, steps.graph, QD_F32, &plan, &r.planned_bytes));
    seconds = qd_calloc((size_t)config->steps, sizeof *seconds);
    if (!seconds) {
        status =
            qd_fail(ctx, QD_ERR_MEMORY, "benchmark: no memory for the times of %lld steps", (long long)config->steps);
        goto fail;
    }
    QD_TRY_GOTO(qd_random_steps_run(&steps));
    const double processor = processor_seconds(&r.peak_rss_bytes);
    for (int64_t i = 0; i < config->steps; i++) {
        const double begin = qd_random_steps_clock();
        QD_TRY_GOTO(qd_random_steps_run(&steps));
        seconds[i] = qd_random_steps_clock() - begin;
    }
    r.processor_s = (processor_seconds(&r.peak_rss_bytes) - processor) / (double)config->steps;
    qsort(seconds, (size_t)config->steps, sizeof *seconds, by_value);
    r.best_images_per_s = (double)config->batch / seconds[0];
    r.median_images_per_s = (double)config->batch / seconds[config->steps / 2];
    *result = r;
fail:
    free(seconds);
    qd_random_steps_destroy(&steps);
    return status;
}
