#include "cli/cli.h"
#include "base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Keys of options without a short form start above every character. */
enum { KEY_CPU = 0x100 };

static const struct argp_option common_options[] = {
    {"threads", 't', "N", 0, "Compute threads (default: all there are)", 0},
    {"cpu", KEY_CPU, "SET", 0,
     "Best instruction set to use: ref, avx2, avxvnni, avx512, avx512vnni or amx (default: the best the machine has)",
     0},
    {"quiet", 'q', NULL, 0, "No progress, warnings only", 0},
    {0},
};

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    cli_common *common = state->input;
    switch (key) {
    case 't':
        common->threads = (int)cli_parse_int(state, "--threads", arg, 1, INT_MAX);
        return 0;
    case KEY_CPU:
        if (!qd_isa_parse(arg, &common->max_isa))
            argp_error(
                state,
                "--cpu: unknown instruction set '%s'; there are ref, avx2, avxvnni, avx512, avx512vnni and amx", arg);
        common->limit_isa = true;
        return 0;
    case 'q':
        common->quiet = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp cli_common_argp = {.options = common_options, .parser = parse_common};
const struct argp_child cli_common_children[] = {{&cli_common_argp, 0, "Common options:", 1}, {0}};

/* Until there is a context, what is logged is the sentence of its failure. */
static void log_line(void *user, enum qd_log_level level, const char *line)
{
    cli_common *common = user;
    if (common->silent)
        return;
    if (common->started)
        cli_progress_log(&common->progress, level, line);
    else
        cli_error(QD_ERR_USAGE, "%s", line);
}

enum qd_status cli_create_context(cli_common *common, qd_context **out)
{
    cli_progress_init(&common->progress, common->quiet);
    const qd_context_config config = {
        .threads = common->threads,
        .limit_isa = common->limit_isa,
        .max_isa = common->max_isa,
        .log = log_line,
        .log_user = common,
    };
    common->started = false;
    QD_TRY(qd_context_create(&config, out));
    common->started = true;
    return QD_OK;
}

int64_t cli_parse_int(const struct argp_state *state, const char *option, const char *text, int64_t low, int64_t high)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < low || value > high)
        argp_error(state, "%s: expected a whole number from %" PRId64 " to %" PRId64 ", got '%s'", option, low, high,
                   text);
    return value;
}

int cli_exit_code(enum qd_status status)
{
    switch (status) {
    case QD_OK:
        return CLI_DONE;
    case QD_ERR_USAGE:
        return CLI_USAGE;
    case QD_ERR_INPUT:
        return CLI_BAD_INPUT;
    case QD_ERR_INTERRUPTED:
        return CLI_INTERRUPTED;
    default:
        return CLI_FAILED;
    }
}

int cli_report(const qd_context *ctx, enum qd_status status)
{
    if (status == QD_OK)
        return CLI_DONE;
    const char *sentence = qd_context_error(ctx);
    return cli_error(status, "%s", sentence[0] != '\0' ? sentence : qd_status_name(status));
}

int cli_error(enum qd_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("quantdrift: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return cli_exit_code(status);
}

void cli_escape(const char *text, char escaped[CLI_TEXT_BYTES])
{
    qd_text_escape(text, escaped, CLI_TEXT_BYTES);
}

int cli_text_width(const char *text)
{
    char escaped[CLI_TEXT_BYTES];
    cli_escape(text, escaped);
    int width = 0;
    /* One column a character: continuation bytes of UTF-8 take none. */
    for (const char *c = escaped; *c != '\0'; c++)
        width += ((unsigned char)*c & 0xC0) != 0x80;
    return width;
}

void cli_print_padded(const char *text, int width)
{
    char escaped[CLI_TEXT_BYTES];
    cli_escape(text, escaped);
    int padding = width - cli_text_width(text);
    printf("%s%*s", escaped, padding > 0 ? padding : 0, "");
}

char *cli_subfolder(const char *folder, const char *name)
{
    char *path = NULL;
    struct stat info;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        return NULL;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode))
        return path;
    free(path);
    return NULL;
}
