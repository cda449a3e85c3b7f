/* Reports: numbers against hand calculation, what is left out, and names that want to be something else. */
#include "base/file.h"
#include "report/answers.h"
#include "report/compare.h"
#include "report/json_out.h"
#include "report/print.h"
#include "support/fixture.h"
#include "support/results_text.h"
#include "support/test_context.h"
#include <math.h>
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

TestSuite(report, .init = set_up, .fini = tear_down);

static void write_file(const char *name, const char *text)
{
    char *path = test_folder_path(folder, name);
    test_file_write(path, text, strlen(text));
    free(path);
}

static void make_folder(const char *name)
{
    char *path = test_folder_path(folder, name);
    cr_assert_eq(mkdir(path, 0700), 0);
    free(path);
}

static void write_results(const char *name, const char *model, double int8_accuracy, int seed, const char *lr)
{
    char *text = test_results_text(model, "b.act", int8_accuracy, seed, lr);
    write_file(name, text);
    free(text);
}

static qd_report *read_report(void)
{
    qd_report *report = NULL;
    const char *paths[] = {folder};
    TEST_OK(ctx, qd_report_read(ctx, paths, 1, &report));
    return report;
}

static bool contains(const char *text, const char *piece)
{
    return strstr(text, piece) != NULL;
}

/* ---- rules and numbers ---- */

Test(report, the_rules_by_hand)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 70.0, 1, "0.01");
    qd_report *report = read_report();
    cr_assert_eq(report->series_count, 1);
    const report_series *s = &report->series[0];
    const report_quantized *q = qd_report_last_quantized(s);
    cr_assert_float_eq(q->drop, 10.0, 1e-12);
    /* Wilson's 95 % intervals of 200/250 and 175/250 are 0.746044 to 0.844876 and 0.640518 to 0.753428 (their formula
     * in another language), so the drop's ends are 0.1 -/+ the lengths of their sides; 1e-3 points for those six
     * digits. */
    cr_assert_float_eq(q->low, 100.0 * (0.1 - hypot(0.8 - 0.746044, 0.753428 - 0.7)), 1e-3);
    cr_assert_float_eq(q->high, 100.0 * (0.1 + hypot(0.844876 - 0.8, 0.7 - 0.640518)), 1e-3);
    cr_assert_eq(qd_report_first_drop(s), q);
    cr_assert_str_eq(qd_names_text(&report->names, qd_report_first_noisy(q)->name), "b.act");
    cr_assert_str_eq(qd_names_text(&report->names, qd_report_noisiest(q)->name), "b.act");
    double factor = 0.0;
    const report_module *grown = qd_report_most_grown(report, s, 5, &factor);
    cr_assert_str_eq(qd_names_text(&report->names, grown->path), "b.bn");
    cr_assert_float_eq(factor, 3.0, 1e-12);
    cr_assert_eq(qd_report_widest(qd_report_find_log(s, 5)), grown);
    report_pair *pairs = NULL;
    int count = 0;
    TEST_OK(ctx, qd_report_find_pairs(report, s, true, &pairs, &count));
    cr_assert_eq(count, 1);
    cr_assert_float_eq(qd_report_pair_ratio(qd_report_find_log(s, 5), &pairs[0]), 1.5, 1e-12);
    free(pairs);
    qd_report_destroy(report);
}

/* A file with the counts of pairs: of its 250 images float gets 200 right and INT8 175. */
static qd_report *read_counts(const char *counts)
{
    char *text = test_results_text("EfficientNet-B0", "b.act", 70.0, 1, "0.01");
    const char *place = strstr(text, "\"tensors\"");
    char *with = qd_format("%.*s%s, %s", (int)(place - text), text, counts, place);
    write_file("efficientnet_b0_results.json", with);
    free(with);
    free(text);
    return read_report();
}

