/* What the subcommands share: options, the context, errors and exit codes, tables of text. */
#ifndef QD_CLI_CLI_H
#define QD_CLI_CLI_H

#include "cli/command_list.h"
#include "cli/progress.h"
#include <argp.h>
#include <quantdrift/context.h>

enum cli_exit { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_BAD_INPUT = 3, CLI_INTERRUPTED = 130 };

/* A subcommand: argv[0] is "quantdrift <name>". Returns the exit code. */
#define DECLARE_COMMAND(name, summary) int cli_command_##name(int argc, char **argv);
QD_COMMAND_LIST(DECLARE_COMMAND)
#undef DECLARE_COMMAND

/* ---- options that every subcommand takes ---- */

typedef struct cli_common {
    int threads; /* 0: all the process may use */
    bool limit_isa;
    enum qd_isa max_isa;
    bool quiet;
    bool silent;           /* another process tells what this one would */
    bool started;          /* the context is there: log lines are no failures */
    cli_progress progress; /* shared by progress line and log lines; filled by cli_create_context() */
} cli_common;

/* Child parser for --threads, --cpu and --quiet; its input is a cli_common. */
extern const struct argp cli_common_argp;

/* Child list for `struct argp`: the common options under their own heading. */
extern const struct argp_child cli_common_children[];

/* Creates the context the options ask for; on failure prints the sentence. */
enum qd_status cli_create_context(cli_common *common, qd_context **out);

/* Parses a whole number in [low, high]; ends the program with a usage error that names the option otherwise. */
int64_t cli_parse_int(const struct argp_state *state, const char *option, const char *text, int64_t low,
                      int64_t high);

/* ---- outcome ---- */

/* The exit code that belongs to an outcome. */
int cli_exit_code(enum qd_status status);

/* Prints the context's sentence when `status` is a failure; returns the exit code that belongs to it. */
int cli_report(const qd_context *ctx, enum qd_status status);

/* Prints "quantdrift: " and a sentence; returns the exit code of `status`. */
int cli_error(enum qd_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- text ---- */

enum { CLI_TEXT_BYTES = 1024 };

/* Shows control characters and bytes that are no UTF-8 as \xNN. */
void cli_escape(const char *text, char escaped[CLI_TEXT_BYTES]);

/* Prints `text`, which may hold hostile bytes, escaped and padded with spaces to `width` characters. */
void cli_print_padded(const char *text, int width);

/* Number of characters cli_print_padded() prints for `text` without padding. */
int cli_text_width(const char *text);

/* "<folder>/<name>" when that is a folder, else NULL; freed with free(). */
char *cli_subfolder(const char *folder, const char *name);

#endif
