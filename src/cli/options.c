#include "cli/options.h"
#include <ctype.h>
#include <quantdrift/recipe_settings.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options of all groups, headings and the end; keys of options without a letter start above every character and below
 * those of the common options. */
enum { MAX_ENTRIES = 64, FIRST_KEY = 0x400, NAME_BYTES = 40, DOC_BYTES = 200 };

/* An entry that stands for a key of a recipe. */
typedef struct setting {
    bool used;
    qd_recipe_key key;
    char name[NAME_BYTES]; /* with hyphens */
    char doc[DOC_BYTES];   /* with the default */
} setting;

typedef struct parser {
    const cli_command *command;
    char *values;
    struct argp_option entries[MAX_ENTRIES]; /* as argp wants them */
    const cli_option *options[MAX_ENTRIES];  /* the same; NULL of headings and settings */
    setting settings[MAX_ENTRIES];
    size_t bases[MAX_ENTRIES]; /* offset of the group's values */
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

/* Writes "<doc> (default <value>)". */
static void describe(const qd_recipe_settings *defaults, const qd_recipe_key *key, char doc[DOC_BYTES])
{
    char *value = key->placeholder && defaults ? qd_recipe_settings_print(defaults, key->name) : NULL;
    const int quoted = value && value[0] == '"';
    if (key->is_list)
        snprintf(doc, DOC_BYTES, "%s (may be repeated)", key->doc);
    else if (value && value[0] != '{')
        snprintf(doc, DOC_BYTES, "%s (default %.*s)", key->doc, (int)strlen(value) - 2 * quoted, value + quoted);
    else
        snprintf(doc, DOC_BYTES, "%s", key->doc);
    doc[0] = (char)toupper((unsigned char)doc[0]);
    free(value);
}

static bool is_wanted(const char *const *keys, const char *name)
{
    for (; keys && *keys; keys++)
        if (strcmp(*keys, name) == 0)
            return true;
    return false;
}

/* An option for each of a group's keys of a recipe: an underscore of its name is a hyphen here. */
static void add_settings(parser *p, const char *const *keys, size_t base, int group)
{
    qd_recipe_settings *defaults = NULL; /* without memory for them the text lacks the defaults */
    (void)qd_recipe_settings_create(NULL, &defaults);
    for (int i = 0; p->count < MAX_ENTRIES - 1; i++) {
        setting *s = &p->settings[p->count];
        if (!qd_recipe_key_get(i, &s->key))
            break;
        if (keys && !is_wanted(keys, s->key.name))
            continue;
        s->used = true;
        snprintf(s->name, sizeof s->name, "%s", s->key.name);
        for (char *c = strchr(s->name, '_'); c; c = strchr(c, '_'))
            *c = '-';
        describe(defaults, &s->key, s->doc);
        p->bases[p->count] = base;
        p->entries[p->count] = (struct argp_option){
            .name = s->name, .key = FIRST_KEY + p->count, .arg = s->key.placeholder, .doc = s->doc, .group = group};
        p->count++;
    }
    qd_recipe_settings_destroy(defaults);
}

static void lay_out(parser *p)
{
    add_options(p, p->command->options, 0, 0);
    for (int g = 0; g < CLI_MAX_GROUPS && p->command->groups[g].heading; g++) {
        const cli_option_group *group = &p->command->groups[g];
        p->entries[p->count++] = (struct argp_option){.doc = group->heading, .group = g + 1};
        if (group->options)
            add_options(p, group->options, group->at, g + 1);
        else
            add_settings(p, group->keys, group->at, g + 1);
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

static void keep_setting(const parser *p, int index, const char *text)
{
    cli_settings *settings = (cli_settings *)(void *)(p->values + p->bases[index]);
    settings->names[settings->count] = p->settings[index].key.name;
    settings->texts[settings->count++] = text;
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
            if ((!p->options[i] && !p->settings[i].used) || p->entries[i].key != key)
                continue;
            if (p->options[i])
                set_value(p, i, text, state);
            else
                keep_setting(p, i, text);
            return 0;
        }
        return ARGP_ERR_UNKNOWN;
    }
}

/* The settings that a group of a recipe's keys fills; NULL: there is no such group. */
static cli_settings *settings_of(const parser *p)
{
    for (int g = 0; g < CLI_MAX_GROUPS && p->command->groups[g].heading; g++)
        if (!p->command->groups[g].options)
            return (cli_settings *)(void *)(p->values + p->command->groups[g].at);
    return NULL;
}

/* Makes room for as many arguments and settings as there can be. False when memory is short. */
static bool make_room(cli_list *list, cli_settings *settings, size_t argc)
{
    if (list)
        list->items = calloc(argc, sizeof *list->items);
    if (settings) {
        settings->names = calloc(argc, sizeof *settings->names);
        settings->texts = calloc(argc, sizeof *settings->texts);
    }
    return (!list || list->items) && (!settings || (settings->names && settings->texts));
}

static void free_room(cli_list *list, cli_settings *settings)
{
    if (list)
        free((void *)list->items);
    if (settings) {
        free((void *)settings->names);
        free((void *)settings->texts);
    }
}

int cli_run(const cli_command *command, int argc, char **argv, void *values)
{
    parser p = {.command = command, .values = values};
    cli_list *list = argument_list(&p);
    cli_settings *settings = settings_of(&p);
    qd_context *ctx = NULL;
    if (!make_room(list, settings, (size_t)argc)) {
        free_room(list, settings);
        return cli_error(QD_ERR_MEMORY, "out of memory");
    }
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
    free_room(list, settings);
    return code;
}
