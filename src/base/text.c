/* UTF-8 checks and the escaping of hostile bytes. */
#include "base/text.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

size_t qd_utf8_length(const char *text, size_t bytes)
{
    const unsigned char *s = (const unsigned char *)text;
    if (bytes == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    /* The second byte's range excludes overlong forms (E0, F0), surrogates (ED) and what lies above U+10FFFF (F4). */
    unsigned char low = 0x80, high = 0xBF;
    size_t length;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        length = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        length = 3;
        if (s[0] == 0xE0)
            low = 0xA0;
        if (s[0] == 0xED)
            high = 0x9F;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        length = 4;
        if (s[0] == 0xF0)
            low = 0x90;
        if (s[0] == 0xF4)
            high = 0x8F;
    } else {
        return 0;
    }
    if (bytes < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (s[i] < 0x80 || s[i] > 0xBF)
            return 0;
    return length;
}

/* U+0080 to U+009F: a terminal may take them for escape sequences. */
static int is_c1_control(const char *text)
{
    return (unsigned char)text[0] == 0xC2 && (unsigned char)text[1] < 0xA0;
}

void qd_text_escape(const char *in, char *out, size_t out_bytes)
{
    static const char ellipsis[] = "...";
    size_t left = strlen(in);
    size_t used = 0;
    size_t room = out_bytes - sizeof(ellipsis); /* text that fits whatever follows */
    size_t cut = 0;                             /* where the ellipsis goes: the last character end within room */
    while (left > 0) {
        char piece[4 * 4 + 1];
        size_t length = qd_utf8_length(in, left);
        size_t consumed = length > 0 ? length : 1;
        size_t piece_bytes = 0;
        if (length == 0 || (unsigned char)in[0] < 0x20 || in[0] == 0x7F || (length == 2 && is_c1_control(in))) {
            for (size_t i = 0; i < consumed; i++)
                piece_bytes += (size_t)snprintf(piece + piece_bytes, sizeof(piece) - piece_bytes, "\\x%02X",
                                                (unsigned)(unsigned char)in[i]);
        } else {
            memcpy(piece, in, consumed);
            piece_bytes = consumed;
        }
        if (used + piece_bytes >= out_bytes) {
            memcpy(out + cut, ellipsis, sizeof(ellipsis));
            return;
        }
        memcpy(out + used, piece, piece_bytes);
        used += piece_bytes;
        if (used <= room)
            cut = used;
        in += consumed;
        left -= consumed;
    }
    out[used] = '\0';
}

void qd_text_time(char text[QD_TIME_BYTES])
{
    const time_t now = time(NULL);
    struct tm parts;
    if (!gmtime_r(&now, &parts) || strftime(text, QD_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
        snprintf(text, QD_TIME_BYTES, "%lld", (long long)now); /* a clock beyond the year 9999 */
}
