#include "base/file.h"
#include "cli/options.h"
#include "cli/plot_drawing.h"
#include <quantdrift/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct report_values {
    cli_common common;
    cli_list paths;
    const char *out;
    bool no_plots;
} report_values;

static const char *check(void *values)
{
    report_values *v = values;
    if (v->paths.count == 0)
        return "name a folder of runs, such as results/demo";
    return cli_report_folder(&v->paths, &v->out);
}

static void print_sentences(const char *title, int count, const char *(*get)(const qd_report *, int),
                            const qd_report *report)
{
    for (int i = 0; i < count; i++) {
        printf("%s", title);
        cli_print_padded(get(report, i), 0);
        putchar('\n');
    }
}

static void print_summary(const qd_report *report)
{
    for (int a = 0; a < QD_REPORT_ANSWERS; a++) {
        printf("%s\n    ", qd_report_question(a));
        cli_print_padded(qd_report_answer(report, a), 0);
        putchar('\n');
    }
    print_sentences("lacks: ", qd_report_lack_count(report), qd_report_lack, report);
    print_sentences("skipped: ", qd_report_skipped_count(report), qd_report_skipped, report);
}

static enum qd_status draw(qd_context *ctx, const qd_report *report, const report_values *v, bool *drawn)
{
    char *folder = qd_format("%s/plots", v->out), **names = NULL;
    enum qd_status status = folder ? qd_folder_create(ctx, folder) : QD_ERR_MEMORY;
    if (status == QD_OK)
        status = qd_report_write_plots(report, folder, &names);
    if (status == QD_OK)
        status = cli_draw_plots(ctx, folder, (const char *const *)names, drawn);
    qd_report_plots_free(names);
    free(folder);
    return status;
}

static enum qd_status write_report(qd_context *ctx, void *values)
{
    const report_values *v = values;
    enum qd_status status = QD_OK;
    qd_report *report = NULL;
    bool drawn = false;
    QD_TRY(qd_report_read(ctx, v->paths.items, (int)v->paths.count, &report));
    QD_TRY_GOTO(qd_folder_create(ctx, v->out));
    if (!v->no_plots)
        QD_TRY_GOTO(draw(ctx, report, v, &drawn));
    QD_TRY_GOTO(qd_report_write_markdown(report, v->out, drawn));
    QD_TRY_GOTO(qd_report_write_page(report, v->out));
    print_summary(report);
    printf("written: ");
    cli_print_padded(v->out, 0);
    printf("/report.html and report.md%s, of %d training%s in %d run%s\n", drawn ? ", plots/" : "",
           qd_report_series_count(report), qd_report_series_count(report) == 1 ? "" : "s",
           qd_report_run_count(report), qd_report_run_count(report) == 1 ? "" : "s");
fail:
    qd_report_destroy(report);
    return status;
}

static const cli_option options[] = {
    {"output", 'o', "DIR", "Folder to write to (default: the only DIR)", CLI_TEXT(report_values, out)},
    {"no-plots", 0, NULL, "Leave out the pictures that gnuplot draws", CLI_FLAG(report_values, no_plots)},
    {0},
};

static const cli_command command = {
    .options = options,
    .usage = "DIR...",
    .argument_at = offsetof(report_values, paths),
    .doc =
        "What the files of runs say, without any network: report.html, one page that needs nothing else, report.md, "
        "and pictures under plots/ where gnuplot is installed."
        "\vEvery JSON file at or below the folders is looked at and recognised by what it holds: results, manifests, "
        "and what analyze, sensitivity and grid wrote. Damaged and foreign files are named and left out, and what "
        "the "
        "files do not say is said.\n\n"
        "Example: quantdrift report results/demo",
    .check = check,
    .run = write_report,
};

int cli_command_report(int argc, char **argv)
{
    report_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
