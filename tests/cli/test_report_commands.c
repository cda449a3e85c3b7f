/* `report` and `compare` on the command line: what they write, skip and refuse. */
#include "base/file.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A results file as a run leaves it, of one epoch. */
static const char results[] =
    "{\"model_name\": \"ResNet18\", \"block_prefixes\": [\"layer1.0\"], \"training_history\": [{\"epoch\": 1, "
    "\"val_acc\": 90.0}],"
    "\"activation_logs\": {\"epoch_1\": {\"layer1.0.bn1\": {\"min\": -1.5, \"max\": 2.0, \"range\": 3.5, "
    "\"layer_type\": \"BatchNorm2d\"}}},"
    "\"quantization\": {\"epoch_1\": {\"float_accuracy\": 90.0, \"int8_accuracy\": 85.0, \"eval_images\": 1000, "
    "\"tensors\": {}}}}";

static char *write_in(const char *folder, const char *name, const char *text)
{
    char *path = test_folder_path(folder, name);
    test_file_write(path, text, strlen(text));
    return path;
}

static void expect_file(const char *folder, const char *name, const char *piece)
{
    char *path = test_folder_path(folder, name), *text = program_read_file(path, NULL);
    cr_assert_not_null(strstr(text, piece), "'%s' is not in %s", piece, name);
    free(text);
    free(path);
}

static bool exists_in(const char *folder, const char *name)
{
    char *path = test_folder_path(folder, name);
    const bool exists = qd_file_exists(path);
    free(path);
    return exists;
}

Test(report_commands, a_report_beside_the_results)
{
    char *folder = test_folder_create();
    free(write_in(folder, "resnet18_results.json", results));
    free(write_in(folder, "cut.json", "{\"model_name\": "));
    outcome result = QUANTDRIFT("report", folder);
    expect_done(&result);
    cr_assert_not_null(strstr(result.out, "ResNet18: 5.00 points at epoch 1, from 90.00 to 85.00 %"), "%s",
                       result.out);
    cr_assert(strstr(result.out, "skipped: ") && strstr(result.out, "cut.json"), "%s", result.out);
    cr_assert(strstr(result.out, "no gnuplot") || exists_in(folder, "plots/accuracy.svg"), "%s", result.out);
    outcome_free(&result);
    expect_file(folder, "report.html", "<!doctype html>");
    expect_file(folder, "report.html", "\"ResNet18\"");
    expect_file(folder, "report.html", "MIT"); /* the chart library's licence line */
    expect_file(folder, "report.md", "| ResNet18 | 1 | 90.00 | 90.00 | 85.00 | 5.00 \\[");
    expect_file(folder, "plots/accuracy.gp", "ResNet18");
    /* Made again, the report is the same and does not read itself. */
    char *path = test_folder_path(folder, "report.html"), *before = program_read_file(path, NULL);
    expect_success(QUANTDRIFT("report", folder));
    char *after = program_read_file(path, NULL);
    cr_assert_str_eq(before, after);
    free(before);
    free(after);
    free(path);
    test_folder_remove(folder);
}

Test(report_commands, damaged_findings_are_named_and_missed)
{
    char *folder = test_folder_create();
    free(write_in(folder, "resnet18_results.json", results));
    free(write_in(folder, "cut.json", "{\"format\": \"quantdrift-sensitivity\", \"version\": 1, \"model\": \"resn"));
    free(write_in(folder, "foreign.json", "{\"format\": \"quantdrift-analysis\", \"model\": \"resnet18\"}"));
    free(write_in(folder, "rows.json", "{\"format\": \"quantdrift-grid\", \"rows\": [1]}"));
    outcome result = QUANTDRIFT("report", folder, "--no-plots");
    expect_done(&result);
    static const char *const pieces[] = {"cut.json",
                                         "foreign.json",
                                         "rows.json",
                                         "no sensitivity of ResNet18",
                                         "no analysis of ResNet18",
                                         "no quantization grid"};
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        cr_expect_not_null(strstr(result.out, pieces[i]), "'%s' is not in %s", pieces[i], result.out);
        expect_file(folder, "report.md", pieces[i]);
        expect_file(folder, "report.html", pieces[i]);
    }
    outcome_free(&result);
    test_folder_remove(folder);
}

Test(report_commands, no_gnuplot_is_no_failure)
{
    char *folder = test_folder_create(), *binary = program_build_path("quantdrift");
    free(write_in(folder, "resnet18_results.json", results));
    const program settings = {.environment = "PATH=/no/such/folder"};
    const char *emulator = getenv("QD_EMULATOR");
    if (emulator && emulator[0] != '\0')
        cr_skip_test("without PATH no emulator is found");
    outcome result = program_run(&settings, (const char *const[]){binary, "report", folder, NULL});
    expect_done(&result);
    cr_assert_not_null(strstr(result.out, "plots: skipped, there is no gnuplot"), "%s", result.out);
    outcome_free(&result);
    char *path = test_folder_path(folder, "report.md"), *text = program_read_file(path, NULL);
    cr_assert_null(strstr(text, ".png"), "the tables refer to pictures that are not there");
    free(text);
    free(path);
    free(binary);
    test_folder_remove(folder);
}

Test(report_commands, runs_side_by_side)
{
    char *folder = test_folder_create();
    static const char *const names[] = {"a", "b"};
    for (int i = 0; i < 2; i++) {
        char *run = test_folder_path(folder, names[i]);
        cr_assert_eq(mkdir(run, 0700), 0);
        free(write_in(run, "resnet18_results.json", results));
        free(run);
    }
    outcome result = QUANTDRIFT("compare", folder, "--no-plots");
    expect_done(&result);
    cr_assert_not_null(strstr(result.out, "| ResNet18 | - | 2 | 1 | 90.00 ± 0.00 | 85.00 ± 0.00 | 5.00 ± 0.00 |"),
                       "%s", result.out);
    outcome_free(&result);
    expect_file(folder, "compare.md", "5.00 ± 0.00");
    test_folder_remove(folder);
}

Test(report_commands, refusals)
{
    char *folder = test_folder_create(), *file = write_in(folder, "x.json", "{}");
    expect_refusal(QUANTDRIFT("report", "/no/such/folder"), 3, "/no/such/folder");
    expect_refusal(QUANTDRIFT("report", folder), 3, "nothing to report on");
    expect_refusal(QUANTDRIFT("compare", folder), 3, "nothing to report on");
    outcome result = QUANTDRIFT("report", folder, folder);
    cr_assert_eq(result.code, 2);
    cr_assert_not_null(strstr(result.err, "-o is missing"), "%s", result.err);
    outcome_free(&result);
    result = QUANTDRIFT("compare");
    cr_assert_eq(result.code, 2);
    outcome_free(&result);
    cr_assert_not(exists_in(folder, "report.html"), "a refused report leaves nothing");
    free(file);
    test_folder_remove(folder);
}
