/* Experiment files that stand on others, and grids: what they expand to, and what is refused. */
#include "experiment/config.h"
#include "support/fixture.h"
#include "support/test_context.h"
#include <quantdrift/queue.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static qd_context *ctx;
static char *folder;
static qd_queue *queue;

static void set_up(void)
{
    ctx = test_context_create(1);
    folder = test_folder_create();
    TEST_OK(ctx, qd_queue_create(ctx, &queue));
}

static void tear_down(void)
{
    qd_queue_destroy(queue);
    test_folder_remove(folder);
    qd_context_destroy(ctx);
}

TestSuite(experiment_file, .init = set_up, .fini = tear_down);

static void write_file(const char *name, const char *text)
{
    char *path = test_folder_path(folder, name);
    test_file_write(path, text, strlen(text));
    free(path);
}

static enum qd_status add(const char *name)
{
    char *path = test_folder_path(folder, name);
    const enum qd_status status = qd_queue_add(queue, path, NULL, NULL);
    free(path);
    return status;
}

static enum qd_status add_text(const char *text)
{
    write_file("x.json", text);
    return add("x.json");
}

static const qd_config *config_of(int run)
{
    cr_assert_lt(run, qd_queue_count(queue));
    return &qd_queue_get(queue, run)->config;
}

static enum qd_status assign(void *user, qd_experiment *experiment)
{
    return qd_experiment_set(experiment, user);
}

Test(experiment_file, keys_stand_over_those_of_the_base)
{
    char *sub = test_folder_path(folder, "sub");
    cr_assert_eq(mkdir(sub, 0700), 0);
    free(sub);
    write_file("ground.json",
               "{\"lr\": 0.5, \"seed\": 7, \"quantization\": {\"eval_images\": 5, \"sqnr_images\": 6}}");
    write_file("middle.json", "{\"base\": \"ground.json\", \"lr\": 0.25, /* once more */ \"batch_size\": 3}");
    write_file("sub/top.json", "{\"base\": \"../middle.json\", \"quantization\": {\"eval_images\": 9}}");
    TEST_OK(ctx, add("sub/top.json"));
    cr_assert_eq(qd_queue_count(queue), 1);
    const qd_config *config = config_of(0);
    cr_assert_eq(config->seed, 7);
    cr_assert_eq(config->lr, 0.25);
    cr_assert_eq(config->batch_size, 3);
    cr_assert_eq(config->quantization.eval_images, 9);
    cr_assert_eq(config->quantization.sqnr_images, 6);
    cr_assert_eq(config->momentum, 0.9, "what no file says is the default");
}

Test(experiment_file, one_experiment_reads_bases_too_and_no_grid)
{
    qd_experiment *experiment;
    char *path = test_folder_path(folder, "top.json");
    TEST_OK(ctx, qd_experiment_create(ctx, &experiment));
    write_file("ground.json", "{\"lr\": 0.5}");
    write_file("top.json", "{\"base\": \"ground.json\"}");
    TEST_OK(ctx, qd_experiment_read(experiment, path));
    cr_assert_eq(experiment->config.lr, 0.5);
    write_file("top.json", "{\"grid\": {\"seed\": [1, 2, 3]}}");
    TEST_FAILS(ctx, qd_experiment_read(experiment, path), QD_ERR_USAGE, "a grid of 3 runs");
    qd_experiment_destroy(experiment);
    free(path);
}

Test(experiment_file, chains_without_end_are_refused)
{
    write_file("a.json", "{\"base\": \"b.json\"}");
    write_file("b.json", "{\"base\": \"./a.json\"}");
    TEST_FAILS(ctx, add("a.json"), QD_ERR_USAGE, "round and round");
    TEST_FAILS(ctx, add_text("{\"base\": \"x.json\"}"), QD_ERR_USAGE, "round and round");
    for (int i = 0; i < 9; i++) {
        char name[16], text[64];
        snprintf(name, sizeof name, "c%d.json", i);
        snprintf(text, sizeof text, i < 8 ? "{\"base\": \"c%d.json\"}" : "{}", i + 1);
        write_file(name, text);
    }
    TEST_FAILS(ctx, add("c0.json"), QD_ERR_USAGE, "more than 8 files");
    TEST_OK(ctx, add("c1.json"));
}

