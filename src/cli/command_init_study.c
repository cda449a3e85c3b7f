#include "cli/cli.h"
#include "cli/module_json.h"
#include <quantdrift/init_study.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SEED = 0x100, KEY_JSON };

typedef struct init_study_options {
    cli_common common;
    uint64_t seed;
    const char *json;
} init_study_options;

static const struct argp_option option_list[] = {
    {"seed", KEY_SEED, "N", 0, "As torch.manual_seed (default 42)", 0},
    {"json", KEY_JSON, "FILE", 0, "Write one object for each stack, keyed by module, with full precision", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    init_study_options *options = state->input;
    switch (key) {
    case KEY_SEED:
        options->seed = (uint64_t)cli_parse_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case KEY_JSON:
        options->json = arg;
        return 0;
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->common;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_stack(const qd_init_study_stack *stack, uint64_t seed)
{
    int name_width = (int)strlen("module"), type_width = (int)strlen("type");
    for (int i = 0; i < stack->module_count; i++) {
        int name = (int)strlen(stack->modules[i].path), type = (int)strlen(stack->modules[i].class_name);
        name_width = name > name_width ? name : name_width;
        type_width = type > type_width ? type : type_width;
    }
    printf("%s, seed %llu\n%-*s  %-*s  %8s  %8s  %8s  %8s\n", stack->title, (unsigned long long)seed, name_width,
           "module", type_width, "type", "min", "max", "range", "std");
    for (int i = 0; i < stack->module_count; i++) {
        const qd_module_report *m = &stack->modules[i];
        printf("%-*s  %-*s  %8.2f  %8.2f  %8.2f  %8.2f\n", name_width, m->path, type_width, m->class_name, m->min,
               m->max, cli_module_range(m), m->std);
    }
}

static enum qd_status write_json(qd_context *ctx, const char *path, const qd_init_study *study)
{
    cJSON *root = cJSON_CreateObject();
    enum qd_status status = root ? QD_OK : QD_ERR_MEMORY;
    const qd_init_study_stack *stack;
    for (int s = 0; status == QD_OK && (stack = qd_init_study_get(study, s)) != NULL; s++) {
        cJSON *object = cJSON_AddObjectToObject(root, stack->name);
        bool ok = object != NULL;
        for (int i = 0; ok && i < stack->module_count; i++)
            ok = cli_module_add_json(object, &stack->modules[i], false);
        status = ok ? QD_OK : QD_ERR_MEMORY;
    }
    if (status == QD_OK)
        status = qd_json_write(ctx, path, root);
    cJSON_Delete(root);
    return status;
}

static enum qd_status run_study(qd_context *ctx, const init_study_options *options)
{
    qd_init_study *study = NULL;
    QD_TRY(qd_init_study_run(ctx, options->seed, &study));
    const qd_init_study_stack *stack;
    for (int s = 0; (stack = qd_init_study_get(study, s)) != NULL; s++) {
        if (s > 0)
            putchar('\n');
        print_stack(stack, options->seed);
    }
    enum qd_status status = options->json ? write_json(ctx, options->json, study) : QD_OK;
    qd_init_study_destroy(study);
    return status;
}

int cli_command_init_study(int argc, char **argv)
{
    const struct argp argp = {
        .options = option_list,
        .parser = parse_option,
        .doc = "What freshly initialised blocks put out before any training: two plain blocks of ResNet18 and two "
               "MBConv blocks of EfficientNet-B0, without residuals, on one random image of 224 x 224 in training "
               "mode. The same seed gives PyTorch's numbers."
               "\vExample: quantdrift init-study --seed 42 --json init_study.json",
        .children = cli_common_children,
    };
    init_study_options options = {.seed = 42};
    argp_parse(&argp, argc, argv, 0, NULL, &options);

    qd_context *ctx = NULL;
    enum qd_status status = cli_create_context(&options.common, &ctx);
    if (status != QD_OK)
        return cli_exit_code(status);
    int code = cli_report(ctx, run_study(ctx, &options));
    qd_context_destroy(ctx);
    return code;
}
