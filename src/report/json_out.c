#include "report/json_out.h"
#include "base/text.h"
#include <math.h>
#include <string.h>

static void put_string(FILE *stream, const char *text)
{
    size_t left = strlen(text);
    fputc('"', stream);
    while (left > 0) {
        const unsigned char c = (unsigned char)*text;
        size_t bytes = qd_utf8_length(text, left);
        if (bytes == 0) {
            fputs("\\ufffd", stream);
            bytes = 1;
        } else if (c < 0x20 || c == 0x7F || strchr("\"\\<>&'", c)) {
            fprintf(stream, "\\u%04x", (unsigned)c);
        } else {
            fwrite(text, 1, bytes, stream);
        }
        text += bytes;
        left -= bytes;
    }
    fputc('"', stream);
}

static void put_key(json_out *out, const char *key)
{
    if (out->comma)
        fputc(',', out->stream);
    if (key)
        fprintf(out->stream, "\"%s\":", key);
    out->comma = true;
}

void qd_json_out_open(json_out *out, const char *key, char bracket)
{
    put_key(out, key);
    fputc(bracket, out->stream);
    out->comma = false;
}

void qd_json_out_close(json_out *out, char bracket)
{
    fputc(bracket, out->stream);
    out->comma = true;
}

void qd_json_out_text(json_out *out, const char *key, const char *text)
{
    put_key(out, key);
    if (text)
        put_string(out->stream, text);
    else
        fputs("null", out->stream);
}

void qd_json_out_int(json_out *out, const char *key, int64_t value)
{
    put_key(out, key);
    fprintf(out->stream, "%lld", (long long)value);
}

void qd_json_out_bool(json_out *out, const char *key, bool value)
{
    put_key(out, key);
    fputs(value ? "true" : "false", out->stream);
}

/* "-0.012345": five significant digits in plain notation, without zeros behind them. printf's %g does the same in ten
 * times the time, which is what most of a page's data would take. */
static size_t format_plain(double value, int exponent, char *text)
{
    static const double powers[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    const int shift = 4 - exponent; /* value * 10^shift has five digits before the point */
    const double scaled = shift >= 0 ? fabs(value) * powers[shift] : fabs(value) / powers[-shift];
    long long digits = llround(scaled);
    int decimals = shift;
    size_t used = 0;
    char reversed[24];
    while (decimals > 0 && digits % 10 == 0) {
        digits /= 10;
        decimals--;
    }
    for (; decimals < 0; decimals++)
        digits *= 10;
    for (int i = 0; digits > 0 || i <= decimals; i++) {
        if (i == decimals && i > 0)
            reversed[used++] = '.';
        reversed[used++] = (char)('0' + digits % 10);
        digits /= 10;
    }
    size_t length = 0;
    if (value < 0.0)
        text[length++] = '-';
    while (used > 0)
        text[length++] = reversed[--used];
    return length;
}

void qd_json_out_number(json_out *out, const char *key, double value)
{
    char text[32] = "";
    put_key(out, key);
    const int exponent = value != 0.0 && isfinite(value) ? (int)floor(log10(fabs(value))) : 0;
    if (!isfinite(value))
        fputs("null", out->stream);
    else if (value == 0.0)
        fputc('0', out->stream);
    else if (exponent < -5 || exponent > 8)
        fprintf(out->stream, "%.5g", value);
    else {
        const size_t length = format_plain(value, exponent, text);
        fwrite(text, 1, length, out->stream);
    }
}
