/* `quantdrift grid`: its rows are what quantize and eval say one by one, and are made once. */
#include "base/file.h"
#include "base/folder_lock.h"
#include "cli/program.h"
#include "cli/tiny.h"
#include "support/fixture.h"
#include "support/json_file.h"
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

TestSuite(grid);

/* A tiny data set, a checkpoint trained on it for an epoch, a grid and where its rows go. */
typedef struct bench {
    tiny t;
    char *checkpoint, *grid, *out, *rows, *table;
} bench;

static bench bench_create(const char *recipes)
{
    bench b = {.t = tiny_create()};
    expect_success(QUANTDRIFT("run", b.t.experiment, "--quiet", "--set", "models=resnet18", "--set",
                              "quantization.enabled=false"));
    b.checkpoint = tiny_checkpoint(&b.t, "resnet18_last.safetensors");
    b.grid = test_folder_path(b.t.folder, "grid file.json");
    b.out = test_folder_path(b.t.folder, "rows");
    b.rows = test_folder_path(b.out, "grid.json");
    b.table = test_folder_path(b.out, "grid.md");
    test_file_write(b.grid, recipes, strlen(recipes));
    return b;
}

static void bench_destroy(bench *b)
{
    free(b->checkpoint);
    free(b->grid);
    free(b->out);
    free(b->rows);
    free(b->table);
    tiny_destroy(&b->t);
}

#define GRID(b, ...)                                                                                                 \
    QUANTDRIFT("grid", (b)->grid, (b)->checkpoint, "--data", (b)->t.data, "-o", (b)->out, __VA_ARGS__)

static const cJSON *row_at(const cJSON *root, int index)
{
    const cJSON *row = cJSON_GetArrayItem(cJSON_GetObjectItem(root, "rows"), index);
    cr_assert_not_null(row, "no row %d", index);
    return row;
}

static int count_of(const char *text, const char *piece)
{
    int count = 0;
    for (const char *found = strstr(text, piece); found; found = strstr(found + 1, piece))
        count++;
    return count;
}

/* What the same recipe gives by quantize and eval. */
static void expect_same_as_eval(const bench *b, const cJSON *row, const char *first, const char *second)
{
    char *model = test_folder_path(b->t.folder, "one.safetensors"), *json = test_folder_path(b->t.folder, "one.json");
    expect_success(QUANTDRIFT("quantize", b->checkpoint, "--data", b->t.data, "-o", model, first, second));
    expect_success(QUANTDRIFT("eval", b->checkpoint, model, "--data", b->t.data, "--json", json));
    cJSON *root = test_json_read(json);
    const cJSON *networks = cJSON_GetObjectItem(root, "networks"), *real = cJSON_GetArrayItem(networks, 0);
    const cJSON *made = cJSON_GetArrayItem(networks, 1), *against = cJSON_GetObjectItem(made, "against_first");
    cr_assert_eq(test_json_number(row, "float_accuracy"), test_json_number(real, "accuracy_percent"));
    cr_assert_eq(test_json_number(row, "accuracy"), test_json_number(made, "accuracy_percent"));
    cr_assert_eq(test_json_number(row, "drop"), test_json_number(against, "drop_points"));
    cr_assert_eq(test_json_number(row, "drop_low"), test_json_number(against, "drop_low_points"));
    cr_assert_eq(test_json_number(row, "drop_high"), test_json_number(against, "drop_high_points"));
    cr_assert_eq(test_json_number(row, "agree"), test_json_number(against, "agree"));
    cJSON_Delete(root);
    free(model);
    free(json);
}

static const char recipes[] =
    "{\"recipes\": [{\"weight_bits\": 3, \"per_channel\": [false, true]},"
    " {\"activation_bits\": 3, \"calibrator\": \"mse\"},"
    " {\"weight_bits\": 4, \"equalize\": true, \"correct_bias\": true}, {\"dynamic\": true}]}";