Test(report, the_interval_is_paired_where_the_file_tells_the_pairs)
{
    qd_report *report = read_counts("\"agree\": 200, \"only_float\": 30, \"only_int8\": 5");
    const report_quantized *q = qd_report_last_quantized(&report->series[0]);
    cr_assert(q->paired);
    /* Newcombe's method 10 for 170, 30, 5 and 45 images, by its formula in another language. */
    cr_assert_float_eq(q->low, 5.467566898719042, 1e-9);
    cr_assert_float_eq(q->high, 14.599165146125776, 1e-9);
    cr_assert(contains(qd_report_answer(report, 0), "(paired 95 % interval 5.47 to 14.60, 250 images)"), "%s",
              qd_report_answer(report, 0));
    qd_report_destroy(report);
    static const char *const no_counts[] = {
        "\"only_float\": 30, \"only_int8\": 6",        /* another difference than that of the accuracies */
        "\"only_float\": 201, \"only_int8\": 176",     /* more than are right */
        "\"only_float\": 80, \"only_int8\": 55",       /* more than are wrong */
        "\"only_float\": -1, \"only_int8\": 5",        /* no counts */
        "\"only_float\": 30.5, \"only_int8\": 5.5",    /* no whole numbers */
        "\"only_float\": \"30\", \"only_int8\": null", /* no numbers */
    };
    for (size_t i = 0; i < sizeof no_counts / sizeof no_counts[0]; i++) {
        report = read_counts(no_counts[i]);
        cr_expect_not(qd_report_last_quantized(&report->series[0])->paired, "%s", no_counts[i]);
        qd_report_destroy(report);
    }
}

Test(report, answers_name_numbers_and_what_is_missing)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 70.0, 1, "0.01");
    write_results("resnet18_results.json", "ResNet18", 80.0, 1, "0.01");
    qd_report *report = read_report();
    const char *how_much = qd_report_answer(report, 0), *where = qd_report_answer(report, 1);
    cr_assert(contains(how_much, "EfficientNet-B0: 10.00 points at epoch 5, from 80.00 to 70.00 %"), "%s", how_much);
    cr_assert(contains(how_much, "10.00 points more than ResNet18"), "%s", how_much);
    cr_assert(contains(where, "EfficientNet-B0, epoch 5") && contains(where, "b.act (12.5 dB)"), "%s", where);
    cr_assert(contains(qd_report_answer(report, 2), "do not say"));
    cr_assert_gt(qd_report_lack_count(report), 0);
    qd_report_destroy(report);
}

Test(report, a_drop_within_chance_is_not_called_one)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 78.0, 1, "0.01");
    qd_report *report = read_report();
    cr_assert_null(qd_report_first_drop(&report->series[0]));
    cr_assert(contains(qd_report_answer(report, 1), "At no logged epoch"), "%s", qd_report_answer(report, 1));
    qd_report_destroy(report);
}

/* ---- statistics ---- */

