#include "cli/module_json.h"
#include "cli/options.h"
#include <quantdrift/init_study.h>
#include <stdio.h>
#include <string.h>

typedef struct init_study_values {
    cli_common common;
    int64_t seed;
    const char *json;
} init_study_values;

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

static enum qd_status run_study(qd_context *ctx, void *values)
{
    const init_study_values *v = values;
    qd_init_study *study = NULL;
    QD_TRY(qd_init_study_run(ctx, (uint64_t)v->seed, &study));
    const qd_init_study_stack *stack;
    for (int s = 0; (stack = qd_init_study_get(study, s)) != NULL; s++) {
        if (s > 0)
            putchar('\n');
        print_stack(stack, (uint64_t)v->seed);
    }
    enum qd_status status = v->json ? write_json(ctx, v->json, study) : QD_OK;
    qd_init_study_destroy(study);
    return status;
}

static const cli_option options[] = {
    {"seed", 0, "N", "As torch.manual_seed (default 42)", CLI_INT(init_study_values, seed, 0, INT64_MAX)},
    {"json", 0, "FILE", "Write one object for each stack, keyed by module, with full precision",
     CLI_TEXT(init_study_values, json)},
    {0},
};

static const cli_command command = {
    .options = options,
    .doc = "What freshly initialised blocks put out before any training: two plain blocks of ResNet18 and two "
           "MBConv blocks of EfficientNet-B0, without residuals, on one random image of 224 x 224 in training "
           "mode. The same seed gives PyTorch's numbers."
           "\vExample: quantdrift init-study --seed 42 --json init_study.json",
    .run = run_study,
};

int cli_command_init_study(int argc, char **argv)
{
    init_study_values values = {.seed = 42};
    return cli_run(&command, argc, argv, &values);
}