Test(grid, rows_are_what_quantize_and_eval_say)
{
    static const char *const options[][2] = {{"--quiet", "--quiet"},
                                             {"--weight-bits=3", "--quiet"},
                                             {"--weight-bits=3", "--per-channel"},
                                             {"--activation-bits=3", "--calibrator=mse"}};
    bench b = bench_create(recipes);
    outcome made = GRID(&b, "--threads", "2");
    expect_done(&made);
    cr_assert_eq(count_of(made.out, "%, drop "), 6, "%s", made.out);
    outcome_free(&made);
    cJSON *root = test_json_read(b.rows);
    cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(root, "format")), "quantdrift-grid");
    cr_assert(test_json_number(root, "eval_images") == 20 && test_json_number(root, "calibration_images") == 40);
    for (int i = 0; i < 4; i++)
        expect_same_as_eval(&b, row_at(root, i), options[i][0], options[i][1]);
    for (int i = 0; i < 6; i++) {
        const cJSON *row = row_at(root, i);
        cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(row, "form")), i == 5 ? "simulated" : "integer");
        cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(row, "model")), "resnet18");
        cr_assert_float_eq(test_json_number(row, "recovered"),
                           test_json_number(row, "accuracy") - test_json_number(row_at(root, 0), "accuracy"), 1e-12);
    }
    cJSON_Delete(root);
    char *table = program_read_file(b.table, NULL);
    /* Checkpoint, the post's recipe, the best, a warning between blank lines, the table's head and six rows. */
    cr_assert_eq(count_of(table, "\n"), 3 + 3 + 8, "%s", table);
    cr_assert_not_null(strstr(table, "  - the post's recipe: S8 per tensor, S8 affine, minmax: "), "%s", table);
    cr_assert_not_null(strstr(table, "  - best of 6: "), "%s", table);
    cr_assert_not_null(strstr(table, "luck of the choice"), "%s", table);
    cr_assert_not_null(strstr(table, "| S4 per tensor | S8 affine | minmax | equalize + correct_bias | integer |"),
                       "%s", table);
    cr_assert_not_null(strstr(table, "| S8 per tensor | S8 affine | dynamic | - | simulated |"), "%s", table);
    free(table);
    bench_destroy(&b);
}

/* Each would write the file without the other's rows. */
Test(grid, one_process_works_in_a_folder)
{
    bench b = bench_create(recipes);
    qd_context *ctx = NULL;
    qd_folder_lock lock;
    cr_assert_eq(qd_context_create(NULL, &ctx), QD_OK);
    cr_assert_eq(qd_folder_create(ctx, b.out), QD_OK);
    cr_assert_eq(qd_folder_lock_take(ctx, b.out, &lock), QD_OK);
    expect_refusal(GRID(&b, "--quiet"), 1, "process");
    cr_assert_not(qd_file_exists(b.rows));
    qd_folder_lock_release(&lock);
    qd_context_destroy(ctx);
    bench_destroy(&b);
}

Test(grid, rows_are_made_once)
{
    bench b = bench_create("{\"recipes\": [{\"weight_bits\": [3, 4]}]}");
    expect_success(GRID(&b, "--quiet"));
    char *first = test_folder_path(b.t.folder, "first.json");
    expect_success(program_run(NULL, (const char *const[]){"cp", b.rows, first, NULL}));
    outcome again = GRID(&b, "--threads", "1");
    expect_done(&again);
    cr_assert_eq(count_of(again.out, "there before"), 3, "%s", again.out);
    outcome_free(&again);
    expect_same_file(b.rows, first);

    /* What an interrupt left out, and what the grid says now beside it; another name of the checkpoint is no other.
     */
    cJSON *root = test_json_read(b.rows);
    cJSON *lost = cJSON_DetachItemFromArray(cJSON_GetObjectItem(root, "rows"), 1);
    cr_assert_eq(qd_json_write(NULL, b.rows, root), QD_OK);
    cJSON_Delete(root);
    static const char more[] = "{\"recipes\": [{\"weight_bits\": [4, 3, 5]}]}";
    test_file_write(b.grid, more, strlen(more));
    char *copy = test_folder_path(b.t.folder, "copy.safetensors");
    expect_success(program_run(NULL, (const char *const[]){"cp", b.checkpoint, copy, NULL}));
    again = GRID(&b, copy);
    expect_done(&again);
    cr_assert_eq(count_of(again.out, "there before"), 6, "%s", again.out);
    cr_assert_eq(count_of(again.out, "%, drop "), 2, "%s", again.out);
    outcome_free(&again);
    root = test_json_read(b.rows);
    cr_assert_eq(cJSON_GetArraySize(cJSON_GetObjectItem(root, "rows")), 4);
    const cJSON *found = row_at(root, 2);
    static const char *const equal[] = {"accuracy", "drop", "drop_low", "drop_high", "agree", "recovered"};
    for (size_t i = 0; i < sizeof equal / sizeof equal[0]; i++)
        cr_assert_eq(test_json_number(found, equal[i]), test_json_number(lost, equal[i]), "%s", equal[i]);
    cJSON_Delete(lost);
    cJSON_Delete(root);
    free(copy);
    free(first);
    bench_destroy(&b);
}

