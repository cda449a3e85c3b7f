#include "cli/cli.h"
#include "cli/module_json.h"
#include "cli/network_options.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_JSON = 0x100 };

/* How many of the widest ranges are named at the end. */
enum { WORST_COUNT = 5 };

typedef struct observe_options {
    cli_common common;
    qd_network_config network;
    const char *json;
    const char **images; /* borrowed from argv */
    int64_t image_count;
} observe_options;

static const struct argp_option option_list[] = {
    {"json", KEY_JSON, "FILE", 0, "Write one object keyed by module path as well", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    observe_options *options = state->input;
    switch (key) {
    case KEY_JSON:
        options->json = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->network;
        state->child_inputs[1] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        if (!options->network.checkpoint)
            options->network.checkpoint = arg;
        else
            options->images[options->image_count++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->network.checkpoint)
            argp_error(state, "name a checkpoint, such as results/demo/checkpoints/resnet18_last.safetensors");
        if (options->image_count == 0)
            argp_error(state, "name at least one image behind the checkpoint");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static enum qd_status read_images(qd_context *ctx, const observe_options *options, int64_t size, float *batch)
{
    for (int64_t i = 0; i < options->image_count; i++) {
        qd_image image = {0};
        QD_TRY(qd_image_read(ctx, options->images[i], &image));
        enum qd_status status = qd_image_eval_transform(ctx, &image, (int32_t)size, batch + i * size * size * 3);
        qd_image_free(&image);
        QD_TRY(status);
    }
    return QD_OK;
}

/* The network itself has an empty path, which JSON keeps. */
static const char *shown_path(const qd_module_report *report)
{
    return report->path[0] != '\0' ? report->path : "(network)";
}

static int by_falling_range(const void *a, const void *b)
{
    double x = cli_module_range(a), y = cli_module_range(b);
    return (x < y) - (x > y);
}

static void format_shape(const qd_module_report *report, char *text, size_t size)
{
    size_t used = 0;
    for (int d = 0; d < report->rank && used < size; d++)
        used += (size_t)snprintf(text + used, size - used, "%s%" PRId64, d > 0 ? "x" : "", report->shape[d]);
}

static int print_table(const qd_module_report *reports, int count)
{
    int path_width = (int)strlen("module"), type_width = (int)strlen("type"), shape_width = (int)strlen("shape");
    for (int i = 0; i < count; i++) {
        char shape[96];
        format_shape(&reports[i], shape, sizeof shape);
        int path = cli_text_width(shown_path(&reports[i])), type = cli_text_width(reports[i].class_name);
        path_width = path > path_width ? path : path_width;
        type_width = type > type_width ? type : type_width;
        shape_width = (int)strlen(shape) > shape_width ? (int)strlen(shape) : shape_width;
    }
    printf("%-*s  %-*s  %-*s  %10s  %10s  %10s  %10s  %10s  %7s  %8s\n", path_width, "module", type_width, "type",
           shape_width, "shape", "min", "max", "mean", "std", "range", "zeros %", "outliers");
    for (int i = 0; i < count; i++) {
        const qd_module_report *r = &reports[i];
        char shape[96];
        format_shape(r, shape, sizeof shape);
        printf("%-*s  %-*s  %-*s  %10.4f  %10.4f  %10.4f  %10.4f  %10.4f  %7.2f  %8.2f", path_width, shown_path(r),
               type_width, r->class_name, shape_width, shape, r->min, r->max, r->mean, r->std, cli_module_range(r),
               r->zeros_pct, r->outlier_ratio);
        if (r->nonfinite_count > 0)
            printf("  %" PRId64 " values not finite", r->nonfinite_count);
        putchar('\n');
    }
    printf("total layers captured: %d\n", count);
    return path_width;
}

static enum qd_status print_worst(const qd_module_report *reports, int count, int path_width)
{
    qd_module_report *sorted = malloc((size_t)count * sizeof *sorted);
    if (!sorted)
        return QD_ERR_MEMORY;
    memcpy(sorted, reports, (size_t)count * sizeof *sorted);
    qsort(sorted, (size_t)count, sizeof *sorted, by_falling_range);
    printf("worst ranges:\n");
    for (int i = 0; i < count && i < WORST_COUNT; i++)
        printf("  %-*s  %10.4f  [%.4f, %.4f]\n", path_width, shown_path(&sorted[i]), cli_module_range(&sorted[i]),
               sorted[i].min, sorted[i].max);
    free(sorted);
    return QD_OK;
}

static enum qd_status write_json(qd_context *ctx, const char *path, const qd_module_report *reports, int count)
{
    cJSON *root = cJSON_CreateObject();
    enum qd_status status = root ? QD_OK : QD_ERR_MEMORY;
    for (int i = 0; status == QD_OK && i < count; i++)
        status = cli_module_add_json(root, &reports[i], true) ? QD_OK : QD_ERR_MEMORY;
    if (status == QD_OK)
        status = qd_json_write(ctx, path, root);
    cJSON_Delete(root);
    return status;
}

static enum qd_status observe(qd_context *ctx, observe_options *options)
{
    enum qd_status status = QD_OK;
    qd_network *network = NULL;
    qd_module_report *reports = NULL;
    float *batch = NULL;
    options->network.max_batch = options->image_count;
    QD_TRY_GOTO(qd_network_load(ctx, &options->network, &network));
    int64_t size = qd_network_image_size(network);
    batch = calloc((size_t)(options->image_count * size * size * 3), sizeof *batch);
    if (!batch) {
        status = QD_ERR_MEMORY;
        goto fail;
    }
    int count = 0;
    QD_TRY_GOTO(read_images(ctx, options, size, batch));
    QD_TRY_GOTO(qd_network_observe(network, batch, options->image_count, &reports, &count));
    int path_width = print_table(reports, count);
    QD_TRY_GOTO(print_worst(reports, count, path_width));
    if (options->json)
        QD_TRY_GOTO(write_json(ctx, options->json, reports, count));
fail:
    free(reports);
    free(batch);
    qd_network_destroy(network);
    return status;
}

int cli_command_observe(int argc, char **argv)
{
    const struct argp_child children[] = {
        {&cli_network_argp, 0, CLI_NETWORK_HEADING, 1}, {&cli_common_argp, 0, "Common options:", 2}, {0}};
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .args_doc = "CHECKPOINT IMAGE...",
        .doc = "What every called module of a checkpoint puts out over the given images, in eval mode with the "
               "validation transform: shape, smallest and largest value, mean, standard deviation, range, share of "
               "zeros, and the largest value in standard deviations."
               "\vExample: quantdrift observe results/demo/checkpoints/resnet18_last.safetensors "
               "data/synth/val/*/*.jpg --json observed.json",
        .children = children,
    };
    observe_options options = {.images = calloc((size_t)argc, sizeof(char *))};
    if (!options.images)
        return cli_error(QD_ERR_MEMORY, "out of memory");
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    int code = status == QD_OK ? cli_report(ctx, observe(ctx, &options)) : cli_exit_code(status);
    qd_context_destroy(ctx);
    free(options.images);
    return code;
}
