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

void json_open(json_out *out, const char *key, char bracket)
{
    put_key(out, key);
    fputc(bracket, out->stream);
    out->comma = false;
}

void json_close(json_out *out, char bracket)
{
    fputc(bracket, out->stream);
    out->comma = true;
}

void json_text(json_out *out, const char *key, const char *text)
{
    put_key(out, key);
    if (text)
        put_string(out->stream, text);
    else
        fputs("null", out->stream);
}

void json_int(json_out *out, const char *key, int64_t value)
{
    put_key(out, key);
    fprintf(out->stream, "%lld", (long long)value);
}

void json_bool(json_out *out, const char *key, bool value)
{
    put_key(out, key);
    fputs(value ? "true" : "false", out->stream);
}

void json_number(json_out *out, const char *key, double value)
{
    put_key(out, key);
    if (isfinite(value))
        fprintf(out->stream, "%.5g", value);
    else
        fputs("null", out->stream);
}