static void edit_rows(const bench *b, const char *key, cJSON *value)
{
    cJSON *root = test_json_read(b->rows);
    cr_assert(cJSON_ReplaceItemInObject(root, key, value));
    cr_assert_eq(qd_json_write(NULL, b->rows, root), QD_OK);
    cJSON_Delete(root);
}

static void expect_usage(outcome result, const char *piece)
{
    cr_assert_eq(result.code, 2, "exit code %d: %s", result.code, result.err);
    cr_assert_not_null(strstr(result.err, piece), "'%s' is not in: %s", piece, result.err);
    outcome_free(&result);
}

/* Trained on for an epoch: what the run in the row's folder leaves is what quantize and eval make of it. */
Test(grid, a_recipe_may_train)
{
    bench b =
        bench_create("{\"calibration_images\": 16, \"recipes\": [{\"weight_bits\": 4, \"qat\": {\"num_epochs\": 1, "
                     "\"lr\": 0.01}}]}");
    outcome made = GRID(&b, "--threads", "2");
    expect_done(&made);
    cr_assert_not_null(strstr(made.out, "S4 per tensor, S8 affine, learnt, qat for 1 epoch: "), "%s", made.out);
    outcome_free(&made);
    cJSON *root = test_json_read(b.rows);
    const cJSON *row = row_at(root, 1), *training = cJSON_GetObjectItem(cJSON_GetObjectItem(row, "recipe"), "qat");
    cr_assert(test_json_number(training, "num_epochs") == 1 && test_json_number(training, "lr") == 0.01);
    cr_assert_str_eq(cJSON_GetStringValue(cJSON_GetObjectItem(row, "form")), "integer");

    char *model = test_folder_path(b.t.folder, "one.safetensors"), *json = test_folder_path(b.t.folder, "one.json");
    outcome found =
        program_run(NULL, (const char *const[]){"sh", "-c", "printf %s \"$0\"/qat_resnet18_*", b.out, NULL});
    expect_done(&found);
    char *trained = qd_format("%s/checkpoints/resnet18_qat.safetensors", found.out);
    char *encodings = qd_format("%s/resnet18_qat_encodings.json", found.out);
    char *log_path = qd_format("%s/log.txt", found.out);
    outcome_free(&found);
    expect_success(QUANTDRIFT("quantize", trained, "--weight-bits=4", "--encodings", encodings, "-o", model));
    expect_success(QUANTDRIFT("eval", b.checkpoint, model, "--data", b.t.data, "--json", json));
    cJSON *scores = test_json_read(json);
    const cJSON *made_of_it = cJSON_GetArrayItem(cJSON_GetObjectItem(scores, "networks"), 1);
    cr_assert_eq(test_json_number(row, "accuracy"), test_json_number(made_of_it, "accuracy_percent"));
    cr_assert_eq(test_json_number(row, "agree"),
                 test_json_number(cJSON_GetObjectItem(made_of_it, "against_first"), "agree"));
    cJSON_Delete(scores);
    cJSON_Delete(root);

    /* A row that is lost is made of the training that is there, wherever the checkpoint lies by now. */
    root = test_json_read(b.rows);
    cJSON *lost = cJSON_DetachItemFromArray(cJSON_GetObjectItem(root, "rows"), 1);
    cr_assert_eq(qd_json_write(NULL, b.rows, root), QD_OK);
    cJSON_Delete(root);
    char *moved = test_folder_path(b.t.folder, "moved.safetensors");
    cr_assert_eq(rename(b.checkpoint, moved), 0);
    free(b.checkpoint);
    b.checkpoint = moved;
    made = GRID(&b, "--threads", "1");
    expect_done(&made);
    outcome_free(&made);
    char *log = program_read_file(log_path, NULL);
    cr_assert_eq(count_of(log, "trained for quantization already"), 1, "%s", log);
    cr_assert_eq(count_of(log, "INT8 after training for it"), 1, "%s", log);
    free(log);
    free(log_path);
    root = test_json_read(b.rows);
    cr_assert_eq(test_json_number(row_at(root, 1), "accuracy"), test_json_number(lost, "accuracy"));
    cJSON_Delete(lost);
    cJSON_Delete(root);
    free(trained);
    free(encodings);
    free(model);
    free(json);
    bench_destroy(&b);
}

