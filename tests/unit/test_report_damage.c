/* Files of analyze, sensitivity and grid that were cut or are something else: named, left out, and missed. */
#include "report/answers.h"
#include "support/fixture.h"
#include "support/results_text.h"
#include "support/test_context.h"
#include <stdlib.h>
#include <string.h>

static qd_context *ctx;
static char *folder;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    char *path = test_folder_path(folder, "efficientnet_b0_results.json");
    char *text = test_results_text("EfficientNet-B0", "b.act", 70.0, 1, "0.01");
    test_file_write(path, text, strlen(text));
    free(text);
    free(path);
}

static void tear_down(void)
{
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(report_damage, .init = set_up, .fini = tear_down);

/* A file as its command writes it, in small, and what the report lacks without it. */
typedef struct finding {
    const char *name, *text, *lack;
} finding;

static const finding findings[] = {
    {"analysis.json",
     "{\"format\": \"quantdrift-analysis\", \"version\": 1, \"model\": \"efficientnet_b0\", "
     "\"display_name\": \"EfficientNet-B0\", \"epoch\": 5, \"calibration_images\": 8, \"modules\": [], \"channels\": "
     "["
     "{\"name\": \"b.bn\", \"min\": [-4, -1], \"max\": [2, 1], \"std\": [1, 0.5]}], \"batchnorm\": ["
     "{\"name\": \"b.bn\", \"channels\": 2, \"gamma\": {\"mean\": 1, \"std\": 0.5, \"min\": 0.5, \"max\": 1.5}, "
     "\"largest\": {\"channel\": 1, \"gamma\": 1.5, \"beta\": 0}}], \"batchnorm_ranges\": [], "
     "\"collapse\": {\"values\": [7, 7.5], \"rows\": [{\"side\": \"after\", \"module\": \"b.act\", \"codes\": [1, "
     "1]}]},"
     "\"example\": {\"x\": [5, -2], \"cases\": []}, \"tensors\": [{\"name\": \"b.act\", \"histogram\": [1, 2]}]}",
     "no analysis of EfficientNet-B0"},
    {"sensitivity.json",
     "{\"format\": \"quantdrift-sensitivity\", \"version\": 1, \"model\": \"efficientnet_b0\", "
     "\"display_name\": \"EfficientNet-B0\", \"epoch\": 5, \"images\": 250, \"max_drop\": 1, \"modes\": ["
     "{\"name\": \"weights\", \"score\": {\"accuracy\": 79, \"drop\": 1, \"kl\": 0.01}}], \"layers\": ["
     "{\"name\": \"b.conv\", \"kind\": \"conv\", \"only\": {\"drop\": 4, \"kl\": 0.3}, \"without\": {\"drop\": 1}}],"
     "\"kept\": {\"layers\": [\"b.conv\"], \"reached\": true, \"score\": {\"drop\": 0.8}}}",
     "no sensitivity of EfficientNet-B0"},
    {"grid.json",
     "{\"format\": \"quantdrift-grid\", \"rows\": [{\"model\": \"efficientnet_b0\", \"form\": \"int8\", "
     "\"recipe\": {\"calibrator\": \"minmax\"}, \"float_accuracy\": 80, \"accuracy\": 70, \"drop\": 10, "
     "\"recovered\": 0}, {\"model\": \"efficientnet_b0\", \"recipe\": {\"calibrator\": \"mse\"}, \"drop\": 2, "
     "\"recovered\": 8}]}",
     "no quantization grid"},
};
enum { FINDINGS = sizeof findings / sizeof findings[0] };

static void write_bytes(const char *name, const char *bytes, size_t count)
{
    char *path = test_folder_path(folder, name);
    test_file_write(path, bytes, count);
    free(path);
}

static void remove_file(const char *name)
{
    char *path = test_folder_path(folder, name);
    cr_assert_eq(remove(path), 0);
    free(path);
}

static bool any_contains(const qd_report *report, int count, const char *(*get)(const qd_report *, int),
                         const char *piece)
{
    for (int i = 0; i < count; i++)
        if (strstr(get(report, i), piece))
            return true;
    return false;
}

/* Whether the file of a finding, as it now is, is named as left out, with nothing of it kept, and missed. */
static bool is_left_out(const finding *f)
{
    const char *paths[] = {folder};
    qd_report *report = NULL;
    TEST_OK(ctx, qd_report_read(ctx, paths, 1, &report));
    const bool named = any_contains(report, qd_report_skipped_count(report), qd_report_skipped, f->name);
    const bool missed = any_contains(report, qd_report_lack_count(report), qd_report_lack, f->lack);
    const int kept = report->analysis_count + report->sensitivity_count + report->grid_count;
    cr_expect_eq(report->series_count, 1, "the results beside it stay");
    cr_expect_eq(named, missed, "%s: left out and missed are one", f->name);
    cr_expect_eq(named, kept == 0, "%s: %d entries of it were kept", f->name, kept);
    qd_report_destroy(report);
    return named;
}

Test(report_damage, cut_files_are_left_out_wherever_they_end)
{
    for (int i = 0; i < FINDINGS; i++) {
        const finding *f = &findings[i];
        const size_t length = strlen(f->text);
        write_bytes(f->name, f->text, length);
        cr_expect_not(is_left_out(f), "%s is whole", f->name);
        /* A prime step ends inside names, numbers, between entries …; the last byte is the closing brace. */
        for (size_t cut = 0; cut < length; cut += 7) {
            write_bytes(f->name, f->text, cut);
            cr_expect(is_left_out(f), "%s, cut to %zu bytes", f->name, cut);
        }
        write_bytes(f->name, f->text, length - 1);
        cr_expect(is_left_out(f), "%s without its last byte", f->name);
        remove_file(f->name);
    }
}

/* `from` in the text becomes `to`; the text is whole JSON, and not what the format says. */
static void expect_foreign(const finding *f, const char *from, const char *to)
{
    const char *place = strstr(f->text, from);
    cr_assert_not_null(place);
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    fprintf(stream, "%.*s%s%s", (int)(place - f->text), f->text, to, place + strlen(from));
    fclose(stream);
    write_bytes(f->name, text, size);
    cr_expect(is_left_out(f), "%s with %s", f->name, to);
    free(text);
}

Test(report_damage, foreign_files_are_left_out)
{
    for (int i = 0; i < FINDINGS; i++) {
        const finding *f = &findings[i];
        expect_foreign(f, "quantdrift-", "otherprogram-");
        expect_foreign(f, "\"format\"", "\"kind\"");
        expect_foreign(f, "\"quantdrift-", "7, \"was\": \"quantdrift-");
        expect_foreign(f, "{\"format\"", "[{\"format\"");
        expect_foreign(f, "}", "}} trailing {");
        remove_file(f->name);
    }
}

Test(report_damage, what_lacks_its_lists_is_left_out)
{
    expect_foreign(&findings[0], "\"batchnorm\":", "\"other\":");
    expect_foreign(&findings[0], "\"batchnorm\":", "\"batchnorm\": {}, \"other\":");
    expect_foreign(&findings[0], "\"version\": 1", "\"version\": 2");
    remove_file(findings[0].name);
    expect_foreign(&findings[1], "\"modes\":", "\"other\":");
    expect_foreign(&findings[1], "\"layers\":", "\"layers\": \"all\", \"other\":");
    expect_foreign(&findings[1], "\"version\": 1", "\"version\": 2");
    remove_file(findings[1].name);
    expect_foreign(&findings[2], "\"rows\": [", "\"rows\": [\"none\", ");
    expect_foreign(&findings[2], "\"rows\":", "\"rows\": 3, \"other\":");
}