Test(report, student_and_spread)
{
    /* Any table of Student's distribution, two-sided 5 %. */
    static const double table[][2] = {{1, 12.706}, {2, 4.303}, {3, 3.182}, {10, 2.228}, {30, 2.042}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        cr_assert_float_eq(qd_student_95((int)table[i][0]), table[i][1], 5e-4); /* the table's last digit */
    const qd_spread s = qd_spread_compute((const double[]){1.0, NAN, 2.0, 6.0}, 4);
    cr_assert_eq(s.count, 3);
    cr_assert_float_eq(s.mean, 3.0, 1e-12);
    cr_assert_float_eq(s.std, sqrt(7.0), 1e-12); /* (4 + 1 + 9) / 2 */
    cr_assert_float_eq(s.high - s.mean, 4.302653 * sqrt(7.0 / 3.0), 1e-4);
    const qd_spread one = qd_spread_compute((const double[]){5.0}, 1);
    cr_assert_float_eq(one.mean, 5.0, 0.0);
    cr_assert(isnan(one.std) && isnan(one.low));
    cr_assert(isnan(qd_spread_compute(NULL, 0).mean));
}

Test(report, runs_are_compared_by_seed_and_setting)
{
    static const double lost[3] = {70.0, 68.0, 72.0}, kept[3] = {79.0, 80.0, 78.0};
    for (int i = 0; i < 3; i++) {
        char *run = qd_format("seed_%d", i), *a = qd_format("seed_%d/efficientnet_b0_results.json", i);
        char *b = qd_format("seed_%d/resnet18_results.json", i);
        make_folder(run);
        write_results(a, "EfficientNet-B0", lost[i], i, "0.01");
        write_results(b, "ResNet18", kept[i], i, "0.01");
        free(run);
        free(a);
        free(b);
    }
    make_folder("other");
    write_results("other/resnet18_results.json", "ResNet18", 60.0, 0, "0.1");
    qd_report *report = read_report();
    report_comparison c = {0};
    TEST_OK(ctx, qd_report_compare(report, &c));
    cr_assert_eq(c.cell_count, 3);
    for (int i = 0; i < c.cell_count; i++) {
        const report_cell *cell = &c.cells[i];
        const bool other = cell->series_count == 1;
        cr_assert_str_eq(cell->label, other ? "lr 0.1" : "lr 0.01");
        cr_assert_eq(cell->epoch, 5);
        if (strcmp(cell->model, "EfficientNet-B0") == 0) {
            cr_assert_float_eq(cell->drop.mean, 10.0, 1e-9); /* 10, 12, 8 */
            cr_assert_float_eq(cell->drop.std, 2.0, 1e-9);
        }
    }
    cr_assert_eq(c.pair_count, 1);
    /* 10 - 1, 12 - 0, 8 - 2 */
    cr_assert_float_eq(c.pairs[0].difference.mean, 9.0, 1e-9);
    cr_assert_float_eq(c.pairs[0].difference.std, 3.0, 1e-9);
    cr_assert_str_eq(c.cells[c.pairs[0].first].model, "EfficientNet-B0");
    qd_report_comparison_free(&c);
    qd_report_destroy(report);
}

/* ---- files that are no results ---- */

Test(report, damaged_and_foreign_files_are_named_and_left_out)
{
    write_results("resnet18_results.json", "ResNet18", 80.0, 1, "0.01");
    write_file("cut_results.json", "{\"model_name\": \"ResNet18\", \"training_his");
    write_file("foreign.json", "{\"hello\": [1, 2]}");
    write_file("number.json", "7");
    write_file("wrong_results.json",
               "{\"model_name\": \"X\", \"training_history\": [{\"epoch\": -4}], \"activation_logs\": {}}");
    write_file("nested_results.json",
               "{\"model_name\": \"Y\", \"training_history\": [], \"activation_logs\": {\"epoch_1\": 5}}");
    write_file("future.json", "{\"format\": \"quantdrift-sensitivity\", \"version\": 99, \"model\": \"resnet18\"}");
    write_file("grid.json", "{\"format\": \"quantdrift-grid\", \"rows\": 3}");
    write_file("twice_results.json",
               "{\"model_name\": \"ResNet18\", \"training_history\": [], \"activation_logs\": {}}");
    qd_report *report = read_report();
    static const char *const names[] = {"cut_results.json",    "foreign.json", "number.json", "wrong_results.json",
                                        "nested_results.json", "future.json",  "grid.json",   "twice_results.json"};
    cr_assert_eq(qd_report_skipped_count(report), (int)(sizeof names / sizeof names[0]));
    cr_assert_eq(report->series_count, 1);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool named = false;
        for (int s = 0; s < qd_report_skipped_count(report); s++)
            named = named || contains(qd_report_skipped(report, s), names[i]);
        cr_assert(named, "%s is not named", names[i]);
    }
    qd_report_destroy(report);
}

Test(report, nothing_to_report_on_is_an_error)
{
    qd_report *report = NULL;
    const char *paths[] = {folder};
    TEST_FAILS(ctx, qd_report_read(ctx, paths, 1, &report), QD_ERR_INPUT, "nothing to report on");
    paths[0] = "/no/such/folder";
    TEST_FAILS(ctx, qd_report_read(ctx, paths, 1, &report), QD_ERR_INPUT, "/no/such/folder");
    cr_assert_null(report);
}