Test(experiment_file, bases_that_are_none)
{
    TEST_FAILS(ctx, add_text("{\"base\": 3}"), QD_ERR_USAGE, "key 'base'");
    TEST_FAILS(ctx, add_text("{\"base\": \"missing.json\"}"), QD_ERR_USAGE, "missing.json");
    write_file("broken.json", "{\"lr\": }");
    TEST_FAILS(ctx, add_text("{\"base\": \"broken.json\"}"), QD_ERR_USAGE, "line 1");
    write_file("unknown.json", "{\"lrr\": 1}");
    TEST_FAILS(ctx, add_text("{\"base\": \"unknown.json\"}"), QD_ERR_USAGE, "unknown.json: unknown key 'lrr'");
    TEST_FAILS(ctx, add_text("[]"), QD_ERR_USAGE, "expected a JSON object");
    cr_assert_eq(qd_queue_count(queue), 0);
}

Test(experiment_file, lists_expand_to_their_product)
{
    TEST_OK(ctx, add_text("{\"output_dir\": \"out\", \"grid\": {\"seed\": [1, 2],"
                          " \"variant\": [{\"name\": \"relu\", \"models\": \"efficientnet_b0_relu\"},"
                          "               {\"name\": \"fast\", \"lr\": 0.1, \"quantization\": {\"enabled\": false}}],"
                          " \"quantization.sqnr_images\": [8]}}"));
    static const char *const folders[] = {
        "out/seed_1-relu-quantization.sqnr_images_8", "out/seed_1-fast-quantization.sqnr_images_8",
        "out/seed_2-relu-quantization.sqnr_images_8", "out/seed_2-fast-quantization.sqnr_images_8"};
    cr_assert_eq(qd_queue_count(queue), 4);
    for (int i = 0; i < 4; i++) {
        const qd_config *config = config_of(i);
        const bool relu = i % 2 == 0;
        cr_assert_str_eq(config->output_dir, folders[i]);
        cr_assert_str_eq(qd_experiment_folder(qd_queue_get(queue, i)), folders[i]);
        cr_assert_eq(config->seed, 1 + i / 2);
        cr_assert_eq(config->lr, relu ? 0.01 : 0.1);
        cr_assert_eq(config->model_count, relu ? 1 : 2);
        cr_assert_eq(config->quantization.enabled, relu);
        cr_assert_eq(config->quantization.sqnr_images, 8);
    }
}

Test(experiment_file, names_of_points_are_harmless)
{
    TEST_OK(ctx,
            add_text("{\"output_dir\": \"o\", \"grid\": {\"data_dir\": [\"/data/a b\", \"../c\"],"
                     " \"models\": [[\"resnet18\", \"efficientnet_b0\"]], \"lr\": [1e-5], \"max_steps\": [null]}}"));
    cr_assert_str_eq(config_of(0)->output_dir,
                     "o/data_dir__data_a_b-models_resnet18+efficientnet_b0-lr_1e-05-max_steps_null");
    cr_assert_str_eq(config_of(1)->output_dir,
                     "o/data_dir_.._c-models_resnet18+efficientnet_b0-lr_1e-05-max_steps_null");
}

Test(experiment_file, a_grid_may_be_inherited_or_dropped)
{
    write_file("grid.json", "{\"output_dir\": \"o\", \"grid\": {\"seed\": [1, 2]}}");
    TEST_OK(ctx, add_text("{\"base\": \"grid.json\", \"lr\": 0.5}"));
    cr_assert_eq(qd_queue_count(queue), 2);
    cr_assert_eq(config_of(1)->lr, 0.5);
    TEST_OK(ctx, add_text("{\"base\": \"grid.json\", \"grid\": {}}"));
    cr_assert_str_eq(config_of(2)->output_dir, "o");
    TEST_OK(ctx, add_text("{\"base\": \"grid.json\", \"grid\": {\"lr\": [0.5]}}"));
    cr_assert_str_eq(config_of(3)->output_dir, "o/lr_0.5");
}

Test(experiment_file, grids_that_are_none)
{
    TEST_FAILS(ctx, add_text("{\"grid\": [1]}"), QD_ERR_USAGE, "key 'grid': expected an object of lists");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"seed\": 3}}"), QD_ERR_USAGE, "grid, 'seed': expected a list");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"seed\": []}}"), QD_ERR_USAGE, "expected a list of one value or more");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"sed\": [1]}}"), QD_ERR_USAGE, "the nearest is 'seed'");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"seed\": [-1]}}"), QD_ERR_USAGE, "x.json, grid, key 'seed'");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"v\": [{\"name\": \"a\", \"lrr\": 1}]}}"), QD_ERR_USAGE,
               "unknown key 'lrr'");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"v\": [{\"name\": \"../a\"}]}}"), QD_ERR_USAGE, "'../a' names a folder");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"v\": [{\"name\": \"..\"}]}}"), QD_ERR_USAGE, "names a folder");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"v\": [{\"lr\": 1}]}}"), QD_ERR_USAGE, "must hold objects");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"output_dir\": [\"a\"]}}"), QD_ERR_USAGE, "its own folder");
    TEST_FAILS(ctx, add_text("{\"grid\": {\"v\": [{\"name\": \"a\", \"output_dir\": \"b\"}]}}"), QD_ERR_USAGE,
               "its own folder");
    char text[4096] = "{\"grid\": {";
    for (int i = 0; i < 3; i++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s\"v%d\": [", i ? ", " : "", i);
        for (int j = 0; j < 11; j++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s{\"name\": \"%d\"}", j ? ", " : "", j);
        strcat(text, "]");
    }
    strcat(text, "}}");
    TEST_FAILS(ctx, add_text(text), QD_ERR_USAGE, "more than 1000 runs");
}

