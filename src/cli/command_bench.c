#include "base/json.h"
#include "cli/bench_infer.h"
#include "cli/bench_options.h"
#include "cli/cli.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { KEY_JSON = 0x100 };

typedef struct bench_options {
    cli_common common;
    qd_benchmark_config config;
    const char *kind; /* "train", "forward" */
    const char *json;
} bench_options;

static const struct argp_option option_list[] = {
    {"json", KEY_JSON, "FILE", 0, "Write the figures as JSON too", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    bench_options *options = state->input;
    switch (key) {
    case KEY_JSON:
        options->json = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->kind)
            argp_error(state, "one of train and forward at a time: '%s' is too much", arg);
        if (strcmp(arg, "train") != 0 && strcmp(arg, "forward") != 0)
            argp_error(state, "expected train, forward or infer, got '%s'", arg);
        options->kind = arg;
        options->config.training = strcmp(arg, "train") == 0;
        return 0;
    case ARGP_KEY_END:
        if (!options->kind)
            argp_error(state, "say what to measure: train, forward or infer");
        if (!options->config.model)
            argp_error(state, "--model is missing: resnet18 or efficientnet_b0");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status write_json(qd_context *ctx, const bench_options *options, const qd_benchmark_result *r)
{
    const qd_benchmark_config *config = &options->config;
    cJSON *root = cJSON_CreateObject();
    cJSON *speed = root ? cJSON_AddObjectToObject(root, "images_per_s") : NULL;
    const bool ok = speed && cJSON_AddItemToObject(speed, "median", qd_json_double(r->median_images_per_s)) &&
                    cJSON_AddItemToObject(speed, "best", qd_json_double(r->best_images_per_s)) &&
                    cJSON_AddItemToObject(root, "processor_s_per_step", qd_json_double(r->processor_s)) &&
                    cJSON_AddItemToObject(root, "planned_bytes", qd_json_int((int64_t)r->planned_bytes)) &&
                    cJSON_AddItemToObject(root, "peak_rss_bytes", qd_json_int(r->peak_rss_bytes)) &&
                    cJSON_AddStringToObject(root, "kind", options->kind) &&
                    cJSON_AddStringToObject(root, "model", config->model) &&
                    cJSON_AddItemToObject(root, "batch", qd_json_int(config->batch)) &&
                    cJSON_AddItemToObject(root, "image_size", qd_json_int(config->image_size)) &&
                    cJSON_AddItemToObject(root, "steps", qd_json_int(config->steps)) &&
                    cJSON_AddItemToObject(root, "threads", qd_json_int(qd_context_threads(ctx))) &&
                    cJSON_AddStringToObject(root, "cpu", qd_isa_name(qd_context_isa(ctx)));
    const enum qd_status status = ok ? qd_json_write(ctx, options->json, root) : QD_ERR_MEMORY;
    cJSON_Delete(root);
    return status;
}

int cli_command_bench(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_bench_argp, 0, "What to measure:", 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "train|forward\ninfer [FILE...]",
        .doc = "Speed on random images. train: forward pass, loss, backward pass, SGD; forward: the forward pass in "
               "eval mode. Prints images a second of the median and the best step, and peak resident memory. infer: "
               "float and INT8 networks frame by frame, with options of its own (quantdrift bench infer --help)."
               "\vExample: quantdrift bench train --model resnet18 --batch 32 --threads 2",
        .children = children,
    };
    if (argc > 1 && strcmp(argv[1], "infer") == 0)
        return cli_bench_infer(argc - 1, argv + 1);
    bench_options options = {.config = cli_bench_defaults()};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    qd_benchmark_result result;
    status = qd_benchmark_run(ctx, &options.config, &result);
    if (status == QD_OK && options.json)
        status = write_json(ctx, &options, &result);
    if (status == QD_OK)
        printf("%s %s, batch %" PRId64 ", %" PRId64 " px, %d threads, %s: median %.2f, best %.2f images/s; "
               "%.3f s of processor time a step; peak memory %.2f GiB (planned %.2f)\n",
               options.config.model, options.kind, options.config.batch, options.config.image_size,
               qd_context_threads(ctx), qd_isa_name(qd_context_isa(ctx)), result.median_images_per_s,
               result.best_images_per_s, result.processor_s, (double)result.peak_rss_bytes / 0x1p30,
               (double)result.planned_bytes / 0x1p30);
    const int code = cli_report(ctx, status);
    qd_context_destroy(ctx);
    return code;
}