/* ---- findings ---- */

Test(report, sensitivity_and_grid_answer_the_third_question)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 70.0, 1, "0.01");
    write_file(
        "any_name.json",
        "{\"format\": \"quantdrift-sensitivity\", \"version\": 1, \"model\": \"efficientnet_b0\", \"display_name\": "
        "\"EfficientNet-B0\", \"epoch\": 5, \"images\": 1000, \"max_drop\": 1, \"modes\": ["
        "{\"name\": \"weights\", \"score\": {\"accuracy\": 79, \"drop\": 1, \"kl\": 0.01}},"
        "{\"name\": \"activations\", \"score\": {\"accuracy\": 71, \"drop\": 9, \"kl\": 0.5}}],"
        "\"layers\": [{\"name\": \"mild\", \"kind\": \"conv\", \"only\": {\"drop\": 0.5, \"kl\": 0.1}},"
        "{\"name\": \"harsh\", \"kind\": \"conv\", \"only\": {\"drop\": 4, \"kl\": 0.3}}],"
        "\"kept\": {\"layers\": [\"harsh\"], \"reached\": true, \"score\": {\"drop\": 0.8}}}");
    write_file(
        "grid.json",
        "{\"format\": \"quantdrift-grid\", \"version\": \"0.1.0\", \"rows\": ["
        "{\"model\": \"efficientnet_b0\", \"recipe\": {\"calibrator\": \"minmax\", \"equalize\": false}, \"drop\": "
        "10, "
        "\"recovered\": 0},"
        "{\"model\": \"efficientnet_b0\", \"recipe\": {\"calibrator\": \"mse\", \"equalize\": true}, \"drop\": 2, "
        "\"drop_low\": 1, \"drop_high\": 3, \"recovered\": 8},"
        "{\"model\": \"resnet18\", \"recipe\": {\"calibrator\": \"entropy\"}, \"drop\": 0, \"recovered\": 99}]}");
    qd_report *report = read_report();
    const char *why = qd_report_answer(report, 2);
    cr_assert(contains(why, "Activations in EfficientNet-B0: INT8 weights alone cost 1.00 points"), "%s", why);
    cr_assert(contains(why, "harsh (4.00 points)"), "%s", why);
    cr_assert(contains(why, "1 layer left in float the drop is 0.80"), "%s", why);
    cr_assert(contains(why, "calibrator mse, equalize, which gains 8.00 points and leaves a drop of 2.00"), "%s",
              why);
    cr_assert(contains(why, "interval 1.00 to 3.00"), "%s", why);
    cr_assert_not(contains(why, "chance alone"), "%s", why);
    qd_report_destroy(report);
}

Test(report, findings_belong_to_the_run_that_lists_their_checkpoint)
{
    make_folder("a");
    make_folder("b");
    make_folder("c");
    write_results("a/resnet18_results.json", "ResNet18", 70.0, 1, "0.01");
    write_results("b/resnet18_results.json", "ResNet18", 70.0, 2, "0.01");
    write_file("b/manifest.json",
               "{\"state\": \"complete\", \"configuration_hash\": \"0\", \"files\": {\"x\": \"abc\"}}");
    write_file("c/s.json", "{\"format\": \"quantdrift-sensitivity\", \"version\": 1, \"model\": \"resnet18\", "
                           "\"checkpoint_sha256\": \"abc\", \"modes\": [], \"layers\": []}");
    qd_report *report = read_report();
    cr_assert_null(qd_report_find_sensitivity(report, &report->series[0]));
    cr_assert_not_null(qd_report_find_sensitivity(report, &report->series[1]));
    qd_report_destroy(report);
}

static char *markdown_of(const qd_report *report)
{
    TEST_OK(ctx, qd_report_write_markdown(report, folder, false));
    char *path = test_folder_path(folder, "report.md"), *text = NULL;
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 24, &text, &(size_t){0}));
    free(path);
    return text;
}

