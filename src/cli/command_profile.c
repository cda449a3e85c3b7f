#include "base/json.h"
#include "cli/bench_options.h"
#include <stdio.h>

typedef struct profile_values {
    cli_common common;
    qd_benchmark_config config;
    const char *trace;
    bool forward;
} profile_values;

static const char *check(void *values)
{
    profile_values *v = values;
    v->config.training = !v->forward;
    return v->config.model ? NULL : "name a model: resnet18 or efficientnet_b0";
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

static enum qd_status profile(qd_context *ctx, void *values)
{
    const profile_values *v = values;
    qd_profile found = {0};
    QD_TRY(qd_profile_run(ctx, &v->config, &found));
    print_table(&found);
    const enum qd_status status = v->trace ? write_trace(ctx, v->trace, &found) : QD_OK;
    qd_profile_free(&found);
    return status;
}

static const cli_option options[] = {
    {"trace", 0, "FILE", "Write the last step as a Chrome trace (chrome://tracing, Perfetto)",
     CLI_TEXT(profile_values, trace)},
    {"forward", 0, NULL, "The forward pass in eval mode only (default: a whole training step)",
     CLI_FLAG(profile_values, forward)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_BENCH_GROUP(offsetof(profile_values, config))},
    .usage = "MODEL",
    .argument = "model",
    .argument_at = offsetof(profile_values, config.model),
    .doc = "Where a training step's time goes, layer by layer: milliseconds of the best of several steps, GFLOP/s, "
           "GB/s, and the floor: the layer's operations at this machine's peak or its fewest bytes at this machine's "
           "bandwidth, both measured first. Convolutions count as direct ones: where Winograd's way is taken, the "
           "floor can be passed."
           "\vExample: quantdrift profile efficientnet_b0 --batch 32 --trace trace.json",
    .check = check,
    .run = profile,
};

int cli_command_profile(int argc, char **argv)
{
    profile_values values = {.config = cli_bench_defaults()};
    return cli_run(&command, argc, argv, &values);
}
