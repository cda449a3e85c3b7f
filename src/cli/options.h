/*
 * Subcommands as tables (run, status and verify, whose exit codes are their own, use argp themselves): what options
 * they take, where their values go, and what they do then. The values of a subcommand are a struct that begins with a
 * cli_common; its defaults are there before options are read.
 */
#ifndef QD_CLI_OPTIONS_H
#define QD_CLI_OPTIONS_H

#include "cli/cli.h"
#include <stddef.h>

enum cli_option_kind {
    CLI_OPTION_FLAG, /* bool, becomes true */
    CLI_OPTION_TEXT, /* const char *, borrowed from argv */
    CLI_OPTION_INT,  /* int64_t in [low, high] */
    CLI_OPTION_WORD  /* int in [low, high] */
};

/* Positional arguments. Room for them is made before they are read and is gone when the subcommand has run. */
typedef struct cli_list {
    const char **items; /* borrowed from argv */
    int64_t count;
} cli_list;

typedef struct cli_option {
    const char *name;        /* long form; NULL ends a table */
    int letter;              /* short form; 0: none */
    const char *placeholder; /* "FILE"; NULL for flags */
    const char *doc;         /* with the default, or "(required)" */
    enum cli_option_kind kind;
    size_t at; /* offset of the value */
    int64_t low, high;
    const char *choices; /* "train|forward": what a text may be; NULL: anything */
} cli_option;

#define CLI_FLAG(type, member)            CLI_OPTION_FLAG, offsetof(type, member), 0, 0, NULL
#define CLI_TEXT(type, member)            CLI_OPTION_TEXT, offsetof(type, member), 0, 0, NULL
#define CLI_CHOICE(type, member, choices) CLI_OPTION_TEXT, offsetof(type, member), 0, 0, choices
#define CLI_INT(type, member, low, high)  CLI_OPTION_INT, offsetof(type, member), low, high, NULL
#define CLI_WORD(type, member, low, high) CLI_OPTION_WORD, offsetof(type, member), low, high, NULL

/* Keys of a recipe and their texts, in the order they were given; a text is NULL where a switch is turned on. Room as
 * for a cli_list. */
typedef struct cli_settings {
    const char **names, **texts;
    int count;
} cli_settings;

/* Options that several subcommands share, under a heading of their own; their offsets are from `at`. */
typedef struct cli_option_group {
    const char *heading;       /* NULL ends the list of groups */
    const cli_option *options; /* NULL: keys of a recipe, into the cli_settings at `at` */
    size_t at;
    const char *const *keys; /* which ones, up to a NULL; NULL: all */
} cli_option_group;

/* More than any subcommand has. */
#define CLI_MAX_GROUPS 4

typedef struct cli_command {
    const cli_option *options; /* of its own; may be NULL */
    cli_option_group groups[CLI_MAX_GROUPS];
    const char *usage;    /* "CHECKPOINT"; NULL: no positional arguments */
    const char *argument; /* what the only argument is, for the error of a second one; NULL: any number of them */
    const char *choices;  /* that it must be one of; NULL: anything */
    size_t argument_at;   /* of a const char *, without `argument` of a cli_list */
    const char *doc;      /* what it does, '\v', an example */
    /* What is wrong with the values as a whole, as a sentence; NULL: nothing. May fill in what follows from them. */
    const char *(*check)(void *values);
    enum qd_status (*run)(qd_context *ctx, void *values);
} cli_command;

/* Reads options (a usage error ends the program), creates the context, runs, and reports. Returns the exit code. */
int cli_run(const cli_command *command, int argc, char **argv, void *values);

/* Limits that options share. Networks of five halvings see nothing below 32 pixels; 4096 keeps sizes far from
 * overflow. */
#define CLI_MIN_IMAGE_SIZE 32
#define CLI_MAX_IMAGE_SIZE 4096
#define CLI_MAX_COUNT      1000000000

#endif
