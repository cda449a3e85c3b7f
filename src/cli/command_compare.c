#include "base/file.h"
#include "cli/options.h"
#include "cli/plot_drawing.h"
#include <quantdrift/report.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct compare_values {
    cli_common common;
    cli_list paths;
    const char *out;
    bool no_plots;
} compare_values;

static const char *check(void *values)
{
    compare_values *v = values;
    if (v->paths.count == 0)
        return "name folders of runs, such as results/seeds";
    return cli_report_folder(&v->paths, &v->out);
}

static enum qd_status compare(qd_context *ctx, void *values)
{
    static const char *const script[] = {"compare.gp", NULL};
    const compare_values *v = values;
    enum qd_status status = QD_OK;
    qd_report *report = NULL;
    char *table = NULL;
    bool drawn = false;
    QD_TRY(qd_report_read(ctx, v->paths.items, (int)v->paths.count, &report));
    QD_TRY_GOTO(qd_folder_create(ctx, v->out));
    if (!v->no_plots) {
        QD_TRY_GOTO(qd_report_write_compare_plot(report, v->out));
        QD_TRY_GOTO(cli_draw_plots(ctx, v->out, script, &drawn));
    }
    QD_TRY_GOTO(qd_report_write_compare(report, v->out, drawn, &table));
    fputs(table, stdout);
    for (int i = 0; i < qd_report_skipped_count(report); i++) {
        printf("skipped: ");
        cli_print_padded(qd_report_skipped(report, i), 0);
        putchar('\n');
    }
    printf("written: ");
    cli_print_padded(v->out, 0);
    printf("/compare.md%s\n", drawn ? ", compare.png and compare.svg" : "");
fail:
    free(table);
    qd_report_destroy(report);
    return status;
}

static const cli_option options[] = {
    {"output", 'o', "DIR", "Folder to write to (default: the only DIR)", CLI_TEXT(compare_values, out)},
    {"no-plots", 0, NULL, "Leave out the picture that gnuplot draws", CLI_FLAG(compare_values, no_plots)},
    {0},
};

static const cli_command command = {
    .options = options,
    .usage = "DIR...",
    .argument_at = offsetof(compare_values, paths),
    .doc =
        "Several runs side by side, from their results files alone: mean and standard deviation over runs that "
        "differ in "
        "their seed, the difference between models of the same run, one table (compare.md) and one chart."
        "\vRuns whose configurations differ in more than the seed are rows of their own, named by what differs.\n\n"
        "Example: quantdrift compare results/seeds",
    .check = check,
    .run = compare,
};

int cli_command_compare(int argc, char **argv)
{
    compare_values values = {0};
    return cli_run(&command, argc, argv, &values);
}
