/* report.html: markup, styles, data and scripts in one file. */
#include "base/error.h"
#include "base/file.h"
#include "base/sha256.h"
#include "report/page_assets.h"
#include "report/page_data.h"
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* Styles, scripts and markup take a tenth of a megabyte beside the data; together they stay below 10 MB. */
#define MAX_DATA_BYTES ((size_t)9700000)

/* Numbers with a point, whatever locale a host program has chosen. */
static enum qd_status print_data(const qd_report *report, const char *folder, enum page_detail detail, char **text,
                                 size_t *size)
{
    enum qd_status status = QD_ERR_MEMORY;
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    FILE *stream = open_memstream(text, size);
    if (plain != (locale_t)0 && stream) {
        const locale_t before = uselocale(plain);
        status = qd_page_print_data(stream, report, folder, detail);
        uselocale(before);
    }
    const bool failed = !stream || ferror(stream);
    if ((stream && fclose(stream) != 0) || failed)
        status = QD_ERR_MEMORY;
    if (plain != (locale_t)0)
        freelocale(plain);
    return status == QD_ERR_MEMORY ? qd_fail(report->ctx, status, "report: out of memory") : status;
}

/* The most detailed data that fits. */
static enum qd_status print_fitting_data(const qd_report *report, const char *folder, char **text, size_t *size)
{
    for (int detail = 0; detail < PAGE_DETAIL_COUNT; detail++) {
        free(*text);
        *text = NULL;
        QD_TRY(print_data(report, folder, (enum page_detail)detail, text, size));
        if (*size <= MAX_DATA_BYTES)
            return QD_OK;
    }
    return qd_fail(report->ctx, QD_ERR_INPUT, "report: too many trainings for one page; report on fewer folders");
}

/* The scripts' digest as a content security policy names it: nothing else on the page may run. */
static void print_scripts_digest(FILE *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char digest[33] = {0}; /* eleven groups of three bytes, the last one incomplete */
    char hex[65];
    qd_sha256 hash;
    qd_sha256_init(&hash);
    for (int i = 0; qd_page_script(i).data; i++) {
        qd_sha256_update(&hash, qd_page_script(i).data, qd_page_script(i).size);
        qd_sha256_update(&hash, "\n", 1);
    }
    qd_sha256_finish(&hash, hex);
    for (int i = 0; i < 64; i++) {
        const int digit = hex[i] <= '9' ? hex[i] - '0' : hex[i] - 'a' + 10;
        digest[i / 2] = (unsigned char)(digest[i / 2] << 4 | digit);
    }
    fputs("sha256-", out);
    for (int i = 0; i < 33; i += 3) {
        const unsigned bits = (unsigned)digest[i] << 16 | (unsigned)digest[i + 1] << 8 | digest[i + 2];
        for (int c = 0; c < 4; c++)
            fputc(i == 30 && c == 3 ? '=' : digits[bits >> (18 - 6 * c) & 63], out);
    }
}

static void print_page(FILE *out, const char *data, size_t size)
{
    fputs("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
          "script-src '",
          out);
    print_scripts_digest(out);
    fputs("'\">\n<title>quantdrift report</title>\n<!-- The charts are drawn by uPlot.\n", out);
    fwrite(qd_page_licence().data, 1, qd_page_licence().size, out);
    fputs("-->\n<style>\n", out);
    for (int i = 0; qd_page_style(i).data; i++) {
        fwrite(qd_page_style(i).data, 1, qd_page_style(i).size, out);
        fputc('\n', out);
    }
    fputs("</style>\n</head>\n<body>\n", out);
    fwrite(qd_page_markup().data, 1, qd_page_markup().size, out);
    fputs("<script type=\"application/json\" id=\"data\">", out);
    fwrite(data, 1, size, out);
    fputs("</script>\n<script>", out);
    for (int i = 0; qd_page_script(i).data; i++) {
        fwrite(qd_page_script(i).data, 1, qd_page_script(i).size, out);
        fputc('\n', out);
    }
    fputs("</script>\n</body>\n</html>\n", out);
}

enum qd_status qd_report_write_page(const qd_report *report, const char *folder)
{
    enum qd_status status = QD_OK;
    qd_atomic_file file = {0};
    size_t size = 0;
    char *data = NULL, *path = qd_format("%s/report.html", folder);
    if (!path)
        return qd_fail(report->ctx, QD_ERR_MEMORY, "report: out of memory");
    QD_TRY_GOTO(print_fitting_data(report, folder, &data, &size));
    QD_TRY_GOTO(qd_atomic_open(report->ctx, path, &file));
    print_page(file.stream, data, size);
    QD_TRY_GOTO(qd_atomic_commit(&file));
fail:
    qd_atomic_abort(&file);
    free(data);
    free(path);
    return status;
}
