/* Plots of a report: which trainings they show, and whose they say they are. */
#include "base/file.h"
#include "support/fixture.h"
#include "support/results_text.h"
#include "support/test_context.h"
#include <quantdrift/report.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static qd_context *ctx;
static char *folder;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
}

static void tear_down(void)
{
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(report_plots, .init = set_up, .fini = tear_down);

/* A results file in <run>/, which is made when it is not there. */
static void write_run(const char *run, const char *model, const char *text)
{
    char *path = test_folder_path(folder, run), *name = qd_format("%s/%s_results.json", path, model);
    mkdir(path, 0700);
    test_file_write(name, text, strlen(text));
    free(name);
    free(path);
}

static void write_results(const char *run, const char *model)
{
    char *text = test_results_text(model, "b.act", 70.0, 1, "0.01");
    write_run(run, model, text);
    free(text);
}

/* The script of a plot; freed with free(). */
static char *script_of(const char *name)
{
    const char *paths[] = {folder};
    qd_report *report = NULL;
    char **names = NULL, *text = NULL;
    TEST_OK(ctx, qd_report_read(ctx, paths, 1, &report));
    TEST_OK(ctx, qd_report_write_plots(report, folder, &names));
    char *path = test_folder_path(folder, name);
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 20, &text, &(size_t){0}));
    free(path);
    qd_report_plots_free(names);
    qd_report_destroy(report);
    return text;
}

static int count_of(const char *text, const char *piece)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, piece)) != NULL; at += strlen(piece))
        count++;
    return count;
}

static void expect_pieces(const char *name, const char *const *pieces, int count, int titles)
{
    char *text = script_of(name);
    for (int i = 0; i < count; i++)
        cr_expect_eq(count_of(text, pieces[i]), 1, "'%s' is not once in %s", pieces[i], text);
    cr_expect_eq(count_of(text, ", run "), titles, "%s", text);
    free(text);
}

Test(report_plots, models_of_different_runs_stand_side_by_side)
{
    /* The first run has no ranges at all: nothing of it can be drawn. */
    write_run("a_no_log", "ResNet18",
              "{\"model_name\": \"ResNet18\", \"training_history\": [], \"activation_logs\": {}}");
    write_results("b_resnet", "ResNet18");
    write_results("c_efficientnet", "EfficientNet-B0");
    static const char *const pieces[] = {"ResNet18, run b_resnet'", "EfficientNet-B0, run c_efficientnet'"};
    expect_pieces("ranges.gp", pieces, 2, 2);
    expect_pieces("dynamic_range.gp", pieces, 2, 2);
}

Test(report_plots, models_of_one_run_are_preferred)
{
    write_results("a_resnet", "ResNet18");
    write_results("b_both", "EfficientNet-B0");
    write_results("b_both", "ResNet18");
    write_results("c_both", "EfficientNet-B0");
    write_results("c_both", "ResNet18");
    static const char *const pieces[] = {"ResNet18, run b_both'", "EfficientNet-B0, run b_both'"};
    expect_pieces("ranges.gp", pieces, 2, 2);
    expect_pieces("dynamic_range.gp", pieces, 2, 2);
}

Test(report_plots, one_run_needs_no_name)
{
    write_results("alone", "EfficientNet-B0");
    write_results("alone", "ResNet18");
    static const char *const pieces[] = {"'ResNet18'", "'EfficientNet-B0'"};
    expect_pieces("ranges.gp", pieces, 2, 0);
    expect_pieces("dynamic_range.gp", pieces, 2, 0);
}
