#include "cli/bench_infer.h"

#include "base/json.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <math.h>
#include <quantdrift/inference.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a network without a file: ImageWoof's. */
#define DEFAULT_CLASSES 10

#define DEFAULT_POWERCAP "/sys/class/powercap"

static const char *const form_names[QD_INFERENCE_FORM_COUNT] = {"float", "INT8"};
static const char *const form_keys[QD_INFERENCE_FORM_COUNT] = {"float", "int8"};

typedef struct infer_values {
    cli_common common;
    qd_inference_config config;
    cli_list files;
    const char *json, *transform;
} infer_values;

static const char *check(void *values)
{
    infer_values *v = values;
    if (v->files.count == 0 && !v->config.network.model)
        return "name a checkpoint, or a model with --model: resnet18 or efficientnet_b0";
    if (v->transform && !v->config.frames)
        return "--transform needs --frames: random input has the network's size already";
    if (v->transform)
        qd_frame_transform_parse(v->transform, &v->config.transform);
    return NULL;
}

/* ---- tables ---- */

static int first_form(const qd_inference_result *r)
{
    return r->int8_alone ? QD_INFERENCE_INT8 : QD_INFERENCE_FLOAT;
}

/* Over float; NaN where that was not measured. */
static double speed_up(const qd_inference_result *r, int form)
{
    return r->int8_alone ? (double)NAN : r->form[QD_INFERENCE_FLOAT].median_ms / r->form[form].median_ms;
}

static double watt_hours(double joules)
{
    return joules / 3600;
}

/* One size where all networks have it, else each network's in the order of the rows. */
static void print_sizes(const qd_inference_result *results, int count)
{
    int same = 1;
    while (same < count && results[same].image_size == results[0].image_size)
        same++;
    printf("%" PRId64, results[0].image_size);
    for (int i = 1; same < count && i < count; i++)
        printf(", %" PRId64, results[i].image_size);
    printf(" px");
}

static void print_heading(qd_context *ctx, const infer_values *v, const qd_inference_result *results, int count)
{
    print_sizes(results, count);
    printf(", batch %" PRId64 ", %d threads, %s, %" PRId64 " runs on ", v->config.batch, qd_context_threads(ctx),
           qd_isa_name(qd_context_isa(ctx)), results[0].runs);
    if (v->config.frames) {
        printf("frames of ");
        cli_print_padded(v->config.frames, 0);
        printf(" (%s)\n", qd_frame_transform_name(v->config.transform));
    } else {
        printf("random input\n");
    }
}

static void print_speed(const qd_inference_result *results, int count)
{
    printf("%-16s %-6s %9s %10s %10s %9s %9s\n", "model", "form", "MB", "ms/frame", "p90", "FPS", "speed-up");
    for (int i = 0; i < count; i++)
        for (int form = first_form(&results[i]); form < QD_INFERENCE_FORM_COUNT; form++) {
            const qd_inference_speed *s = &results[i].form[form];
            printf("%-16s %-6s %9.2f %10.3f %10.3f %9.1f ", results[i].model, form_names[form],
                   1e-6 * (double)s->stored_bytes, s->median_ms, s->p90_ms, 1e3 / s->median_ms);
            if (results[i].int8_alone)
                printf("%9s\n", "-");
            else
                printf("%9.2f\n", speed_up(&results[i], form));
        }
}

static void print_energy(const qd_inference_result *results, int count)
{
    if (results[0].energy_problem[0] != '\0') {
        printf("energy: not measured, ");
        cli_print_padded(results[0].energy_problem, 0);
        putchar('\n');
        return;
    }
    printf("%-16s %-6s %9s %12s %14s\n", "model", "form", "time s", "Wh", "Wh/frame");
    for (int i = 0; i < count; i++)
        for (int form = first_form(&results[i]); form < QD_INFERENCE_FORM_COUNT; form++) {
            const qd_inference_speed *s = &results[i].form[form];
            printf("%-16s %-6s %9.3f %12.6f %14.9f\n", results[i].model, form_names[form], s->seconds,
                   watt_hours(s->joules), watt_hours(s->joules) / (double)results[i].frame_count);
        }
}

/* ---- JSON ---- */

static bool add_speed(cJSON *object, const qd_inference_result *r, int form)
{
    const qd_inference_speed *s = &r->form[form];
    cJSON *speed = cJSON_AddObjectToObject(object, form_keys[form]);
    const double wh = watt_hours(s->joules);
    return speed && cJSON_AddItemToObject(speed, "stored_bytes", qd_json_int(s->stored_bytes)) &&
           cJSON_AddItemToObject(speed, "median_ms", qd_json_double(s->median_ms)) &&
           cJSON_AddItemToObject(speed, "p90_ms", qd_json_double(s->p90_ms)) &&
           cJSON_AddItemToObject(speed, "fps", qd_json_double(1e3 / s->median_ms)) &&
           cJSON_AddItemToObject(speed, "speed_up", qd_json_double(speed_up(r, form))) &&
           cJSON_AddItemToObject(speed, "seconds", qd_json_double(s->seconds)) &&
           cJSON_AddItemToObject(speed, "wh", qd_json_double(wh)) &&
           cJSON_AddItemToObject(speed, "wh_per_frame", qd_json_double(wh / (double)r->frame_count));
}