Test(grid, training_is_refused_where_it_decides_nothing)
{
    bench b = bench_create("{\"recipes\": [{\"qat\": {\"num_epochs\": 1, \"from\": \"x\"}}]}");
    expect_usage(GRID(&b, "--quiet"), "'qat.from' decides nothing here");
    static const char *const wrong[][2] = {
        {"{\"recipes\": [{\"qat\": 3}]}", "expected \"qat\" to be an object with at least 1 in \"num_epochs\""},
        {"{\"recipes\": [{\"qat\": {\"lr\": 0.1}}]}", "at least 1 in \"num_epochs\""},
        {"{\"recipes\": [{\"qat\": {\"num_epochs\": 0}}]}", "at least 1 in \"num_epochs\""},
        {"{\"recipes\": [{\"qat\": {\"num_epochs\": 1.5}}]}", "'qat.num_epochs'"},
        {"{\"recipes\": [{\"qat\": {\"num_epochs\": 1, \"epochs\": 2}}]}", "'qat.epochs'"},
        {"{\"qat\": {\"num_epochs\": 1}, \"recipes\": [{}]}", "belongs in an entry of \"recipes\""},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        test_file_write(b.grid, wrong[i][0], strlen(wrong[i][0]));
        expect_usage(GRID(&b, "--quiet"), wrong[i][1]);
    }
    bench_destroy(&b);
}

Test(grid, bad_input_is_refused)
{
    bench b = bench_create("{\"recipes\": [{}]}");
    expect_usage(QUANTDRIFT("grid"), "name a grid of recipes");
    expect_usage(QUANTDRIFT("grid", "a.json"), "name a checkpoint behind the grid");
    expect_usage(QUANTDRIFT("grid", "a.json", "b"), "--data is missing");
    expect_usage(QUANTDRIFT("grid", "a.json", "b", "--data", "c"), "-o is missing");
    expect_success(GRID(&b, "--quiet", "--eval-images", "10"));

    /* Rows over other images would not compare. */
    expect_refusal(GRID(&b, "--quiet"), 2, "it was made with eval_images 10, not 20");
    expect_refusal(GRID(&b, "--eval-images", "10", "--calibration-images", "8"), 2, "calibration_images 40, not 8");
    expect_refusal(GRID(&b, "--eval-images", "10", "/no/such.safetensors"), 3, "/no/such.safetensors");
    edit_rows(&b, "val_fingerprint", cJSON_CreateString("0"));
    expect_refusal(GRID(&b, "--eval-images", "10"), 2, "val_fingerprint");
    edit_rows(&b, "format", cJSON_CreateString("other"));
    expect_refusal(GRID(&b, "--eval-images", "10"), 3, "quantdrift-grid");
    static const char *const damaged[][2] = {
        {"{", "grid.json"},
        {"{\"format\": \"quantdrift-grid\"}", "and rows"},
        {"{\"format\": \"quantdrift-grid\", \"rows\": [{\"model\": 3}]}", "row 1 lacks"},
        {"{\"format\": \"quantdrift-grid\", \"rows\": [7]}", "row 1 lacks"},
        {"{\"format\": \"quantdrift-grid\", \"rows\": [{\"model\": \"a\", \"checkpoint\": \"b\", "
         "\"checkpoint_sha256\": \"c\","
         " \"form\": \"d\", \"image_size\": 1, \"float_accuracy\": 1, \"accuracy\": 1, \"drop\": 1, \"drop_low\": 1,"
         " \"drop_high\": 1, \"recovered\": 1, \"seconds\": 1, \"recipe\": {\"calibrator\": \"kl\"}}]}",
         "row 1, key 'quantization.calibrator'"},
    };
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        test_file_write(b.rows, damaged[i][0], strlen(damaged[i][0]));
        expect_refusal(GRID(&b, "--eval-images", "10"), 3, damaged[i][1]);
    }

    /* Not every file is a network to quantize, and not every data set is the network's. */
    char *model = test_folder_path(b.t.folder, "int8.safetensors");
    expect_success(QUANTDRIFT("quantize", b.checkpoint, "--data", b.t.data, "-o", model));
    expect_refusal(QUANTDRIFT("grid", b.grid, model, "--data", b.t.data, "-o", b.t.out), 3,
                   "this is a quantized model");
    static const char wrong[] = "{\"recipes\": [{\"exclude\": [\"layer9\"]}]}";
    test_file_write(b.grid, wrong, strlen(wrong));
    expect_refusal(QUANTDRIFT("grid", b.grid, b.checkpoint, "--data", b.t.data, "-o", b.t.out, "--quiet"), 2,
                   "has no module of this name");
    char *train = tiny_class(&b.t, "train", 0), *val = tiny_class(&b.t, "val", 0);
    test_folder_remove(train);
    test_folder_remove(val);
    expect_refusal(QUANTDRIFT("grid", b.grid, b.checkpoint, "--data", b.t.data, "-o", b.t.data), 3,
                   "tells 10 classes apart");
    free(model);
    bench_destroy(&b);
}
