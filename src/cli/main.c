/* quantdrift's command line: finds the subcommand; answers --help and --version itself. */
#include "cli/cli.h"
#include <errno.h>
#include <quantdrift/build_info.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    int (*main)(int argc, char **argv);
} commands[] = {
#define COMMAND_ROW(name, summary) {#name, summary, cli_command_##name},
    QD_COMMAND_LIST(COMMAND_ROW)
#undef COMMAND_ROW
};

static const size_t command_count = sizeof commands / sizeof commands[0];

/* "init_study" is typed "init-study". */
enum { NAME_BYTES = 32 };

static void typed_name(const char *name, char text[NAME_BYTES])
{
    snprintf(text, NAME_BYTES, "%s", name);
    for (char *c = strchr(text, '_'); c; c = strchr(c, '_'))
        *c = '-';
}

static void print_help(FILE *stream)
{
    fputs("Usage: quantdrift COMMAND [OPTION...]\n"
          "Trains ResNet18 and EfficientNet-B0 from scratch, watches the range of every activation, quantizes each\n"
          "checkpoint to INT8, and shows when and why one of them stops surviving it.\n\nCommands:\n",
          stream);
    for (size_t i = 0; i < command_count; i++) {
        char name[NAME_BYTES];
        typed_name(commands[i].name, name);
        fprintf(stream, "  %-10s  %s\n", name, commands[i].summary);
    }
    fputs("\n  --help      this text; `quantdrift COMMAND --help` tells a command's options\n"
          "  --version   commit, compiler, libraries, instruction sets\n"
          "\nExample: quantdrift synth --out data/synth && quantdrift run experiments/demo.json\n"
          "\nExit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input data, 130 interrupted (--resume continues)\n",
          stream);
}

static void print_version(void)
{
    const qd_build_info info = qd_build_info_get();
    printf("quantdrift %s\ncommit     %s\ncompiler   %s\nlibraries  %s\n           %s\n           libpng %s\n"
           "           cJSON %s\n",
           info.version, info.commit, info.compiler, info.openblas, info.libjpeg, info.libpng, info.cjson);
    printf("cpu        ");
    for (int isa = 0; isa < QD_ISA_COUNT; isa++) {
        const qd_context_config config = {.threads = 1, .limit_isa = true, .max_isa = (enum qd_isa)isa};
        qd_context *ctx = NULL;
        if (qd_context_create(&config, &ctx) == QD_OK)
            printf("%s%s", isa == 0 ? "" : " ", qd_isa_name((enum qd_isa)isa));
        qd_context_destroy(ctx);
    }
    putchar('\n');
}

/* What was printed must have arrived: a full disk behind a redirection is a failure. */
static int close_output(int code)
{
    int lost = ferror(stdout);
    if ((fflush(stdout) != 0 || lost) && code == CLI_DONE)
        return cli_error(QD_ERR_IO, "cannot write to standard output: %s", strerror(errno));
    return code;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = CLI_USAGE;
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-?") == 0) {
        print_help(stdout);
        return close_output(CLI_DONE);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        print_version();
        return close_output(CLI_DONE);
    }
    for (size_t i = 0; i < command_count; i++) {
        char typed[NAME_BYTES];
        typed_name(commands[i].name, typed);
        if (strcmp(argv[1], typed) != 0)
            continue;
        /* argp takes the program's name from argv[0]. */
        char name[NAME_BYTES + sizeof "quantdrift "];
        snprintf(name, sizeof name, "quantdrift %s", typed);
        argv[1] = name;
        return close_output(commands[i].main(argc - 1, argv + 1));
    }
    char escaped[CLI_TEXT_BYTES];
    cli_escape(argv[1], escaped);
    return cli_error(QD_ERR_USAGE, "unknown command '%s'; `quantdrift --help` lists the commands", escaped);
}
