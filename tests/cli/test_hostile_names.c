/* Names that want to be a tag, a formula, a terminal's command or a line of their own, through everything that shows
 * them: terminal, tables, page, plot scripts and pictures. */
#include "base/file.h"
#include "base/json.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a name must not have become anywhere: a tag, an attribute, a command of terminal or gnuplot. */
static const char *const names[] = {
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'; system('touch owned'); '",
    "`touch owned`$(touch owned)",
    "\033[2J\033]0;owned\a",
    "=HYPERLINK(1)\n+1\r@SUM(1)\t-1",
    "\nEND\nsystem 'touch owned'\n",
    "a|b [c](javascript:alert(1)) ![d](http://x.invalid/)",
    "\302\2332J\302\2350;owned\302\234", /* C1: the escape sequences in one character each */
    "?",
    "",
};
enum { NAMES = sizeof names / sizeof names[0] };

static cJSON *add_object(cJSON *parent, const char *key)
{
    return cJSON_AddObjectToObject(parent, key);
}

/* A module's entry as a log has it. */
static void add_module(cJSON *log, const char *name, const char *type, double range)
{
    cJSON *module = add_object(log, name);
    cJSON_AddNumberToObject(module, "min", -range / 2);
    cJSON_AddNumberToObject(module, "max", range / 2);
    cJSON_AddNumberToObject(module, "range", range);
    cJSON_AddStringToObject(module, "layer_type", type);
}

static void write_json(const char *folder, const char *name, cJSON *root)
{
    char *path = test_folder_path(folder, name), *text = cJSON_PrintUnformatted(root);
    cr_assert_not_null(text);
    test_file_write(path, text, strlen(text));
    cJSON_free(text);
    cJSON_Delete(root);
    free(path);
}

/* Results whose model is the n-th name and whose modules, types and tensors are all of them. */
static void write_results(const char *folder, int n)
{
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model_name", names[n]);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(root, "block_prefixes"), cJSON_CreateString(""));
    cJSON *history = cJSON_CreateObject();
    cJSON_AddNumberToObject(history, "epoch", 1);
    cJSON_AddNumberToObject(history, "val_acc", 80);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(root, "training_history"), history);
    cJSON *log = add_object(add_object(root, "activation_logs"), "epoch_1");
    cJSON *quantized = add_object(add_object(root, "quantization"), "epoch_1");
    cJSON_AddNumberToObject(quantized, "float_accuracy", 80);
    cJSON_AddNumberToObject(quantized, "int8_accuracy", 40);
    cJSON_AddNumberToObject(quantized, "eval_images", 1000);
    cJSON *tensors = add_object(quantized, "tensors");
    for (int i = 0; i < NAMES; i++) {
        add_module(log, names[i], i % 2 ? "BatchNorm2d" : "Conv2d", i + 1);
        cJSON *tensor = add_object(tensors, names[i]);
        cJSON_AddNumberToObject(tensor, "sqnr_accumulated_db", i);
    }
    cJSON *configuration = add_object(add_object(root, "environment"), "configuration");
    cJSON_AddStringToObject(configuration, "seed", names[n]);
    cJSON_AddStringToObject(configuration, names[0], names[n]);
    write_json(folder, "hostile_results.json", root);
}