static bool add_network(cJSON *list, const infer_values *v, const qd_inference_result *r, int index)
{
    cJSON *object = cJSON_CreateObject();
    if (!object || !cJSON_AddItemToArray(list, object))
        return false;
    bool ok =
        cJSON_AddStringToObject(object, "model", r->model) &&
        cJSON_AddItemToObject(object, "file",
                              v->files.count > 0 ? cJSON_CreateString(v->files.items[index]) : cJSON_CreateNull()) &&
        cJSON_AddItemToObject(object, "image_size", qd_json_int(r->image_size)) &&
        cJSON_AddItemToObject(object, "runs", qd_json_int(r->runs)) &&
        cJSON_AddItemToObject(object, "frames", qd_json_int(r->frame_count));
    for (int form = first_form(r); ok && form < QD_INFERENCE_FORM_COUNT; form++)
        ok = add_speed(object, r, form);
    return ok;
}

static enum qd_status write_json(qd_context *ctx, const infer_values *v, const qd_inference_result *results,
                                 int count)
{
    const qd_inference_config *config = &v->config;
    const char *problem = results[0].energy_problem;
    cJSON *root = cJSON_CreateObject();
    cJSON *list = root ? cJSON_AddArrayToObject(root, "networks") : NULL;
    bool ok = list && cJSON_AddItemToObject(root, "batch", qd_json_int(config->batch)) &&
              cJSON_AddItemToObject(root, "threads", qd_json_int(qd_context_threads(ctx))) &&
              cJSON_AddStringToObject(root, "cpu", qd_isa_name(qd_context_isa(ctx))) &&
              cJSON_AddItemToObject(root, "frames_folder",
                                    config->frames ? cJSON_CreateString(config->frames) : cJSON_CreateNull()) &&
              cJSON_AddStringToObject(root, "transform", qd_frame_transform_name(config->transform)) &&
              cJSON_AddItemToObject(root, "energy_problem",
                                    problem[0] != '\0' ? cJSON_CreateString(problem) : cJSON_CreateNull());
    for (int i = 0; ok && i < count; i++)
        ok = add_network(list, v, &results[i], i);
    const enum qd_status status = ok ? qd_json_write(ctx, v->json, root) : QD_ERR_MEMORY;
    cJSON_Delete(root);
    return status;
}

/* ---- */

static enum qd_status measure(qd_context *ctx, void *values)
{
    const infer_values *v = values;
    const int count = v->files.count > 0 ? (int)v->files.count : 1;
    enum qd_status status = QD_OK;
    qd_inference_result *results = calloc((size_t)count, sizeof *results);
    if (!results)
        return QD_ERR_MEMORY;
    for (int i = 0; i < count; i++) {
        qd_inference_config config = v->config;
        if (v->files.count > 0)
            config.network.checkpoint = v->files.items[i];
        else if (config.network.num_classes == 0)
            config.network.num_classes = DEFAULT_CLASSES;
        QD_TRY_GOTO(qd_inference_measure(ctx, &config, &results[i]));
    }
    if (v->json)
        QD_TRY_GOTO(write_json(ctx, v, results, count));
    print_heading(ctx, v, results, count);
    print_speed(results, count);
    print_energy(results, count);
fail:
    free(results);
    return status;
}

static const cli_option options[] = {
    {"batch", 0, "B", "Frames at a time (default 1)", CLI_INT(infer_values, config.batch, 1, 4096)},
    {"runs", 0, "N", "Counted runs (default: all frames once; 100 without --frames)",
     CLI_INT(infer_values, config.runs, 1, 1000000)},
    {"frames", 0, "DIR", "Images to run on, those of the folders below DIR too (default: random input)",
     CLI_TEXT(infer_values, config.frames)},
    {"transform", 0, "NAME",
     "validation: resize the shorter side, crop the centre (default); squash: resize to a square",
     CLI_CHOICE(infer_values, transform, "validation|squash")},
    {"json", 0, "FILE", "Write the figures as JSON too", CLI_TEXT(infer_values, json)},
    {"powercap", 0, "DIR", "Tree of energy counters (default " DEFAULT_POWERCAP ")",
     CLI_TEXT(infer_values, config.powercap)},
    {0},
};

static const cli_command command = {
    .options = options,
    .groups = {CLI_NETWORK_GROUP(offsetof(infer_values, config.network))},
    .usage = "[FILE...]",
    .argument_at = offsetof(infer_values, files),
    .doc = "Speed of checkpoints, of quantized model files (INT8 alone), or of a model with random weights, as they "
           "are used: BatchNorm folded, in float32 and as INT8 (checkpoints are quantized in memory with ranges of "
           "the first frames), each frame decoded before. Prints the size of what a file must hold, milliseconds a "
           "frame (median and 90th percentile "
           "of the runs), frames a second of the median, and time and energy of all runs where the processor's "
           "powercap counters can be read."
           "\vExample: quantdrift bench infer --model resnet18 --runs 200 --threads 2",
    .check = check,
    .run = measure,
};

int cli_bench_infer(int argc, char **argv)
{
    char name[] = "quantdrift bench infer";
    argv[0] = name;
    infer_values values = {.config = {.batch = 1, .powercap = DEFAULT_POWERCAP}};
    return cli_run(&command, argc, argv, &values);
}