Test(experiment_file, two_lists_do_not_change_one_key)
{
    TEST_FAILS(ctx,
               add_text("{\"grid\": {\"seed\": [1, 2], \"v\": [{\"name\": \"a\"}, {\"name\": \"b\", \"seed\": 5}]}}"),
               QD_ERR_USAGE, "the lists 'seed' and 'v' both change 'seed'");
    TEST_FAILS(
        ctx, add_text("{\"grid\": {\"v\": [{\"name\": \"a\", \"lr\": 1}], \"w\": [{\"name\": \"b\", \"lr\": 0.5}]}}"),
        QD_ERR_USAGE, "the lists 'v' and 'w' both change 'lr'");
    TEST_FAILS(ctx,
               add_text("{\"grid\": {\"quantization.enabled\": [true, false],"
                        " \"v\": [{\"name\": \"a\", \"quantization\": {\"enabled\": true}}]}}"),
               QD_ERR_USAGE, "both change 'quantization.enabled'");
    TEST_OK(ctx, add_text("{\"grid\": {\"quantization.eval_images\": [5],"
                          " \"v\": [{\"name\": \"a\", \"quantization\": {\"enabled\": true}}]}}"));
}

Test(experiment_file, two_runs_never_share_a_folder)
{
    TEST_FAILS(ctx, add_text("{\"output_dir\": \"o\", \"grid\": {\"seed\": [1, 1]}}"), QD_ERR_USAGE,
               "two runs would write to 'o/seed_1'");
    write_file("y.json", "{\"output_dir\": \"./p//q/\"}");
    TEST_OK(ctx, add("y.json"));
    TEST_FAILS(ctx, add_text("{\"output_dir\": \"p/q\"}"), QD_ERR_USAGE, "two runs would write to 'p/q'");
    TEST_OK(ctx, add_text("{\"output_dir\": \"p/qq\"}"));
    TEST_OK(ctx, add_text("{\"output_dir\": \"/p/q\"}"));
}

Test(experiment_file, settings_stand_over_the_points_but_do_not_undo_the_grid)
{
    write_file("x.json",
               "{\"output_dir\": \"o\", \"grid\": {\"seed\": [1, 2], \"v\": [{\"name\": \"a\", \"lr\": 1}]}}");
    char *path = test_folder_path(folder, "x.json"), lr[] = "lr=0.125", seed[] = "seed=1", out[] = "output_dir=other";
    TEST_OK(ctx, qd_queue_add(queue, path, assign, lr));
    cr_assert_eq(config_of(1)->lr, 0.125);
    TEST_OK(ctx, qd_queue_add(queue, path, assign, out));
    cr_assert_str_eq(config_of(3)->output_dir, "other/seed_2-a");
    write_file("x.json", "{\"output_dir\": \"p\", \"grid\": {\"seed\": [1, 2]}}");
    TEST_FAILS(ctx, qd_queue_add(queue, path, assign, seed), QD_ERR_USAGE, "'seed' is given although the grid");
    free(path);
}

Test(experiment_file, committed_grids_expand)
{
    static const struct {
        const char *file;
        int runs;
    } files[] = {{"experiments/causes.json", 21}, {"experiments/seeds.json", 3}};
    int sum = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char *path = fixture_source_path(files[i].file);
        TEST_OK(ctx, qd_queue_add(queue, path, NULL, NULL));
        sum += files[i].runs;
        cr_assert_eq(qd_queue_count(queue), sum, "%s", files[i].file);
        free(path);
    }
    /* Every model is asked. */
    for (const qd_model_info *const *model = qd_model_list(); *model; model++) {
        bool found = false;
        for (int r = 0; r < 21; r++)
            found = found || (config_of(r)->model_count == 1 && config_of(r)->models[0] == *model);
        cr_assert(found, "experiments/causes.json lacks %s", (*model)->name);
    }
}