static void write_findings(const char *folder)
{
    cJSON *analysis = cJSON_CreateObject(), *sensitivity = cJSON_CreateObject(), *grid = cJSON_CreateObject();
    cJSON_AddStringToObject(analysis, "format", "quantdrift-analysis");
    cJSON_AddStringToObject(sensitivity, "format", "quantdrift-sensitivity");
    cJSON_AddStringToObject(grid, "format", "quantdrift-grid");
    cJSON_AddStringToObject(analysis, "display_name", names[0]);
    cJSON_AddStringToObject(sensitivity, "display_name", names[0]);
    cJSON *batchnorms = cJSON_AddArrayToObject(analysis, "batchnorm");
    cJSON *ranges = cJSON_AddArrayToObject(analysis, "batchnorm_ranges");
    cJSON *modes = cJSON_AddArrayToObject(sensitivity, "modes");
    cJSON *layers = cJSON_AddArrayToObject(sensitivity, "layers"), *rows = cJSON_AddArrayToObject(grid, "rows");
    for (int i = 0; i < NAMES; i++) {
        cJSON *entries[5];
        cJSON *const arrays[5] = {batchnorms, ranges, modes, layers, rows};
        for (int e = 0; e < 5; e++) {
            entries[e] = cJSON_CreateObject();
            cJSON_AddStringToObject(entries[e], "name", names[i]);
            cJSON_AddItemToArray(arrays[e], entries[e]);
        }
        cJSON_AddStringToObject(entries[1], "convolution", names[i]);
        cJSON_AddStringToObject(entries[1], "batchnorm", names[i]);
        cJSON_AddBoolToObject(entries[1], "post", true);
        cJSON_AddStringToObject(entries[3], "kind", names[i]);
        cJSON_AddNumberToObject(add_object(entries[3], "only"), "drop", i);
        cJSON_AddStringToObject(entries[4], "model", names[i]);
        cJSON_AddStringToObject(entries[4], "form", names[i]);
        cJSON_AddStringToObject(add_object(entries[4], "recipe"), names[i], names[NAMES - 1 - i]);
        cJSON_AddNumberToObject(entries[4], "recovered", i);
    }
    write_json(folder, "=analysis\n<b>.json", analysis);
    write_json(folder, "@sensitivity\"'`.json", sensitivity);
    write_json(folder, "+grid\033[31m.json", grid);
}

/* A folder of a run for every name that can be one. */
static void write_runs(const char *folder)
{
    for (int i = 0; i < NAMES; i++) {
        char *run = qd_format("%s/%d%s", folder, i, names[i]);
        for (char *c = run + strlen(folder) + 1; *c != '\0'; c++)
            if (*c == '/')
                *c = '|';
        /* Of the first one the name's own beginning is the folder's. */
        if (i == 5)
            memmove(run + strlen(folder) + 1, run + strlen(folder) + 2, strlen(run + strlen(folder) + 1));
        cr_assert_eq(mkdir(run, 0700), 0);
        write_results(run, i);
        if (i == 0)
            write_findings(run);
        free(run);
    }
    char *broken = test_folder_path(folder, "<script>broken\xff\033[2J\n=1.json");
    test_file_write(broken, "{", 1);
    free(broken);
}

static void expect_no_controls(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        cr_assert(*c == '\n' || ((unsigned char)*c >= 0x20 && *c != 0x7f), "byte %d reached the terminal",
                  (unsigned char)*c);
    for (const char *c = text; (c = strchr(c, '\xc2')) != NULL; c++)
        cr_assert((unsigned char)c[1] >= 0xa0, "a C1 control reached the terminal");
}

static void expect_harmless_terminal(const char *text)
{
    expect_no_controls(text);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        cr_assert_not(strncmp(line, "END", 3) == 0 || strchr("=+@", *line ? *line : ' '),
                      "a name begins a line of its own: %.40s", line);
    }
}

