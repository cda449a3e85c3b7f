#include "base/json.h"
#include "cli/bench_infer.h"
#include "cli/bench_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct bench_values {
    cli_common common;
    qd_benchmark_config config;
    const char *kind; /* "train", "forward" */
    const char *json;
} bench_values;

static const char *check(void *values)
{
    bench_values *v = values;
    if (!v->kind)
        return "say what to measure: train, forward or infer";
    v->config.training = strcmp(v->kind, "train") == 0;
    return v->config.model ? NULL : "--model is missing: resnet18 or efficientnet_b0";
}

static enum qd_status write_json(qd_context *ctx, const bench_values *v, const qd_benchmark_result *r)
{
    const qd_benchmark_config *config = &v->config;
    cJSON *root = cJSON_CreateObject();
    cJSON *speed = root ? cJSON_AddObjectToObject(root, "images_per_s") : NULL;
    const bool ok = speed && cJSON_AddItemToObject(speed, "median", qd_json_double(r->median_images_per_s)) &&
                    cJSON_AddItemToObject(speed, "best", qd_json_double(r->best_images_per_s)) &&
                    cJSON_AddItemToObject(root, "processor_s_per_step", qd_json_double(r->processor_s)) &&
                    cJSON_AddItemToObject(root, "planned_bytes", qd_json_int((int64_t)r->planned_bytes)) &&
                    cJSON_AddItemToObject(root, "peak_rss_bytes", qd_json_int(r->peak_rss_bytes)) &&
                    cJSON_AddStringToObject(root, "kind", v->kind) &&
                    cJSON_AddStringToObject(root, "model", config->model) &&
                    cJSON_AddItemToObject(root, "batch", qd_json_int(config->batch)) &&
                    cJSON_AddItemToObject(root, "image_size", qd_json_int(config->image_size)) &&
                    cJSON_AddItemToObject(root, "steps", qd_json_int(config->steps)) &&
                    cJSON_AddItemToObject(root, "threads", qd_json_int(qd_context_threads(ctx))) &&
                    cJSON_AddStringToObject(root, "cpu", qd_isa_name(qd_context_isa(ctx)));
    const enum qd_status status = ok ? qd_json_write(ctx, v->json, root) : QD_ERR_MEMORY;
    cJSON_Delete(root);
    return status;
}

static enum qd_status bench(qd_context *ctx, void *values)
{
    const bench_values *v = values;
    const qd_benchmark_config *config = &v->config;
    qd_benchmark_result result;
    QD_TRY(qd_benchmark_run(ctx, config, &result));
    if (v->json)
        QD_TRY(write_json(ctx, v, &result));
    printf("%s %s, batch %" PRId64 ", %" PRId64 " px, %d threads, %s: median %.2f, best %.2f images/s; "
           "%.3f s of processor time a step; peak memory %.2f GiB (planned %.2f)\n",
           config->model, v->kind, config->batch, config->image_size, qd_context_threads(ctx),
           qd_isa_name(qd_context_isa(ctx)), result.median_images_per_s, result.best_images_per_s, result.processor_s,
           (double)result.peak_rss_bytes / 0x1p30, (double)result.planned_bytes / 0x1p30);
    return QD_OK;
}

static const cli_option options[] = {
    {"json", 0, "FILE", "Write the figures as JSON too", CLI_TEXT(bench_values, json)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_BENCH_GROUP(offsetof(bench_values, config))},
    .usage = "train|forward\ninfer [FILE...]",
    .argument = "of train and forward",
    .choices = "train|forward|infer", /* the last only as the first argument */
    .argument_at = offsetof(bench_values, kind),
    .doc = "Speed on random images. train: forward pass, loss, backward pass, SGD; forward: the forward pass in "
           "eval mode. Prints images a second of the median and the best step, and peak resident memory. infer: "
           "float and INT8 networks frame by frame, with options of its own (quantdrift bench infer --help)."
           "\vExample: quantdrift bench train --model resnet18 --batch 32 --threads 2",
    .check = check,
    .run = bench,
};

int cli_command_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "infer") == 0)
        return cli_bench_infer(argc - 1, argv + 1);
    bench_values values = {.config = cli_bench_defaults()};
    return cli_run(&command, argc, argv, &values);
}