/* Entries that are no objects, lack what they should hold or say something else are passed over. */
Test(report, gammas_raw_ranges_and_the_example_are_tables)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 70.0, 1, "0.01");
    write_file(
        "a.json",
        "{\"format\": \"quantdrift-analysis\", \"version\": 1, \"model\": \"efficientnet_b0\", "
        "\"display_name\": \"EfficientNet-B0\", \"epoch\": 5, \"batchnorm\": [7, {}, {\"name\": 5, \"gamma\": []},"
        "{\"name\": \"small.bn\", \"channels\": 2, \"gamma\": {\"mean\": 1, \"std\": 0.5, \"min\": 0, "
        "\"max\": 2}, \"largest\": {\"channel\": 1, \"gamma\": 2, \"beta\": 0.25}},"
        "{\"name\": \"<b>|bn\", \"gamma\": {\"max\": 12.0095}, \"largest\": {\"beta\": -2.5319}}],"
        "\"batchnorm_ranges\": [3, {\"post\": true}, {\"convolution\": \"other.conv\", \"post\": 1},"
        "{\"convolution\": \"a.conv\", \"batchnorm\": \"a.bn\", \"post\": true, \"convolution_range\": 3.5, "
        "\"batchnorm_range\": 7, \"ratio\": 2}],"
        "\"example\": {\"x\": [5, -2], \"cases\": [3, {\"source\": \"short\", \"y\": [1]},"
        "{\"source\": \"post\", \"gamma\": 12.0095, \"beta\": -2.5319, \"y\": [5.5, \"z\"], \"range\": 43.5}]}}");
    qd_report *report = read_report();
    cr_assert_eq(report->analysis_count, 1);
    char *text = markdown_of(report);
    const char *wide = strstr(text, "| EfficientNet-B0 | &lt;b\\>\\|bn | - | - | - | 12.0095 | - | -2.5319 |");
    const char *narrow =
        strstr(text, "| EfficientNet-B0 | small.bn | 1.0000 | 0.5000 | 0.0000 | 2.0000 | 1 | 0.2500 |");
    cr_assert(wide && narrow && wide < narrow, "%s", text);
    cr_assert(contains(text, "| EfficientNet-B0 | 5 | a.conv | a.bn | 3.5000 | 7.0000 | 2.0000 |"), "%s", text);
    cr_assert(contains(text, "| EfficientNet-B0 | 5 | - | - | - | - | - |"), "%s", text);
    cr_assert_not(contains(text, "other.conv"), "%s", text);
    cr_assert(contains(text, "| gamma of | gamma | beta | 5.00 | -2.00 | range |"), "%s", text);
    cr_assert(contains(text, "| post | 12.0095 | -2.5319 | 5.50 | - | 43.50 |"), "%s", text);
    cr_assert_not(contains(text, "short"), "%s", text);
    free(text);
    qd_report_destroy(report);
}

Test(report, raw_ranges_stand_beside_those_behind_batchnorm_by_epoch)
{
    write_results("efficientnet_b0_results.json", "EfficientNet-B0", 70.0, 1, "0.01");
    qd_report *report = read_report();
    char *text = markdown_of(report);
    cr_assert(contains(text, "| EfficientNet-B0: epoch | b.conv → b.bn |\n|--:|--:|\n"
                             "| 0 | 2.00 → 2.00 (1.000) |\n| 5 | 4.00 → 6.00 (1.500) |\n"),
              "%s", text);
    free(text);
    qd_report_destroy(report);
}

