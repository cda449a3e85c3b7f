#include "report/print.h"
#include "base/file.h"
#include "base/text.h"
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_plain(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

void qd_report_print_markdown(FILE *out, const char *text)
{
    char shown[1024];
    qd_text_escape(text, shown, sizeof shown);
    for (const char *c = shown; *c != '\0'; c++) {
        /* An underscore between letters is one. */
        const int inside = *c == '_' && c > shown && is_plain((unsigned char)c[-1]) && is_plain((unsigned char)c[1]);
        if (*c == '<')
            fputs("&lt;", out);
        else if (*c == '&')
            fputs("&amp;", out);
        else if (strchr("\\`*_{}[]>|~#", *c) && !inside)
            fprintf(out, "\\%c", *c);
        else
            fputc(*c, out);
    }
}

void qd_report_print_gnuplot(FILE *out, const char *text)
{
    const size_t length = strlen(text), limit = 60;
    if (length > limit)
        text += length - limit;
    for (; *text != '\0'; text++)
        fputc(is_plain((unsigned char)*text) || strchr(" .,_-+()/:=#%", *text) ? *text : '?', out);
}

void qd_report_print_url(FILE *out, const char *path)
{
    for (; *path != '\0'; path++) {
        if (is_plain((unsigned char)*path) || strchr("-._~/", *path))
            fputc(*path, out);
        else
            fprintf(out, "%%%02X", (unsigned)(unsigned char)*path);
    }
}

void qd_report_print_number(FILE *out, double value, int decimals)
{
    if (!isfinite(value))
        fputc('-', out);
    else if (fabs(value) >= 1e7)
        fprintf(out, "%.4g", value);
    else /* no "-0.00" */
        fprintf(out, "%.*f", decimals, fabs(value) < 0.5 * pow(10.0, -decimals) ? 0.0 : value);
}

char *qd_report_relative_path(const char *folder, const char *file)
{
    char *from = realpath(folder, NULL), *to = realpath(file, NULL), *path = NULL, *stream_text = NULL;
    size_t size = 0, common = 0;
    FILE *stream = from && to ? open_memstream(&stream_text, &size) : NULL;
    if (!stream)
        goto done;
    /* Length of the folders that both share, the slash behind them included. */
    for (size_t i = 0; from[i] == to[i] && from[i] != '\0'; i++)
        if (from[i] == '/')
            common = i + 1;
    const size_t length = strlen(from);
    if (strncmp(from, to, length) == 0 && to[length] == '/')
        common = length + 1;
    for (size_t i = common; i < length; i++)
        if (i == common || from[i] == '/')
            fputs("../", stream);
    fputs(to + common, stream);
    if (fclose(stream) == 0)
        path = stream_text;
    else
        free(stream_text);
done:
    free(from);
    free(to);
    return path;
}

void qd_report_print_cell(FILE *out, double value, int decimals)
{
    fputs(" ", out);
    qd_report_print_number(out, value, decimals);
    fputs(" |", out);
}

void qd_report_print_text_cell(FILE *out, const char *text)
{
    fputs(" ", out);
    qd_report_print_markdown(out, text);
    fputs(" |", out);
}