/* A file is there, and holds none of these. */
static void expect_without(const char *folder, const char *name, const char *const *pieces, int count)
{
    char *path = test_folder_path(folder, name), *text = program_read_file(path, NULL);
    for (int i = 0; i < count; i++)
        cr_expect_null(strstr(text, pieces[i]), "'%s' is in %s", pieces[i], name);
    cr_expect_null(strchr(text, '\033'), "an escape sequence is in %s", name);
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

static void expect_harmless_files(const char *out)
{
    static const char *const tags[] = {"<script>alert", "<img src=x", "onerror=alert(1)>"};
    static const char *const markdown[] = {"<script", "<img", "<b>", "[c](", "![d](", "\nEND", "\n=", "\n+", "\n@"};
    static const char *const commands[] = {"\nsystem", "'; system", "`", "$(touch", "<script"};
    static const char *const plots[] = {"accuracy", "ranges", "dynamic_range", "sensitivity"};
    expect_without(out, "report.html", tags, 3);
    expect_without(out, "report.md", markdown, 9);
    for (size_t i = 0; i < sizeof plots / sizeof plots[0]; i++) {
        char *script = qd_format("plots/%s.gp", plots[i]), *picture = qd_format("plots/%s.svg", plots[i]);
        expect_without(out, script, commands, 5);
        if (exists_in(out, picture))
            expect_without(out, picture, tags, 3);
        free(script);
        free(picture);
    }
    cr_expect_not(exists_in(out, "plots/owned") || exists_in(out, "owned") || qd_file_exists("owned"));
}

Test(hostile_names, a_report_shows_them_and_does_nothing)
{
    char *folder = test_folder_create(), *runs = test_folder_path(folder, "runs"),
         *out = test_folder_path(folder, "out");
    cr_assert_eq(mkdir(runs, 0700), 0);
    write_runs(runs);
    outcome result = QUANTDRIFT("report", runs, "-o", out);
    expect_done(&result);
    expect_harmless_terminal(result.out);
    cr_assert_not_null(strstr(result.out, "broken\\xFF\\x1B[2J\\x0A=1.json"), "%s", result.out);
    cr_assert(strstr(result.out, "there is no gnuplot") || exists_in(out, "plots/ranges.png"), "%s", result.out);
    outcome_free(&result);
    expect_harmless_files(out);
    test_folder_remove(folder);
    free(runs);
    free(out);
}

Test(hostile_names, a_comparison_shows_them_and_does_nothing)
{
    char *folder = test_folder_create(), *runs = test_folder_path(folder, "runs"),
         *out = test_folder_path(folder, "out");
    cr_assert_eq(mkdir(runs, 0700), 0);
    write_runs(runs);
    outcome result = QUANTDRIFT("compare", runs, "-o", out);
    expect_done(&result);
    expect_harmless_terminal(result.out);
    outcome_free(&result);
    static const char *const pieces[] = {"<script", "<img", "[c](", "\nsystem", "`touch", "'; system"};
    expect_without(out, "compare.md", pieces, 4);
    expect_without(out, "compare.gp", pieces, 6);
    cr_expect_not(exists_in(out, "owned") || qd_file_exists("owned"));
    test_folder_remove(folder);
    free(runs);
    free(out);
}

/* ---- classes, groups and images ---- */

/* The n-th class of a split goes by another name, and its first image as well, in a folder below. */
static void rename_class(const tiny *t, const char *split, int n, const char *name)
{
    char *image = tiny_image(t, split, n), *class = tiny_class(t, split, n);
    char *group = qd_format("%s/%s", class, name), *moved = qd_format("%s/%s.png", group, name);
    char *renamed = qd_format("%s/%s/%s", t->data, split, name);
    cr_assert_eq(mkdir(group, 0700), 0);
    cr_assert_eq(rename(image, moved), 0);
    cr_assert_eq(rename(class, renamed), 0);
    free(renamed);
    free(moved);
    free(group);
    free(class);
    free(image);
}

static void expect_quiet_outcome(outcome result)
{
    expect_done(&result);
    expect_no_controls(result.out);
    expect_no_controls(result.err);
    outcome_free(&result);
}

Test(hostile_names, classes_groups_and_images_reach_no_terminal_raw)
{
    /* Classes are taken by their place, which each renaming changes: the last by these names stays the last. */
    static const char *const classes[] = {"z\033[2J<script>", "z=1+1\n@SUM(1)", "z\302\2332J\xff\r"};
    tiny t = tiny_create();
    for (int i = 0; i < 3; i++) {
        rename_class(&t, "train", 9 - i, classes[i]);
        rename_class(&t, "val", 9 - i, classes[i]);
    }
    expect_quiet_outcome(QUANTDRIFT("dataset", t.data));
    expect_quiet_outcome(QUANTDRIFT("run", t.experiment, "--set", "num_epochs=0", "--set",
                                    "quantization.enabled=false", "--threads", "1"));
    char *checkpoint = tiny_checkpoint(&t, "efficientnet_b0_last.safetensors");
    char *image = qd_format("%s/val/%s/%s/%s.png", t.data, classes[1], classes[1], classes[1]);
    expect_quiet_outcome(QUANTDRIFT("eval", checkpoint, "--data", t.data, "--group-by", "folder"));
    expect_quiet_outcome(QUANTDRIFT("analyze", checkpoint, "--image", image));
    outcome report = QUANTDRIFT("report", t.out, "--no-plots");
    expect_done(&report);
    expect_harmless_terminal(report.out);
    outcome_free(&report);
    static const char *const raw[] = {"<script>z", "\n@SUM", "\n=1", "z<script>"};
    expect_without(t.out, "metrics.csv", raw, 4);
    expect_without(t.out, "report.html", raw, 4);
    free(image);
    free(checkpoint);
    tiny_destroy(&t);
}
