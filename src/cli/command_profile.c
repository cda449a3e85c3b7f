#include "base/json.h"
#include "cli/bench_options.h"
#include "cli/cli.h"
#include <stdio.h>

enum { KEY_TRACE = 0x100, KEY_FORWARD };

typedef struct profile_options {
    cli_common common;
    qd_benchmark_config config;
    const char *trace;
} profile_options;

static const struct argp_option option_list[] = {
    {"trace", KEY_TRACE, "FILE", 0, "Write the last step as a Chrome trace (chrome://tracing, Perfetto)", 0},
    {"forward", KEY_FORWARD, NULL, 0, "The forward pass in eval mode only (default: a whole training step)", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    profile_options *options = state->input;
    switch (key) {
    case KEY_TRACE:
        options->trace = arg;
        return 0;
    case KEY_FORWARD:
        options->config.training = false;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        state->child_inputs[1] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (options->config.model)
            argp_error(state, "one model at a time: '%s' is too much", arg);
        options->config.model = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->config.model)
            argp_error(state, "name a model: resnet18 or efficientnet_b0");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_line(const char *module, const char *layer, const char *pass, const char *shape, double seconds,
                       double operations, double bytes, double floor_s)
{
    printf("%-44s %-16s %-16s %12s %9.3f %9.1f %8.1f %9.3f %8.1f\n", module, layer, pass, shape, 1e3 * seconds,
           operations / seconds / 1e9, bytes / seconds / 1e9, 1e3 * floor_s, 100.0 * floor_s / seconds);
}

static void print_table(const qd_profile *p)
{
    double pass_seconds[QD_PROFILE_PASS_COUNT] = {0}, pass_floor[QD_PROFILE_PASS_COUNT] = {0};
    double operations[QD_PROFILE_PASS_COUNT] = {0}, bytes[QD_PROFILE_PASS_COUNT] = {0};
    double seconds = 0.0, floor_s = 0.0, all_operations = 0.0, all_bytes = 0.0;
    printf("peak %.0f GFLOP/s, bandwidth %.1f GB/s\n", p->peak_flops / 1e9, p->bandwidth / 1e9);
    printf("%-44s %-16s %-16s %12s %9s %9s %8s %9s %8s\n", "module", "layer", "pass", "shape", "ms", "GFLOP/s",
           "GB/s", "floor ms", "% floor");
    for (int i = 0; i < p->row_count; i++) {
        const qd_profile_row *r = &p->rows[i];
        print_line(r->module, r->layer, qd_profile_pass_name(r->pass), r->shape, r->best_s, r->operations, r->bytes,
                   r->floor_s);
        pass_seconds[r->pass] += r->best_s;
        pass_floor[r->pass] += r->floor_s;
        operations[r->pass] += r->operations;
        bytes[r->pass] += r->bytes;
    }
    for (int pass = 0; pass < QD_PROFILE_PASS_COUNT; pass++) {
        if (pass_seconds[pass] > 0.0)
            print_line("all", "", qd_profile_pass_name((enum qd_profile_pass)pass), "", pass_seconds[pass],
                       operations[pass], bytes[pass], pass_floor[pass]);
        seconds += pass_seconds[pass];
        floor_s += pass_floor[pass];
        all_operations += operations[pass];
        all_bytes += bytes[pass];
    }
    print_line("all layers", "", "", "", seconds, all_operations, all_bytes, floor_s);
    print_line("whole step", "", "", "", p->step_s, all_operations, all_bytes, floor_s);
}

/* One complete event ("ph": "X") a layer call, times in microseconds. */
static cJSON *trace_event(const qd_profile_row *r)
{
    cJSON *event = cJSON_CreateObject();
    if (event && cJSON_AddStringToObject(event, "name", r->module) &&
        cJSON_AddStringToObject(event, "cat", qd_profile_pass_name(r->pass)) &&
        cJSON_AddStringToObject(event, "ph", "X") &&
        cJSON_AddItemToObject(event, "ts", qd_json_double(1e6 * r->begin_s)) &&
        cJSON_AddItemToObject(event, "dur", qd_json_double(1e6 * (r->end_s - r->begin_s))) &&
        cJSON_AddItemToObject(event, "pid", qd_json_int(1)) && cJSON_AddItemToObject(event, "tid", qd_json_int(1)))
        return event;
    cJSON_Delete(event);
    return NULL;
}

static enum qd_status write_trace(qd_context *ctx, const char *path, const qd_profile *p)
{
    cJSON *root = cJSON_CreateObject();
    cJSON *events = root ? cJSON_AddArrayToObject(root, "traceEvents") : NULL;
    enum qd_status status = events ? QD_OK : QD_ERR_MEMORY;
    for (int i = 0; status == QD_OK && i < p->row_count; i++) {
        cJSON *event = trace_event(&p->rows[i]);
        if (!event || !cJSON_AddItemToArray(events, event)) {
            cJSON_Delete(event);
            status = QD_ERR_MEMORY;
        }
    }
    if (status == QD_OK)
        status = qd_json_write(ctx, path, root);
    cJSON_Delete(root);
    return status;
}

int cli_command_profile(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_bench_argp, 0, "What to measure:", 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "MODEL",
        .doc =
            "Where a training step's time goes, layer by layer: milliseconds of the best of several steps, GFLOP/s, "
            "GB/s, and the floor: the layer's operations at this machine's peak or its fewest bytes at this "
            "machine's bandwidth, both measured first. Convolutions count as direct ones: where Winograd's way is "
            "taken, the floor can be passed."
            "\vExample: quantdrift profile efficientnet_b0 --batch 32 --trace trace.json",
        .children = children,
    };
    profile_options options = {.config = cli_bench_defaults()};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    qd_profile profile = {0};
    status = qd_profile_run(ctx, &options.config, &profile);
    if (status == QD_OK)
        print_table(&profile);
    if (status == QD_OK && options.trace)
        status = write_trace(ctx, options.trace, &profile);
    const int code = cli_report(ctx, status);
    qd_profile_free(&profile);
    qd_context_destroy(ctx);
    return code;
}