Test(report, training_for_int8_is_told_of)
{
    char *text = test_results_text("EfficientNet-B0", "b.act", 70.0, 1, "0.01");
    char *with = qd_format("%.*s, \"qat\": {\"float_accuracy\": 80, \"static_int8_accuracy\": 70, "
                           "\"trained_float_accuracy\": 81.5, \"int8_accuracy\": 79.25, \"eval_images\": 250, "
                           "\"training_history\": [{}, {}]}}",
                           (int)strlen(text) - 1, text);
    write_file("efficientnet_b0_results.json", with);
    free(with);
    free(text);
    qd_report *report = read_report();
    text = markdown_of(report);
    cr_assert(contains(text, "EfficientNet-B0, trained 2 more epochs for INT8: 79.25 % in INT8 and 81.50 % in float; "
                             "before, 70.00 % and 80.00 % (250 images)."),
              "%s", text);
    free(text);
    qd_report_destroy(report);
}

/* ---- numbers of the page ---- */

Test(report, numbers_of_the_page_have_five_digits)
{
    static const double values[] = {0.0,         -0.5, 1.0,         12345.678, 99999.6,  0.000123456,
                                    -7.25,       1e8,  123456789.0, 1e-30,     -2.5e300, 0.1,
                                    0.099999999, 80.4, -0.00001,    4.0,       9.999996, 3.00001};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char *text = NULL;
        size_t size = 0;
        json_out out = {.stream = open_memstream(&text, &size)};
        qd_json_out_number(&out, NULL, values[i]);
        fclose(out.stream);
        char *end = NULL;
        const double back = strtod(text, &end);
        cr_assert_eq(*end, '\0', "'%s' is no number", text);
        cr_assert(end - text <= 12, "'%s' is long", text);
        /* Half of the fifth digit. */
        cr_assert_leq(fabs(back - values[i]), 5.001e-5 * fabs(values[i]), "%.17g became '%s'", values[i], text);
        free(text);
    }
}

/* ---- names that want to be something else ---- */

static char *printed(void (*print)(FILE *, const char *), const char *text)
{
    char *out = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&out, &size);
    cr_assert_not_null(stream);
    print(stream, text);
    fclose(stream);
    return out;
}

static void expect_printed(void (*print)(FILE *, const char *), const char *text, const char *expected)
{
    char *out = printed(print, text);
    cr_assert_str_eq(out, expected);
    free(out);
}

Test(report, names_are_escaped)
{
    expect_printed(qd_report_print_markdown, "a|b_c *d* <i>&\x01", "a\\|b_c \\*d\\* &lt;i\\>&amp;\\\\x01");
    expect_printed(qd_report_print_gnuplot, "a'b`id`\"$x\n.bn1", "a?b?id???x?.bn1");
    expect_printed(qd_report_print_url, "a b/../<x>#?:%\xFF", "a%20b/../%3Cx%3E%23%3F%3A%25%FF");
}

Test(report, a_hostile_page_stays_data)
{
    char *text =
        test_results_text("</script><script>alert(1)</script>", "<!--<img src=x onerror=alert(1)>", 70.0, 1, "0.01");
    write_file("hostile_results.json", text);
    free(text);
    write_file("<b>.json", "{}");
    qd_report *report = read_report();
    TEST_OK(ctx, qd_report_write_page(report, folder));
    TEST_OK(ctx, qd_report_write_markdown(report, folder, false));
    char *path = test_folder_path(folder, "report.html"), *page = NULL;
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 24, &page, &(size_t){0}));
    const char *data = strstr(page, "id=\"data\">"), *end = data ? strstr(data, "</script>") : NULL;
    cr_assert_not_null(end);
    /* The data ends where it should: the last key is before the first end of a script, and no tag is inside. */
    const char *names = strstr(data, "\"names\":[");
    cr_assert(names && names < end);
    for (const char *c = data + strlen("id=\"data\">"); c < end; c++)
        cr_assert_neq(*c, '<', "a tag inside the data");
    cr_assert_null(strstr(page, "onerror=alert(1)>"), "a name reached the page as markup");
    free(page);
    free(path);
    path = test_folder_path(folder, "report.md");
    TEST_OK(ctx, qd_file_read(ctx, path, 1 << 24, &page, &(size_t){0}));
    cr_assert_null(strstr(page, "<script"));
    cr_assert_null(strstr(page, "<b>"));
    free(page);
    free(path);
    qd_report_destroy(report);
}
