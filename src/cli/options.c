#include "cli/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options of all groups, headings and the end; keys of options without a letter start above every character and below
 * those of the common options. */
enum { MAX_ENTRIES = 48, FIRST_KEY = 0x400 };

typedef struct parser {
    const cli_command *command;
    char *values;
    struct argp_option entries[MAX_ENTRIES]; /* as argp wants them */
    const cli_option *options[MAX_ENTRIES];  /* the same; NULL of headings */
    size_t bases[MAX_ENTRIES];               /* offset of the group's values */
    int count;
} parser;

static void add_options(parser *p, const cli_option *options, size_t base, int group)
{
    for (; options && options->name; options++) {
        p->options[p->count] = options;
        p->bases[p->count] = base;
        p->entries[p->count] = (struct argp_option){.name = options->name,
                                                    .key = options->letter ? options->letter : FIRST_KEY + p->count,
                                                    .arg = options->placeholder,
                                                    .doc = options->doc,
                                                    .group = group};
        p->count++;
    }
}

static void lay_out(parser *p)
{
    add_options(p, p->command->options, 0, 0);
    for (int g = 0; g < CLI_MAX_GROUPS && p->command->groups[g].heading; g++) {
        const cli_option_group *group = &p->command->groups[g];
        p->entries[p->count++] = (struct argp_option){.doc = group->heading, .group = g + 1};
        add_options(p, group->options, group->at, g + 1);
    }
}

/* The list that positional arguments fill; NULL where one at most is taken. */
static cli_list *argument_list(const parser *p)
{
    if (!p->command->usage || p->command->argument)
        return NULL;
    return (cli_list *)(void *)(p->values + p->command->argument_at);
}

/* Ends the program unless `text` is one of "a|b|c". */
static void require_choice(const char *choices, const char *name, const char *text, const struct argp_state *state)
{
    const size_t length = strlen(text);
    for (const char *choice = choices; choice;) {
        const char *end = strchrnul(choice, '|');
        if ((size_t)(end - choice) == length && memcmp(choice, text, length) == 0)
            return;
        choice = *end ? end + 1 : NULL;
    }
    argp_error(state, "%s: expected one of %s, got '%s'", name, choices, text);
}

static void set_value(const parser *p, int index, char *text, const struct argp_state *state)
{
    const cli_option *option = p->options[index];
    char name[64];
    void *value = p->values + p->bases[index] + option->at;
    snprintf(name, sizeof name, "--%s", option->name);
    switch (option->kind) {
    case CLI_OPTION_FLAG:
        *(bool *)value = true;
        break;
    case CLI_OPTION_TEXT:
        if (option->choices)
            require_choice(option->choices, name, text, state);
        *(const char **)value = text;
        break;
    case CLI_OPTION_INT:
        *(int64_t *)value = cli_parse_int(state, name, text, option->low, option->high);
        break;
    case CLI_OPTION_WORD:
        *(int *)value = (int)cli_parse_int(state, name, text, option->low, option->high);
        break;
    }
}

static void add_argument(const parser *p, const char *text, const struct argp_state *state)
{
    const cli_command *command = p->command;
    if (!command->usage)
        argp_error(state, "unexpected argument '%s'", text);
    cli_list *list = argument_list(p);
    if (list) {
        list->items[list->count++] = text;
        return;
    }
    const char **only = (const char **)(void *)(p->values + command->argument_at);
    if (*only)
        argp_error(state, "one %s at a time: '%s' is too much", command->argument, text);
    if (command->choices)
        require_choice(command->choices, command->usage, text, state);
    *only = text;
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
    parser *p = state->input;
    const char *problem;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = p->values; /* a cli_common comes first */
        return 0;
    case ARGP_KEY_ARG:
        add_argument(p, text, state);
        return 0;
    case ARGP_KEY_END:
        problem = p->command->check ? p->command->check(p->values) : NULL;
        if (problem)
            argp_error(state, "%s", problem);
        return 0;
    default:
        for (int i = 0; i < p->count; i++) {
            if (!p->options[i] || p->entries[i].key != key)
                continue;
            set_value(p, i, text, state);
            return 0;
        }
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_run(const cli_command *command, int argc, char **argv, void *values)
{
    parser p = {.command = command, .values = values};
    cli_list *list = argument_list(&p);
    qd_context *ctx = NULL;
    if (list && !(list->items = calloc((size_t)argc, sizeof *list->items)))
        return cli_error(QD_ERR_MEMORY, "out of memory");
    lay_out(&p);
    const struct argp_child children[] = {{&cli_common_argp, 0, "Common options:", CLI_MAX_GROUPS + 1}, {0}};
    /* glibc's argp never frees what it allocates for the help of an empty list. */
    const struct argp argp = {.options = p.count > 0 ? p.entries : NULL,
                              .parser = parse_option,
                              .args_doc = command->usage,
                              .doc = command->doc,
                              .children = children};
    argp_parse(&argp, argc, argv, 0, NULL, &p);

    enum qd_status status = cli_create_context(values, &ctx);
    int code = cli_exit_code(status);
    if (status == QD_OK)
        code = cli_report(ctx, command->run(ctx, values));
    qd_context_destroy(ctx);
    if (list)
        free((void *)list->items);
    return code;
}
